//! Rule chains that tests store.

use serde_json::{Value, json};

use super::http::Http;

/// A chain named after the event type it is for, and the channel it notifies on: each event
/// becomes one notification of this type, with the event's data.
pub fn telling(name: &str, kind: &str) -> Value {
    json!({
        "id": name, "name": name, "enabled": true, "on": { "type": name, "subject": "*" },
        "nodes": [{ "id": "tell", "kind": "action",
                    "notify": { "channel": format!("'{name}'"), "type": kind } }],
    })
}

/// Stores a chain. Panics unless it is taken.
pub async fn store(http: &Http, chain: &Value) {
    let id = chain["id"].as_str().expect("a chain has an id");
    let answer = http.put(&format!("/v1/rule-chains/{id}"), chain).await;
    assert!([200, 201].contains(&answer.status), "{} {}", answer.status, answer.text());
}
