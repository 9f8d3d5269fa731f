//! Whether the loops of this process still turn. A wedged loop is a bug that only a restart
//! heals, so this, and never Redis, decides `/livez`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The heartbeats of this process. Clones are the same.
#[derive(Clone)]
pub struct Progress {
    loops: Arc<Mutex<Loops>>,
    limit: Duration,
}

#[derive(Default)]
struct Loops {
    beats: BTreeMap<&'static str, Instant>,
    others: Vec<(&'static str, Silence)>,
}

type Silence = Box<dyn Fn() -> Duration + Send>;

/// One loop's heartbeat. Dropped, the loop has ended and is not waited for any more.
pub struct Heartbeat {
    name: &'static str,
    progress: Progress,
}

/// A loop that has not turned for too long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stalled {
    /// Its name.
    pub name: &'static str,
    /// Since its last beat.
    pub silent: Duration,
}

impl Default for Progress {
    fn default() -> Self {
        Self::with_limit(Self::LIMIT)
    }
}

impl Progress {
    /// A loop may be silent this long.
    pub const LIMIT: Duration = Duration::from_secs(30);

    /// Heartbeats that may be silent for another time than [`Progress::LIMIT`].
    pub fn with_limit(limit: Duration) -> Self {
        Self { loops: Arc::default(), limit }
    }

    /// Watches a loop from now on. Its name is unique in the process.
    pub fn watch(&self, name: &'static str) -> Heartbeat {
        let heartbeat = Heartbeat { name, progress: self.clone() };
        heartbeat.beat();
        heartbeat
    }

    /// Watches loops that keep count themselves: `silent` says since when the slowest has not
    /// turned, and must not block.
    pub fn watch_others(&self, name: &'static str, silent: impl Fn() -> Duration + Send + 'static) {
        self.lock().others.push((name, Box::new(silent)));
    }

    /// Watches the runtime itself, until dropped: a task that is never polled again shows here.
    pub async fn watch_runtime(&self) {
        let heartbeat = self.watch("runtime");
        let mut ticks = tokio::time::interval(Heartbeat::INTERVAL);
        loop {
            ticks.tick().await;
            heartbeat.beat();
        }
    }

    /// The loops that were silent for longer than the limit at `now`.
    pub fn stalled(&self, now: Instant) -> Vec<Stalled> {
        let loops = self.lock();
        let beats =
            loops.beats.iter().map(|(name, at)| (*name, now.saturating_duration_since(*at)));
        let others = loops.others.iter().map(|(name, silent)| (*name, silent()));
        let all = beats.chain(others).map(|(name, silent)| Stalled { name, silent });
        all.filter(|stalled| stalled.silent > self.limit).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Loops> {
        self.loops.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Heartbeat {
    /// How often a loop should beat.
    pub const INTERVAL: Duration = Duration::from_secs(1);

    /// The loop has turned.
    pub fn beat(&self) {
        self.progress.lock().beats.insert(self.name, Instant::now());
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        self.progress.lock().beats.remove(self.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_that_stops_turning_is_named_and_one_that_ended_is_not() {
        let progress = Progress::default();
        let (ended, wedged) = (progress.watch("ended"), progress.watch("wedged"));
        drop(ended);
        let later = Instant::now() + Progress::LIMIT + Duration::from_secs(1);
        let names: Vec<_> = progress.stalled(later).iter().map(|late| late.name).collect();
        assert_eq!(names, ["wedged"]);
        wedged.beat();
        assert_eq!(progress.stalled(Instant::now()), []);
        progress.watch_others("supervisors", || Progress::LIMIT * 2);
        assert_eq!(progress.stalled(Instant::now())[0].name, "supervisors");
    }
}
