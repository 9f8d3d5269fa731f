//! The pages of metrics of live daemons after traffic of every kind, garbage included: the
//! catalogue's series and no other, in a form Prometheus accepts, and their sums agree.
#![cfg(feature = "bridge")]
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::Stdio;

use hyper::Method;
use serde_json::json;
use support::house::{House, heard};
use support::http::Sse;
use support::laws::{broken_laws, laws_hold};
use support::metrics::{Page, Series, parse};
use support::process::Daemon;
use support::programs::Program;
use trunkline::model::Component;
use trunkline::telemetry::catalogue::{ALL, Definition, Kind};

/// What the contract allows a server.
const BUDGET: usize = 1_500;
/// Words that no label may ever contain.
const LEAKS: [&str; 5] = ["leak", "kitchen", "drei", "127.0.0.1", "trunkline:server"];

/// A series without its value.
type Identity = (String, BTreeMap<String, String>);

fn identity(series: &Series) -> Identity {
    let mut labels = series.labels.clone();
    if let Some(le) = labels.get_mut("le") {
        // As a number: Prometheus itself writes boundaries in more than one way.
        *le = le.parse::<f64>().unwrap().to_string();
    }
    (series.name.clone(), labels)
}

/// Every series that a process of this component may export of a metric.
fn legal(metric: &Definition, component: Component) -> Vec<Identity> {
    let mut all = vec![];
    for values in (metric.combinations)(component) {
        let keys = (metric.keys)().into_iter().map(str::to_owned);
        let labels: BTreeMap<_, _> = keys.zip(values.into_iter().map(str::to_owned)).collect();
        if metric.kind != Kind::Histogram {
            all.push((metric.name.to_owned(), labels));
            continue;
        }
        for bound in metric.buckets.iter().copied().chain([f64::INFINITY]) {
            let mut bucket = labels.clone();
            bucket.insert("le".to_owned(), bound.to_string());
            all.push((format!("{}_bucket", metric.name), bucket));
        }
        for suffix in ["_sum", "_count"] {
            all.push((format!("{}{suffix}", metric.name), labels.clone()));
        }
    }
    all
}

fn check(page: &str, component: Component) -> BTreeSet<Identity> {
    let series = parse(page);
    let found: BTreeSet<_> = series.iter().map(identity).collect();
    assert_eq!(found.len(), series.len(), "a series stands twice");
    let of = |from_start: bool| {
        let metrics = ALL.iter().filter(move |metric| {
            metric.scope.includes(component) && metric.from_start == from_start
        });
        metrics.flat_map(|metric| legal(metric, component)).collect::<BTreeSet<_>>()
    };
    let (always, late) = (of(true), of(false));
    let missing: Vec<_> = always.difference(&found).collect();
    assert!(missing.is_empty(), "{component}: missing {missing:?}");
    let strange: Vec<_> = found
        .iter()
        .filter(|it| !always.contains(it) && !late.contains(it))
        .filter(|(name, labels)| !(name.starts_with("process_") && labels.is_empty()))
        .collect();
    assert!(strange.is_empty(), "{component}: not in the catalogue: {strange:?}");
    assert!(found.len() <= BUDGET, "{component}: {} series", found.len());
    assert!(2 * found.len() <= sample_limit(), "{component}: {} series", found.len());
    for (name, labels) in &found {
        let leak = labels.values().find(|value| LEAKS.iter().any(|leak| value.contains(leak)));
        assert_eq!(leak, None, "{name}");
    }
    let kinds: Vec<_> = page.lines().filter(|line| line.starts_with("# TYPE")).collect();
    assert!(kinds.iter().all(|kind| !kind.ends_with(" summary")), "{kinds:?}");
    found
}

/// What the scrape configuration that is shipped takes from one process: half of it has to do, so
/// that the next release fits too.
fn sample_limit() -> usize {
    let limits = include_str!("../deploy/prometheus.yml").lines();
    let limits = limits.filter_map(|line| line.trim().strip_prefix("sample_limit: "));
    limits.map(|limit| limit.parse().unwrap()).min().unwrap()
}

/// What promtool says of the page; its silence is consent.
fn lint(page: &str) {
    let mut promtool = Program::Promtool.command();
    promtool.args(["check", "metrics"]);
    promtool.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut promtool = promtool.spawn().unwrap();
    promtool.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success() && said.is_empty(), "{}", String::from_utf8_lossy(&said));
}

async fn page(daemon: &Daemon) -> String {
    let answer = daemon.admin().await.get("/metrics").await;
    let content_type = answer.header("content-type");
    assert!(content_type.starts_with("text/plain; version=0.0.4"), "{content_type}");
    answer.text().to_owned()
}

fn word(random: &mut fastrand::Rng) -> String {
    let length = random.usize(1..30);
    (0..length).map(|_| random.alphanumeric()).chain("leak".chars()).collect()
}

