//! Events with a `partitionkey`, from the door to the clients.

use serde_json::{Value, json};
use trunkline::model::chain_notification_id;

use crate::house::{House, SOURCE};
use crate::support::eventually::eventually;
use crate::support::http::Response;
use crate::support::traffic::Ears;

const ONE: &str = "application/cloudevents+json";
const BATCH: &str = "application/cloudevents-batch+json";

fn event(id: &str, key: &Value) -> Value {
    json!({ "specversion": "1.0", "type": "told", "source": SOURCE, "id": id, "partitionkey": key, "data": {} })
}

/// One request in each mode: its content type, whether it is binary, its body.
fn in_every_mode(key: &Value) -> [(&'static str, bool, String, &'static str); 4] {
    let two = json!([event("third", key), event("fourth", key)]);
    [
        ("application/json", false, event("first", key).to_string(), "$.partitionkey"),
        (ONE, false, event("second", key).to_string(), "$.partitionkey"),
        (BATCH, false, two.to_string(), "$[1].partitionkey"),
        ("application/json", true, "{}".to_owned(), "ce-partitionkey"),
    ]
}

async fn send(house: &House, kind: &str, binary: Option<&str>, body: String) -> Response {
    let mut headers = vec![("content-type", kind)];
    if let Some(key) = binary {
        headers.extend([("ce-specversion", "1.0"), ("ce-type", "told"), ("ce-source", SOURCE)]);
        headers.extend([("ce-id", "fifth"), ("ce-partitionkey", key)]);
    }
    house.http.send("POST".parse().unwrap(), "/v1/events", &headers, body).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_of_a_key_are_done_in_the_order_in_which_they_came_in_every_mode() {
    let house = House::with(|server| server.args(["--sample-interval", "100ms"])).await;
    let ears = Ears::open(&house.server, "told").await;
    for (kind, binary, body, _) in in_every_mode(&json!("invoice 7")) {
        let answer = send(&house, kind, binary.then_some("invoice 7"), body).await;
        assert_eq!(answer.status, 202, "{}", answer.text());
    }
    let blocked = house.server.metric("trunkline_queue_jobs").await.label("state", "blocked");
    blocked.settles(4.0).await;

    let _workers = [house.worker().await, house.worker().await];
    let heard = eventually("five notifications", async || match ears.heard() {
        heard if heard.len() >= 5 => Ok(heard),
        heard => Err(format!("{heard:?}")),
    })
    .await;
    let heard: Vec<_> = heard.iter().map(|told| told["id"].as_str().unwrap()).collect();
    let ids = ["first", "second", "third", "fourth", "fifth"];
    let ids = ids.map(|id| chain_notification_id(SOURCE, id, "told", "tell"));
    assert_eq!(heard, ids);
    house.is_drained().await;
    blocked.settles(0.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_can_be_none_is_refused_in_words_and_in_every_mode() {
    let house = House::start().await;
    for (key, says) in [
        (json!(""), "must not be empty"),
        (json!("x".repeat(201)), "at most 200"),
        (json!(7), "must be a text"),
    ] {
        for (kind, binary, body, path) in in_every_mode(&key) {
            let Some(header) = key.as_str().or((!binary).then_some("")) else { continue };
            let answer = send(&house, kind, binary.then_some(header), body).await;
            let document = answer.json();
            assert_eq!(answer.status, 400, "{document}");
            let faults = document["errors"].as_array().unwrap();
            let fault = faults.iter().find(|fault| fault["path"] == path).expect(path);
            assert!(fault["message"].as_str().unwrap().contains(says), "{fault}");
        }
    }
    let schedule = json!({ "cron": "0 0 1 1 *", "event": { "type": "told", "partitionkey": "" } });
    let answer = house.http.put("/v1/schedules/report", &schedule).await;
    assert_eq!(
        (answer.status, &answer.json()["errors"][0]["path"]),
        (400, &"$.event.partitionkey".into())
    );
    assert_eq!(house.unfinished(), 0);
}
