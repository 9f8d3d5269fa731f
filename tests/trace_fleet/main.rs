//! Traces of a whole fleet, as a collector receives them: a server, a worker and a Redis, each a
//! process of its own.
#![cfg(feature = "bridge")]
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

#[path = "../support/mod.rs"]
mod support;

mod exemplars;

use std::net::TcpListener;
use std::time::Instant;

use futures_util::StreamExt;
use futures_util::future::join_all;
use hyper::Method;
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_websockets::ClientBuilder;

use support::DEADLINE;
use support::collector::{Collector, Span};
use support::http::{Http, Response, Sse};
use support::port;
use support::process::{Daemon, Launch, field};
use support::redis::Redis;

const CALLER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const UNSAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
const OWN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

const SEND: &str = "send rule-engine-events";
const PROCESS: &str = "process rule-engine-events";
const PUBLISH: &str = "publish notify:{channel}";
const DELIVER: &str = "deliver notify:{channel}";
/// An event's way from the caller to the clients.
const PATH: [&str; 5] = ["POST /v1/events", SEND, PROCESS, PUBLISH, DELIVER];

/// A word of the payload and the channel, which no span may contain.
const SECRET: &str = "swordfish";

struct Fleet {
    redis: Redis,
    server: Daemon,
    worker: Daemon,
    public: Http,
}

impl Fleet {
    /// A fleet with a chain that tells every event to the channel `swordfish`.
    async fn start(settings: &[(&str, &str)]) -> Self {
        let redis = Redis::start();
        let [server, worker] = [Daemon::server(&redis.url()), Daemon::worker(&redis.url())]
            // The exporter waits five seconds for more spans otherwise.
            .map(|launch| launch.env("OTEL_BSP_SCHEDULE_DELAY", "50").env("RUST_LOG", "debug"))
            .map(Launch::patient)
            .map(|launch| settings.iter().fold(launch, |it, (name, value)| it.env(name, value)))
            .map(|launch| launch.start());
        server.wait_ready().await;
        worker.wait_ready().await;
        let public = server.public().await;
        let chain = json!({ "on": { "type": "*" }, "nodes": [
            { "id": "tell", "kind": "action", "notify": { "channel": "'swordfish'", "type": "alert" } },
        ]});
        let fleet = Self { redis, server, worker, public };
        let answer = fleet.public.put("/v1/rule-chains/tell", &chain).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        fleet
    }

    async fn traced(collector: &Collector, settings: &[(&str, &str)]) -> Self {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint());
        Self::start(&[&[endpoint], settings].concat()).await
    }

    async fn client(&self) -> Sse {
        Sse::open(&self.public, "/v1/stream?channel=swordfish").await
    }

    async fn post(&self, path: &str, traceparent: Option<&str>, body: Value) -> Response {
        let mut headers = vec![("content-type", "application/json")];
        headers.extend(traceparent.map(|traceparent| ("traceparent", traceparent)));
        self.public.send(Method::POST, path, &headers, body.to_string()).await
    }

    async fn event(&self, traceparent: Option<&str>, event: Value) {
        let answer = self.post("/v1/events", traceparent, event).await;
        assert_eq!(answer.status, 202, "{}", answer.text());
    }

    async fn notify(&self, traceparent: Option<&str>) -> Response {
        let body = json!({ "channel": SECRET, "data": SECRET });
        self.post("/v1/notifications", traceparent, body).await
    }

    /// Ends both programs, and gives all spans they ever made. At their end they wait two seconds
    /// for the last to leave; a collector that stands still for a moment would miss those, so it
    /// has all that are expected before.
    async fn spans(&self, collector: &Collector, expected: &[&str]) -> Vec<Span> {
        for name in expected {
            collector.span(name, |_| true).await;
        }
        self.end().await;
        collector.spans()
    }

    /// Ends both programs.
    async fn end(&self) {
        for daemon in [&self.server, &self.worker] {
            daemon.sigterm();
        }
        for daemon in [&self.server, &self.worker] {
            assert!(daemon.exit().await.success());
        }
    }
}

/// The `traceparent` of the next notification.
async fn heard(stream: &mut Sse) -> Option<String> {
    loop {
        let event = stream.event().await;
        if event.event == "notification" {
            return event.json()["traceparent"].as_str().map(str::to_owned);
        }
    }
}

