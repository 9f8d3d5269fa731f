//! The page of metrics.

use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics_exporter_prometheus::PrometheusHandle;
use tokio::runtime::Handle;
use tokio::sync::Mutex;

use super::catalogue::*;
use super::exemplar;
use super::histogram::Histograms;
use super::openmetrics;

/// How a page of metrics is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageFormat {
    /// The text format of Prometheus.
    Text,
    /// OpenMetrics 1.0, which has room for exemplars.
    OpenMetrics,
}

impl PageFormat {
    /// What a scraper that sends this `Accept` likes best. What it does not name is worth nothing:
    /// a browser gets text.
    pub fn preferred(accept: &str) -> Self {
        let (mut open, mut text) = (0.0_f64, 0.0_f64);
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default();
            let (mut quality, mut version) = (1.0, "1.0.0");
            for (name, value) in parts.filter_map(|part| part.split_once('=')) {
                match name {
                    "q" => quality = value.parse().unwrap_or(0.0),
                    "version" => version = value,
                    _ => {}
                }
            }
            match kind {
                "application/openmetrics-text" if version == "1.0.0" => open = open.max(quality),
                "text/plain" => text = text.max(quality),
                _ => {}
            }
        }
        if open > 0.0 && open >= text { Self::OpenMetrics } else { Self::Text }
    }

    /// What the answer says it is. The exporter would say a bare `text/plain`, which Prometheus 3
    /// refuses.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// A page of metrics.
#[derive(Clone, Debug)]
pub struct Rendered {
    /// How it is written.
    pub format: PageFormat,
    /// The page.
    pub text: String,
}

/// How long a page is handed out again.
const FRESH: Duration = Duration::from_secs(1);

/// Renders the page, one at a time.
///
/// The exporter walks all series synchronously; renderings of fifteen seconds have been seen
/// where many scrapers met many series. So it runs on a blocking thread, never twice at once,
/// and those who come within a second share a page.
pub(super) struct Page {
    handle: PrometheusHandle,
    histograms: Histograms,
    process: metrics_process::Collector,
    runtime: Handle,
    last: Arc<Mutex<Option<(Instant, Rendered)>>>,
}

impl Page {
    pub(super) fn new(handle: PrometheusHandle, histograms: Histograms, runtime: Handle) -> Self {
        let process = metrics_process::Collector::default();
        process.describe();
        Self { handle, histograms, process, runtime, last: Arc::default() }
    }

    /// OpenMetrics only while there are exemplars to show: without them the format would be
    /// another one for nothing.
    pub(super) async fn render(self: &Arc<Self>, wanted: PageFormat) -> Rendered {
        let format = if exemplar::is_on() { wanted } else { PageFormat::Text };
        // The guard goes along to the blocking thread: a scrape that is given up does not let
        // the next one render beside it.
        let mut last = self.last.clone().lock_owned().await;
        if let Some((at, page)) = &*last
            && at.elapsed() < FRESH
            && page.format == format
        {
            return page.clone();
        }
        let page = self.clone();
        let rendering = tokio::task::spawn_blocking(move || {
            let page = Rendered { format, text: page.render_now(format) };
            *last = Some((Instant::now(), page.clone()));
            page
        });
        match rendering.await {
            Ok(page) => page,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // The runtime ends, and the listener with it: nobody reads this.
            Err(_) => Rendered { format, text: String::new() },
        }
    }

    fn render_now(&self, format: PageFormat) -> String {
        let start = Instant::now();
        self.process.collect();
        self.observe_runtime();
        let mut text = self.handle.render();
        if format == PageFormat::OpenMetrics {
            text = openmetrics::from_text(&text);
        }
        self.histograms.render(format, &mut text);
        if format == PageFormat::OpenMetrics {
            text.push_str(openmetrics::EOF);
        }
        METRICS_RENDER_DURATION.at(()).set(start.elapsed().as_secs_f64());
        text
    }

    fn observe_runtime(&self) {
        let metrics = self.runtime.metrics();
        let workers = metrics.num_workers();
        let busy: Duration =
            (0..workers).map(|worker| metrics.worker_total_busy_duration(worker)).sum();
        RUNTIME_WORKERS.at(()).set(workers as f64);
        RUNTIME_TASKS.at(()).set(metrics.num_alive_tasks() as f64);
        RUNTIME_QUEUE.at(()).set(metrics.global_queue_depth() as f64);
        RUNTIME_BUSY.at(()).absolute(busy.as_secs());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openmetrics_is_for_those_who_like_it_best() {
        let prometheus = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;\
                          version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        for accept in [
            prometheus,
            "application/openmetrics-text",
            "text/plain;q=0.5, application/openmetrics-text; version=1.0.0; q=0.6",
        ] {
            assert_eq!(PageFormat::preferred(accept), PageFormat::OpenMetrics, "{accept}");
        }
        for accept in [
            "",
            "*/*",
            "text/plain",
            "application/openmetrics-text;version=0.0.1",
            "application/openmetrics-text;q=0",
            "text/plain, application/openmetrics-text;q=0.5",
        ] {
            assert_eq!(PageFormat::preferred(accept), PageFormat::Text, "{accept}");
        }
    }
}
