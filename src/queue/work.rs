//! One attempt at one job.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::job::Job;
use super::lease::Lease;
use super::retry::{Action, Limits, Verdict, decide};
use super::settle::Settlement;
use crate::telemetry::events::process::TaskPanicked;

/// Does jobs.
///
/// The future is dropped when the attempt takes longer than the job's lease, or when a
/// draining worker runs out of time. What takes long without waiting belongs off the runtime's
/// threads; that is the handler's own affair. A panic costs the attempt, nothing more.
pub trait Handler: Send + Sync + 'static {
    /// Does one job and says what becomes of it. The same job may come again, even after it
    /// was done.
    fn handle(&self, job: Job) -> impl Future<Output = Verdict> + Send;
}

/// What an attempt needs besides its job.
pub(super) struct Attempt<H> {
    pub(super) handler: Arc<H>,
    pub(super) limits: Limits,
    /// How long it may take.
    pub(super) bound: Duration,
    /// Cuts it short; the job goes back as if it had never been given out.
    pub(super) cut: CancellationToken,
    pub(super) settle: mpsc::Sender<Settlement>,
}

impl<H: Handler> Attempt<H> {
    /// Runs the handler and passes on what became of the job.
    pub(super) async fn run(self, lease: Lease, job: Job) -> Ended {
        let (job_type, attempt, deliveries) = (job.job_type, job.attempt, job.deliveries);
        let (id, trace, partition) = (job.id.clone(), job.trace, job.partition);
        let handled = AssertUnwindSafe(self.handler.handle(job)).catch_unwind();
        let verdict = tokio::select! {
            handled = tokio::time::timeout(self.bound, handled) => Some(match handled {
                Ok(Ok(verdict)) => verdict,
                Ok(Err(_)) => {
                    TaskPanicked { task: "job" }.emit();
                    Verdict::Retry { reason: "the handler panicked" }
                }
                Err(_) => Verdict::Retry { reason: "the handler took longer than the lease" },
            }),
            () = self.cut.cancelled() => None,
        };
        let (action, ended) = match verdict {
            Some(verdict) => (decide(verdict, attempt, deliveries, self.limits), Ended::Finished),
            None => (Action::hand_back(attempt, deliveries), Ended::HandedBack),
        };
        let settlement =
            Settlement { lease, id, job_type, attempt, deliveries, action, trace, partition };
        pass_on(&self.settle, settlement).await;
        ended
    }
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// The handler had its say.
    Finished,
    /// The job goes back untouched.
    HandedBack,
}

/// Waits for room among the settlements, which is how a Redis that takes none slows a worker.
pub(super) async fn pass_on(settle: &mpsc::Sender<Settlement>, settlement: Settlement) {
    // The settler ends last; should it be gone the lease runs out and another worker takes over.
    let _ = settle.send(settlement).await;
}
