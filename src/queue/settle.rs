//! Tells Redis what became of jobs, many in one call.

use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::BATCH;
use super::keys::{GROUP, Keys};
use super::lease::{Lease, Standing};
use super::pace::Backoff;
use super::partition::Partition;
use super::retry::{Action, Again, Retention};
use super::script::{BURY, Call, DONE, DONE_IN_ORDER, RETRY};
use crate::conn::{Sent, Shared};
use crate::model::JobType;
use crate::telemetry::events::job::{DeadLettersDropped, JobDied, JobDone, JobRetried, LeaseLost};
use crate::telemetry::trace::TraceContext;

/// Settlements that may wait for Redis; beyond that attempts keep their slots, so a worker
/// that cannot settle takes no more jobs.
pub(super) const BACKLOG: usize = 256;

/// What became of one job, on its way to Redis.
pub(super) struct Settlement {
    pub(super) lease: Lease,
    /// The job's id, or its entry's where it has none.
    pub(super) id: String,
    pub(super) job_type: JobType,
    /// 0 when it was no job at all.
    pub(super) attempt: u32,
    /// Deliveries in all.
    pub(super) deliveries: u32,
    pub(super) action: Action,
    /// The trace its event was created in.
    pub(super) trace: Option<TraceContext>,
    /// The jobs that may wait for it.
    pub(super) partition: Option<Partition>,
}

/// A settlement that Redis has not answered.
struct Open {
    settlement: Settlement,
    /// An earlier try may have been executed: it left while the lease held, and its answer was
    /// lost. One that left later found the lease lost, if it found anything.
    maybe_settled: bool,
}

impl Open {
    /// Tells what Redis made of it, and lets go of the lease.
    fn close(self, standing: Standing) {
        let Settlement { lease, id, job_type, attempt, action, trace, .. } = self.settlement;
        let (job, elapsed) = (id.as_str(), lease.since.elapsed());
        match standing {
            Standing::Held => {}
            // It was ours, and the earlier try settled it.
            Standing::Gone if self.maybe_settled => {}
            Standing::Gone | Standing::Lost => return LeaseLost { job }.emit(),
        }
        match action {
            Action::Done => JobDone { job_type, elapsed, trace }.emit(),
            Action::Again(Again { delay, reason, .. }) => {
                JobRetried { job_type, elapsed, job, attempt, delay, reason, trace }.emit();
            }
            Action::Bury { reason, .. } => {
                let elapsed = (attempt > 0).then_some(elapsed);
                JobDied { job_type, elapsed, job, reason, trace }.emit();
            }
        }
    }
}

/// The one task of a consumer that settles.
pub(super) struct Settler {
    shared: Shared,
    keys: Keys,
    consumer: String,
    retention: Retention,
    incoming: mpsc::Receiver<Settlement>,
    /// When the next delayed job is due, as far as Redis told us.
    due: watch::Sender<Option<Instant>>,
    /// At most [`BACKLOG`] and a batch.
    open: Vec<Open>,
}

impl Settler {
    /// A settler, the way in, and when the jobs it put back are due.
    pub(super) fn new(
        shared: Shared,
        keys: Keys,
        consumer: String,
        retention: Retention,
    ) -> (Self, mpsc::Sender<Settlement>, watch::Receiver<Option<Instant>>) {
        let (send, incoming) = mpsc::channel(BACKLOG);
        let (due, next_due) = watch::channel(None);
        let open = Vec::new();
        (Self { shared, keys, consumer, retention, incoming, due, open }, send, next_due)
    }

    /// Settles until nobody can send any more and nothing is left. While Redis fails it tries
    /// again: that is safe, because a settled entry is found gone.
    pub(super) async fn run(&mut self) {
        let mut backoff = Backoff::default();
        let mut fresh = Vec::with_capacity(BATCH);
        loop {
            if self.open.is_empty() && self.incoming.recv_many(&mut fresh, BATCH).await == 0 {
                return;
            }
            while self.open.len() + fresh.len() < BACKLOG {
                let Ok(settlement) = self.incoming.try_recv() else { break };
                fresh.push(settlement);
            }
            let fresh = fresh.drain(..);
            self.open.extend(fresh.map(|settlement| Open { settlement, maybe_settled: false }));
            if self.pass().await {
                backoff.reset();
            } else {
                tokio::time::sleep(backoff.next()).await;
            }
        }
    }

