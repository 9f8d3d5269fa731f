//! Export over OTLP, as `http/protobuf`, to the collector the standard settings name.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::trace::TracerProvider;
use opentelemetry::{Key, KeyValue};
use opentelemetry_otlp::WithExportConfig;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};
use tokio::runtime::Handle;
use tracing::Subscriber;
use tracing_subscriber::filter::FilterFn;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, filter};

use super::Sampler;
use crate::model::{Build, Component};
use crate::telemetry::events::process::SpansLost;

/// Where spans go and which traces are sampled.
///
/// OpenTelemetry itself reads the rest of its standard settings from the environment: headers,
/// timeout, service name, resource attributes, the limits of its queue.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceOptions {
    /// The collector's address for traces, path included.
    pub endpoint: String,
    /// Which traces are sampled.
    pub sampler: Sampler,
}

impl TraceOptions {
    /// Reads the standard settings through `get`. `Ok(None)` without an endpoint, or when
    /// tracing is switched off; otherwise all faults at once, each with its setting's name.
    pub fn from_env(
        get: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, Vec<(&'static str, String)>> {
        let get = |name| get(name).filter(|value| !value.is_empty());
        let either = |first: &'static str, second: &'static str| {
            get(first).map(|value| (first, value)).or_else(|| Some((second, get(second)?)))
        };
        let endpoint = either("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT");
        let exporter = get("OTEL_TRACES_EXPORTER");
        let off = get("OTEL_SDK_DISABLED").is_some_and(|it| it.eq_ignore_ascii_case("true"))
            || exporter.as_deref() == Some("none");
        let Some((setting, endpoint)) = endpoint.filter(|_| !off) else { return Ok(None) };

        let mut faults = Vec::new();
        if exporter.is_some_and(|exporter| exporter != "otlp") {
            faults.push(("OTEL_TRACES_EXPORTER", "must be otlp or none".to_owned()));
        }
        if let Some((setting, protocol)) =
            either("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
            && protocol != "http/protobuf"
        {
            faults.push((setting, "must be http/protobuf".to_owned()));
        }
        match url::Url::parse(&endpoint) {
            Ok(url) if url.scheme() == "http" && url.has_host() => {}
            // No TLS towards the collector: it runs beside the process as a rule, and a second
            // set of TLS settings is a second place to get them wrong.
            Ok(_) | Err(_) => faults.push((
                setting,
                "must be an http:// address, such as http://127.0.0.1:4318; \
                 put a collector beside the process to go further by https"
                    .to_owned(),
            )),
        }
        let argument = get("OTEL_TRACES_SAMPLER_ARG");
        let sampler = Sampler::parse(get("OTEL_TRACES_SAMPLER").as_deref(), argument.as_deref())
            .map_err(|fault| faults.push(fault));
        match sampler {
            Ok(sampler) if faults.is_empty() => {
                // The general endpoint is a base address, the one for traces is taken as it is.
                let endpoint = match setting {
                    "OTEL_EXPORTER_OTLP_ENDPOINT" => {
                        format!("{}/v1/traces", endpoint.trim_end_matches('/'))
                    }
                    _ => endpoint,
                };
                Ok(Some(Self { endpoint, sampler }))
            }
            Ok(_) | Err(()) => Err(faults),
        }
    }
}

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
            .build()?;
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(OnRuntime { exporter: Arc::new(exporter), runtime })
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

/// Exports on the runtime: OpenTelemetry calls from a thread of its own, and the HTTP client
/// needs timers and sockets.
#[derive(Debug)]
struct OnRuntime<E> {
    exporter: Arc<E>,
    runtime: Handle,
}

impl<E: SpanExporter + 'static> SpanExporter for OnRuntime<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let (count, exporter) = (batch.len(), self.exporter.clone());
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

#[cfg(test)]
mod tests {
    use super::*;

    fn read(settings: &[(&str, &str)]) -> Result<Option<TraceOptions>, Vec<&'static str>> {
        let get = |name: &str| {
            settings.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        };
        TraceOptions::from_env(get).map_err(|faults| faults.into_iter().map(|it| it.0).collect())
    }

    #[test]
    fn tracing_is_off_without_an_endpoint_or_when_switched_off() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318");
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&[("OTEL_TRACES_SAMPLER", "nonsense")]), Ok(None));
        assert_eq!(read(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "")]), Ok(None));
        assert_eq!(read(&[endpoint, ("OTEL_SDK_DISABLED", "true")]), Ok(None));
        assert_eq!(read(&[endpoint, ("OTEL_TRACES_EXPORTER", "none")]), Ok(None));
    }

    #[test]
    fn the_general_endpoint_is_a_base_and_the_one_for_traces_is_not() {
        let options = |settings: &[(&str, &str)]| read(settings).unwrap().unwrap();
        let general = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/");
        let traces = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://collector:4318/spans");
        assert_eq!(options(&[general]).endpoint, "http://collector:4318/v1/traces");
        assert_eq!(options(&[general, traces]).endpoint, "http://collector:4318/spans");
        assert_eq!(options(&[general]).sampler, Sampler::DEFAULT);
    }

    #[test]
    fn all_faults_are_told_at_once() {
        let faults = read(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector:4318"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_TRACES_EXPORTER", "zipkin"),
            ("OTEL_TRACES_SAMPLER", "sometimes"),
        ]);
        let expected = [
            "OTEL_TRACES_EXPORTER",
            "OTEL_EXPORTER_OTLP_PROTOCOL",
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "OTEL_TRACES_SAMPLER",
        ];
        assert_eq!(faults, Err(expected.to_vec()));
    }
}
