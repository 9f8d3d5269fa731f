//! The loop of a worker: looks for jobs, starts them, parks, is woken.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::BATCH;
use super::claim::{Buried, Claims, Parking};
use super::consumer::{ConsumerOptions, HAND_BACK};
use super::job::{Entry, Job};
use super::lease::{Lease, Leases};
use super::pace::Pace;
use super::retry::Action;
use super::settle::{Settlement, due_in};
use super::tick::{AGAIN, NotNow, Ticks};
use super::work::{Attempt, Ended, Handler, pass_on};
use crate::conn::{Error, Sent, Signal};
use crate::model::{DeadReason, JobType};
use crate::telemetry::events::job::{DeadLettersDropped, JobDied, JobsReclaimed, PartitionsMended};

/// The cursor at which a takeover begins, and which Redis gives when it has seen everything.
const ROUND_OVER: &str = "0-0";

/// Where a sweep of the partitions begins.
const SWEEP_START: &str = "-";

/// For so long after a script found all it was asked for, plain reads do: they move no job that is
/// due, and time is told by our own clock meanwhile.
const FLOWING: Duration = Duration::from_millis(100);

/// Keeps the slots of one consumer filled.
pub(super) struct Taker<H> {
    claims: Claims,
    options: ConsumerOptions,
    handler: Arc<H>,
    leases: Leases,
    jobs: JoinSet<Ended>,
    settle: mpsc::Sender<Settlement>,
    signal: Signal,
    /// When the jobs that the settler put back are due.
    due: watch::Receiver<Option<Instant>>,
    pace: Pace,
    /// There may be more in the stream than was taken.
    hungry: bool,
    /// The clock of Redis and ours when a script last found all it was asked for, and no read
    /// has found less since.
    flowing: Option<(u64, Instant)>,
    /// There may be entries pending for us that we never saw: an answer was lost.
    unseen: bool,
    /// Where the next takeover goes on.
    cursor: String,
    /// Where the next sweep of the partitions goes on.
    swept: String,
    cut: CancellationToken,
    handed_back: u64,
}

/// How it was when a worker had stopped.
pub(super) struct Stopped {
    pub(super) parking: Parking,
    /// Jobs it had when it was told to stop.
    pub(super) in_hand: u64,
    /// Those of them that went back to the queue.
    pub(super) handed_back: u64,
}

impl<H: Handler> Taker<H> {
    pub(super) fn new(
        claims: Claims,
        options: ConsumerOptions,
        handler: Arc<H>,
        leases: Leases,
        settle: mpsc::Sender<Settlement>,
        due: watch::Receiver<Option<Instant>>,
    ) -> Self {
        let signal = claims.shared.signal(&claims.keys.wake(&claims.consumer));
        let now = Instant::now();
        let pace = Pace::new(options.safety_poll, options.lease, now, fastrand::f64());
        Self {
            claims,
            options,
            handler,
            leases,
            jobs: JoinSet::new(),
            settle,
            signal,
            due,
            pace,
            hungry: true,
            flowing: None,
            unseen: false,
            cursor: ROUND_OVER.to_owned(),
            swept: SWEEP_START.to_owned(),
            cut: CancellationToken::new(),
            handed_back: 0,
        }
    }

    /// Takes jobs until `stop`, then waits until all are finished, or `grace` later cuts them
    /// short. The way to the settler closes when this returns.
    pub(super) async fn run(mut self, stop: &CancellationToken, grace: Duration) -> Stopped {
        while !stop.is_cancelled() {
            self.reap();
            match self.look(stop).await {
                Ok(true) => {}
                Ok(false) => self.wait(stop).await,
                // The connection has counted and logged it.
                Err(error) => {
                    // It may have been executed, if only in part: then jobs are pending for us
                    // that nobody does.
                    self.unseen |= error.sent() != Sent::No;
                    self.hungry = true;
                    self.flowing = None;
                    self.pace.failed(Instant::now());
                }
            }
        }
        let deadline = Instant::now() + grace;
        let in_hand = self.leases.all().len() as u64;
        let parking = self.parking();
        // Should Redis not hear it, whoever wakes us in vain is covered by the safety poll.
        let _ = timeout_at(deadline, self.claims.leave(&parking)).await;
        if timeout_at(deadline, self.finish()).await.is_err() {
            self.cut.cancel();
            // A handler that does not let go is aborted with the set; its lease runs out.
            let _ = timeout(HAND_BACK, self.finish()).await;
        }
        Stopped { parking, in_hand, handed_back: self.handed_back }
    }

