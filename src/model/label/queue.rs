//! Words of jobs and rules.

use super::Label;
use super::labels;

labels! {
    /// Where a job is.
    JobState as "state" {
        /// In the stream, not taken.
        Waiting = "waiting",
        /// Taken by a worker, not settled.
        Active = "active",
        /// Waiting for its time.
        Delayed = "delayed",
        /// Waiting behind another of its partition.
        Blocked = "blocked",
        /// Given up, kept with its reason.
        Dead = "dead",
    };

    /// What made a job.
    JobType as "job_type" {
        /// An event that was posted.
        Event = "event",
        /// A schedule.
        Scheduled = "scheduled",
    };

    /// What becomes of a schedule's ticks that nobody was there for.
    MissedPolicy as "policy" {
        /// None of them fires.
        Skip = "skip",
        /// One fires for all of them.
        Once = "once",
    };

    /// How one attempt at a job ended.
    JobOutcome as "outcome" {
        /// Settled.
        Done = "done",
        /// Goes again later.
        Retried = "retried",
        /// Ended in the dead letters.
        Dead = "dead",
    };

    /// Why a job ended in the dead letters.
    DeadReason as "reason" {
        /// Its attempts are used up.
        Attempts = "attempts",
        /// A rule chain failed on it.
        RuleError = "rule_error",
        /// Delivered too often without ever being settled.
        Abandoned = "abandoned",
        /// It cannot be read.
        Malformed = "malformed",
    };

    /// Why a dead letter was dropped.
    DropReason as "reason" {
        /// There are more than `--dead-letters-max`.
        TooMany = "too_many",
        /// It is older than `--dead-letters-age`.
        TooOld = "too_old",
    };

    /// How one evaluation of a rule chain ended.
    RuleOutcome as "outcome" {
        /// At least one action was reached.
        Match = "match",
        /// The chain ended without an action.
        NoMatch = "no_match",
        /// An expression failed.
        Error = "error",
    };
}

/// The queue this process works on, by its configured name: one value per process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Queue;

static QUEUE_NAME: std::sync::OnceLock<&'static str> = std::sync::OnceLock::new();

impl Queue {
    /// Gives the label its value; the first call counts. Called once, at start.
    pub fn configure(name: &str) {
        QUEUE_NAME.get_or_init(|| Box::leak(name.to_owned().into_boxed_str()));
    }
    /// The configured name.
    pub fn label(self) -> &'static str {
        QUEUE_NAME.get().copied().unwrap_or("rule-engine-events")
    }
}

impl Label for Queue {
    const KEYS: &'static [&'static str] = &["queue"];
    const ALL: &'static [Self] = &[Queue];
    fn index(self) -> usize {
        0
    }
    fn values(self) -> Vec<&'static str> {
        vec![self.label()]
    }
}
