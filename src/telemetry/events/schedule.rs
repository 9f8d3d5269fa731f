//! Schedules: what fired and what was missed.

use tracing::{debug, warn};

use crate::model::{MissedPolicy, Queue};
use crate::telemetry::catalogue::*;
use crate::telemetry::limit::LogLimit;

/// The tick of a schedule was due, and its job is in the queue.
pub struct ScheduleFired<'a> {
    /// The schedule's id.
    pub schedule: &'a str,
}

impl ScheduleFired<'_> {
    /// Counts it.
    pub fn emit(self) {
        SCHEDULES_FIRED.at(Queue).increment(1);
        debug!(schedule = self.schedule, "schedule fired");
    }
}

/// A schedule was moved on past ticks that nobody was there for in time.
pub struct TicksMissed<'a> {
    /// The schedule's id.
    pub schedule: &'a str,
    /// What became of them.
    pub policy: MissedPolicy,
    /// How many; nothing happens for none.
    pub count: u64,
}

impl TicksMissed<'_> {
    /// Counts and logs them.
    pub fn emit(self) {
        static LIMIT: LogLimit<MissedPolicy> = LogLimit::new();
        let Self { schedule, policy, count } = self;
        if count == 0 {
            return;
        }
        SCHEDULES_MISSED.at((Queue, policy)).increment(count);
        if let Some(suppressed) = LIMIT.admit(policy) {
            let policy = policy.label();
            warn!(schedule, policy, count, suppressed, "ticks of a schedule were missed");
        }
    }
}

/// What is kept as a schedule is none that this worker can read.
pub struct ScheduleUnreadable<'a> {
    /// Its id.
    pub schedule: &'a str,
}

impl ScheduleUnreadable<'_> {
    /// Counts and logs it.
    pub fn emit(self) {
        static LIMIT: LogLimit<Queue> = LogLimit::new();
        let schedule = self.schedule;
        SCHEDULES_UNREADABLE.at(Queue).increment(1);
        if let Some(suppressed) = LIMIT.admit(Queue) {
            warn!(
                schedule,
                suppressed, "schedule cannot be read, and has no tick until it is stored anew"
            );
        }
    }
}
