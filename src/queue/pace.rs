//! When to look for jobs again: pure, the clock and the luck come from outside.

use std::time::Duration;

use tokio::time::Instant;

use crate::model::WakeupMode;

/// Without wake-ups: the shortest and the longest wait between two looks. The longest costs
/// four commands a second for each idle worker.
const POLL: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(250));

/// After a fault of Redis: the first and the longest wait. A reconnect ends it early.
const FAULT: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(1000));

/// Waits that double.
#[derive(Clone, Copy, Debug)]
pub(super) struct Backoff {
    next: Duration,
    from: Duration,
    to: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self::between(FAULT)
    }
}

impl Backoff {
    fn between((from, to): (Duration, Duration)) -> Self {
        Self { next: from, from, to }
    }

    /// The wait to take now.
    pub(super) fn next(&mut self) -> Duration {
        let next = self.next;
        self.next = (next * 2).min(self.to);
        next
    }

    /// Begins with the shortest again.
    pub(super) fn reset(&mut self) {
        self.next = self.from;
    }
}

/// One worker's pace.
#[derive(Debug)]
pub(super) struct Pace {
    safety: Duration,
    lease: Duration,
    poll: Backoff,
    fault: Backoff,
    look_at: Instant,
    reclaim_at: Instant,
    paused_until: Option<Instant>,
    /// When the next delayed job is due.
    pub(super) due: Option<Instant>,
    /// When the next tick of a schedule is due.
    tick: Option<Instant>,
    /// Before that no tick is looked at, whatever is due.
    ticks_held_until: Instant,
    /// When that has to be asked for anew.
    peek_at: Instant,
}

impl Pace {
    /// A pace that begins with a look. `luck` is in 0..1, here and below.
    pub(super) fn new(safety: Duration, lease: Duration, now: Instant, luck: f64) -> Self {
        Self {
            safety,
            lease,
            poll: Backoff::between(POLL),
            fault: Backoff::default(),
            look_at: now,
            reclaim_at: now + (lease / 2).mul_f64(luck),
            paused_until: None,
            due: None,
            tick: None,
            ticks_held_until: now,
            peek_at: now,
        }
    }

    /// Redis answered: `found` jobs.
    pub(super) fn looked(&mut self, mode: WakeupMode, found: usize, now: Instant, luck: f64) {
        self.fault.reset();
        if found > 0 {
            self.poll.reset();
        }
        // A fifth of jitter keeps a fleet that started together apart.
        self.peek_at = now + self.safety.mul_f64(0.9 + 0.2 * luck);
        self.look_at = match mode {
            WakeupMode::Polling => now + self.poll.next(),
            WakeupMode::Tracking | WakeupMode::Subscribe => self.peek_at,
        };
    }

    /// Abandoned jobs were looked for.
    pub(super) fn reclaimed(&mut self, now: Instant, luck: f64) {
        self.reclaim_at = now + (self.lease / 2).mul_f64(0.75 + 0.5 * luck);
    }

    /// Redis failed: nothing is asked for a while, and then it is time to look.
    pub(super) fn failed(&mut self, now: Instant) {
        let until = now + self.fault.next();
        self.paused_until = Some(until);
        self.look_at = until;
    }

    /// Somebody called: a job is there, or the connection is back.
    pub(super) fn called(&mut self) {
        self.paused_until = None;
    }

    /// Whether Redis may be asked.
    pub(super) fn may_ask(&self, now: Instant) -> bool {
        self.paused_until.is_none_or(|until| now >= until)
    }

    /// Whether it is time to look although nobody called.
    pub(super) fn look_is_due(&self, now: Instant) -> bool {
        now >= self.look_at
    }

    /// Whether a delayed job is due.
    pub(super) fn job_is_due(&self, now: Instant) -> bool {
        self.due.is_some_and(|due| now >= due)
    }

    /// Redis told when the next tick of a schedule is due.
    pub(super) fn told_tick(&mut self, next: Option<Instant>) {
        self.tick = next.map(|next| next.max(self.ticks_held_until));
    }

    /// A tick that is due cannot fire now, and every claim will tell that it is due.
    pub(super) fn hold_ticks(&mut self, until: Instant) {
        self.ticks_held_until = until;
        self.tick = Some(until);
    }

    /// Whether a tick of a schedule is due.
    pub(super) fn tick_is_due(&self, now: Instant) -> bool {
        self.tick.is_some_and(|tick| now >= tick)
    }

