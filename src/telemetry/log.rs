//! Log lines: text for people, JSON for machines.
//!
//! Text goes to standard error. JSON goes to standard output, where a container's collector
//! reads it. Both leave by [`lines`](super::lines), so that a reader that stalls holds up nobody;
//! the operator's tool keeps standard output for its results and logs nothing there.
//! A JSON line is flat: `timestamp`, `level`, `message`, `target`, then the event's fields, and
//! `trace_id` and `span_id` where a sampled span is current. A line of text ends in both.

use std::fmt;
use std::io::IsTerminal;

use chrono::{SecondsFormat, Utc};
use opentelemetry::trace::TraceContextExt;
use serde::ser::{SerializeMap, Serializer};
use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{EnvFilter, FilterExt, ParseError, filter_fn};
use tracing_subscriber::fmt::format::{Format, Full, Writer};
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, layer as fmt_layer};
use tracing_subscriber::registry::LookupSpan;

use super::lines::Lines;
use crate::config::LogFormat;
use crate::model::Component;

/// How log lines are written where nobody said: as text on a terminal, else as JSON.
pub fn detect_format() -> LogFormat {
    if std::io::stderr().is_terminal() { LogFormat::Text } else { LogFormat::Json }
}

/// OpenTelemetry repeats itself with every batch that fails; its losses are told by an event.
/// tungstenite logs, when asked for everything, what clients send. Who wants to hear one of them
/// all the same names it in the filter, where the last word on a target counts.
const HUSHED: &str = "opentelemetry=off,tungstenite=off";

/// Starts the thread that writes lines of this format.
pub(super) fn lines(component: Component, format: LogFormat) -> std::io::Result<Lines> {
    match format {
        LogFormat::Json if component != Component::Tool => Lines::to(std::io::stdout()),
        LogFormat::Json | LogFormat::Text => Lines::to(std::io::stderr()),
    }
}

pub(super) fn layer<S>(
    format: LogFormat,
    filter: Option<&str>,
    out: Lines,
) -> Result<Box<dyn Layer<S> + Send + Sync>, ParseError>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    let filter = format!("{HUSHED},{}", filter.unwrap_or("info"));
    let filter = EnvFilter::builder().parse(filter)?;
    // Spans are for the collector of traces; here they would only be formatted for nobody.
    let filter = filter.and(filter_fn(|metadata| metadata.is_event()));
    let layer = fmt_layer().with_writer(move || out.clone());
    Ok(match format {
        LogFormat::Text => {
            let ansi = std::io::stderr().is_terminal();
            layer.with_ansi(ansi).event_format(Text::new(ansi)).with_filter(filter).boxed()
        }
        LogFormat::Json => layer.event_format(Json).with_filter(filter).boxed(),
    })
}

fn timestamp() -> String {
    Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true)
}

struct Milliseconds;

impl FormatTime for Milliseconds {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        writer.write_str(&timestamp())
    }
}

/// The ids of the sampled span that is current.
fn current() -> Option<(String, String)> {
    let context = opentelemetry::Context::current();
    let span = context.span();
    let span = span.span_context();
    span.is_sampled().then(|| (span.trace_id().to_string(), span.span_id().to_string()))
}

/// The crate's own format, and at its end where in which trace.
struct Text(Format<Full, Milliseconds>);

impl Text {
    fn new(ansi: bool) -> Self {
        Self(Format::default().with_timer(Milliseconds).with_target(false).with_ansi(ansi))
    }
}

impl<S, N> FormatEvent<S, N> for Text
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let Some((trace, span)) = current() else {
            return self.0.format_event(context, writer, event);
        };
        let mut line = String::new();
        self.0.format_event(context, Writer::new(&mut line), event)?;
        writeln!(writer, "{} trace_id={trace} span_id={span}", line.trim_end_matches('\n'))
    }
}

struct Json;

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let line = object(event.metadata(), fields).map_err(|_| fmt::Error)?;
        writer.write_str(&line)?;
        writer.write_char('\n')
    }
}

fn object(metadata: &tracing::Metadata<'_>, fields: Fields) -> serde_json::Result<String> {
    let mut line = Vec::with_capacity(256);
    let mut serializer = serde_json::Serializer::new(&mut line);
    let mut map = serializer.serialize_map(None)?;
    map.serialize_entry("timestamp", &timestamp())?;
    map.serialize_entry("level", metadata.level().as_str())?;
    map.serialize_entry("message", &fields.message)?;
    map.serialize_entry("target", fields.log_target.as_deref().unwrap_or(metadata.target()))?;
    for (name, value) in fields.rest {
        map.serialize_entry(name, &value)?;
    }
    if let Some((trace, span)) = current() {
        map.serialize_entry("trace_id", &trace)?;
        map.serialize_entry("span_id", &span)?;
    } else if let Some(trace) = fields.trace {
        map.serialize_entry("trace_id", &trace)?;
    }
    SerializeMap::end(map)?;
    // A serializer of JSON writes UTF-8.
    Ok(String::from_utf8_lossy(&line).into_owned())
}