    /// Asks Redis for whatever it is time for; whether it asked.
    async fn look(&mut self, stop: &CancellationToken) -> Result<bool, Error> {
        if self.due.has_changed().unwrap_or(false) {
            self.pace.due = *self.due.borrow_and_update();
        }
        let (now, free) = (Instant::now(), self.free());
        if !self.pace.may_ask(now) {
            return Ok(false);
        }
        if self.pace.tick_is_due(now) {
            match self.ticks().pass().await {
                Ok(next) => self.pace.told_tick(next),
                Err(NotNow) => self.pace.hold_ticks(Instant::now() + AGAIN),
            }
        } else if free > 0 && self.unseen {
            self.recover(free).await?;
        } else if free > 0 && self.pace.reclaim_is_due(now) {
            self.reclaim(free).await?;
        } else if (free > 0 && (self.hungry || self.pace.look_is_due(now)))
            || self.pace.job_is_due(now)
            || (free == 0 && self.pace.peek_is_due(now))
        {
            match self.flowing.take().filter(|(_, since)| now < *since + FLOWING) {
                // To ask a stream for no entries is to ask for all.
                Some(since) if free > 0 && !self.pace.job_is_due(now) => {
                    self.read(free, since, stop).await?;
                }
                _ => self.claim(free, stop).await?,
            }
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    /// Waits until there is a reason to look again.
    async fn wait(&mut self, stop: &CancellationToken) {
        // Without room there is little to ask for: a job that ends makes some, and wakes us.
        let next = self.pace.next(self.free() > 0);
        tokio::select! {
            () = stop.cancelled() => {}
            Some(ended) = self.jobs.join_next() => self.count(ended.ok()),
            () = self.signal.changed() => {
                self.pace.called();
                self.hungry = true;
            }
            Ok(()) = self.due.changed() => self.pace.due = *self.due.borrow_and_update(),
            () = sleep_until(next) => {}
        }
    }

    async fn claim(&mut self, free: usize, stop: &CancellationToken) -> Result<(), Error> {
        let mode = self.signal.mode();
        let claimed = self.claims.claim(free, &self.parking()).await?;
        let found = claimed.entries.len();
        self.hungry = found == free;
        self.flowing = (self.hungry && free > 0).then(|| (claimed.now_ms, Instant::now()));
        self.pace.looked(mode, found, Instant::now(), fastrand::f64());
        self.pace.due = due_in(claimed.next_due);
        self.pace.told_tick(Ticks::seen(claimed.next_tick));
        for entry in claimed.entries {
            self.start(entry, claimed.now_ms, stop.is_cancelled());
        }
        Ok(())
    }

    /// Goes on taking what is known to be there.
    async fn read(
        &mut self,
        free: usize,
        since: (u64, Instant),
        stop: &CancellationToken,
    ) -> Result<(), Error> {
        let entries = self.claims.read(free).await?;
        self.flowing = (entries.len() == free).then_some(since);
        let (then_ms, then) = since;
        let now_ms = then_ms.saturating_add(then.elapsed().as_millis() as u64);
        for entry in entries {
            self.start(entry, now_ms, stop.is_cancelled());
        }
        Ok(())
    }

    async fn recover(&mut self, free: usize) -> Result<(), Error> {
        let (now_ms, entries) = self.claims.recover(free, &self.leases.all()).await?;
        self.unseen = entries.len() == free;
        for entry in entries {
            self.start(entry, now_ms, false);
        }
        Ok(())
    }

    async fn reclaim(&mut self, free: usize) -> Result<(), Error> {
        let (lease, parking, kept) = (self.options.lease, self.parking(), self.options.retention);
        let from = (self.cursor.as_str(), self.swept.as_str());
        let reclaimed = self.claims.reclaim(free, lease, from, &parking, kept).await?;
        let (too_many, too_old) = reclaimed.dropped;
        DeadLettersDropped { too_many, too_old }.emit();
        PartitionsMended { count: reclaimed.mended }.emit();
        (self.cursor, self.swept) = (reclaimed.cursor, reclaimed.swept);
        // One call looks at ten entries for each free slot. A round that is not through goes on
        // at once: a whole fleet's entries would otherwise take many of these periods. So does one
        // that found partitions to mend: what made one such makes many.
        if self.cursor == ROUND_OVER && reclaimed.mended == 0 {
            self.pace.reclaimed(Instant::now(), fastrand::f64());
            // A claim that Redis executes late, after its time was up here, brings jobs that
            // nobody sees either: now and then it costs one call to look for them.
            self.unseen = true;
        }
        // The last slot may be gone, and with it our place among the parked.
        self.hungry |= reclaimed.entries.len() == free;
        JobsReclaimed { count: reclaimed.entries.len() as u64 }.emit();
        for Buried { job, job_type } in &reclaimed.buried {
            let (job_type, reason) = (*job_type, DeadReason::Abandoned);
            JobDied { job_type, elapsed: None, job, reason, trace: None }.emit();
        }
        for entry in reclaimed.entries {
            self.start(entry, reclaimed.now_ms, false);
        }
        Ok(())
    }

    /// Starts an attempt, or settles at once what cannot be tried.
    fn start(&mut self, entry: Entry, now_ms: u64, stopping: bool) {
        let (entry_id, deliveries) = (entry.id, entry.deliveries);
        let lease = self.leases.hold(entry_id, deliveries, now_ms);
        let (settlement, ended) = match entry.into_job() {
            Some(job) if !stopping => return self.attempt(lease, job),
            Some(job) => {
                let Job { id, job_type, attempt, deliveries, trace, partition, .. } = job;
                let action = Action::hand_back(attempt, deliveries);
                let settlement = Settlement {
                    lease,
                    id,
                    job_type,
                    attempt,
                    deliveries,
                    action,
                    trace,
                    partition,
                };
                (settlement, Ended::HandedBack)
            }
            None => {
                let detail = "not an entry of this queue".to_owned();
                let settlement = Settlement {
                    lease,
                    id: entry_id.to_string(),
                    job_type: JobType::Event,
                    attempt: 0,
                    deliveries,
                    action: Action::Bury { reason: DeadReason::Malformed, detail },
                    trace: None,
                    partition: None,
                };
                (settlement, Ended::Finished)
            }
        };
        // It takes a slot as an attempt does, so that settlements stay bounded.
        let settle = self.settle.clone();
        self.jobs.spawn(async move {
            pass_on(&settle, settlement).await;
            ended
        });
    }

    fn attempt(&mut self, lease: Lease, job: Job) {
        let attempt = Attempt {
            handler: self.handler.clone(),
            limits: self.options.limits,
            bound: self.options.lease,
            cut: self.cut.clone(),
            settle: self.settle.clone(),
        };
        self.jobs.spawn(attempt.run(lease, job));
    }

    fn free(&self) -> usize {
        self.options.concurrency.saturating_sub(self.jobs.len()).min(BATCH)
    }

    fn ticks(&self) -> Ticks<'_> {
        let Claims { shared, keys, .. } = &self.claims;
        Ticks { shared, keys, thresholds: self.options.thresholds }
    }

    fn parking(&self) -> Parking {
        self.claims.parking(self.signal.mode(), self.pace.parked_for())
    }

    fn reap(&mut self) {
        while let Some(ended) = self.jobs.try_join_next() {
            self.count(ended.ok());
        }
    }

    async fn finish(&mut self) {
        while let Some(ended) = self.jobs.join_next().await {
            self.count(ended.ok());
        }
    }

    fn count(&mut self, ended: Option<Ended>) {
        self.handed_back += u64::from(ended == Some(Ended::HandedBack));
    }
}
