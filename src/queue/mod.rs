//! The job queue: Redis Streams with a consumer group, over the one shared connection.
//!
//! No command ever blocks. A worker that finds nothing parks itself in the idle set and is
//! woken by whoever puts a job in; a slow poll covers a worker that died between being woken
//! and taking the job. Every change is one script that is atomic in Redis and harmless when
//! repeated, because a command whose answer was lost may have been executed.
//!
//! A job's way: [`Producer::enqueue`] → stream → [`Consumer`] → [`Handler`] → settled, put back
//! with a delay, or moved to the dead letters. Until it is settled it stays pending under a
//! lease; who loses the lease cannot settle. So a job is processed at least once, or it ends
//! in the dead letters with its reason.

mod claim;
mod consumer;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod inspect;
mod job;
mod keys;
mod lease;
mod letters;
mod pace;
mod partition;
mod producer;
mod retry;
mod schedules;
mod script;
mod settle;
mod survey;
mod take;
mod tick;
mod work;

pub use consumer::{Consumer, ConsumerOptions, Drained};
pub use inspect::{Depths, Inspector, Pressure};
pub use job::{Dedup, DedupKey, Job, NewJob};
pub use keys::{GROUP, Keys};
pub(crate) use letters::{Deed, Fate, Letter, Letters, Sweep};
pub use partition::Partition;
pub use producer::{EnqueueError, Enqueued, MAX_BATCH, Producer, QueueOptions, Thresholds};
pub use retry::{Limits, MAX_DELIVERIES, Retention, Verdict};
pub use schedules::{MAX_SCHEDULES, ScheduleStore, Scheduled, TooManySchedules};
pub(crate) use survey::{Held, QueueSurvey};
pub use work::Handler;

/// Entries in one call of a script: enough to make the round trip cheap, few enough that the
/// answer does not delay the others on the connection.
const BATCH: usize = 64;