/// The fields of one event, in their order.
#[derive(Default)]
struct Fields {
    message: String,
    /// The target of a line that came through the `log` crate.
    log_target: Option<String>,
    /// The trace of something whose span has ended.
    trace: Option<Value>,
    rest: Vec<(&'static str, Value)>,
}

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        let text = |value: Value| match value {
            Value::String(text) => text,
            other => other.to_string(),
        };
        match field.name() {
            "message" => self.message = text(value),
            "log.target" => self.log_target = Some(text(value)),
            "log.module_path" | "log.file" | "log.line" => {}
            "trace_id" => self.trace = Some(value),
            // A key stands once in a line, and these have a meaning already.
            "timestamp" | "level" | "target" | "span_id" => {}
            name => self.rest.push((name, value)),
        }
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.into());
    }
    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.put(field, value.to_string().into());
    }
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}").into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};
    use std::io::Write;
    use std::sync::{Arc, Mutex};
    use tracing_subscriber::fmt::format::DefaultFields;
    use tracing_subscriber::layer::SubscriberExt;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn line(log: impl FnOnce()) -> String {
        written(Json, log)
    }

    fn written<F>(format: F, log: impl FnOnce()) -> String
    where
        F: FormatEvent<tracing_subscriber::Registry, DefaultFields> + Send + Sync + 'static,
    {
        let written = Written::default();
        let writer = written.clone();
        let layer = fmt_layer().event_format(format).with_writer(move || writer.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), log);
        let bytes = written.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_json_line_is_flat_and_in_order() {
        let line = line(|| {
            let detail = "said \"no\"\nand left";
            tracing::warn!(
                role = "shared",
                attempts = 3_u64,
                seconds = 0.25,
                ok = false,
                detail,
                reason = Option::<&str>::None,
                "redis connection lost"
            );
        });
        let (head, tail) = line.split_at(r#"{"timestamp":"2026-01-01T00:00:00.000Z"#.len());
        assert!(head.starts_with(r#"{"timestamp":"20"#) && head.ends_with('Z'), "{line}");
        let expected = r#"","level":"WARN","message":"redis connection lost","target":"trunkline::telemetry::log::tests","role":"shared","attempts":3,"seconds":0.25,"ok":false,"detail":"said \"no\"\nand left"}"#;
        assert_eq!(tail, format!("{expected}\n"));
    }

    #[test]
    fn a_line_of_either_format_bears_the_trace_of_the_sampled_span_it_is_in() {
        let [trace, span] = ["4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"];
        let within = |flags| {
            let context = SpanContext::new(
                TraceId::from_hex(trace).unwrap(),
                SpanId::from_hex(span).unwrap(),
                flags,
                true,
                TraceState::default(),
            );
            let context = opentelemetry::Context::new().with_remote_span_context(context);
            let _guard = context.attach();
            let text = written(Text::new(false), || tracing::info!(height = 7, "shot"));
            [text, line(|| tracing::info!(height = 7, "shot"))]
        };
        let [text, json] = within(TraceFlags::SAMPLED);
        let end = format!("  INFO shot height=7 trace_id={trace} span_id={span}\n");
        assert!(text.ends_with(&end), "{text}");
        assert!(json.contains(&format!("\"trace_id\":\"{trace}\"")), "{json}");
        let [text, json] = within(TraceFlags::default());
        assert!(text.ends_with("  INFO shot height=7\n"), "{text}");
        assert!(!json.contains("trace_id"), "{json}");
        // Told by the event itself, once its span has ended.
        let ended = line(|| tracing::info!(trace_id = trace, "shot"));
        assert!(ended.contains(&format!("\"trace_id\":\"{trace}\"")), "{ended}");
    }

    #[test]
    fn a_key_stands_once_in_a_line() {
        let line = line(|| tracing::info!(level = "high", target = "moon", height = 7, "shot"));
        let value: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["level"], "INFO");
        assert_eq!(value["height"], 7);
        assert_eq!(line.matches("\"level\"").count(), 1, "{line}");
        assert_eq!(line.matches("\"target\"").count(), 1, "{line}");
    }
}