    /// Whether a worker without room is to ask for what is due all the same: a schedule that is
    /// new is told to parked workers, and where all are busy there is none.
    pub(super) fn peek_is_due(&self, now: Instant) -> bool {
        now >= self.peek_at
    }

    /// Whether it is time to look for abandoned jobs.
    pub(super) fn reclaim_is_due(&self, now: Instant) -> bool {
        now >= self.reclaim_at
    }

    /// When there will be a reason to ask Redis. Without room for jobs the only ones are a
    /// delayed job that is due, since others may take it, and schedules.
    pub(super) fn next(&self, room: bool) -> Instant {
        let look = if room { self.look_at.min(self.reclaim_at) } else { self.peek_at };
        let next = [self.due, self.tick].into_iter().flatten().fold(look, Instant::min);
        self.paused_until.map_or(next, |until| next.max(until))
    }

    /// How long this worker counts as parked unless it parks again: a dead one is not woken
    /// in the place of the living for longer.
    pub(super) fn parked_for(&self) -> Duration {
        self.safety * 2 + Duration::from_secs(2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAFETY: Duration = Duration::from_secs(5);
    const LEASE: Duration = Duration::from_secs(30);

    fn pace(now: Instant) -> Pace {
        Pace::new(SAFETY, LEASE, now, 0.5)
    }

    #[test]
    fn a_woken_worker_looks_every_five_seconds_and_a_polling_one_four_times_a_second() {
        let now = Instant::now();
        let mut woken = pace(now);
        woken.looked(WakeupMode::Tracking, 0, now, 0.5);
        assert_eq!(woken.next(true), now + SAFETY);

        let mut polling = pace(now);
        for _ in 0..9 {
            polling.looked(WakeupMode::Polling, 0, now, 0.5);
        }
        assert_eq!(polling.next(true), now + Duration::from_millis(250));
        polling.looked(WakeupMode::Polling, 1, now, 0.5);
        assert_eq!(polling.next(true), now + Duration::from_millis(1));
    }

    #[test]
    fn a_fault_pauses_longer_each_time_and_a_call_ends_the_pause() {
        let now = Instant::now();
        let mut pace = pace(now);
        for millis in [50, 100, 200, 400, 800, 1000, 1000] {
            pace.failed(now);
            assert_eq!(pace.next(true), now + Duration::from_millis(millis));
        }
        assert!(!pace.may_ask(now));
        pace.called();
        assert!(pace.may_ask(now));
    }

    #[test]
    fn a_delayed_job_shortens_the_wait() {
        let now = Instant::now();
        let mut pace = pace(now);
        pace.looked(WakeupMode::Tracking, 0, now, 0.5);
        pace.due = Some(now + Duration::from_millis(500));
        let due = now + Duration::from_millis(500);
        assert_eq!((pace.next(true), pace.next(false)), (due, due));
        assert!(pace.job_is_due(due));
    }

    #[test]
    fn a_tick_shortens_the_wait_and_the_next_one_is_asked_for_even_without_room() {
        let now = Instant::now();
        let mut pace = pace(now);
        assert!(pace.peek_is_due(now));
        pace.looked(WakeupMode::Polling, 0, now, 0.5);
        assert_eq!((pace.next(false), pace.peek_is_due(now)), (now + SAFETY, false));
        let tick = now + Duration::from_micros(500);
        pace.told_tick(Some(tick));
        assert_eq!((pace.next(true), pace.next(false)), (tick, tick));
        assert!(pace.tick_is_due(tick) && !pace.tick_is_due(now));
    }

    #[test]
    fn a_tick_that_cannot_fire_is_not_looked_at_with_every_claim() {
        let now = Instant::now();
        let mut pace = pace(now);
        let later = now + Duration::from_secs(1);
        pace.hold_ticks(later);
        pace.told_tick(Some(now));
        assert!(!pace.tick_is_due(now) && pace.tick_is_due(later));
        pace.told_tick(None);
        assert!(!pace.tick_is_due(later));
    }

    #[test]
    fn abandoned_jobs_are_looked_for_only_where_there_is_room() {
        let now = Instant::now();
        let mut pace = pace(now);
        pace.looked(WakeupMode::Tracking, 0, now, 0.5);
        pace.reclaim_at = now;
        assert_eq!((pace.next(true), pace.next(false)), (now, now + SAFETY));
        pace.reclaimed(now, 0.5);
        assert_eq!(pace.reclaim_at - now, LEASE / 2);
    }
}
