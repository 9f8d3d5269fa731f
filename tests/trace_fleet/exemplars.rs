//! From a latency to its trace, as Prometheus keeps it; and the page in both of its formats.

use hyper::Method;
use serde_json::json;

use crate::support::collector::Collector;
use crate::support::eventually::eventually;
use crate::support::metrics::parse;
use crate::support::process::Daemon;
use crate::support::prometheus::Prometheus;
use crate::{DELIVER, Fleet, heard};

/// A page of metrics in the format that this `Accept` asks for, and its content type.
async fn metrics(daemon: &Daemon, accept: &str) -> (String, String) {
    let admin = daemon.admin().await;
    let answer = admin.send(Method::GET, "/metrics", &[("accept", accept)], "").await;
    assert_eq!(answer.status, 200);
    (answer.text().to_owned(), answer.header("content-type").to_owned())
}

#[tokio::test]
async fn each_latency_leads_to_a_trace_that_the_collector_has() {
    let collector = Collector::start();
    let fleet = Fleet::traced(&collector, &[("TRUNKLINE_EXEMPLARS", "true")]).await;
    let mut client = fleet.client().await;
    fleet.event(None, json!({ "type": "door" })).await;
    let told = heard(&mut client).await.unwrap();
    let [server, worker] =
        [fleet.server.admin().await.address(), fleet.worker.admin().await.address()];
    let jobs = [("trunkline-server", vec![server]), ("trunkline-worker", vec![worker])];
    let prometheus = Prometheus::start(&jobs, &[]).await;
    // The same trace three times; the chain was stored in one of its own.
    for metric in [
        "trunkline_http_request_duration_seconds_bucket",
        "trunkline_job_duration_seconds_bucket",
        "trunkline_delivery_latency_seconds_bucket",
    ] {
        let trace = told.split('-').nth(1).unwrap();
        eventually(&format!("{metric} leads to {trace}"), async || {
            let found = prometheus.exemplars(metric).await;
            if found.iter().any(|it| it == trace) { Ok(()) } else { Err(found.join(", ")) }
        })
        .await;
    }
    collector.span(DELIVER, |span| told.contains(&span.trace)).await;

    // Either format gives a scraper the same series.
    for daemon in [&fleet.server, &fleet.worker] {
        let (text, kind) = metrics(daemon, "text/plain").await;
        assert_eq!(kind, "text/plain; version=0.0.4; charset=utf-8");
        let (open, kind) = metrics(daemon, "application/openmetrics-text;version=1.0.0").await;
        assert_eq!(kind, "application/openmetrics-text; version=1.0.0; charset=utf-8");
        let body = open.strip_suffix("# EOF\n").expect("a page that says where it ends");
        assert!(!text.contains("trace_id") && !body.contains("\n\n") && !body.contains("# EOF"));
        let samples: Vec<&str> = body.lines().map(|it| it.split(" # ").next().unwrap()).collect();
        let [before, after] = [parse(&text), parse(&samples.join("\n"))].map(|page| {
            let number = |le: &mut String| *le = le.parse::<f64>().unwrap().to_string();
            let mut all: Vec<_> = page.into_iter().map(|it| (it.name, it.labels)).collect();
            all.iter_mut().for_each(|(_, labels)| labels.get_mut("le").map(number).unwrap_or(()));
            all.sort();
            all
        });
        assert_eq!(before, after);
        let mut families: Vec<_> = body.lines().filter(|it| it.starts_with("# TYPE ")).collect();
        let declared = families.len();
        families.sort_unstable();
        families.dedup();
        assert_eq!(families.len(), declared);
        let of_counter = |family: &&&str| family.ends_with(" counter");
        assert!(
            families.iter().filter(of_counter).all(|it| !it.contains("_total")),
            "{families:?}"
        );
        assert!(!families.iter().any(|it| it.ends_with(" unknown")), "{families:?}");
    }
}

#[tokio::test]
async fn without_exemplars_every_scraper_gets_the_text_format() {
    let collector = Collector::start();
    let fleet = Fleet::traced(&collector, &[]).await;
    let (page, kind) = metrics(&fleet.server, "application/openmetrics-text").await;
    assert_eq!(kind, "text/plain; version=0.0.4; charset=utf-8");
    assert!(!page.contains("# EOF"));
}
