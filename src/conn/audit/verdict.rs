//! When something that is too many is a leak: pure.

use std::collections::BTreeSet;

/// What one side has come to over its audits.
///
/// Counting takes time, and connections come and go meanwhile. So whatever is too many has to be
/// so in two audits in a row: the same connection, not merely the same number.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    suspects: BTreeSet<u64>,
    leaked: BTreeSet<u64>,
}

/// What an audit changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing worth a word.
    None,
    /// There is a leak, or another connection has joined it.
    Found,
    /// There is none any more.
    Ended,
}

impl Verdict {
    /// Takes in what was too many this time, by whatever tells connections of this side apart.
    pub(super) fn judge(&mut self, excess: BTreeSet<u64>) -> Change {
        let leaked: BTreeSet<u64> = excess.intersection(&self.suspects).copied().collect();
        self.suspects = excess;
        let before = std::mem::replace(&mut self.leaked, leaked);
        if !self.leaked.is_subset(&before) {
            Change::Found
        } else if self.leaked.is_empty() && !before.is_empty() {
            Change::Ended
        } else {
            Change::None
        }
    }

    /// Whether this one is part of the leak.
    pub(super) fn has(&self, connection: u64) -> bool {
        self.leaked.contains(&connection)
    }

    /// Whether there is a leak.
    pub(super) fn is_leak(&self) -> bool {
        !self.leaked.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn judged<const N: usize>(audits: [&[u64]; N]) -> [Change; N] {
        let mut verdict = Verdict::default();
        audits.map(|excess| verdict.judge(excess.iter().copied().collect()))
    }

    #[test]
    fn what_is_seen_once_is_no_leak_and_a_leak_is_told_once() {
        use Change::{Ended, Found, None};
        assert_eq!(judged([&[1], &[], &[1], &[]]), [None; 4]);
        assert_eq!(judged([&[1], &[2], &[3]]), [None; 3], "never the same one");
        assert_eq!(judged([&[1], &[1], &[1], &[], &[]]), [None, Found, None, Ended, None]);
        assert_eq!(judged([&[1], &[1, 2], &[1, 2]]), [None, Found, Found], "another joins");
        assert_eq!(judged([&[1, 2], &[1, 2], &[2]]), [None, Found, None], "one leaves");
    }

    proptest! {
        #[test]
        fn found_and_ended_take_turns(audits in prop::collection::vec(prop::collection::btree_set(0u64..4, 0..4), 0..40)) {
            let mut verdict = Verdict::default();
            let mut leaking = false;
            for excess in audits {
                match verdict.judge(excess) {
                    Change::Found => leaking = true,
                    Change::Ended => {
                        prop_assert!(leaking, "nothing ends that was not found");
                        leaking = false;
                    }
                    Change::None => {}
                }
                prop_assert_eq!(verdict.is_leak(), leaking);
            }
        }
    }
}
