//! The rule chains in Redis: a server stores them, every worker keeps a copy.
//!
//! Two keys: a hash of chains by id, and a version that every change gives a value it never
//! had before. A copy is used only while it is known to be of the present version; see
//! [`ChainCache::snapshot`]. What a chain says is none of this module's business.

mod cache;
mod load;
mod script;
mod store;

pub use cache::{ChainCache, IndexError};
pub use load::Snapshot;
pub use store::{ChainStore, Put};

/// The names of the index' keys. All carry the hash tag `{chains}`.
#[derive(Clone, Debug)]
pub struct Keys {
    prefix: String,
}

impl Keys {
    /// The keys of a namespace.
    pub fn new(namespace: &str) -> Self {
        Self { prefix: format!("{namespace}:{{chains}}:") }
    }

    /// Hash: the chains' JSON by id.
    pub fn all(&self) -> String {
        format!("{}all", self.prefix)
    }

    /// String: the version of all chains together; changes with each of them. It is also the
    /// name of the channel on which a change is told.
    pub fn version(&self) -> String {
        format!("{}version", self.prefix)
    }
}
