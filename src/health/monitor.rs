//! Looks at the facts once a second and whenever somebody asks, and remembers when everything
//! held last.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::verdict::{Facts, Readiness, missing, verdict};
use crate::model::{Check, Label};
use crate::telemetry::events::process::{CheckChanged, ReadinessChanged};

const INTERVAL: Duration = Duration::from_secs(1);

/// The readiness of this process.
pub struct Monitor {
    facts: Box<dyn Fn() -> Facts + Send + Sync>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    last_ready: Option<Instant>,
    missing: Option<Vec<Check>>,
    ready: bool,
}

impl Monitor {
    /// Asks `facts`, which must not block.
    pub fn new(facts: impl Fn() -> Facts + Send + Sync + 'static) -> Self {
        Self { facts: Box::new(facts), seen: Mutex::default() }
    }

    /// The readiness at this moment.
    pub fn readiness(&self) -> Readiness {
        self.readiness_at(Instant::now())
    }

    /// Keeps looking, until dropped.
    pub async fn run(&self) {
        let mut ticks = tokio::time::interval(INTERVAL);
        loop {
            ticks.tick().await;
            self.readiness();
        }
    }

    fn readiness_at(&self, now: Instant) -> Readiness {
        // Looked at under the lock: of two that look at once, the later one has the last word.
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let facts = (self.facts)();
        let missing = missing(&facts);
        let was_missing = seen.missing.replace(missing.clone());
        for check in Check::ALL.iter().copied().filter(|check| check.legal(facts.component)) {
            let holds = !missing.contains(&check);
            if was_missing.as_ref().is_none_or(|was| was.contains(&check) == holds) {
                CheckChanged { check, holds }.emit();
            }
        }
        if missing.is_empty() {
            seen.last_ready = Some(now);
        }
        let readiness = verdict(missing, seen.last_ready, now);
        // A process that starts is not ready; that is no news.
        if seen.ready != readiness.ready {
            seen.ready = readiness.ready;
            ReadinessChanged { ready: readiness.ready, missing: &readiness.missing }.emit();
        }
        readiness
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::{GRACE, ProbeFacts, SubscriptionFacts};
    use crate::model::{Component, ConnectionState, Role};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[test]
    fn a_short_loss_is_forgiven_and_a_long_one_shows_until_all_is_well_again() {
        let up = Arc::new(AtomicBool::new(false));
        let monitor = Monitor::new({
            let up = Arc::clone(&up);
            move || Facts {
                component: Component::Worker,
                connections: match up.load(Ordering::Relaxed) {
                    true => vec![(Role::Shared, ConnectionState::Ready)],
                    false => vec![(Role::Shared, ConnectionState::Backoff)],
                },
                subscriptions: SubscriptionFacts::default(),
                probe: ProbeFacts { age: None, limit: GRACE },
                draining: false,
            }
        });
        let start = Instant::now();
        let ready = |seconds| monitor.readiness_at(start + Duration::from_secs(seconds)).ready;
        assert!(!ready(0));
        up.store(true, Ordering::Relaxed);
        assert!(ready(1));
        up.store(false, Ordering::Relaxed);
        assert!(ready(10));
        assert!(!ready(11));
        up.store(true, Ordering::Relaxed);
        assert!(ready(12));
    }
}
