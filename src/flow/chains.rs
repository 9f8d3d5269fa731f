//! Rule chains in and out of the index.

use futures_util::future::BoxFuture;
use serde_json::Value;

use crate::conn::{self, Sent};
use crate::model::Fault;

/// What became of a chain that was stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// The chain as it is kept.
    pub chain: Value,
    /// There was none of this id before.
    pub created: bool,
}

/// Why the index did not do it.
#[derive(Debug, thiserror::Error)]
pub enum ChainsError {
    /// The chain breaks rules.
    #[error("the chain has {} faults", .0.len())]
    Invalid(Vec<Fault>),
    /// It was not done.
    #[error("{0}")]
    Unavailable(conn::Error),
    /// It may have been done; doing it again is harmless.
    #[error("{0}")]
    Unknown(conn::Error),
}

impl From<conn::Error> for ChainsError {
    fn from(error: conn::Error) -> Self {
        match error.sent() {
            Sent::No | Sent::Refused => Self::Unavailable(error),
            Sent::Maybe => Self::Unknown(error),
        }
    }
}

/// The index of rule chains, as the doors need it.
pub trait Chains: Send + Sync + 'static {
    /// Stores a chain under `id`; a document that bears another one is invalid.
    fn put<'a>(
        &'a self,
        id: &'a str,
        document: Value,
    ) -> BoxFuture<'a, Result<Stored, ChainsError>>;
    /// The chain of this id.
    fn get<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<Value>, ChainsError>>;
    /// Every chain, by id.
    fn list(&self) -> BoxFuture<'_, Result<Vec<Value>, ChainsError>>;
    /// Removes it. Says whether there was one.
    fn delete<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<bool, ChainsError>>;
}
