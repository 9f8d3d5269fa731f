//! Traces as a collector receives them, from a process of its own (this binary again), since
//! the subscriber of log lines is global.
#![cfg(feature = "bridge")]
#![allow(clippy::unwrap_used, reason = "a helper of a test fails the test")]

mod support;

use std::net::TcpListener;
use std::process::Command;
use std::time::{Duration, Instant};

use support::collector::Collector;
use trunkline::config::LogFormat;
use trunkline::config::{self, Parsed, Surroundings};
use trunkline::model::{Component, Endpoint};
use trunkline::telemetry::events::job::LeaseLost;
use trunkline::telemetry::trace::{self, TraceOptions};
use trunkline::telemetry::{Telemetry, TelemetryOptions};

const ARRIVING: &str = "TRUNKLINE_TEST_TRACEPARENT";
/// Seconds the child waits at its end for the last spans to leave; ten without it, which a collector
/// that stands still for a moment does not use up.
const PATIENCE: &str = "TRUNKLINE_TEST_PATIENCE";
const SAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const UNSAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
const TRACE_ID: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

/// The settings of tracing in this process' environment.
fn settings() -> Option<TraceOptions> {
    let around = Surroundings {
        variable: &|name| std::env::var(name).ok().filter(|_| name.starts_with("OTEL_")),
        names: &Vec::new,
        file: &|_| Err(std::io::ErrorKind::NotFound.into()),
    };
    match config::server([], &around) {
        Parsed::Run { run, .. } => TraceOptions::of(&run.common.otel),
        other => panic!("{other:?}"),
    }
}

/// Not a test: what the tests run in a child.
#[tokio::test]
#[ignore = "run by the other tests"]
async fn make_a_trace() {
    let telemetry = Telemetry::start(&TelemetryOptions {
        component: Component::Server,
        instance: "test".into(),
        queue: "jobs".into(),
        log_format: LogFormat::Json,
        log_filter: None,
        tracing: settings(),
        exemplars: false,
        exporting: tokio::runtime::Handle::current(),
    })
    .unwrap();
    let arriving = std::env::var(ARRIVING).ok();
    {
        let request = trace::server_span(trace::decide(arriving.as_deref()), Endpoint::PostEvents);
        let sent = trace::producer_span(request.context(), 1);
        request.answered(202);
        let job = trace::process_span(trace::decide(sent.traceparent().as_deref()), 1);
        job.in_scope(|| LeaseLost { job: "1-0" }.emit());
        let published = trace::publish_span(job.context());
        published.failed("timeout");
        let heard = trace::deliver_span(trace::decide(published.traceparent().as_deref()));
        heard.delivered(3);
        println!("traceparent={}", heard.traceparent().unwrap_or_default());
    }
    let patience = std::env::var(PATIENCE).map_or(10, |seconds| seconds.parse().unwrap());
    telemetry.shutdown(Duration::from_secs(patience)).await;
}

/// Runs the child against an endpoint; its standard output.
fn child(endpoint: &str, settings: &[(&str, &str)]) -> String {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--ignored", "--nocapture", "make_a_trace"])
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        .env("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=lab")
        .envs(settings.iter().copied())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// The `traceparent` the child ended with, in its parts.
fn last(said: &str) -> Vec<&str> {
    let line = said.lines().find_map(|line| line.split("traceparent=").nth(1)).unwrap();
    line.split('-').collect()
}

#[test]
fn one_trace_reaches_from_the_caller_to_the_fan_out() {
    let collector = Collector::start();
    let said = child(collector.endpoint(), &[(ARRIVING, SAMPLED)]);
    let exports = collector.exports();
    let [export] = exports.as_slice() else { panic!("{exports:#?}") };

    let head = &export.head;
    assert!(head.starts_with("post /v1/traces "), "{head}");
    assert!(head.contains("x-tenant: lab") && head.contains("application/x-protobuf"), "{head}");
    assert_eq!(export.spans.len(), 5, "{export:#?}");
    assert!(export.spans.iter().all(|span| span.trace == TRACE_ID));
    assert!(export.spans.iter().all(|span| span.service() == "trunkline-server"));
    let span = |name: &str| export.spans.iter().find(|span| span.name == name).expect(name);
    let (request, sent) = (span("POST /v1/events"), span("send jobs"));
    let (job, published) = (span("process jobs"), span("publish notify:{channel}"));
    let heard = span("deliver notify:{channel}");
    let parents = [request, sent, job, published, heard].map(|span| &*span.parent);
    assert_eq!(parents, [CALLER, &request.id, &sent.id, &job.id, &published.id]);
    assert_eq!((&job.links, &heard.links), (&vec![sent.id.clone()], &vec![published.id.clone()]));
    assert_eq!(request.attribute("http.response.status_code"), "202");
    assert_eq!((published.attribute("error.type"), published.failed), ("timeout", true));
    assert_eq!(heard.attribute("trunkline.delivery.count"), "3");
    assert_eq!(last(&said)[2], heard.id, "what travels on is the span's own id");
    assert!(said.contains(&format!(r#""trace_id":"{TRACE_ID}""#)), "{said}");
}

#[test]
fn a_new_trace_begins_without_a_parent() {
    let collector = Collector::start();
    let said = child(collector.endpoint(), &[("OTEL_TRACES_SAMPLER", "always_on")]);
    let spans = collector.spans();
    assert_eq!(spans.len(), 5, "{spans:#?}");
    assert!(spans.iter().all(|span| span.trace == last(&said)[1]), "{spans:#?}");
    let roots = spans.iter().filter(|span| span.parent.is_empty());
    assert_eq!(roots.map(|span| &*span.name).collect::<Vec<_>>(), ["POST /v1/events"]);
}

#[test]
fn what_the_caller_does_not_sample_makes_no_span_and_travels_on_unsampled() {
    let collector = Collector::start();
    let said = child(collector.endpoint(), &[(ARRIVING, UNSAMPLED)]);
    assert!(collector.exports().is_empty(), "a span was exported");
    assert!(said.contains(&format!("traceparent={UNSAMPLED}")), "{said}");
    assert!(said.contains("lease lost") && !said.contains("trace_id"), "{said}");
}

#[test]
fn a_collector_that_never_answers_does_not_hold_up_the_end() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let start = Instant::now();
    child(&endpoint, &[(ARRIVING, SAMPLED), (PATIENCE, "2")]);
    assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
}

#[test]
fn a_collector_that_is_away_is_told_once() {
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let each_alone = ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "1");
    let said = child(&format!("http://{gone}"), &[(ARRIVING, SAMPLED), each_alone]);
    assert_eq!(said.matches("spans did not reach").count(), 1, "{said}");
    assert!(!said.contains("BatchSpanProcessor"), "{said}");
}
