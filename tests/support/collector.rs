//! A collector of traces in this process: it takes spans over OTLP/HTTP and keeps them.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::{self as otlp, span::SpanKind, status::StatusCode};
use prost::Message;

use super::eventually::eventually;

/// A running collector that says yes to everything.
pub struct Collector {
    endpoint: String,
    received: Arc<Mutex<Vec<Export>>>,
}

/// One request of an exporter.
#[derive(Clone, Debug)]
pub struct Export {
    /// Its head, in lower case.
    pub head: String,
    /// Its spans.
    pub spans: Vec<Span>,
}

/// A span. Ids are in lower-case hexadecimal, as in a `traceparent`.
#[derive(Clone, Debug)]
pub struct Span {
    /// Its name.
    pub name: String,
    /// Its kind, such as `SPAN_KIND_SERVER`.
    pub kind: &'static str,
    /// The trace it belongs to.
    pub trace: String,
    /// Its own id.
    pub id: String,
    /// The id of its parent; empty if it has none.
    pub parent: String,
    /// The ids of the spans it links to.
    pub links: Vec<String>,
    /// Its attributes, as text.
    pub attributes: BTreeMap<String, String>,
    /// Whether it failed.
    pub failed: bool,
    /// The attributes of the process it comes from, as text.
    pub resource: BTreeMap<String, String>,
}

impl Collector {
    /// One on a free port, for as long as this process lives.
    pub fn start() -> Collector {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let received = Arc::<Mutex<Vec<Export>>>::default();
        let kept = Arc::clone(&received);
        let accept = move || {
            for stream in listener.incoming().map_while(Result::ok) {
                // What is received is kept before the exporter hears that it was.
                if let Some(export) = read(&stream) {
                    kept.lock().unwrap().push(export);
                    let answer =
                        "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                    // An exporter that is gone needs no answer.
                    let _ = (&stream).write_all(answer.as_bytes());
                }
            }
        };
        std::thread::Builder::new().name("collector".into()).spawn(accept).expect("a thread");
        Collector { endpoint, received }
    }

    /// What `OTEL_EXPORTER_OTLP_ENDPOINT` takes.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Everything received so far.
    pub fn exports(&self) -> Vec<Export> {
        self.received.lock().unwrap().clone()
    }

    /// All spans received so far.
    pub fn spans(&self) -> Vec<Span> {
        self.exports().into_iter().flat_map(|export| export.spans).collect()
    }

    /// Waits for a span of this name among those that satisfy the condition.
    pub async fn span(&self, name: &str, condition: impl Fn(&Span) -> bool) -> Span {
        eventually(&format!("a span {name:?}"), async || {
            let mut spans = self.spans().into_iter();
            let wanted = |span: &Span| span.name == name && condition(span);
            spans.find(wanted).ok_or_else(|| format!("{:#?}", self.spans()))
        })
        .await
    }
}

fn read(stream: &TcpStream) -> Option<Export> {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        // A connection that was only tried ends before its first line.
        reader.read_line(&mut head).ok().filter(|bytes| *bytes > 0)?;
    }
    let head = head.to_lowercase();
    let length = head.split("content-length: ").nth(1)?.lines().next()?;
    let mut body = vec![0; length.parse().ok()?];
    reader.read_exact(&mut body).ok()?;
    let request = ExportTraceServiceRequest::decode(body.as_slice()).expect("spans");
    let mut spans = Vec::new();
    for process in request.resource_spans {
        let resource = texts(process.resource.map(|it| it.attributes).unwrap_or_default());
        for span in process.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            spans.push(Span::new(span, resource.clone()));
        }
    }
    Some(Export { head, spans })
}

impl Span {
    fn new(span: otlp::Span, resource: BTreeMap<String, String>) -> Span {
        let failed = span.status.as_ref().is_some_and(|it| it.code() == StatusCode::Error);
        Span {
            kind: SpanKind::as_str_name(&span.kind()),
            trace: hex(&span.trace_id),
            id: hex(&span.span_id),
            parent: hex(&span.parent_span_id),
            links: span.links.iter().map(|link| hex(&link.span_id)).collect(),
            name: span.name,
            attributes: texts(span.attributes),
            failed,
            resource,
        }
    }

    /// An attribute, or the empty string.
    pub fn attribute(&self, name: &str) -> &str {
        self.attributes.get(name).map_or("", String::as_str)
    }

    /// The name of the process' kind.
    pub fn service(&self) -> &str {
        self.resource.get("service.name").map_or("", String::as_str)
    }
}

fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn texts(attributes: Vec<KeyValue>) -> BTreeMap<String, String> {
    let text = |attribute: KeyValue| {
        let value = match attribute.value.and_then(|value| value.value) {
            Some(any_value::Value::StringValue(text)) => text,
            Some(any_value::Value::IntValue(number)) => number.to_string(),
            other => format!("{other:?}"),
        };
        (attribute.key, value)
    };
    attributes.into_iter().map(text).collect()
}
