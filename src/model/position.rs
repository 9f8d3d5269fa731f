//! Where a notification stands among all that the history of a namespace keeps.

use std::fmt;
use std::str::FromStr;

/// A place in the history of a namespace: one order for all its channels.
///
/// A server hears everything by one connection, in this order. So whoever has heard the
/// notification at a position has heard all before it on the channels it listens to, and one
/// position is a cursor for any number of channels and prefixes.
///
/// As text, which clients keep and send back without reading it: sixteen hexadecimal digits, a
/// hyphen, a decimal number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Position {
    /// Which history. It changes when Redis has lost what it kept.
    pub epoch: u64,
    /// Unix microseconds by the clock of Redis, made to rise with every notification.
    pub at: u64,
}

impl Position {
    /// The latest that a position can be: where Redis' sorted sets still tell one microsecond
    /// from the next, in the year 2112.
    const LATEST: u64 = 1 << 52;

    /// Whether this is the same history, and not after `other`.
    pub fn is_covered_by(self, other: Self) -> bool {
        self.epoch == other.epoch && self.at <= other.at
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{}", self.epoch, self.at)
    }
}

/// A text that is no position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not a cursor of this service; send one exactly as it was received, or none")]
pub struct NotAPosition;

impl FromStr for Position {
    type Err = NotAPosition;

    /// Reads what [`Position`] writes, and nothing else: no sign, no space, no leading zero.
    fn from_str(text: &str) -> Result<Self, NotAPosition> {
        let (epoch, at) = text.split_once('-').ok_or(NotAPosition)?;
        let lower = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        let digits = !at.is_empty() && at.bytes().all(|b| b.is_ascii_digit());
        if epoch.len() != 16 || !epoch.bytes().all(lower) || !digits || at.starts_with('0') {
            return Err(NotAPosition);
        }
        let epoch = u64::from_str_radix(epoch, 16).map_err(|_| NotAPosition)?;
        let at = at.parse().map_err(|_| NotAPosition)?;
        if at < Self::LATEST { Ok(Self { epoch, at }) } else { Err(NotAPosition) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_no_server_ever_wrote_is_no_position() {
        let good = "00000000000000ff-1738310400000000";
        assert_eq!(good.parse(), Ok(Position { epoch: 255, at: 1_738_310_400_000_000 }));
        for bad in [
            "",
            "-",
            "7",
            "00000000000000FF-1",
            "ff-1",
            "00000000000000ff-",
            "00000000000000ff-01",
            "00000000000000ff-0",
            "00000000000000ff--1",
            "00000000000000ff-+1",
            "00000000000000ff-1 ",
            "+0000000000000ff-1",
            "00000000000000ff-4503599627370496",
            "00000000000000ff-99999999999999999999999",
        ] {
            assert_eq!(bad.parse::<Position>(), Err(NotAPosition), "{bad:?}");
        }
    }

    #[test]
    fn positions_of_different_histories_do_not_compare() {
        let (one, other) = (Position { epoch: 1, at: 5 }, Position { epoch: 2, at: 9 });
        assert!(!one.is_covered_by(other) && !other.is_covered_by(one));
        assert!(one.is_covered_by(one) && one.is_covered_by(Position { epoch: 1, at: 6 }));
        assert!(!Position { epoch: 1, at: 6 }.is_covered_by(one));
    }

    proptest! {
        #[test]
        fn a_position_is_read_as_it_was_written(epoch: u64, at in 1..Position::LATEST) {
            let position = Position { epoch, at };
            prop_assert_eq!(position.to_string().parse(), Ok(position));
            prop_assert!(position.to_string().len() <= 33);
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,40}|[0-9a-f]{14,18}-[0-9]{0,24}") {
            if let Ok(position) = text.parse::<Position>() {
                prop_assert_eq!(position.to_string(), text);
            }
        }
    }
}
