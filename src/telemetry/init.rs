//! Starts metrics, logs and traces, once in a process and before anything counts.

use std::sync::Arc;
use std::time::Duration;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::runtime::Handle;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::catalogue::{self, BUILD_INFO};
use super::exemplar;
use super::histogram::{Histograms, Sorting};
use super::lines::{self, Lines};
use super::log;
use super::page::{Page, PageFormat, Rendered};
use super::trace::{self, Exporting, TraceOptions};
use crate::config::LogFormat;
use crate::model::{Build, Component, Queue};

/// What telemetry needs to know of its process.
#[derive(Clone, Debug)]
pub struct TelemetryOptions {
    /// Which program: decides which series exist. The tool exports none.
    pub component: Component,
    /// The instance, as in the names of its connections.
    pub instance: String,
    /// The queue's name: the one label value that comes from a setting.
    pub queue: String,
    /// How log lines are written; [`super::detect_format`] where nobody said.
    pub log_format: LogFormat,
    /// `RUST_LOG`; `info` where nobody said.
    pub log_filter: Option<String>,
    /// Where spans go; `None` switches tracing off.
    pub tracing: Option<TraceOptions>,
    /// Whether the latency histograms keep the traces of their last observations.
    pub exemplars: bool,
    /// The runtime that spans are sent on: not one whose time is wanted for something else.
    pub exporting: Handle,
}

/// Why telemetry did not start. All of them are faults at start, before anything else runs.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The filter of log lines cannot be read.
    #[error("RUST_LOG: {0}")]
    LogFilter(#[from] tracing_subscriber::filter::ParseError),
    /// The pipeline of traces cannot be built from its settings.
    #[error("OTEL_EXPORTER_OTLP_*: {0}")]
    Tracing(#[from] opentelemetry_otlp::ExporterBuildError),
    /// There is no thread that could write log lines.
    #[error("logs: no thread: {0}")]
    LogThread(#[source] std::io::Error),
    /// There is a recorder of metrics already.
    #[error("metrics: there is a recorder already")]
    Metrics,
    /// There is a subscriber of log lines already.
    #[error("logs: {0}")]
    Logs(#[from] tracing_subscriber::util::TryInitError),
}

/// The running telemetry of this process. Cheap to clone.
#[derive(Clone)]
pub struct Telemetry {
    page: Option<Arc<Page>>,
    exporting: Option<Exporting>,
    lines: Lines,
}

impl Telemetry {
    /// Installs the subscriber of log lines and the recorder of metrics, and gives every series
    /// this process exports its zero. Call it once, first of all, on the runtime.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub fn start(options: &TelemetryOptions) -> Result<Self, InitError> {
        let TelemetryOptions { component, instance, queue, .. } = options;
        let TelemetryOptions { log_format, log_filter, tracing, exemplars, exporting, .. } =
            options;
        let runtime = Handle::current();
        let lines = log::lines(*component, *log_format).map_err(InitError::LogThread)?;
        let logged = log::layer(*log_format, log_filter.as_deref(), lines.clone())?;
        let exporting = tracing
            .as_ref()
            .map(|options| Exporting::start(options, *component, instance, exporting.clone()))
            .transpose()?;
        let spans = exporting.as_ref().map(Exporting::layer);
        tracing_subscriber::registry().with(spans).with(logged).try_init()?;
        if let Some(options) = tracing {
            trace::enable(options.sampler);
            // Without traces there would be nothing to show.
            if *exemplars {
                exemplar::enable();
            }
        }

        Queue::configure(queue);
        // The tool lives for one command and nobody scrapes it: its handles count nothing.
        let page = match component {
            Component::Tool => None,
            Component::Server | Component::Worker => {
                let (handle, histograms) = install(*component)?;
                Some(Arc::new(Page::new(handle, histograms, runtime)))
            }
        };
        Ok(Self { page, exporting, lines })
    }

    /// The page of metrics; empty for the tool. In OpenMetrics where that is wanted and exemplars
    /// are on, else as text. At most one second old. Dropping the future does no harm.
    pub async fn render(&self, wanted: PageFormat) -> Rendered {
        match &self.page {
            Some(page) => page.render(wanted).await,
            None => Rendered { format: PageFormat::Text, text: String::new() },
        }
    }

    /// Sends the spans that are still queued, for at most `within`, and then writes the last log
    /// lines, for at most one second. What remains is lost: a collector that is away, or a log
    /// that nobody reads, must not hold up the end of the process.
    pub async fn shutdown(self, within: Duration) {
        if let Some(exporting) = self.exporting {
            let flush = tokio::task::spawn_blocking(move || exporting.shutdown(within));
            // A batch that failed has already been told by its event, and a flush that outlasts
            // its time only loses spans.
            let _ = tokio::time::timeout(within, flush).await;
        }
        // Blocks, and holds up nothing: all else has ended.
        self.lines.flush(lines::LAST);
    }

    /// Writes the last log lines when it is dropped by a panic, for at most one second. An
    /// orderly end is [`Telemetry::shutdown`].
    pub fn last_words(&self) -> LastWords {
        LastWords(self.lines.clone())
    }
}

/// See [`Telemetry::last_words`].
pub struct LastWords(Lines);

impl Drop for LastWords {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.flush(lines::LAST);
        }
    }
}

fn install(component: Component) -> Result<(PrometheusHandle, Histograms), InitError> {
    // What is not asked for here is off on purpose: recommended naming would append units to
    // names that carry theirs, and an idle timeout removes series that cached handles cannot
    // bring back.
    let exporter = PrometheusBuilder::new().build_recorder();
    let (handle, histograms) = (exporter.handle(), Histograms::default());
    let recorder = Sorting { exporter, histograms: histograms.clone() };
    metrics::set_global_recorder(recorder).map_err(|_refused| InitError::Metrics)?;
    catalogue::describe(component, |_| true);
    BUILD_INFO.at(Build).set(1.0);
    Ok((handle, histograms))
}
