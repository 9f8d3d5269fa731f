//! Reading all chains without delaying the others on the connection.

use std::collections::BTreeMap;

use redis::cmd;

use super::Keys;
use crate::conn::{Error, Shared};

/// Chains asked for at a time: with 64 nodes of 4 KiB one may have a quarter of a megabyte.
const CHUNK: usize = 16;

/// All chains as they were together at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Their version; 0 when no chain was ever stored.
    pub version: u64,
    /// Their JSON, by id, sorted by id.
    pub chains: Vec<(String, Vec<u8>)>,
}

/// The present version.
pub(super) async fn version(shared: &Shared, keys: &Keys) -> Result<u64, Error> {
    let mut get = cmd("GET");
    get.arg(keys.version());
    let version: Option<u64> = get.query_async(&mut shared.clone()).await?;
    Ok(version.unwrap_or(0))
}

/// Reads every chain, in chunks; sorted by id.
pub(super) async fn scan(shared: &Shared, keys: &Keys) -> Result<Vec<(String, Vec<u8>)>, Error> {
    // HSCAN may give a field twice.
    let mut chains = BTreeMap::new();
    let mut cursor = 0_u64;
    loop {
        let mut scan = cmd("HSCAN");
        scan.arg(keys.all()).arg(cursor).arg("COUNT").arg(CHUNK);
        let (next, chunk): (u64, Vec<(String, Vec<u8>)>) =
            scan.query_async(&mut shared.clone()).await?;
        chains.extend(chunk);
        if next == 0 {
            return Ok(chains.into_iter().collect());
        }
        cursor = next;
    }
}