/// A chain that fails on some events, one that speaks where the event says, one that is silent.
async fn chains(house: &House) {
    for (id, when, channel) in [
        ("fails", "event.data.missing == 1", "'never'"),
        ("speaks", "true", "'leak.' + event.subject"),
        ("silent", "false", "'never'"),
    ] {
        house
            .chain(json!({ "id": id, "on": { "type": "leak.*" }, "nodes": [
                { "id": "if", "kind": "filter", "when": when, "then": "tell" },
                { "id": "tell", "kind": "action",
                  "notify": { "channel": channel, "type": "leak" } } ] }))
            .await;
    }
}

/// Requests with something random wherever a caller has a say. Returns how many events got in.
async fn random_traffic(house: &House, random: &mut fastrand::Rng) -> u32 {
    let json = [("content-type", "application/json")];
    let mut accepted = 0;
    for _ in 0..60 {
        let (a, b) = (word(random), word(random));
        let event = json!({ "type": format!("leak.{a}"), "subject": b, "id": a, "source": format!("/{b}"),
            "data": { a.clone(): b } });
        house.event(event).await;
        accepted += 1;
        house.notify(&format!("{a}.{b}"), json!(a)).await;
        house.redis.cli(&["PUBLISH", &format!("trunkline:notify:{b}"), &a]);
        let id = format!("/v1/rule-chains/{a}");
        let stream = format!("/v1/stream?channel={a}&channel={b}.*");
        drop(Sse::open(&house.public, &stream).await);
        for (method, path, body) in [
            (Method::GET, &*format!("/{a}/{b}?{a}={b}"), ""),
            (Method::from_bytes(a.as_bytes()).unwrap(), "/v1/events", ""),
            (Method::POST, "/v1/events", "{"),
            (Method::POST, "/v1/notifications", &*json!({ a.clone(): b }).to_string()),
            (Method::PUT, &*id, &*json!({ "id": b }).to_string()),
            (Method::GET, &*id, ""),
            (Method::DELETE, &*id, ""),
            (Method::GET, &*format!("/v1/stream?channel={a}..{b}"), ""),
            (Method::OPTIONS, "/v1/events", ""),
        ] {
            let answer = house.public.send(method, path, &json, body.to_owned()).await;
            assert!(answer.status < 500, "{path}: {}", answer.text());
        }
    }
    accepted
}

#[tokio::test]
async fn whatever_callers_send_the_series_stay_those_of_the_catalogue_and_their_sums_agree() {
    let house = House::start().await;
    chains(&house).await;
    let mut stream = house.listen("leak.*").await;
    house.event(json!({ "type": "leak.x", "subject": "kitchen", "data": "drei" })).await;
    assert_eq!(heard(&mut stream).await["data"], "drei");
    house.settled(1).await;

    let daemons = [(&house.server, Component::Server), (&house.worker, Component::Worker)];
    let mut before = vec![];
    for (daemon, component) in daemons {
        before.push(check(&page(daemon).await, component));
    }
    let accepted = random_traffic(&house, &mut fastrand::Rng::with_seed(7)).await;
    house.settled(1 + accepted).await;
    for _ in 0..accepted {
        heard(&mut stream).await;
    }
    // Something is lost and comes back, so that the series of faults have values too.
    for client in house.redis.client_list() {
        house.redis.cli(&["CLIENT", "KILL", "ID", &client.id.to_string()]);
    }
    for (daemon, _) in daemons {
        daemon.metric("trunkline_redis_outage_duration_seconds_count").await.reaches(1.0).await;
        daemon.wait_ready().await;
        laws_hold(daemon).await;
    }
    drop(stream);
    for ((daemon, component), before) in daemons.into_iter().zip(before) {
        let left = daemon.metric("trunkline_clients_connected").await;
        if component == Component::Server {
            left.settles(0.0).await;
        }
        let page = page(daemon).await;
        lint(&page);
        let after = check(&page, component);
        let news: Vec<_> = after.symmetric_difference(&before).collect();
        assert!(news.is_empty(), "{component}: {news:?}");
        assert_eq!(broken_laws(&Page::parse(&page)), [""; 0], "{component}");
    }
}

#[tokio::test]
async fn scrapers_that_come_together_share_a_page_and_none_waits_for_redis() {
    let house = House::start().await;
    house.redis.stop();
    for daemon in [&house.server, &house.worker] {
        let pages = futures_util::future::join_all((0..50).map(|_| page(daemon))).await;
        let rendered: BTreeSet<_> = pages.iter().collect();
        // A page is handed out for a second, and all of this may take a little longer.
        assert!(rendered.len() <= 3, "{} pages", rendered.len());
        lint(&pages[0]);
    }
    house.redis.cont();
}
