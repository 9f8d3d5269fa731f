//! The life of the process itself.

use std::time::Duration;

use tracing::{debug, error, info, warn};

use crate::model::{Build, Check, Component, SpanDrop};
use crate::telemetry::catalogue::*;
use crate::telemetry::limit::LogLimit;

/// The process runs.
pub struct ProcessStarted<'a> {
    /// Which program.
    pub component: Component,
    /// Its instance, as in the names of its connections.
    pub instance: &'a str,
}

impl ProcessStarted<'_> {
    /// Logs what runs.
    pub fn emit(self) {
        info!(
            component = self.component.label(),
            instance = self.instance,
            version = Build::VERSION,
            revision = Build::REVISION,
            "started"
        );
    }
}

/// A setting was accepted although something is doubtful about it.
pub struct SettingDoubted<'a> {
    /// The setting's name.
    pub setting: &'a str,
    /// What is doubtful and what to do; never the setting's value.
    pub advice: &'a str,
}

impl SettingDoubted<'_> {
    /// Logs it.
    pub fn emit(self) {
        warn!(setting = self.setting, advice = self.advice, "doubtful setting");
    }
}

/// One part of readiness was looked at, or changed.
pub struct CheckChanged {
    /// Which.
    pub check: Check,
    /// Whether it holds now, without grace.
    pub holds: bool,
}

impl CheckChanged {
    /// Sets the gauge.
    pub fn emit(self) {
        let Self { check, holds } = self;
        READY.at(check).set(f64::from(holds));
        debug!(check = check.label(), holds, "readiness check");
    }
}

/// What `/readyz` answers changed.
pub struct ReadinessChanged<'a> {
    /// Whether the process is ready now.
    pub ready: bool,
    /// What is missing.
    pub missing: &'a [Check],
}

impl ReadinessChanged<'_> {
    /// Logs it; [`CheckChanged`] is the measure.
    pub fn emit(self) {
        let Self { ready, missing } = self;
        let labels: Vec<_> = missing.iter().map(|check| check.label()).collect();
        match (ready, missing) {
            (true, _) => info!("ready"),
            // Asked for: no reason to look.
            (false, [Check::Drain]) => info!(missing = "drain", "not ready"),
            (false, _) => warn!(missing = labels.join(","), "not ready"),
        }
    }
}

/// The process was asked to end.
pub struct DrainStarted {
    /// By which signal or fault.
    pub cause: &'static str,
}

impl DrainStarted {
    /// Logs it.
    pub fn emit(self) {
        info!(cause = self.cause, "draining");
    }
}

/// The process has ended its work.
pub struct ProcessStopped {
    /// Since draining began.
    pub elapsed: Duration,
    /// Whether everything in flight was finished in time.
    pub clean: bool,
}

impl ProcessStopped {
    /// Logs it.
    pub fn emit(self) {
        let elapsed_seconds = self.elapsed.as_secs_f64();
        if self.clean {
            info!(elapsed_seconds, "stopped");
        } else {
            warn!(elapsed_seconds, "stopped with work unfinished");
        }
    }
}

/// A task ended by a panic: a bug.
pub struct TaskPanicked {
    /// The task's name.
    pub task: &'static str,
}

impl TaskPanicked {
    /// Counts it; the panic's text went to standard error, where Rust writes it.
    pub fn emit(self) {
        TASK_PANICS.at(()).increment(1);
        error!(task = self.task, "task panicked");
    }
}

/// A batch of spans did not reach the collector of traces. They are gone.
pub struct SpansLost<'a> {
    /// How many.
    pub count: usize,
    /// What was heard.
    pub detail: &'a str,
}

impl SpansLost<'_> {
    /// Counts them, and logs it at most once in five minutes: a collector that is away fails
    /// every batch.
    pub fn emit(self) {
        static LIMIT: LogLimit<()> = LogLimit::every(Duration::from_secs(300));
        let Self { count, detail } = self;
        SPANS_DROPPED.at(SpanDrop::Export).increment(count as u64);
        if let Some(suppressed) = LIMIT.admit(()) {
            warn!(count, detail, suppressed, "spans did not reach the collector of traces");
        }
    }
}

/// A span found the queue of spans full.
pub struct SpanLeftOut;

impl SpanLeftOut {
    /// Counts it. The collector that is too slow is logged with the batches it does not take.
    pub fn emit(self) {
        SPANS_DROPPED.at(SpanDrop::QueueFull).increment(1);
    }
}

/// A log line found the queue of log lines full: nobody reads them, or not fast enough.
pub struct LogLineDropped;

impl LogLineDropped {
    /// Counts it. A line about it would be one more.
    pub fn emit(self) {
        LOG_LINES_DROPPED.at(()).increment(1);
    }
}
