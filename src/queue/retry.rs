//! What becomes of a job after an attempt: pure, no clock and no Redis.

use std::time::Duration;

use crate::model::DeadReason;

/// Deliveries after which a job that nobody ever settled is given up. It bounds what a job
/// that kills its worker can do.
pub const MAX_DELIVERIES: u32 = 10;

/// No retry waits longer, however often the backoff doubled.
const MAX_DELAY: Duration = Duration::from_secs(60);

/// What a handler says of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is done.
    Done,
    /// This attempt failed; another may succeed.
    Retry {
        /// Why, for the dead letters should it have been the last.
        reason: &'static str,
    },
    /// Redis failed, not the job: it goes again and no attempt is used up.
    RetryUncounted,
    /// No attempt can ever succeed.
    Dead {
        /// The word under which it is counted.
        reason: DeadReason,
        /// What happened, for whoever reads the dead letters. Only its first line is kept.
        detail: String,
    },
}

/// How often a job may be tried, and how far apart.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Attempts in all.
    pub attempts: u32,
    /// Wait before the second attempt; doubles with each further one, up to a minute.
    pub backoff: Duration,
}

/// What is done with the job in Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Settle it.
    Done,
    /// Put it back.
    Again(Again),
    /// Move it to the dead letters.
    Bury {
        /// The word under which it is counted.
        reason: DeadReason,
        /// What happened.
        detail: String,
    },
}

/// How a job is put back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Again {
    /// Its next attempt.
    pub(super) attempt: u32,
    /// The deliveries it has behind it.
    pub(super) deliveries: u32,
    /// How long it waits; zero puts it into the stream at once.
    pub(super) delay: Duration,
    /// Why it goes again.
    pub(super) reason: &'static str,
}

impl Action {
    /// Gives a job back that was never looked at to the end.
    pub(super) fn hand_back(attempt: u32, deliveries: u32) -> Self {
        let deliveries = deliveries.saturating_sub(1);
        let reason = "the worker was told to stop";
        Action::Again(Again { attempt, deliveries, delay: Duration::ZERO, reason })
    }
}

/// How many dead letters are kept, and for how long. What is beyond either is dropped, the oldest
/// first, and counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// At most so many, and at least one.
    pub max: u64,
    /// At most so long after they were buried. Older ones go little by little while a worker runs.
    pub age: Duration,
}

/// Decides what becomes of a job that is in its `attempt`-th attempt and was delivered
/// `deliveries` times.
pub(super) fn decide(verdict: Verdict, attempt: u32, deliveries: u32, limits: Limits) -> Action {
    let (next, doubled, reason) = match verdict {
        Verdict::Done => return Action::Done,
        Verdict::Dead { reason, detail } => return Action::Bury { reason, detail },
        Verdict::Retry { reason } if attempt >= limits.attempts => {
            return Action::Bury { reason: DeadReason::Attempts, detail: reason.to_owned() };
        }
        Verdict::Retry { reason } => (attempt + 1, attempt, reason),
        Verdict::RetryUncounted => (attempt, deliveries, "redis failed"),
    };
    if deliveries >= MAX_DELIVERIES {
        return Action::Bury { reason: DeadReason::Abandoned, detail: reason.to_owned() };
    }
    let factor = 2u32.saturating_pow(doubled.saturating_sub(1));
    // Zero would put it back at once: a job that fails fast would turn in circles.
    let least = Duration::from_millis(1);
    let delay = limits.backoff.saturating_mul(factor).clamp(least, MAX_DELAY);
    Action::Again(Again { attempt: next, deliveries, delay, reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { attempts: 3, backoff: Duration::from_millis(500) };

    fn again(attempt: u32, deliveries: u32, millis: u64) -> impl Fn(&Action) -> bool {
        let expected = (attempt, deliveries, Duration::from_millis(millis));
        move |action| match action {
            Action::Again(again) => (again.attempt, again.deliveries, again.delay) == expected,
            _ => false,
        }
    }

    #[test]
    fn a_failing_job_waits_twice_as_long_each_time_and_ends_in_the_dead_letters() {
        let retry = |attempt| decide(Verdict::Retry { reason: "boom" }, attempt, attempt, LIMITS);
        assert!(again(2, 1, 500)(&retry(1)));
        assert!(again(3, 2, 1000)(&retry(2)));
        let dead = Action::Bury { reason: DeadReason::Attempts, detail: "boom".into() };
        assert_eq!(retry(3), dead);
    }

    #[test]
    fn a_fault_of_redis_uses_up_no_attempt() {
        let uncounted = |deliveries| decide(Verdict::RetryUncounted, 1, deliveries, LIMITS);
        assert!(again(1, 1, 500)(&uncounted(1)));
        assert!(again(1, 4, 4000)(&uncounted(4)));
        assert!(again(1, 9, 60_000)(&uncounted(9)));
    }

    #[test]
    fn nothing_is_delivered_more_than_ten_times() {
        let many = Limits { attempts: 100, ..LIMITS };
        for verdict in [Verdict::RetryUncounted, Verdict::Retry { reason: "boom" }] {
            let action = decide(verdict, 2, MAX_DELIVERIES, many);
            assert!(matches!(action, Action::Bury { reason: DeadReason::Abandoned, .. }));
        }
    }

    #[test]
    fn handing_back_counts_for_nothing() {
        assert!(again(2, 2, 0)(&Action::hand_back(2, 3)));
    }

    #[test]
    fn no_retry_comes_at_once_even_without_a_backoff() {
        let none = Limits { backoff: Duration::ZERO, ..LIMITS };
        assert!(again(2, 1, 1)(&decide(Verdict::Retry { reason: "boom" }, 1, 1, none)));
    }
}
