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