fn traceparent(span: &Span) -> Option<String> {
    Some(format!("00-{}-{}-01", span.trace, span.id))
}

fn named<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    match spans.iter().filter(|span| span.name == name).collect::<Vec<_>>().as_slice() {
        [one] => one,
        some => panic!("{} spans {name:?} in {spans:#?}", some.len()),
    }
}

fn kinds(spans: &[&Span]) -> Vec<&'static str> {
    spans.iter().map(|span| span.kind.trim_start_matches("SPAN_KIND_")).collect()
}

#[tokio::test]
async fn one_post_is_one_trace_from_the_caller_to_the_clients() {
    let collector = Collector::start();
    // Nothing but what the caller samples is exported.
    let fleet =
        Fleet::traced(&collector, &[("OTEL_TRACES_SAMPLER", "parentbased_always_off")]).await;
    let (mut first, mut second) = (fleet.client().await, fleet.client().await);
    fleet.event(Some(CALLER), json!({ "type": "door", "data": SECRET })).await;
    let told = heard(&mut first).await;
    assert_eq!(heard(&mut second).await, told);
    let spans = fleet.spans(&collector, &PATH).await;
    assert_eq!(spans.len(), 5, "{spans:#?}");
    let (request, send) = (named(&spans, "POST /v1/events"), named(&spans, SEND));
    let (process, publish) = (named(&spans, PROCESS), named(&spans, PUBLISH));
    let deliver = named(&spans, DELIVER);
    let path = [request, send, process, publish, deliver];
    assert!(path.iter().all(|span| span.trace == CALLER.split('-').nth(1).unwrap()));
    assert_eq!(kinds(&path), ["SERVER", "PRODUCER", "CONSUMER", "PRODUCER", "CONSUMER"]);
    let (server, worker) = ("trunkline-server", "trunkline-worker");
    assert_eq!(path.map(Span::service), [server, server, worker, worker, server]);
    let caller = CALLER.split('-').nth(2).unwrap();
    let parents = [caller, &request.id, &send.id, &process.id, &publish.id];
    assert_eq!(path.map(|span| &*span.parent), parents);
    let links = path.map(|span| span.links.join(" "));
    assert_eq!(links, ["", "", &send.id, "", &publish.id]);
    assert_eq!(request.attribute("http.response.status_code"), "202");
    assert_eq!(send.attribute("messaging.batch.message_count"), "1");
    assert_eq!(process.attribute("trunkline.job.attempt"), "1");
    assert_eq!(deliver.attribute("trunkline.delivery.count"), "2", "one span for both clients");
    assert_eq!(told, traceparent(publish));
    // The first job finds the chains new, and says so inside its span.
    let line = fleet.worker.logged("rule chains loaded", |_| true).await;
    assert_eq!(field(&line, "span_id"), process.id);
    assert!(!format!("{spans:?}").contains(SECRET), "{spans:#?}");

    let page = include_str!("../../docs/traces.md");
    let names = spans.iter().map(|span| span.name.replace("rule-engine-events", "{queue}"));
    let attributes = spans.iter().flat_map(|span| span.attributes.keys().cloned());
    for word in names.chain(attributes) {
        assert!(page.contains(&format!("`{word}`")), "docs/traces.md does not know `{word}`");
    }
}

