//! Rule chains in and out of the index.

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::Value;

use crate::conn::{self, Sent};
use crate::index::{ChainStore, Put};
use crate::model::Fault;
use crate::rules::RuleChain;
use crate::telemetry::task::spawn_blocking;

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

impl Chains for ChainStore {
    fn put<'a>(
        &'a self,
        id: &'a str,
        document: Value,
    ) -> BoxFuture<'a, Result<Stored, ChainsError>> {
        async move {
            let (json, chain) = compiled(id.to_owned(), document).await?;
            let put = ChainStore::put(self, id, &json).await?;
            Ok(Stored { chain, created: put == Put::Created })
        }
        .boxed()
    }

    fn get<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<Value>, ChainsError>> {
        async move { Ok(ChainStore::get(self, id).await?.and_then(|json| readable(&json))) }.boxed()
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<Value>, ChainsError>> {
        async move {
            let chains = ChainStore::list(self).await?;
            Ok(chains.iter().filter_map(|(_, json)| readable(json)).collect())
        }
        .boxed()
    }

    fn delete<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<bool, ChainsError>> {
        async move { Ok(ChainStore::delete(self, id).await?) }.boxed()
    }
}

/// The chain as it will be kept, after it compiled: that takes milliseconds per expression, so
/// it is done off the threads that do IO.
async fn compiled(id: String, document: Value) -> Result<(Vec<u8>, Value), ChainsError> {
    let compiling = move || {
        let chain = RuleChain::parse(Some(&id), document)?;
        let kept = serde_json::to_value(&chain).map_err(|error| fault(&error.to_string()))?;
        Ok((kept.to_string().into_bytes(), kept))
    };
    let compiled = spawn_blocking("rules", compiling).await;
    compiled.unwrap_or_else(|| Err(fault("cannot be compiled"))).map_err(ChainsError::Invalid)
}

fn fault(message: &str) -> Vec<Fault> {
    vec![Fault { path: "$".to_owned(), message: message.to_owned() }]
}

/// What another hand has stored may not be JSON; a worker rejects and logs it.
fn readable(json: &[u8]) -> Option<Value> {
    serde_json::from_slice(json).ok()
}
