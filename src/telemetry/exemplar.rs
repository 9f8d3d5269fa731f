//! Exemplars: for each bucket of a latency histogram, the last sampled trace that fell into it.
//!
//! Off unless a setting turns them on. Only sampled traces count, because an exemplar that leads
//! nowhere is worse than none.

use std::cell::Cell;
use std::fmt::{self, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use super::events::unix_seconds;
use super::trace::TraceContext;

/// Part of the installed recorder: set once, before any histogram exists.
static ON: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// The trace of what this thread observes just now: the facade's histograms take a number
    /// and nothing else.
    static CURRENT: Cell<Option<TraceId>> = const { Cell::new(None) };
}

/// Turns exemplars on for this process.
pub(super) fn enable() {
    ON.store(true, Ordering::Relaxed);
}

/// Whether they are on.
pub(super) fn is_on() -> bool {
    ON.load(Ordering::Relaxed)
}

/// The id of a sampled trace, as an exemplar shows it. Bytes, not a number, so that it adds no
/// padding to what carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceId([u8; 16]);

impl TraceId {
    /// The id to show; `None` when exemplars are off, or the trace is not sampled.
    #[inline]
    pub fn of(context: Option<TraceContext>) -> Option<Self> {
        let context = context.filter(|context| is_on() && context.sampled())?;
        Some(Self(context.trace_id.to_be_bytes()))
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

/// Makes one observation as part of a trace.
#[inline]
pub(super) fn during(trace: Option<TraceId>, observe: impl FnOnce()) {
    if trace.is_none() {
        return observe();
    }
    CURRENT.set(trace);
    observe();
    CURRENT.set(None);
}

struct Exemplar {
    trace: TraceId,
    value: f64,
    /// Unix seconds.
    at: f64,
}

/// One place for each bucket of a series.
pub(super) struct Exemplars(Box<[Mutex<Option<Exemplar>>]>);

impl Exemplars {
    pub(super) fn new(buckets: usize) -> Self {
        Self((0..buckets).map(|_| Mutex::default()).collect())
    }

    /// Keeps the trace of this observation, if it has one. Never waits: when another thread is at
    /// the same bucket, its trace is as good.
    pub(super) fn observe(&self, place: usize, value: f64) {
        let Some(trace) = CURRENT.get() else { return };
        if let Ok(mut kept) = self.0[place].try_lock() {
            *kept = Some(Exemplar { trace, value, at: unix_seconds() });
        }
    }

    /// Writes the exemplar of a bucket behind its sample, as OpenMetrics wants it.
    pub(super) fn render(&self, place: usize, page: &mut String) -> fmt::Result {
        // A thread that panicked here left a whole exemplar, or the one before.
        let kept = self.0[place].lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match &*kept {
            Some(Exemplar { trace, value, at }) => {
                write!(page, " # {{trace_id=\"{trace}\"}} {value:?} {at:.3}")
            }
            None => Ok(()),
        }
    }
}
