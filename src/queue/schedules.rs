//! The server's side of schedules: stores them, shows them, removes them.

use std::collections::BTreeMap;

use redis::cmd;

use super::keys::Keys;
use super::script::{Call, SCHEDULE, UNSCHEDULE};
use crate::conn::{Error, Shared};

/// Schedules that a queue has at most.
pub const MAX_SCHEDULES: usize = 1_000;

/// The tick of a schedule that has none: in the year 287396.
pub(super) const NEVER_MS: u64 = 9_000_000_000_000_000;

/// Schedules asked for at a time: each has an event.
const CHUNK: usize = 16;

/// A schedule as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scheduled {
    /// Its JSON.
    pub json: Vec<u8>,
    /// Its next tick in Unix milliseconds, by the clock of Redis; `None` if there is none, because
    /// a worker could not read it.
    pub next: Option<u64>,
}

/// The queue has [`MAX_SCHEDULES`] already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManySchedules;

/// Stores, shows and removes the schedules of one queue. Cheap to clone.
///
/// A failed change whose [`Error::sent`] is `Maybe` may have been made; repeating it is safe.
#[derive(Clone)]
pub struct ScheduleStore {
    shared: Shared,
    keys: Keys,
}

impl ScheduleStore {
    /// A store on the shared connection.
    pub fn new(shared: Shared, keys: Keys) -> Self {
        Self { shared, keys }
    }

    /// The clock that ticks are compared with, in Unix milliseconds.
    pub async fn now_ms(&self) -> Result<u64, Error> {
        let (seconds, micros): (u64, u64) =
            cmd("TIME").query_async(&mut self.shared.clone()).await?;
        Ok(seconds * 1_000 + micros / 1_000)
    }

    /// Stores a schedule whose next tick is `tick_ms`; checking it is the caller's. One that is
    /// there already, letter by letter, keeps the tick it has. Answers whether there was none of
    /// that id before, and its tick.
    pub async fn put(
        &self,
        id: &str,
        json: &[u8],
        tick_ms: u64,
    ) -> Result<Result<(bool, u64), TooManySchedules>, Error> {
        let keys = [self.keys.schedules(), self.keys.ticks(), self.keys.idle()];
        let call = Call::new(&SCHEDULE, keys).arg(id).arg(json).arg(tick_ms);
        let call = call.arg(MAX_SCHEDULES).arg(NEVER_MS);
        let (code, tick): (i64, u64) = call.send(&self.shared).await?;
        Ok(if code < 0 { Err(TooManySchedules) } else { Ok((code == 1, tick)) })
    }

    /// Removes a schedule; whether there was one. A tick of it that fired before stays a job.
    pub async fn delete(&self, id: &str) -> Result<bool, Error> {
        let keys = [self.keys.schedules(), self.keys.ticks()];
        Call::new(&UNSCHEDULE, keys).arg(id).send(&self.shared).await
    }

    /// One schedule.
    pub async fn get(&self, id: &str) -> Result<Option<Scheduled>, Error> {
        let shared = &mut self.shared.clone();
        let json: Option<Vec<u8>> =
            cmd("HGET").arg(self.keys.schedules()).arg(id).query_async(shared).await?;
        let Some(json) = json else { return Ok(None) };
        let tick: Option<f64> =
            cmd("ZSCORE").arg(self.keys.ticks()).arg(id).query_async(shared).await?;
        Ok(Some(Scheduled { json, next: tick.and_then(tick_of) }))
    }

    /// All schedules, by id. A change made meanwhile may be in it or not.
    pub async fn list(&self) -> Result<BTreeMap<String, Scheduled>, Error> {
        let shared = &mut self.shared.clone();
        let ticks: Vec<(String, f64)> = cmd("ZRANGE")
            .arg(self.keys.ticks())
            .arg(0)
            .arg(-1)
            .arg("WITHSCORES")
            .query_async(shared)
            .await?;
        let ticks: BTreeMap<_, _> = ticks.into_iter().collect();
        // HSCAN may give a field twice.
        let (mut all, mut cursor) = (BTreeMap::new(), 0_u64);
        loop {
            let mut scan = cmd("HSCAN");
            scan.arg(self.keys.schedules()).arg(cursor).arg("COUNT").arg(CHUNK);
            let (next, chunk): (u64, Vec<(String, Vec<u8>)>) = scan.query_async(shared).await?;
            for (id, json) in chunk {
                let next = ticks.get(&id).copied().and_then(tick_of);
                all.insert(id, Scheduled { json, next });
            }
            if next == 0 {
                return Ok(all);
            }
            cursor = next;
        }
    }
}

fn tick_of(score: f64) -> Option<u64> {
    Some(score as u64).filter(|tick| *tick < NEVER_MS)
}
