//! The server's side: changes chains and shows them.

use redis::cmd;

use super::Keys;
use super::load::scan;
use super::script::{DELETE, PUT};
use crate::conn::{Error, Shared};

/// Whether a chain of that id was there before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// It was not.
    Created,
    /// It was, and has been replaced.
    Updated,
}

/// Stores, shows and removes chains. Cheap to clone.
///
/// A failed change whose [`Error::sent`] is `Maybe` may have been made; repeating it is safe.
#[derive(Clone)]
pub struct ChainStore {
    shared: Shared,
    keys: Keys,
}

impl ChainStore {
    /// A store on the shared connection.
    pub fn new(shared: Shared, keys: Keys) -> Self {
        Self { shared, keys }
    }

    /// Stores a chain, valid or not: checking is the caller's. Storing what is there already
    /// makes no new version.
    pub async fn put(&self, id: &str, json: &[u8]) -> Result<Put, Error> {
        let mut call = PUT.key(self.keys.all());
        call.key(self.keys.version()).arg(id).arg(json);
        let created: bool = call.invoke_async(&mut self.shared.clone()).await?;
        Ok(if created { Put::Created } else { Put::Updated })
    }

    /// Removes a chain; whether there was one.
    pub async fn delete(&self, id: &str) -> Result<bool, Error> {
        let mut call = DELETE.key(self.keys.all());
        call.key(self.keys.version()).arg(id);
        Ok(call.invoke_async(&mut self.shared.clone()).await?)
    }

    /// One chain's JSON.
    pub async fn get(&self, id: &str) -> Result<Option<Vec<u8>>, Error> {
        let mut get = cmd("HGET");
        get.arg(self.keys.all()).arg(id);
        Ok(get.query_async(&mut self.shared.clone()).await?)
    }

    /// All chains' JSON, sorted by id. A change made meanwhile may be in it or not.
    pub async fn list(&self) -> Result<Vec<(String, Vec<u8>)>, Error> {
        scan(&self.shared, &self.keys).await
    }
}
