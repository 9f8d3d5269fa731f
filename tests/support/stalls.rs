//! Whether the machine itself stood still: no program can keep a promise about time meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long the thread that looks sleeps between two looks.
const LOOK: Duration = Duration::from_millis(5);

/// A thread that sleeps again and again, and notes how much longer it slept than it wanted to.
/// It ends with this.
pub struct Stalls {
    began: Instant,
    noted: Arc<Noted>,
}

#[derive(Default)]
struct Noted {
    /// In nanoseconds.
    longest: AtomicU64,
    /// In nanoseconds.
    sum: AtomicU64,
    enough: AtomicBool,
}

impl Stalls {
    /// Looks from now on.
    pub fn watch() -> Stalls {
        let noted = Arc::<Noted>::default();
        let thread = Arc::clone(&noted);
        std::thread::spawn(move || {
            while !thread.enough.load(Ordering::Relaxed) {
                let began = Instant::now();
                std::thread::sleep(LOOK);
                let over = began.elapsed().saturating_sub(LOOK).as_nanos() as u64;
                thread.longest.fetch_max(over, Ordering::Relaxed);
                thread.sum.fetch_add(over, Ordering::Relaxed);
            }
        });
        Stalls { began: Instant::now(), noted }
    }

    /// Panics if it took as long as that from the start until now, the stalls left out.
    pub fn less_than(&self, promised: Duration, what: &str) {
        let (took, still) = (self.began.elapsed(), self.sum());
        assert!(
            took < promised + still,
            "{what} took {took:?}, of which {still:?} nothing went on"
        );
    }

    /// The longest since then.
    pub fn longest(&self) -> Duration {
        Duration::from_nanos(self.noted.longest.load(Ordering::Relaxed))
    }

    /// All of them together.
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.noted.sum.load(Ordering::Relaxed))
    }
}

impl Drop for Stalls {
    fn drop(&mut self) {
        self.noted.enough.store(true, Ordering::Relaxed);
    }
}
