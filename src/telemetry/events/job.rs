//! Jobs in a worker's hands, and the rule chains they run.
//!
//! Each attempt ends in exactly one of [`JobDone`], [`JobRetried`], [`JobDied`] and
//! [`LeaseLost`]. `job` in a log line is the id the queue gave it, never the event's own.

use std::time::Duration;

use tracing::{info, warn};

use crate::model::{DeadReason, DropReason, JobOutcome, JobType, Queue, RuleOutcome};
use crate::telemetry::catalogue::*;
use crate::telemetry::exemplar::{self, TraceId};
use crate::telemetry::limit::LogLimit;
use crate::telemetry::trace::TraceContext;

/// A worker took a job.
pub struct JobTaken {
    /// From enqueueing, or from the time it was due.
    pub waited: Duration,
}

impl JobTaken {
    /// Measures the wait, and counts the job as in hand until the answer is dropped.
    pub fn emit(self) -> JobInHand {
        JOB_WAIT.at(Queue).record(self.waited.as_secs_f64());
        JOBS_IN_FLIGHT.at(Queue).increment(1.0);
        JobInHand(())
    }
}

/// A job in this worker's hands, for as long as this lives.
#[must_use = "the job leaves the gauge when this is dropped"]
pub struct JobInHand(());

impl Drop for JobInHand {
    fn drop(&mut self) {
        JOBS_IN_FLIGHT.at(Queue).decrement(1.0);
    }
}

/// An attempt succeeded and the job is settled.
pub struct JobDone {
    /// What made the job.
    pub job_type: JobType,
    /// From taking it to settling it.
    pub elapsed: Duration,
    /// The trace it is part of.
    pub trace: Option<TraceContext>,
}

impl JobDone {
    /// Measures it.
    #[inline]
    pub fn emit(self) {
        let Self { job_type, elapsed, trace } = self;
        measure(job_type, JobOutcome::Done, elapsed, trace);
    }
}

/// An attempt failed and the job goes again later.
pub struct JobRetried<'a> {
    /// What made the job.
    pub job_type: JobType,
    /// From taking it to giving it back.
    pub elapsed: Duration,
    /// The id the queue gave it.
    pub job: &'a str,
    /// Attempts used up so far.
    pub attempt: u32,
    /// Until it goes again.
    pub delay: Duration,
    /// Why it failed: a reason of a closed set.
    pub reason: &'static str,
    /// The trace it is part of.
    pub trace: Option<TraceContext>,
}

impl JobRetried<'_> {
    /// Measures and counts it.
    pub fn emit(self) {
        static LIMIT: LogLimit<JobType> = LogLimit::new();
        let Self { job_type, elapsed, job, attempt, delay, reason, trace } = self;
        measure(job_type, JobOutcome::Retried, elapsed, trace);
        JOB_RETRIES.at((Queue, job_type)).increment(1);
        if let Some(suppressed) = LIMIT.admit(job_type) {
            let (job_type, delay_seconds) = (job_type.label(), delay.as_secs_f64());
            let trace_id = logged(trace);
            warn!(
                job_type,
                job, attempt, delay_seconds, reason, suppressed, trace_id, "job goes again"
            );
        }
    }
}

/// A job ended in the dead letters.
pub struct JobDied<'a> {
    /// What made the job.
    pub job_type: JobType,
    /// From taking it to giving it up; nothing where no attempt was made.
    pub elapsed: Option<Duration>,
    /// The id the queue gave it.
    pub job: &'a str,
    /// Why.
    pub reason: DeadReason,
    /// The trace it is part of.
    pub trace: Option<TraceContext>,
}

impl JobDied<'_> {
    /// Measures and counts it.
    pub fn emit(self) {
        static LIMIT: LogLimit<DeadReason> = LogLimit::new();
        let Self { job_type, elapsed, job, reason, trace } = self;
        if let Some(elapsed) = elapsed {
            measure(job_type, JobOutcome::Dead, elapsed, trace);
        }
        JOBS_DEAD.at((Queue, job_type, reason)).increment(1);
        if let Some(suppressed) = LIMIT.admit(reason) {
            let (job_type, reason) = (job_type.label(), reason.label());
            let trace_id = logged(trace);
            warn!(job_type, job, reason, suppressed, trace_id, "job ended in the dead letters");
        }
    }
}

