//! Traces as a collector receives them, from a process of its own (this binary again), since
//! the subscriber of log lines is global.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails the test")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use trunkline::model::{Component, Endpoint};
use trunkline::telemetry::events::job::LeaseLost;
use trunkline::telemetry::trace::{self, TraceOptions};
use trunkline::telemetry::{LogFormat, Telemetry, TelemetryOptions};

const ARRIVING: &str = "TRUNKLINE_TEST_TRACEPARENT";
const SAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const UNSAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
const TRACE_ID: [u8; 16] = 0x0af7651916cd43dd8448eb211c80319c_u128.to_be_bytes();
const CALLER: [u8; 8] = 0xb7ad6b7169203331_u64.to_be_bytes();

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
        tracing: TraceOptions::from_env(|name| std::env::var(name).ok()).unwrap(),
    })
    .unwrap();
    let arriving = std::env::var(ARRIVING).ok();
    {
        let request = trace::server_span(trace::decide(arriving.as_deref()), Endpoint::PostEvents);
        let sent = trace::producer_span(request.context(), 1);
        request.answered(202);
        let job = trace::process_span(trace::decide(sent.traceparent().as_deref()), 1);
        job.span.in_scope(|| LeaseLost { job: "1-0" }.emit());
        let published = trace::publish_span(job.context());
        published.failed("timeout");
        let heard = trace::deliver_span(trace::decide(published.traceparent().as_deref()));
        heard.delivered(3);
        println!("traceparent={}", heard.traceparent().unwrap_or_default());
    }
    telemetry.shutdown(Duration::from_secs(2)).await;
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

/// A request for each batch of spans: its head and its body.
type Request = (String, Vec<u8>);

/// A collector that says yes to everything.
fn collector() -> (String, mpsc::Receiver<Request>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let (sender, requests) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let request = receive(stream.unwrap());
            if sender.send(request).is_err() {
                return;
            }
        }
    });
    (endpoint, requests)
}

fn receive(stream: TcpStream) -> Request {
    let mut reader = BufReader::new(&stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(reader.read_line(&mut head).unwrap(), 0, "{head}");
    }
    let head = head.to_lowercase();
    let length = head.split("content-length: ").nth(1).unwrap().lines().next().unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    reader.read_exact(&mut body).unwrap();
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    (&stream).write_all(answer.as_bytes()).unwrap();
    (head, body)
}

fn count(haystack: &[u8], needle: &[u8]) -> usize {
    haystack.windows(needle.len()).filter(|window| window == &needle).count()
}

#[test]
fn one_trace_reaches_from_the_caller_to_the_fan_out() {
    let (endpoint, requests) = collector();
    let said = child(&endpoint, &[(ARRIVING, SAMPLED)]);
    let (head, body) = requests.recv_timeout(Duration::from_secs(5)).unwrap();

    assert!(head.starts_with("post /v1/traces "), "{head}");
    assert!(head.contains("x-tenant: lab") && head.contains("application/x-protobuf"), "{head}");
    for name in [
        "POST /v1/events",
        "send jobs",
        "process jobs",
        "publish notify:{channel}",
        "deliver notify:{channel}",
        "trunkline-server",
        "http.response.status_code",
        "trunkline.delivery.count",
        "error.type",
    ] {
        assert!(count(&body, name.as_bytes()) > 0, "{name} is not among the spans");
    }
    assert_eq!(count(&body, &TRACE_ID), 5 + 2, "five spans, two of them with a link");
    assert_eq!(count(&body, &CALLER), 1, "the caller is the parent of the first span only");
    let last = said.lines().find_map(|line| line.split("traceparent=").nth(1)).unwrap();
    let last = u64::from_str_radix(last.split('-').nth(2).unwrap(), 16).unwrap();
    assert_eq!(count(&body, &last.to_be_bytes()), 1, "what travels on is the span's own id");
    assert!(said.contains(r#""trace_id":"0af7651916cd43dd8448eb211c80319c""#), "{said}");
}

#[test]
fn a_new_trace_begins_without_a_parent() {
    let (endpoint, requests) = collector();
    let said = child(&endpoint, &[("OTEL_TRACES_SAMPLER", "always_on")]);
    let (_, body) = requests.recv_timeout(Duration::from_secs(5)).unwrap();
    let last = said.lines().find_map(|line| line.split("traceparent=").nth(1)).unwrap();
    let trace_id = u128::from_str_radix(last.split('-').nth(1).unwrap(), 16).unwrap();
    assert_eq!(count(&body, &trace_id.to_be_bytes()), 5 + 2);
}

#[test]
fn what_the_caller_does_not_sample_makes_no_span_and_travels_on_unsampled() {
    let (endpoint, requests) = collector();
    let said = child(&endpoint, &[(ARRIVING, UNSAMPLED)]);
    assert!(requests.try_recv().is_err(), "a span was exported");
    assert!(said.contains(&format!("traceparent={UNSAMPLED}")), "{said}");
    assert!(said.contains("lease lost") && !said.contains("trace_id"), "{said}");
}

#[test]
fn a_collector_that_never_answers_does_not_hold_up_the_end() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let start = Instant::now();
    child(&endpoint, &[(ARRIVING, SAMPLED)]);
    assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
}

#[test]
fn a_collector_that_is_away_is_told_once() {
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let said = child(&format!("http://{gone}"), &[(ARRIVING, SAMPLED)]);
    assert_eq!(said.matches("spans did not reach").count(), 1, "{said}");
    assert!(!said.contains("BatchSpanProcessor"), "{said}");
}
