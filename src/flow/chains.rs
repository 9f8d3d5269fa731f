//! Rule chains in and out of the index.

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::Value;

use super::stored::StoreError;
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

/// The index of rule chains, as the doors need it.
pub trait Chains: Send + Sync + 'static {
    /// Stores a chain under `id`; a document that bears another one is invalid.
    fn put<'a>(&'a self, id: &'a str, document: Value)
    -> BoxFuture<'a, Result<Stored, StoreError>>;
    /// The chain of this id.
    fn get<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<Value>, StoreError>>;
    /// Every chain, by id.
    fn list(&self) -> BoxFuture<'_, Result<Vec<Value>, StoreError>>;
    /// Removes it. Says whether there was one.
    fn delete<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<bool, StoreError>>;
}

impl Chains for ChainStore {
    fn put<'a>(
        &'a self,
        id: &'a str,
        document: Value,
    ) -> BoxFuture<'a, Result<Stored, StoreError>> {
        async move {
            let (json, chain) = compiled(id.to_owned(), document).await?;
            let put = ChainStore::put(self, id, &json).await?;
            Ok(Stored { chain, created: put == Put::Created })
        }
        .boxed()
    }

    fn get<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<Value>, StoreError>> {
        async move { Ok(ChainStore::get(self, id).await?.and_then(|json| readable(&json))) }.boxed()
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<Value>, StoreError>> {
        async move {
            let chains = ChainStore::list(self).await?;
            Ok(chains.iter().filter_map(|(_, json)| readable(json)).collect())
        }
        .boxed()
    }

    fn delete<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<bool, StoreError>> {
        async move { Ok(ChainStore::delete(self, id).await?) }.boxed()
    }
}

/// The chain as it will be kept, after it compiled: that takes milliseconds per expression, so
/// it is done off the threads that do IO.
async fn compiled(id: String, document: Value) -> Result<(Vec<u8>, Value), StoreError> {
    let compiling = move || {
        let chain = RuleChain::parse(Some(&id), document)?;
        let kept = serde_json::to_value(&chain).map_err(|error| fault(&error.to_string()))?;
        Ok((kept.to_string().into_bytes(), kept))
    };
    let compiled = spawn_blocking("rules", compiling).await;
    compiled.unwrap_or_else(|| Err(fault("cannot be compiled"))).map_err(StoreError::Invalid)
}

fn fault(message: &str) -> Vec<Fault> {
    vec![Fault { path: "$".to_owned(), message: message.to_owned() }]
}

/// What another hand has stored may not be JSON; a worker rejects and logs it.
fn readable(json: &[u8]) -> Option<Value> {
    serde_json::from_slice(json).ok()
}
