//! The page of metrics.

use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics_exporter_prometheus::PrometheusHandle;
use tokio::runtime::Handle;
use tokio::sync::Mutex;

use super::catalogue::*;
use super::histogram::Histograms;

/// What `/metrics` answers as its content type. The exporter would say a bare `text/plain`,
/// which Prometheus 3 refuses.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

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
    last: Arc<Mutex<Option<(Instant, String)>>>,
}

impl Page {
    pub(super) fn new(handle: PrometheusHandle, histograms: Histograms, runtime: Handle) -> Self {
        let process = metrics_process::Collector::default();
        process.describe();
        Self { handle, histograms, process, runtime, last: Arc::default() }
    }

    pub(super) async fn render(self: &Arc<Self>) -> String {
        // The guard goes along to the blocking thread: a scrape that is given up does not let
        // the next one render beside it.
        let mut last = self.last.clone().lock_owned().await;
        if let Some((at, page)) = &*last
            && at.elapsed() < FRESH
        {
            return page.clone();
        }
        let page = self.clone();
        let rendering = tokio::task::spawn_blocking(move || {
            let text = page.render_now();
            *last = Some((Instant::now(), text.clone()));
            text
        });
        match rendering.await {
            Ok(text) => text,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // The runtime ends, and the listener with it: nobody reads this.
            Err(_) => String::new(),
        }
    }

    fn render_now(&self) -> String {
        let start = Instant::now();
        self.process.collect();
        self.observe_runtime();
        let mut text = self.handle.render();
        self.histograms.render(&mut text);
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
