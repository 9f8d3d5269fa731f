//! The verdict on readiness: pure, every moment comes from outside.

use std::time::{Duration, Instant};

use crate::model::{Check, Component, ConnectionState, Label, Role};

/// Once ready, a loss shows only after this long: a reconnect takes less, and a load balancer
/// that empties itself at every reconnect makes an outage out of a blink.
pub const GRACE: Duration = Duration::from_secs(10);

/// What is known at one moment.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Which program this is: a worker has no subscriber, so nothing is asked of it.
    pub component: Component,
    /// Each connection's state.
    pub connections: Vec<(Role, ConnectionState)>,
    /// The subscriber's subscriptions.
    pub subscriptions: SubscriptionFacts,
    /// The self-probe.
    pub probe: ProbeFacts,
    /// Whether the process is ending.
    pub draining: bool,
}

/// What clients want, and what of it Redis confirmed.
#[derive(Clone, Copy, Debug, Default)]
pub struct SubscriptionFacts {
    /// Wanted.
    pub desired: usize,
    /// Confirmed.
    pub confirmed: usize,
}

/// How the self-probe fares.
#[derive(Clone, Copy, Debug)]
pub struct ProbeFacts {
    /// Since the last one came back; `None` when none has yet.
    pub age: Option<Duration>,
    /// Older than this is no longer fresh.
    pub limit: Duration,
}

/// Whether to send work here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// The answer, with grace.
    pub ready: bool,
    /// What does not hold at this moment, without grace.
    pub missing: Vec<Check>,
}

/// What does not hold, without grace.
pub fn missing(facts: &Facts) -> Vec<Check> {
    let ready = |role| facts.connections.contains(&(role, ConnectionState::Ready));
    let holds = |check| match check {
        Check::Shared => ready(Role::Shared),
        Check::Subscriber => ready(Role::Subscriber),
        Check::Subscriptions => facts.subscriptions.confirmed >= facts.subscriptions.desired,
        Check::Probe => facts.probe.age.is_some_and(|age| age <= facts.probe.limit),
        Check::Drain => !facts.draining,
    };
    let asked = Check::ALL.iter().copied().filter(|check| check.legal(facts.component));
    asked.filter(|check| !holds(*check)).collect()
}

/// The answer at `now`, when everything held last at `last_ready`. A process that was never
/// ready has no grace, and neither has one that drains.
pub fn verdict(missing: Vec<Check>, last_ready: Option<Instant>, now: Instant) -> Readiness {
    let graced = last_ready.is_some_and(|at| now.saturating_duration_since(at) < GRACE);
    let ready = missing.is_empty() || (graced && !missing.contains(&Check::Drain));
    Readiness { ready, missing }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ConnectionState::*;

    fn server(shared: ConnectionState, subscriber: ConnectionState) -> Facts {
        Facts {
            component: Component::Server,
            connections: vec![(Role::Shared, shared), (Role::Subscriber, subscriber)],
            subscriptions: SubscriptionFacts { desired: 2, confirmed: 2 },
            probe: ProbeFacts {
                age: Some(Duration::from_secs(15)),
                limit: Duration::from_secs(60),
            },
            draining: false,
        }
    }

    #[test]
    fn each_part_that_does_not_hold_is_named() {
        let good = server(Ready, Ready);
        let subscriptions = SubscriptionFacts { desired: 2, confirmed: 1 };
        let probe = |age| ProbeFacts { age, limit: Duration::from_secs(60) };
        let table = [
            (good.clone(), vec![]),
            (server(Backoff, Ready), vec![Check::Shared]),
            (server(Ready, Handshaking), vec![Check::Subscriber]),
            (server(Closed, Idle), vec![Check::Shared, Check::Subscriber]),
            (Facts { subscriptions, ..good.clone() }, vec![Check::Subscriptions]),
            (Facts { probe: probe(None), ..good.clone() }, vec![Check::Probe]),
            (
                Facts { probe: probe(Some(Duration::from_secs(61))), ..good.clone() },
                vec![Check::Probe],
            ),
            (Facts { draining: true, ..good }, vec![Check::Drain]),
        ];
        for (facts, expected) in table {
            assert_eq!(missing(&facts), expected, "{facts:?}");
        }
    }

    #[test]
    fn a_worker_is_asked_for_its_shared_connection_only() {
        let worker = Facts {
            component: Component::Worker,
            connections: vec![(Role::Shared, Ready)],
            probe: ProbeFacts { age: None, limit: Duration::ZERO },
            ..server(Ready, Idle)
        };
        assert!(missing(&worker).is_empty());
        assert_eq!(missing(&Facts { draining: true, ..worker }), [Check::Drain]);
    }

    #[test]
    fn a_loss_shows_after_the_grace_and_start_and_drain_have_none() {
        let now = Instant::now() + Duration::from_secs(3_600);
        let ago = |seconds| Some(now - Duration::from_secs(seconds));
        let ready = |missing, last_ready| verdict(missing, last_ready, now).ready;
        assert!(ready(vec![], None));
        assert!(!ready(vec![Check::Shared], None), "never ready: no grace");
        assert!(ready(vec![Check::Shared], ago(9)));
        assert!(!ready(vec![Check::Shared], ago(10)));
        assert!(!ready(vec![Check::Drain], ago(0)), "draining: no grace");
        assert!(!ready(vec![Check::Shared, Check::Drain], ago(1)));
        assert_eq!(verdict(vec![Check::Probe], ago(1), now).missing, [Check::Probe]);
    }
}
