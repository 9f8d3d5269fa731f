//! From a caller's POST to a client's ear: real daemons, a real Redis, nothing but HTTP.
#![cfg(feature = "bridge")]
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]
#![allow(unreachable_pub, reason = "a test binary exports nothing, its modules do to each other")]

#[path = "../support/mod.rs"]
mod support;

mod chains;
mod events;
mod listening;

use serde_json::{Value, json};

/// The caller's trace, as HTTP headers and CloudEvents carry it.
const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// A chain that says on `channel` what every event it hears of says.
fn echo(id: &str, channel: &str) -> Value {
    json!({
        "id": id,
        "on": { "type": "*" },
        "nodes": [{ "id": "tell", "kind": "action",
            "notify": { "channel": format!("'{channel}'"), "type": "echo" } }],
    })
}

fn data(notifications: &[Value]) -> Vec<&Value> {
    notifications.iter().map(|notification| &notification["data"]).collect()
}
