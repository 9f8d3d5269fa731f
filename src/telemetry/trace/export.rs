//! Export over OTLP, as `http/protobuf`, to the collector the standard settings name.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use opentelemetry::trace::TracerProvider;
use opentelemetry::{Context, Key, KeyValue};
use opentelemetry_otlp::{Protocol, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider, Span, SpanData, SpanExporter,
    SpanProcessor,
};
use tokio::runtime::Handle;
use tracing::Subscriber;
use tracing_subscriber::filter::FilterFn;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, filter};

use super::Sampler;
use crate::config::OtelConfig;
use crate::model::{Build, Component};
use crate::telemetry::events::process::{SpanLeftOut, SpansLost};

/// Where spans go and which traces are sampled.
///
/// OpenTelemetry itself reads the rest of its standard settings from the environment: headers,
/// timeout, service name, resource attributes, the limits of its queue.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceOptions {
    pub(in crate::telemetry) endpoint: String,
    pub(in crate::telemetry) sampler: Sampler,
}

impl TraceOptions {
    /// What the settings say; `None` when tracing is off.
    pub fn of(otel: &OtelConfig) -> Option<Self> {
        Some(Self { endpoint: otel.endpoint.clone()?, sampler: Sampler::of(otel) })
    }
}

/// Spans that may wait for their batch where `OTEL_BSP_MAX_QUEUE_SIZE` says nothing: the number
/// OpenTelemetry itself begins with.
const QUEUE: usize = 2_048;

/// The exporting pipeline: a queue with a bound, drained by a thread of its own.
#[derive(Clone)]
pub(in crate::telemetry) struct Exporting(SdkTracerProvider);

impl Exporting {
    pub(in crate::telemetry) fn start(
        options: &TraceOptions,
        component: Component,
        instance: &str,
        runtime: Handle,
    ) -> Result<Self, opentelemetry_otlp::ExporterBuildError> {
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_endpoint(&options.endpoint)
            .with_protocol(Protocol::HttpBinary)
            .build()?;
        let (exporter, waiting) = (Arc::new(exporter), Arc::<AtomicUsize>::default());
        let limit = queue_limit(std::env::var("OTEL_BSP_MAX_QUEUE_SIZE").ok().as_deref());
        let exporter = OnRuntime { exporter, runtime, waiting: Arc::clone(&waiting) };
        let config = BatchConfigBuilder::default().with_max_queue_size(limit).build();
        let queue = BatchSpanProcessor::builder(exporter).with_batch_config(config).build();
        let provider = SdkTracerProvider::builder()
            .with_span_processor(Bounded { queue, waiting, limit })
            // A span exists only where the decision was yes.
            .with_sampler(opentelemetry_sdk::trace::Sampler::AlwaysOn)
            .with_id_generator(ids::Chosen)
            .with_resource(resource(component, instance))
            .build();
        Ok(Self(provider))
    }

    pub(in crate::telemetry) fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
    {
        let ours: FilterFn = filter::filter_fn(|metadata| {
            metadata.is_span() && metadata.target().starts_with("trunkline::telemetry::trace")
        });
        tracing_opentelemetry::layer()
            .with_tracer(self.0.tracer("trunkline"))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_filter(ours)
    }

    /// Sends what is queued. Blocks for at most `within`.
    pub(in crate::telemetry) fn shutdown(&self, within: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(within)
    }
}

fn resource(component: Component, instance: &str) -> Resource {
    let name = Key::from_static_str("service.name");
    let builder = Resource::builder().with_attributes([
        KeyValue::new("service.version", Build::VERSION),
        KeyValue::new("service.instance.id", instance.to_owned()),
    ]);
    let named = Resource::builder()
        .build()
        .get(&name)
        .is_some_and(|name| !name.as_str().starts_with("unknown_service"));
    match named {
        true => builder.build(),
        false => builder.with_service_name(format!("trunkline-{component}")).build(),
    }
}

/// OpenTelemetry reads the same variable and does not say what it read.
fn queue_limit(variable: Option<&str>) -> usize {
    variable.and_then(|text| text.trim().parse().ok()).unwrap_or(QUEUE)
}

/// Leaves out, and counts, what the queue behind it has no room for: that queue would leave it
/// out as well, and tell nobody before the process ends.
#[derive(Debug)]
struct Bounded<P> {
    queue: P,
    /// Spans that were queued and have not been taken for a batch.
    waiting: Arc<AtomicUsize>,
    limit: usize,
}

impl<P: SpanProcessor> SpanProcessor for Bounded<P> {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.queue.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        let room = |waiting: usize| (waiting < self.limit).then_some(waiting + 1);
        match self.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room) {
            Ok(_) => self.queue.on_end(span),
            Err(_) => SpanLeftOut.emit(),
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.queue.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.queue.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.queue.set_resource(resource);
    }
}

/// Exports on the runtime: OpenTelemetry calls from a thread of its own, and the HTTP client
/// needs timers and sockets.
#[derive(Debug)]
struct OnRuntime<E> {
    exporter: Arc<E>,
    runtime: Handle,
    waiting: Arc<AtomicUsize>,
}

impl<E: SpanExporter + 'static> SpanExporter for OnRuntime<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let (count, exporter) = (batch.len(), self.exporter.clone());
        self.waiting.fetch_sub(count, Ordering::Relaxed);
        let result = self
            .runtime
            .spawn(async move { exporter.export(batch).await })
            .await
            .unwrap_or_else(|error| Err(OTelSdkError::InternalFailure(error.to_string())));
        if let Err(error) = &result {
            SpansLost { count, detail: &error.to_string() }.emit();
        }
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        // Called once, before the first export: nobody else holds the exporter yet.
        if let Some(exporter) = Arc::get_mut(&mut self.exporter) {
            exporter.set_resource(resource);
        }
    }
}

/// Lets a span carry ids that were chosen before it existed.
pub(in crate::telemetry) mod ids {
    use std::cell::Cell;

    use opentelemetry::trace::{SpanId, TraceId};
    use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator};

    use crate::telemetry::trace::TraceContext;

    thread_local! {
        static CHOSEN: Cell<Option<TraceContext>> = const { Cell::new(None) };
    }

    /// Runs `start`, which starts a span on this thread, under the ids of `context`.
    pub(in crate::telemetry) fn choose<T>(context: TraceContext, start: impl FnOnce() -> T) -> T {
        CHOSEN.set(Some(context));
        let started = start();
        CHOSEN.set(None);
        started
    }

    #[derive(Debug)]
    pub(in crate::telemetry) struct Chosen;

    impl IdGenerator for Chosen {
        fn new_trace_id(&self) -> TraceId {
            let chosen = CHOSEN.get().map(|context| context.trace_id.into());
            chosen.unwrap_or_else(|| RandomIdGenerator::default().new_trace_id())
        }

        fn new_span_id(&self) -> SpanId {
            let chosen = CHOSEN.get().map(|context| context.span_id.into());
            chosen.unwrap_or_else(|| RandomIdGenerator::default().new_span_id())
        }
    }
}
