//! Keeps a fault that happens a thousand times a second from writing a thousand lines.
//!
//! The first occurrence is written; those that follow within the window are only counted,
//! and the next line that is written says how many there were. Metrics count every one.

use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use super::family::LabelSet;

/// How long a reason stays quiet after it was logged.
const WINDOW: Duration = Duration::from_secs(10);

/// The decision for one reason: pure, the clock comes from outside.
#[derive(Debug, Default)]
struct Limiter {
    written: Option<Instant>,
    suppressed: u64,
}

impl Limiter {
    /// `Some(n)` when a line is due: `n` occurrences were left out since the last one.
    fn admit(&mut self, now: Instant, window: Duration) -> Option<u64> {
        if self.written.is_some_and(|at| now.saturating_duration_since(at) < window) {
            self.suppressed += 1;
            return None;
        }
        self.written = Some(now);
        Some(std::mem::take(&mut self.suppressed))
    }
}

/// One limiter for each combination of labels.
pub(super) struct LogLimit<L> {
    window: Duration,
    slots: OnceLock<Box<[Mutex<Limiter>]>>,
    labels: std::marker::PhantomData<fn() -> L>,
}

impl<L: LabelSet> LogLimit<L> {
    /// At most one line in ten seconds for each combination.
    pub(super) const fn new() -> Self {
        Self::every(WINDOW)
    }

    /// At most one line in each window for each combination.
    pub(super) const fn every(window: Duration) -> Self {
        Self { window, slots: OnceLock::new(), labels: std::marker::PhantomData }
    }

    /// `Some(suppressed)` when a line is due.
    pub(super) fn admit(&self, labels: L) -> Option<u64> {
        let slots = self
            .slots
            .get_or_init(|| L::all().iter().map(|_| Mutex::new(Limiter::default())).collect());
        // Whoever finds the slot taken is one of many at this instant: it neither waits nor logs.
        slots[labels.index()].try_lock().ok()?.admit(Instant::now(), self.window)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Role;

    #[test]
    fn a_line_is_written_once_in_a_window_and_says_how_many_it_stands_for() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut limiter = Limiter::default();
        let lines: Vec<_> = [0, 1, 9_999, 10_000, 10_001, 30_000, 60_000]
            .map(|millis| limiter.admit(at(millis), WINDOW))
            .into();
        assert_eq!(lines, [Some(0), None, None, Some(2), None, Some(1), Some(0)]);
    }

    #[test]
    fn one_reason_does_not_silence_another() {
        let limit = LogLimit::<Role>::new();
        assert_eq!(limit.admit(Role::Shared), Some(0));
        assert_eq!(limit.admit(Role::Shared), None);
        assert_eq!(limit.admit(Role::Subscriber), Some(0));
    }
}