#[tokio::test]
async fn over_a_websocket_it_is_the_same_trace_and_a_thousand_clients_are_one_span() {
    let collector = Collector::start();
    let fleet =
        Fleet::traced(&collector, &[("OTEL_TRACES_SAMPLER", "parentbased_always_off")]).await;
    let uri = format!("ws://{}/v1/ws?channel=swordfish", fleet.public.address());
    let opening = ClientBuilder::new().uri(&uri).unwrap();
    let (mut socket, _) = timeout(DEADLINE, opening.connect()).await.unwrap().unwrap();
    let mut next = async || {
        let message = timeout(DEADLINE, socket.next()).await.unwrap().unwrap().unwrap();
        serde_json::from_str::<Value>(message.as_text().unwrap()).unwrap()
    };
    assert_eq!(next().await["subscribed"], json!([SECRET]));
    let mut streams = Vec::new();
    // A hundred at once, so that the listener's backlog takes them.
    while streams.len() < 999 {
        let more = (streams.len()..999).take(100).map(|_| fleet.client());
        streams.extend(join_all(more).await);
    }
    fleet.event(Some(CALLER), json!({ "type": "door", "data": SECRET })).await;
    let told = next().await["notification"]["traceparent"].as_str().map(str::to_owned);
    for stream in &mut streams {
        assert_eq!(heard(stream).await, told);
    }
    let spans = fleet.spans(&collector, &PATH).await;
    assert_eq!(spans.len(), 5, "{spans:#?}");
    let path = PATH.map(|name| named(&spans, name));
    assert!(path.iter().all(|span| span.trace == CALLER.split('-').nth(1).unwrap()));
    assert!(path.windows(2).all(|pair| pair[1].parent == pair[0].id), "{spans:#?}");
    assert_eq!(path[4].attribute("trunkline.delivery.count"), "1000");
    assert_eq!(told, traceparent(path[3]));
}

#[tokio::test]
async fn an_event_goes_on_in_its_own_trace_and_the_request_links_to_it() {
    let collector = Collector::start();
    let fleet = Fleet::traced(&collector, &[]).await;
    let mut client = fleet.client().await;
    fleet.event(Some(CALLER), json!({ "type": "door", "traceparent": OWN })).await;
    let told = heard(&mut client).await;
    let spans = fleet.spans(&collector, &PATH).await;
    let own = |span: &&Span| span.trace == OWN.split('-').nth(1).unwrap();
    let mut names: Vec<_> = spans.iter().filter(own).map(|span| &*span.name).collect();
    names.sort_unstable();
    assert_eq!(names, [DELIVER, PROCESS, PUBLISH]);
    let creation = OWN.split('-').nth(2).unwrap();
    assert_eq!(named(&spans, PROCESS).parent, creation);
    assert_eq!(named(&spans, SEND).links, [creation]);
    assert_eq!(told, traceparent(named(&spans, PUBLISH)));
}

#[tokio::test]
async fn a_direct_notification_begins_a_trace_of_three_spans() {
    let collector = Collector::start();
    let fleet = Fleet::traced(&collector, &[]).await;
    let mut client = fleet.client().await;
    assert_eq!(fleet.notify(None).await.status, 200);
    let told = heard(&mut client).await;
    let deliver = collector.span(DELIVER, |_| true).await;
    let request = collector.span("POST /v1/notifications", |_| true).await;
    let publish = collector.span(PUBLISH, |_| true).await;
    assert_eq!(request.parent, "");
    let path = [&request, &publish, &deliver];
    assert!(path.iter().all(|span| span.trace == request.trace));
    assert_eq!(kinds(&path), ["SERVER", "PRODUCER", "CONSUMER"]);
    assert_eq!((&publish.parent, &deliver.parent), (&request.id, &publish.id));
    assert_eq!(deliver.links.join(" "), publish.id);
    assert_eq!(told, traceparent(&publish));

    // What fails says so in its span, and its log line bears the trace's id.
    fleet.redis.kill9();
    assert_eq!(fleet.notify(Some(CALLER)).await.status, 503);
    let failed = collector.span(PUBLISH, |span| span.failed).await;
    let reason = failed.attribute("error.type").to_owned();
    let line = fleet.server.logged("notification not published", |_| true).await;
    assert_eq!((field(&line, "reason"), field(&line, "trace_id")), (&*reason, &*failed.trace));
    assert_eq!(field(&line, "span_id"), failed.id);
    assert_eq!(failed.trace, CALLER.split('-').nth(1).unwrap());
    let refused = |span: &Span| span.attribute("http.response.status_code") == "503";
    assert!(collector.span("POST /v1/notifications", refused).await.failed);
}