    /// Tries each open settlement once. What fails stays open, and does not keep the other
    /// kinds from passing: without memory Redis takes no retry, but what is done may go.
    async fn pass(&mut self) -> bool {
        let kind = |open: &Open| {
            let Settlement { action, partition, .. } = &open.settlement;
            // What is done without anybody waiting for it goes by the shorter script.
            let in_order = *action == Action::Done && partition.is_some();
            (std::mem::discriminant(action), in_order)
        };
        let mut passed = true;
        let mut rest = std::mem::take(&mut self.open);
        while let Some(first) = rest.first() {
            let first = kind(first);
            let (mut same, others): (Vec<_>, _) =
                rest.into_iter().partition(|open| kind(open) == first);
            // The scripts look at the range from the first to the last.
            same.sort_unstable_by_key(|open| open.settlement.lease.id);
            while !same.is_empty() {
                let batch = same.drain(..same.len().min(BATCH)).collect();
                passed &= self.settle(batch).await;
            }
            rest = others;
        }
        passed
    }

    /// Settles a batch of one kind.
    async fn settle(&mut self, mut batch: Vec<Open>) -> bool {
        let asked = std::time::Instant::now();
        let maybe = match self.call(&batch).send::<Vec<i64>>(&self.shared).await {
            Ok(codes) if codes.len() >= batch.len() => {
                // A retry tells when the next job is due, a burial what fell out for it.
                match codes[batch.len()..] {
                    [wait] => drop(self.due.send_replace(due_in(wait))),
                    [too_many, too_old] => {
                        let count = |code| u64::try_from(code).unwrap_or(0);
                        let (too_many, too_old) = (count(too_many), count(too_old));
                        DeadLettersDropped { too_many, too_old }.emit();
                    }
                    _ => {}
                }
                for (open, code) in batch.into_iter().zip(codes) {
                    open.close(Standing::of(code));
                }
                return true;
            }
            Ok(_) => true,
            Err(error) => error.sent() != Sent::No,
        };
        for open in &mut batch {
            open.maybe_settled |= maybe && open.settlement.lease.held_at(asked);
        }
        self.open.append(&mut batch);
        false
    }

    fn call(&self, batch: &[Open]) -> Call {
        let keys = &self.keys;
        let to = |call: Call| call.arg(GROUP).arg(&self.consumer);
        let (stream, heads, blocked) = (keys.stream(), keys.partitions(), keys.blocked());
        let first = batch.first().map(|open| &open.settlement);
        let mut call = match first.map(|first| (&first.action, first.partition)) {
            Some((Action::Again(_), _)) => {
                to(Call::new(&RETRY, [stream, keys.delayed(), keys.idle(), heads]))
            }
            Some((Action::Bury { .. }, _)) => {
                let Retention { max, age } = self.retention;
                to(Call::new(&BURY, [stream, keys.dead(), keys.idle(), heads, blocked]))
                    .arg(max)
                    .arg(age.as_millis() as u64)
            }
            Some((Action::Done, Some(_))) => {
                to(Call::new(&DONE_IN_ORDER, [stream, keys.idle(), heads, blocked]))
            }
            Some((Action::Done, None)) | None => to(Call::new(&DONE, [stream])),
        };
        for Open { settlement, .. } in batch {
            let Settlement { lease, deliveries, action, partition, .. } = settlement;
            call = call.arg(lease.id.to_string()).arg(lease.deliveries);
            call = match action {
                Action::Done => partition.iter().fold(call, |call, it| call.arg(it.to_string())),
                Action::Again(again) => call
                    .arg(again.attempt)
                    .arg(again.deliveries)
                    .arg(again.delay.as_millis() as u64),
                Action::Bury { reason, detail } => {
                    call.arg(*deliveries).arg(reason.label()).arg(first_line(detail))
                }
            };
        }
        call
    }
}

/// The moment that is `millis` away as a script tells it; negative means never.
pub(super) fn due_in(millis: i64) -> Option<Instant> {
    u64::try_from(millis).ok().map(|millis| Instant::now() + Duration::from_millis(millis))
}

/// What of a detail is kept: one line of at most 500 characters, none of them a control.
fn first_line(detail: &str) -> String {
    let line = detail.lines().next().unwrap_or_default();
    line.chars().filter(|c| !c.is_control()).take(500).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_detail_is_cut_to_one_short_line() {
        assert_eq!(first_line("no \u{1b}[31msuch\tfield\nsecret"), "no [31msuchfield");
        assert_eq!(first_line(&"x".repeat(9999)).len(), 500);
        assert_eq!(first_line(""), "");
    }
}
