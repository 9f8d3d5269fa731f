//! Path 2: a job becomes notifications.
//!
//! `queue/consumer → process → index → rules → history → settle`. The job is settled
//! after the last publish, so that a worker that dies in between leaves it to another; the
//! notifications then go out again under the same ids.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::evaluate::Evaluator;
use super::rules::{Rules, RulesError};
use crate::conn::{Error, Sent};
use crate::history::History;
use crate::index::ChainCache;
use crate::model::{
    DeadReason, Event, Notification, Origin, chain_notification_id, rfc3339_now, unix_ms,
};
use crate::queue::{Handler, Job, Verdict};
use crate::rules::{ChainRun, Planned, Problem, RuleSet};
use crate::telemetry::events::job::RuleEvaluated;
use crate::telemetry::trace::{self, TraceContext, process_span, publish_span};

/// Runs the rule chains over the event of each job and publishes what they ask for.
pub struct Process {
    rules: Rules,
    evaluator: Evaluator<Question, Result<Evaluated, NotAnEvent>>,
    history: History,
}

impl Process {
    /// A handler over the chains of one namespace.
    ///
    /// # Errors
    /// When the system gives no thread to evaluate on.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub fn new(chains: ChainCache, history: History) -> io::Result<Self> {
        let evaluator = Evaluator::start("rules", threads(), evaluate)?;
        Ok(Self { rules: Rules::new(chains), evaluator, history })
    }

    async fn publish(
        &self,
        cause: &Cause,
        chain: &str,
        planned: Planned,
        context: Option<TraceContext>,
    ) -> Result<(), Error> {
        let span = publish_span(context);
        let Planned { node_id, channel, kind, data } = planned;
        let notification = Notification {
            id: chain_notification_id(&cause.source, &cause.id, chain, &node_id),
            kind,
            source: format!("/rule-chains/{chain}"),
            channel,
            time: rfc3339_now(),
            traceparent: span.traceparent().or_else(|| cause.traceparent.clone()),
            data,
            accepted_ms: Some(cause.accepted_ms),
            published_ms: Some(unix_ms()),
            position: None,
            origin: Origin::Trunkline,
        };
        let result = span.instrument(self.history.publish(&notification)).await;
        if let Err(error) = &result {
            span.failed(error.publish_reason().label());
        }
        result.map(|_receivers| ())
    }

    /// Publishes what the runs ask for. What is wrong with one notification does not keep the
    /// others from going out; a connection that fails does.
    async fn publish_all(
        &self,
        cause: &Cause,
        runs: Vec<ChainRun>,
        context: Option<TraceContext>,
    ) -> Verdict {
        let (mut broken, mut refused) = (Vec::<String>::new(), None);
        for run in runs {
            if let Some(error) = run.error {
                if error.problem == Problem::NoThread {
                    return Verdict::Retry { reason: "no thread for the rules" };
                }
                broken.push(format!("chain `{}`, {error}", run.chain_id));
            }
            for planned in run.notifications {
                let published = self.publish(cause, &run.chain_id, planned, context).await;
                let Err(error) = published else { continue };
                let reason = error.publish_reason();
                match error.sent() {
                    // It will be as large the next time.
                    Sent::No if !error.is_outage() => {
                        broken.push(format!("chain `{}`: {reason}", run.chain_id));
                    }
                    Sent::No | Sent::Maybe => return again(&error),
                    // Redis answered: it may allow the next channel what it denied this one.
                    Sent::Refused => refused = refused.or(Some(again(&error))),
                }
            }
        }
        if let Some(again) = refused {
            return again;
        }
        if broken.is_empty() {
            return Verdict::Done;
        }
        // The other chains have had their say; a rule that fails would fail again.
        Verdict::Dead { reason: DeadReason::RuleError, detail: broken.join("; ") }
    }
}

/// The job goes again after a publish that failed; its notifications bear the same ids then.
fn again(error: &Error) -> Verdict {
    match error.is_outage() {
        true => Verdict::RetryUncounted,
        false => Verdict::Retry { reason: error.publish_reason().label() },
    }
}

/// One thread is left to the line, and there are two at least: an expression cannot be
/// interrupted, and a slow one must not hold up all others.
fn threads() -> usize {
    std::thread::available_parallelism().map_or(2, |cores| cores.get().saturating_sub(1).max(2))
}

/// What a thread is asked: reading the event is a good part of the work.
struct Question {
    rules: Arc<RuleSet>,
    body: Vec<u8>,
}

/// The body of the job is not a CloudEvent.
struct NotAnEvent;

/// What the rules made of an event.
struct Evaluated {
    source: String,
    id: String,
    runs: Vec<ChainRun>,
    elapsed: Duration,
}

fn evaluate(question: Question) -> Result<Evaluated, NotAnEvent> {
    let event = Event::from_json(&question.body).map_err(|_faults| NotAnEvent)?;
    let started = Instant::now();
    let runs = question.rules.evaluate(&event);
    let elapsed = started.elapsed();
    Ok(Evaluated { source: event.source().to_owned(), id: event.id().to_owned(), runs, elapsed })
}

/// What a notification takes over from its event.
struct Cause {
    id: String,
    source: String,
    traceparent: Option<String>,
    accepted_ms: u64,
}

impl Process {
    async fn attempt(&self, job: Job, context: Option<TraceContext>) -> Verdict {
        let rules = match self.rules.now().await {
            Ok(rules) => rules,
            // Rules that cannot be known fresh are not used: the job waits, as in any outage.
            Err(RulesError::Index(_)) => return Verdict::RetryUncounted,
            Err(RulesError::Compile) => {
                return Verdict::Retry { reason: "the rules do not compile" };
            }
        };
        let Evaluated { source, id, runs, elapsed } =
            match self.evaluator.evaluate(Question { rules, body: job.body }).await {
                Some(Ok(evaluated)) => evaluated,
                Some(Err(NotAnEvent)) => {
                    let detail = "the job's body is not a CloudEvent".to_owned();
                    return Verdict::Dead { reason: DeadReason::Malformed, detail };
                }
                None => return Verdict::Retry { reason: "the rules panicked" },
            };
        let cause =
            Cause { id, source, traceparent: job.traceparent, accepted_ms: job.enqueued_ms };
        let share = elapsed / u32::try_from(runs.len().max(1)).unwrap_or(u32::MAX);
        for run in &runs {
            RuleEvaluated { outcome: run.outcome, elapsed: share }.emit();
        }
        self.publish_all(&cause, runs, context).await
    }
}

impl Handler for Process {
    async fn handle(&self, job: Job) -> Verdict {
        let span = process_span(trace::decide_for(job.trace), job.attempt);
        let verdict = span.instrument(self.attempt(job, span.context())).await;
        match &verdict {
            Verdict::Done => {}
            Verdict::Retry { reason } => span.failed(reason),
            Verdict::RetryUncounted => span.failed("redis_unavailable"),
            Verdict::Dead { reason, .. } => span.failed(reason.label()),
        }
        verdict
    }
}
