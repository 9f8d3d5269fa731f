//! Why a document was not stored, shown or removed: what rule chains and schedules have in common.

use crate::conn::{self, Sent};
use crate::model::{Fault, Problem, ProblemKind};

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The document breaks rules.
    #[error("the document has {} faults", .0.len())]
    Invalid(Vec<Fault>),
    /// It was not done.
    #[error("{0}")]
    Unavailable(conn::Error),
    /// It may have been done; doing it again is harmless.
    #[error("{0}")]
    Unknown(conn::Error),
}

impl From<conn::Error> for StoreError {
    fn from(error: conn::Error) -> Self {
        match error.sent() {
            Sent::No | Sent::Refused => Self::Unavailable(error),
            Sent::Maybe => Self::Unknown(error),
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let detail = error.to_string();
        match error {
            StoreError::Invalid(faults) => Self::invalid(faults),
            StoreError::Unavailable(_) => Self::new(ProblemKind::RedisUnavailable, detail),
            StoreError::Unknown(_) => Self::new(ProblemKind::OutcomeUnknown, detail),
        }
    }
}
