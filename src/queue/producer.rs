//! Puts jobs into the queue.

use std::time::Duration;

use redis::Value;
use uuid::Uuid;

use super::job::{Dedup, NewJob};
use super::keys::Keys;
use super::script::{Call, ENQUEUE};
use crate::conn::{Error, Shared};

/// Jobs in one call, at most. A batch is one script: Redis does nothing else meanwhile.
pub const MAX_BATCH: usize = 100;

/// How long a repeat of an id we made ourselves is known, at most: longer than a restart or a
/// failover of Redis takes. An entry takes about 170 bytes, so a thousand events a second keep
/// 50 MB for it.
const ASSIGNED_WINDOW: Duration = Duration::from_secs(300);

/// How many unfinished jobs are how bad; recovery < warning < critical.
#[derive(Clone, Copy, Debug)]
pub struct Thresholds {
    /// At this many the queue falls behind.
    pub warning: u64,
    /// At this many the queue refuses jobs.
    pub critical: u64,
    /// At this many it takes jobs again.
    pub recovery: u64,
}

/// What a [`Producer`] needs to know of its queue.
#[derive(Clone, Debug)]
pub struct QueueOptions {
    /// The queue's keys.
    pub keys: Keys,
    /// When it refuses jobs.
    pub thresholds: Thresholds,
    /// How long a repeat of an id of the caller's own is known; zero knows no repeats at all.
    pub dedup_window: Duration,
}

/// A job that is in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Enqueued {
    /// It was there before, and no second one was made.
    pub duplicate: bool,
}

/// Why jobs were not put into the queue.
#[derive(Clone, Debug, thiserror::Error)]
pub enum EnqueueError {
    /// The queue reached its critical threshold and has not come down to recovery yet. None of
    /// the jobs was put in.
    #[error("the queue is full")]
    Full,
    /// Redis failed. [`Error::sent`] says whether the jobs may be in the queue all the same;
    /// repeating those that have a dedup key is safe either way.
    #[error(transparent)]
    Redis(#[from] Error),
}

/// Puts jobs into one queue. Cheap to clone.
#[derive(Clone)]
pub struct Producer {
    shared: Shared,
    options: QueueOptions,
}

impl Producer {
    /// A producer on the shared connection.
    pub fn new(shared: Shared, options: QueueOptions) -> Self {
        Self { shared, options }
    }

    /// Puts all of the jobs into the queue, or none; at most [`MAX_BATCH`].
    ///
    /// Answers for each job, in order, once Redis has them; counting them is the caller's. When
    /// the future is dropped the jobs may still get in.
    pub async fn enqueue(&self, jobs: &[NewJob]) -> Result<Vec<Enqueued>, EnqueueError> {
        debug_assert!(jobs.len() <= MAX_BATCH, "a batch of {}", jobs.len());
        if jobs.is_empty() {
            return Ok(Vec::new());
        }
        match self.call(jobs).send(&self.shared).await? {
            Value::Array(duplicates) if duplicates.len() == jobs.len() => {
                let duplicates = duplicates.into_iter();
                Ok(duplicates.map(|one| Enqueued { duplicate: one == Value::Int(1) }).collect())
            }
            Value::Int(0) => Err(EnqueueError::Full),
            _ => Err(Error::Other("the enqueue script gave another answer".to_owned()).into()),
        }
    }

    fn call(&self, jobs: &[NewJob]) -> Call {
        let QueueOptions { keys, thresholds, dedup_window } = &self.options;
        let names = [
            keys.stream(),
            keys.delayed(),
            keys.idle(),
            keys.full(),
            keys.dedup(),
            keys.partitions(),
            keys.blocked(),
        ];
        let call = Call::new(&ENQUEUE, names).arg(thresholds.critical).arg(thresholds.recovery);
        jobs.iter().fold(call, |call, job| {
            let known = job.dedup.filter(|_| !dedup_window.is_zero()).map(|dedup| match dedup {
                Dedup::Given(key) => (key.to_string(), *dedup_window),
                Dedup::Assigned(key) => (key.to_string(), ASSIGNED_WINDOW.min(*dedup_window)),
            });
            let (hash, window) = known.unwrap_or_default();
            call.arg(hash)
                .arg(window.as_millis() as u64)
                .arg(Uuid::now_v7().to_string())
                .arg(job.job_type.label())
                .arg(job.traceparent.as_deref().unwrap_or_default())
                .arg(job.not_before_ms.unwrap_or(0))
                .arg(job.partition.map(|partition| partition.to_string()).unwrap_or_default())
                .arg(job.body.as_slice())
        })
    }
}