#[tokio::test]
async fn what_is_not_sampled_makes_no_span_and_stays_unsampled_to_the_end() {
    let collector = Collector::start();
    let none =
        [("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "0")];
    let fleet = Fleet::traced(&collector, &none).await;
    let mut client = fleet.client().await;
    fleet.event(Some(UNSAMPLED), json!({ "type": "door" })).await;
    assert_eq!(heard(&mut client).await.as_deref(), Some(UNSAMPLED));
    fleet.event(None, json!({ "type": "door" })).await;
    assert!(heard(&mut client).await.is_some_and(|told| told.ends_with("-00")));
    assert_eq!(fleet.notify(None).await.status, 200);
    assert!(heard(&mut client).await.is_some_and(|told| told.ends_with("-00")));
    fleet.end().await;
    assert!(collector.exports().is_empty(), "{:#?}", collector.spans());
}

#[tokio::test]
async fn a_job_that_fails_says_in_its_log_line_as_part_of_which_trace() {
    let collector = Collector::start();
    let fleet = Fleet::traced(&collector, &[]).await;
    let chain = json!({ "on": { "type": "*" }, "nodes": [
        { "id": "if", "kind": "filter", "when": "event.data.missing == 1", "then": "tell" },
        { "id": "tell", "kind": "action", "notify": { "channel": "'never'", "type": "t" } },
    ]});
    let answer = fleet.public.put("/v1/rule-chains/fails", &chain).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    fleet.event(Some(CALLER), json!({ "type": "door", "data": {} })).await;
    let line = fleet.worker.logged("job ended in the dead letters", |_| true).await;
    assert_eq!(field(&line, "trace_id"), CALLER.split('-').nth(1).unwrap());
}

#[tokio::test]
async fn with_tracing_off_a_traceparent_passes_untouched() {
    let fleet = Fleet::start(&[]).await;
    let mut client = fleet.client().await;
    fleet.event(Some(CALLER), json!({ "type": "door" })).await;
    assert_eq!(heard(&mut client).await.as_deref(), Some(CALLER));
    fleet.event(Some(CALLER), json!({ "type": "door", "traceparent": OWN })).await;
    assert_eq!(heard(&mut client).await.as_deref(), Some(OWN));
    fleet.event(None, json!({ "type": "door" })).await;
    assert_eq!(heard(&mut client).await, None);
    assert_eq!(fleet.notify(Some(CALLER)).await.status, 200);
    assert_eq!(heard(&mut client).await.as_deref(), Some(CALLER));
}

#[tokio::test]
async fn a_collector_that_is_away_harms_nothing_and_is_told_once() {
    let gone = format!("http://127.0.0.1:{}", port::free());
    // A filter an operator gives does not let the exporter's own complaints in.
    let fleet = Fleet::start(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &gone), ("RUST_LOG", "info")]).await;
    let mut client = fleet.client().await;
    let began = Instant::now();
    for _ in 0..3 {
        fleet.event(None, json!({ "type": "door" })).await;
        assert!(heard(&mut client).await.is_some());
        for daemon in [&fleet.server, &fleet.worker] {
            daemon.logged("spans did not reach the collector of traces", |_| true).await;
        }
    }
    fleet.end().await;
    for daemon in [&fleet.server, &fleet.worker] {
        let lines = daemon.lines();
        let about = lines
            .iter()
            .filter(|line| ["collector", "opentelemetry"].iter().any(|it| line.contains(it)));
        // Once in ten seconds, should all of this take longer.
        let most = 1 + began.elapsed().as_secs() as usize / 10;
        assert!((1..=most).contains(&about.count()), "{lines:#?}");
    }
}

#[tokio::test]
async fn a_collector_that_stalls_takes_no_time_from_jobs_and_its_lost_spans_are_counted() {
    let stalled = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", stalled.local_addr().unwrap());
    // It takes every connection and never answers.
    std::thread::spawn(move || stalled.incoming().collect::<Vec<_>>());
    let fleet = Fleet::start(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "500"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "8"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4"),
    ])
    .await;
    let mut client = fleet.client().await;
    for _ in 0..50 {
        fleet.event(Some(CALLER), json!({ "type": "door" })).await;
        heard(&mut client).await;
    }
    for daemon in [&fleet.server, &fleet.worker] {
        for reason in ["queue_full", "export"] {
            let dropped = daemon.metric("trunkline_spans_dropped_total").await;
            dropped.label("reason", reason).reaches(1.0).await;
        }
    }
    fleet.worker.metric("trunkline_job_duration_seconds_count").await.settles(50.0).await;
    let slow = fleet.worker.metric("trunkline_job_retries_total").await;
    slow.settles(0.0).await;
}
