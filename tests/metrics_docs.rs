//! Keeps `docs/metrics.md` equal to the catalogue. `TRUNKLINE_WRITE=1` writes it anew.
#![cfg(feature = "bridge")]
#![allow(clippy::unwrap_used, reason = "a helper of a test fails the test")]

use std::fmt::Write;

use trunkline::model::Component;
use trunkline::telemetry::catalogue::{ALL, Definition, Kind, Scope};

const HEAD: &str = "\
# Metrics

Rendered from `src/telemetry/catalogue.rs`; a test keeps it so
(`TRUNKLINE_WRITE=1 cargo test --test metrics_docs` writes it anew).

Both daemons serve this page at `/metrics` of their admin listener, in the text format 0.0.4.
Names, labels and label values are relied upon from outside: a change of any is a breaking one.

- Counters, gauges and histograms are there at zero from the first scrape, in the combinations
  of labels that a process can ever export. A metric marked *late* appears with its first value.
- A label is a closed set of words. A channel, client, subject, key, user or error text is none.
- Boundaries of buckets are never whole numbers: Prometheus 2 and 3 write those differently.
- `process_*` (CPU, memory, file descriptors, start time) comes as usual beside these. The CPU
  counter, like `trunkline_runtime_busy_seconds_total`, counts whole seconds.

On a process at rest these laws hold:

- opened − closed = open, for each role, and the states of a role add up to 1;
- received = routed + dropped;
- enqueued = delivered + dropped + waiting, for each transport;
- publish attempts = those answered (`trunkline_publish_receivers_count`) + failures.

";

/// Ours, OpenTelemetry's (semantic conventions 1.44), and how they differ.
const OTEL: &[(&str, &str, &str)] = &[
    (
        "trunkline_redis_command_duration_seconds",
        "db.client.operation.duration",
        "`command` is `db.operation.name`",
    ),
    (
        "trunkline_redis_command_errors_total",
        "db.client.operation.duration",
        "`reason` is `error.type`",
    ),
    (
        "trunkline_redis_connections_open",
        "db.client.connection.count",
        "`role` is `db.client.connection.pool.name`",
    ),
    (
        "trunkline_redis_connections_expected",
        "db.client.connection.max",
        "a budget, not a limit of a pool",
    ),
    (
        "trunkline_redis_connect_duration_seconds",
        "db.client.connection.create_time",
        "until ready, not until connected",
    ),
    (
        "trunkline_redis_commands_in_flight",
        "db.client.connection.pending_requests",
        "answers waited for, not connections",
    ),
    (
        "trunkline_publish_attempts_total",
        "messaging.client.sent.messages",
        "failures included in both",
    ),
    (
        "trunkline_subscriber_messages_received_total",
        "messaging.client.consumed.messages",
        "own probes included",
    ),
    (
        "trunkline_job_duration_seconds",
        "messaging.process.duration",
        "`queue` is `messaging.destination.name`",
    ),
    (
        "trunkline_http_request_duration_seconds",
        "http.server.request.duration",
        "`status_class` instead of `http.response.status_code`",
    ),
];

fn render() -> String {
    let mut page = HEAD.to_owned();
    for metric in ALL {
        entry(&mut page, metric).unwrap();
    }
    page += "## OpenTelemetry\n\nSpans carry OpenTelemetry's names. Metrics carry ours, because its names for connections are\nnot stable and know neither role nor state.\n\n| here | OpenTelemetry | what differs |\n|---|---|---|\n";
    for (ours, theirs, difference) in OTEL {
        assert!(ALL.iter().any(|metric| metric.name == *ours), "{ours} is not in the catalogue");
        writeln!(page, "| `{ours}` | `{theirs}` | {difference} |").unwrap();
    }
    page
}

fn entry(page: &mut String, metric: &Definition) -> std::fmt::Result {
    let kind = match metric.kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
    };
    let late = if metric.from_start { "" } else { ", late" };
    let (scope, reference) = match metric.scope {
        Scope::Both => ("server and worker", Component::Server),
        Scope::Server => ("server", Component::Server),
        Scope::Worker => ("worker", Component::Worker),
    };
    writeln!(page, "## {}\n\n{}\n", metric.name, metric.help)?;
    writeln!(page, "{kind}{late} · {scope}\n")?;
    for line in labels(metric, reference) {
        writeln!(page, "- {line}")?;
    }
    if !metric.buckets.is_empty() {
        let buckets: Vec<_> = metric.buckets.iter().map(f64::to_string).collect();
        writeln!(page, "- buckets: {}", buckets.join(", "))?;
    }
    if !page.ends_with("\n\n") {
        page.push('\n');
    }
    Ok(())
}

/// Labels whose values depend on each other stand in one line, as pairs.
fn labels(metric: &Definition, component: Component) -> Vec<String> {
    let keys = (metric.keys)();
    if keys.first() == Some(&"version") {
        return vec!["`version`, `revision`, `rustc`: of this build".to_owned()];
    }
    let combinations = (metric.combinations)(component);
    let paired = |key: &str| matches!(key, "from" | "to" | "method" | "route");
    let values = |at: &dyn Fn(&[&'static str]) -> String| {
        let mut seen: Vec<String> = Vec::new();
        for combination in &combinations {
            let value = at(combination);
            if !seen.contains(&value) {
                seen.push(value);
            }
        }
        seen.join(", ")
    };
    let mut lines = Vec::new();
    let mut at = 0;
    while at < keys.len() {
        if paired(keys[at]) {
            let separator = if keys[at] == "from" { " → " } else { " " };
            let pairs = values(&|it| format!("{}{separator}{}", it[at], it[at + 1]));
            lines.push(format!("`{}`, `{}`: {pairs}", keys[at], keys[at + 1]));
            at += 2;
        } else {
            let words = match keys[at] {
                "queue" => "the name of the queue".to_owned(),
                _ => values(&|it| it[at].to_owned()),
            };
            lines.push(format!("`{}`: {words}", keys[at]));
            at += 1;
        }
    }
    lines
}

#[test]
fn the_documentation_of_metrics_is_the_catalogue() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
    let rendered = render();
    if std::env::var_os("TRUNKLINE_WRITE").is_some() {
        std::fs::write(file, &rendered).unwrap();
    }
    let written = std::fs::read_to_string(file).unwrap_or_default();
    assert!(written == rendered, "docs/metrics.md is out of date: run with TRUNKLINE_WRITE=1");
}
