//! Events on their way into the queue, and the queue's level.

use std::time::Duration;

use tracing::{info, warn};

use crate::model::{JobState, Queue};
use crate::telemetry::catalogue::*;
use crate::telemetry::limit::LogLimit;

/// Redis answered for the events of one request.
pub struct EventsAccepted {
    /// Events that made a job.
    pub fresh: u64,
    /// Events whose source and id were seen before.
    pub duplicate: u64,
}

impl EventsAccepted {
    /// Counts them.
    #[inline]
    pub fn emit(self) {
        EVENTS_ACCEPTED.at(()).increment(self.fresh);
        EVENTS_DUPLICATE.at(()).increment(self.duplicate);
    }
}

/// The queue was looked at.
pub struct QueueMeasured {
    /// Jobs in the stream that nobody has taken.
    pub waiting: u64,
    /// Jobs in a worker's hands.
    pub active: u64,
    /// Jobs that wait for their time.
    pub delayed: u64,
    /// Jobs that wait behind another of their partition.
    pub blocked: u64,
    /// Jobs in the dead letters.
    pub dead: u64,
    /// How long the oldest unfinished job has waited; zero when there is none.
    pub oldest: Duration,
    /// Whether the queue refuses events.
    pub full: bool,
}

impl QueueMeasured {
    /// Sets the gauges.
    pub fn emit(self) {
        let Self { waiting, active, delayed, blocked, dead, oldest, full } = self;
        for (state, jobs) in [
            (JobState::Waiting, waiting),
            (JobState::Active, active),
            (JobState::Delayed, delayed),
            (JobState::Blocked, blocked),
            (JobState::Dead, dead),
        ] {
            QUEUE_JOBS.at((Queue, state)).set(jobs as f64);
        }
        QUEUE_OLDEST_JOB_AGE.at(Queue).set(oldest.as_secs_f64());
        QUEUE_FULL.at(Queue).set(f64::from(full));
    }
}

/// The queue began or ceased to refuse events.
pub struct QueueFullChanged {
    /// Whether it refuses events now.
    pub full: bool,
    /// Unfinished jobs in it.
    pub jobs: u64,
}

impl QueueFullChanged {
    /// Sets the gauge and logs the change.
    pub fn emit(self) {
        let Self { full, jobs } = self;
        let queue = Queue;
        QUEUE_FULL.at(queue).set(f64::from(full));
        if full {
            warn!(queue = queue.label(), jobs, "queue is full: events are refused");
        } else {
            info!(queue = queue.label(), jobs, "queue has recovered: events are accepted");
        }
    }
}

/// The queue holds more jobs than its warning threshold.
pub struct QueueThresholdExceeded {
    /// Unfinished jobs in it.
    pub jobs: u64,
    /// The threshold.
    pub warning: u64,
}

impl QueueThresholdExceeded {
    /// Logs it; the gauge of jobs is the measure.
    pub fn emit(self) {
        static LIMIT: LogLimit<Queue> = LogLimit::every(Duration::from_secs(60));
        let Self { jobs, warning } = self;
        let queue = Queue;
        if let Some(suppressed) = LIMIT.admit(queue) {
            warn!(queue = queue.label(), jobs, warning, suppressed, "queue is long");
        }
    }
}
