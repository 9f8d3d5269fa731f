//! What jobs are done in order: those of one partition, one after the other.

use std::fmt;

use uuid::Uuid;

/// Names the jobs that are done one after the other, in the order in which they were put in: a
/// hash of the key that they share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Partition(Uuid);

impl Partition {
    /// The partition of this key.
    pub fn of(key: &str) -> Self {
        Self(Uuid::new_v5(&Uuid::NAMESPACE_URL, key.as_bytes()))
    }

    /// Reads what [`Partition`] writes. It takes for one what `partition_of` of the scripts does:
    /// a job that only the script knew one of would hold up those behind it when it is done.
    pub(super) fn read(value: &[u8]) -> Option<Self> {
        let digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let ours = value.len() == 32 && value.iter().all(digit);
        ours.then(|| Uuid::try_parse_ascii(value).ok().map(Self))?
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.simple().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_is_read_as_it_was_written() {
        let partition = Partition::of("invoice 7");
        let written = partition.to_string();
        assert_eq!(written.len(), 32);
        assert_eq!(Partition::read(written.as_bytes()), Some(partition));
        assert_ne!(partition, Partition::of("invoice 8"));
    }

    #[test]
    fn whatever_a_script_would_pass_over_is_none() {
        let written = Partition::of("invoice 7").to_string();
        let others =
            ["", "invoice 7", &written[1..], &format!("{written}0"), &written.to_uppercase()];
        for other in others {
            assert_eq!(Partition::read(other.as_bytes()), None, "{other}");
        }
        let hyphens = Partition::of("invoice 7").0.hyphenated().to_string();
        assert_eq!(Partition::read(hyphens.as_bytes()), None);
    }
}
