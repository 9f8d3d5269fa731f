//! What is wrong with a piece of input, and where.

use std::fmt;

/// One thing that is wrong, at one place. Input is answered with all of its faults at once.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "bridge", derive(serde::Serialize))]
pub struct Fault {
    /// Where: a JSON path such as `$.nodes[1].when`, or the name of a field, header or setting.
    pub path: String,
    /// What is wrong and what to do about it.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

impl std::error::Error for Fault {}

/// The most faults that one piece of input is told.
#[cfg(feature = "bridge")]
pub const MAX_FAULTS: usize = 100;

/// The first of these, as many as an answer has room for, and where there are more, a last line that
/// says so. What is left out is never kept, so whoever sends nonsense costs no memory for it.
#[cfg(feature = "bridge")]
pub fn bounded(faults: impl IntoIterator<Item = Fault>) -> Vec<Fault> {
    let mut faults = faults.into_iter();
    let mut told: Vec<_> = faults.by_ref().take(MAX_FAULTS).collect();
    let more = faults.count();
    if more > 0 {
        // It takes the place of one.
        told.truncate(MAX_FAULTS - 1);
        let message = format!("has at least {} faults more, which are not listed", more + 1);
        told.push(Fault { path: "$".to_owned(), message });
    }
    told
}

#[cfg(all(test, feature = "bridge"))]
mod tests {
    use super::*;

    fn faults(count: usize) -> impl Iterator<Item = Fault> {
        (0..count).map(|number| Fault { path: format!("$[{number}]"), message: "is bad".into() })
    }

    #[test]
    fn there_are_a_hundred_at_most_and_the_last_says_how_many_more() {
        assert_eq!(bounded(faults(0)), []);
        assert_eq!(bounded(faults(100)), faults(100).collect::<Vec<_>>());
        let told = bounded(faults(1_000));
        assert_eq!(told[..99], faults(99).collect::<Vec<_>>());
        let last = "$: has at least 901 faults more, which are not listed";
        assert_eq!((told.len(), told[99].to_string().as_str()), (100, last));
        assert_eq!(bounded(told.clone()), told, "once is enough");
    }
}
