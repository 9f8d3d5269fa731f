//! How long to wait before the next dial: pure, luck is an argument.

use std::time::Duration;

use super::state::Pace;
use crate::model::Role;

/// The bounds of the waits between dials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The first wait's upper bound; it doubles with every attempt.
    pub min: Duration,
    /// No wait is longer.
    pub max: Duration,
}

/// While the port refuses: ten dials a second, so that the first publish after Redis accepts
/// connections again succeeds within about 100 ms at the median, at 0.1 % of a core.
const KNOCK_SHARED: Duration = Duration::from_millis(100);
/// The subscriber is told when the shared connection has connected; this is its own slow knock.
const KNOCK_SUBSCRIBER: Duration = Duration::from_secs(2);

/// The wait after `attempt` dials in a row (the last one not counted), with `luck` in 0..1.
pub(super) fn delay(role: Role, pace: Pace, attempt: u32, luck: f64, limits: Limits) -> Duration {
    match (pace, role) {
        (Pace::Knock, Role::Shared) => KNOCK_SHARED.mul_f64(0.5 + luck),
        (Pace::Knock, Role::Subscriber) => KNOCK_SUBSCRIBER.mul_f64(0.5 + luck),
        // Full jitter: the whole interval, so that a fleet that lost Redis together comes back spread out.
        (Pace::Backoff, _) => {
            let bound = limits.min.saturating_mul(2_u32.saturating_pow(attempt)).min(limits.max);
            bound.mul_f64(luck)
        }
        (Pace::Cap, _) => limits.max.mul_f64(0.5 + luck / 2.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { min: Duration::from_millis(50), max: Duration::from_secs(2) };

    #[test]
    fn a_refused_port_is_knocked_at_every_100_ms_give_or_take_half() {
        let wait = |luck| delay(Role::Shared, Pace::Knock, 1_000, luck, LIMITS);
        assert_eq!(wait(0.0), Duration::from_millis(50));
        assert_eq!(wait(1.0), Duration::from_millis(150));
    }

    #[test]
    fn backoff_doubles_up_to_its_cap_and_uses_the_whole_interval() {
        let wait = |attempt| delay(Role::Shared, Pace::Backoff, attempt, 1.0, LIMITS);
        assert_eq!(wait(0), Duration::from_millis(50));
        assert_eq!(wait(3), Duration::from_millis(400));
        assert_eq!(wait(6), LIMITS.max);
        assert_eq!(wait(u32::MAX), LIMITS.max);
        assert_eq!(delay(Role::Shared, Pace::Backoff, 3, 0.0, LIMITS), Duration::ZERO);
    }

    /// The most dials within any 10 ms, of all and of the last half, when 200 processes lose Redis
    /// at the same moment and wait at this pace for five seconds.
    fn crowds(pace: Pace) -> (usize, usize) {
        const BIN: Duration = Duration::from_millis(10);
        let (mut luck, mut bins) = (fastrand::Rng::with_seed(1), vec![0_usize; 500]);
        for _ in 0..200 {
            // The loss is no dial that was refused: everybody's first wait is of the backoff.
            let mut at = delay(Role::Shared, Pace::Backoff, 0, luck.f64(), LIMITS);
            for attempt in 1.. {
                let bin = (at.as_micros() / BIN.as_micros()) as usize;
                let Some(dials) = bins.get_mut(bin) else { break };
                *dials += 1;
                at += delay(Role::Shared, pace, attempt, luck.f64(), LIMITS);
            }
        }
        let most = |bins: &[usize]| bins.iter().copied().max().unwrap_or_default();
        (most(&bins), most(&bins[250..]))
    }

    #[test]
    fn two_hundred_processes_that_lose_redis_together_do_not_dial_together() {
        // The first dials are spread over 50 ms, 40 in a bin, give or take 6.
        let (first, later) = crowds(Pace::Knock);
        assert!(first < 80, "{first}");
        // Then 20 are in a bin, give or take 4.
        assert!(later < 40, "{later}");
        // About one a second from each: 2 in a bin, give or take 1.4.
        let (first, later) = crowds(Pace::Backoff);
        assert!(first < 80 && later < 15, "{first} {later}");
    }

    #[test]
    fn what_only_an_operator_can_mend_is_retried_about_the_cap() {
        let wait = |luck| delay(Role::Subscriber, Pace::Cap, 0, luck, LIMITS);
        assert_eq!(wait(0.0), Duration::from_secs(1));
        assert_eq!(wait(1.0), Duration::from_secs(2));
    }
}