fn measure(job_type: JobType, outcome: JobOutcome, elapsed: Duration, trace: Option<TraceContext>) {
    let measured = JOB_DURATION.at((Queue, job_type, outcome));
    exemplar::during(TraceId::of(trace), || measured.record(elapsed.as_secs_f64()));
}

/// The id in a line that is written after the span of its job has ended.
fn logged(trace: Option<TraceContext>) -> Option<String> {
    trace.filter(|trace| trace.sampled()).map(TraceContext::trace_id)
}

/// Dead letters were beyond their retention.
pub struct DeadLettersDropped {
    /// Dropped for newer ones; none is no event.
    pub too_many: u64,
    /// Dropped for their age; none is no event.
    pub too_old: u64,
}

impl DeadLettersDropped {
    /// Counts and logs it.
    pub fn emit(self) {
        static LIMIT: LogLimit<DropReason> = LogLimit::new();
        let both = [(DropReason::TooMany, self.too_many), (DropReason::TooOld, self.too_old)];
        for (reason, count) in both.into_iter().filter(|(_, count)| *count > 0) {
            DEAD_LETTERS_DROPPED.at((Queue, reason)).increment(count);
            if let Some(suppressed) = LIMIT.admit(reason) {
                warn!(reason = reason.label(), count, suppressed, "dead letters dropped");
            }
        }
    }
}

/// Jobs were taken over from workers that stopped renewing their leases.
pub struct JobsReclaimed {
    /// How many; none is no event.
    pub count: u64,
}

impl JobsReclaimed {
    /// Counts and logs it.
    pub fn emit(self) {
        let queue = Queue;
        JOBS_RECLAIMED.at(queue).increment(self.count);
        if self.count > 0 {
            info!(queue = queue.label(), count = self.count, "jobs taken over from a lost worker");
        }
    }
}

/// Partitions whose first job was gone without having let the next one go on: deleted by another
/// hand, or settled by a worker of an older version.
pub struct PartitionsMended {
    /// How many; none is no event.
    pub count: u64,
}

impl PartitionsMended {
    /// Counts and logs it.
    pub fn emit(self) {
        static LIMIT: LogLimit<()> = LogLimit::new();
        let (queue, count) = (Queue, self.count);
        PARTITIONS_MENDED.at(queue).increment(count);
        if count > 0
            && let Some(suppressed) = LIMIT.admit(())
        {
            let queue = queue.label();
            warn!(queue, count, suppressed, "partitions go on whose first job was gone");
        }
    }
}

/// A lease ended before its job could be settled: another worker has the job.
pub struct LeaseLost<'a> {
    /// The id the queue gave the job.
    pub job: &'a str,
}

impl LeaseLost<'_> {
    /// Counts it.
    pub fn emit(self) {
        static LIMIT: LogLimit<()> = LogLimit::new();
        JOB_LEASES_LOST.at(Queue).increment(1);
        if let Some(suppressed) = LIMIT.admit(()) {
            warn!(job = self.job, suppressed, "lease lost: the result is discarded");
        }
    }
}

/// The set of rule chains was loaded, or loaded again after a change.
pub struct RulesLoaded {
    /// Chains that are enabled.
    pub chains: usize,
}

impl RulesLoaded {
    /// Sets the gauge and logs it.
    pub fn emit(self) {
        RULES_LOADED.at(()).set(self.chains as f64);
        info!(chains = self.chains, "rule chains loaded");
    }
}

/// A stored rule chain cannot be used: written by another version, or not by Trunkline.
pub struct RuleChainRejected<'a> {
    /// The id it is stored under.
    pub chain: &'a str,
    /// How many faults it has; storing it again over HTTP names them.
    pub faults: usize,
}

impl RuleChainRejected<'_> {
    /// Logs it; the others are used.
    pub fn emit(self) {
        warn!(chain = self.chain, faults = self.faults, "stored rule chain cannot be used");
    }
}

/// One rule chain was evaluated for one event.
pub struct RuleEvaluated {
    /// How it ended.
    pub outcome: RuleOutcome,
    /// How long it took.
    pub elapsed: Duration,
}

impl RuleEvaluated {
    /// Counts and measures it; what an error led to is told by [`JobDied`].
    #[inline]
    pub fn emit(self) {
        let Self { outcome, elapsed } = self;
        RULE_EVALUATIONS.at(outcome).increment(1);
        RULE_EVALUATION_DURATION.at(()).record(elapsed.as_secs_f64());
    }
}
