//! This machine's own telemetry as a source of events: load, memory, disk and network, about
//! once a second.

use std::fs;
use std::time::{Duration, Instant};

use hyper::Method;
use serde_json::{Value, json};

use crate::app::terminal;
use crate::http::client::Client;

/// Where the pulse is published.
pub(super) const CHANNEL: &str = "host";
/// Where its alerts are, by host.
pub(super) const ALERTS: &str = "alerts";

const EVERY: Duration = Duration::from_secs(1);

/// A chain that tells how the host is, each time it is measured.
pub(super) fn pulse() -> Value {
    let message = "'load ' + string(event.data.load1) + ', memory ' + string(event.data.memory_percent) \
        + ' %, disk ' + string(event.data.disk_percent) + ' %, in ' + string(event.data.received_kb) \
        + ' kB/s, out ' + string(event.data.sent_kb) + ' kB/s'";
    json!({
        "id": "host-pulse",
        "name": "How this host is",
        "on": { "type": "telemetry.host" },
        "nodes": [
            { "id": "shape", "kind": "transform", "then": "tell", "set": {
                "message": message, "load1": "event.data.load1", "memory_percent": "event.data.memory_percent" } },
            { "id": "tell", "kind": "action", "notify": { "channel": format!("'{CHANNEL}'"), "type": "host.pulse" } },
        ],
    })
}

/// A chain that speaks only when the host has more to do than cores to do it with.
pub(super) fn busy() -> Value {
    json!({
        "id": "host-busy",
        "name": "This host is busy",
        "on": { "type": "telemetry.host" },
        "nodes": [
            { "id": "busy", "kind": "filter", "when": "event.data.load1 > double(event.data.cores)", "then": "shape" },
            { "id": "shape", "kind": "transform", "then": "tell", "set": {
                "message": "'more work than cores: load ' + string(event.data.load1)" } },
            { "id": "tell", "kind": "action", "notify": { "channel": format!("'{ALERTS}.host'"), "type": "alert.busy" } },
        ],
    })
}

/// Posts a measurement every second. One that cannot be posted is lost, as the answer said.
pub(super) async fn run(server: &Client) {
    let mut before = network();
    let mut ticks = tokio::time::interval(EVERY);
    loop {
        ticks.tick().await;
        let now = network();
        let event = json!({
            "type": "telemetry.host",
            "source": "/trunkline/dev",
            "subject": "host",
            "data": measured(&before, &now),
        });
        before = now;
        if let Err(error) = server.send(Method::POST, "/v1/events", &event).await {
            terminal::warn(&format!("trunkline: an event was not accepted: {error}"));
        }
    }
}

fn measured(before: &Network, now: &Network) -> Value {
    let seconds = now.at.duration_since(before.at).as_secs_f64().max(0.001);
    let rate = |before: u64, now: u64| round(now.saturating_sub(before) as f64 / 1_000.0 / seconds);
    json!({
        "load1": load(),
        "cores": std::thread::available_parallelism().map_or(1, usize::from),
        "memory_percent": memory_percent(&fs::read_to_string("/proc/meminfo").unwrap_or_default()),
        "disk_percent": disk_percent(),
        "received_kb": rate(before.received, now.received),
        "sent_kb": rate(before.sent, now.sent),
    })
}

fn load() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(0.0)
}

fn memory_percent(meminfo: &str) -> f64 {
    let kilobytes = |name: &str| -> f64 {
        let line = meminfo.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0.0)
    };
    let (total, available) = (kilobytes("MemTotal:"), kilobytes("MemAvailable:"));
    if total > 0.0 { round(100.0 * (total - available) / total) } else { 0.0 }
}

fn disk_percent() -> f64 {
    let Ok(disk) = rustix::fs::statvfs("/") else { return 0.0 };
    let (total, free) = (disk.f_blocks as f64, disk.f_bfree as f64);
    if total > 0.0 { round(100.0 * (total - free) / total) } else { 0.0 }
}

struct Network {
    at: Instant,
    received: u64,
    sent: u64,
}

/// Bytes over all interfaces since the host started.
fn network() -> Network {
    let (received, sent) = totals(&fs::read_to_string("/proc/net/dev").unwrap_or_default());
    Network { at: Instant::now(), received, sent }
}

fn totals(dev: &str) -> (u64, u64) {
    let interfaces = dev.lines().filter_map(|line| line.split_once(':'));
    interfaces.fold((0, 0), |(received, sent), (_, numbers)| {
        let field = |place| numbers.split_whitespace().nth(place)?.parse::<u64>().ok();
        (received + field(0).unwrap_or(0), sent + field(8).unwrap_or(0))
    })
}

fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::RuleChain;

    #[test]
    fn the_sample_chains_are_valid() {
        for chain in [pulse(), busy()] {
            RuleChain::parse(None, chain).expect("a valid chain");
        }
    }

    #[test]
    fn the_kernels_tables_are_read() {
        let dev = "Inter-|   Receive\n face |bytes\n    lo: 100 1 0 0 0 0 0 0 200 1\n  eth0: 5 1 0 0 0 0 0 0 7 1\n";
        assert_eq!(totals(dev), (105, 207));
        assert_eq!(
            memory_percent("MemTotal: 1000 kB\nMemFree: 1 kB\nMemAvailable: 250 kB\n"),
            75.0
        );
        assert_eq!(memory_percent(""), 0.0);
    }
}
