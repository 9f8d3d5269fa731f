//! What rounds came to, in numbers.

use std::fmt;
use std::ops::AddAssign;

/// What a round came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Events and notifications that were accepted.
    pub accepted: usize,
    /// Those that were not, or of which nobody knows.
    pub not_accepted: usize,
    /// Events among the dead letters.
    pub buried: usize,
    /// Notifications that Redis published.
    pub published: u64,
    /// Notifications that clients heard.
    pub heard: usize,
    /// Faults.
    pub faults: usize,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, more: Tally) {
        self.accepted += more.accepted;
        self.not_accepted += more.not_accepted;
        self.buried += more.buried;
        self.published += more.published;
        self.heard += more.heard;
        self.faults += more.faults;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tally { accepted, not_accepted, buried, published, heard, faults } = self;
        write!(f, "{accepted} accepted, {not_accepted} not; {published} published, ")?;
        write!(f, "{buried} buried, {heard} heard; {faults} faults")
    }
}
