//! What rule chains make of events.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::SystemTime;

use chrono::DateTime;
use serde_json::{Value, json};
use trunkline::model::chain_notification_id;

use super::support::DEADLINE;
use super::support::house::{House, heard, heard_until, problem};
use super::{TRACE, data, echo};

fn overheat() -> Value {
    json!({
        "id": "overheat", "name": "Overheating sensor", "enabled": true,
        "on": { "type": "telemetry.temperature", "subject": "*" },
        "nodes": [
            { "id": "hot", "kind": "filter", "when": "event.data.celsius > 80.0",
              "then": "shape", "else": "calm" },
            { "id": "shape", "kind": "transform", "then": "tell", "set": {
              "message": "'Sensor ' + event.subject + ' is hot'", "celsius": "event.data.celsius" } },
            { "id": "tell", "kind": "action",
              "notify": { "channel": "'alerts.' + event.subject", "type": "alert.overheat" } },
            { "id": "calm", "kind": "action",
              "notify": { "channel": "'calm.' + event.subject", "type": "calm" } },
        ],
    })
}

fn reading(id: &str, celsius: f64) -> Value {
    json!({
        "specversion": "1.0", "id": id, "source": "/sensors", "type": "telemetry.temperature",
        "subject": "kitchen", "traceparent": TRACE, "data": { "celsius": celsius },
    })
}

/// Forgets which events were seen, as the end of the deduplication window does.
fn forget_ids(house: &House) {
    for key in house.redis.cli(&["KEYS", "trunkline:{q:*:dedup:*"]).texts() {
        house.redis.cli(&["DEL", &key]);
    }
}

#[tokio::test]
async fn an_event_becomes_a_notification_of_exactly_the_promised_fields() {
    let house = House::start().await;
    house.chain(overheat()).await;
    let mut stream = house.listen("alerts.kitchen").await;
    house.event(reading("e1", 93.5)).await;
    let notification = heard(&mut stream).await;

    let mut expected = json!({
        "specversion": "1.0",
        "id": chain_notification_id("/sensors", "e1", "overheat", "tell"),
        "source": "/rule-chains/overheat",
        "type": "alert.overheat",
        "subject": "alerts.kitchen",
        "traceparent": TRACE,
        "data": { "message": "Sensor kitchen is hot", "celsius": 93.5 },
    });
    expected["time"] = notification["time"].clone();
    assert_eq!(notification, expected);
    let time = DateTime::parse_from_rfc3339(notification["time"].as_str().unwrap()).unwrap();
    let age = SystemTime::now().duration_since(SystemTime::from(time)).unwrap_or_default();
    assert!(age < DEADLINE, "{time}");
}

#[tokio::test]
async fn an_event_that_is_processed_again_repeats_the_notifications_id() {
    let house = House::start().await;
    house.chain(overheat()).await;
    let mut stream = house.listen("alerts.kitchen").await;
    house.event(reading("e1", 93.5)).await;
    let first = heard(&mut stream).await;
    assert_eq!(house.event(reading("e1", 93.5)).await["accepted"][0]["duplicate"], true);
    forget_ids(&house);
    house.event(reading("e1", 93.5)).await;
    assert_eq!(heard(&mut stream).await["id"], first["id"]);
    house.event(reading("e2", 93.5)).await;
    assert_ne!(heard(&mut stream).await["id"], first["id"]);
}

#[tokio::test]
async fn in_redis_a_notification_carries_the_times_its_lag_is_measured_by() {
    let house = House::start().await;
    house.chain(overheat()).await;
    let mut ear = TcpStream::connect(("127.0.0.1", house.redis.port())).unwrap();
    ear.set_read_timeout(Some(DEADLINE)).unwrap();
    ear.write_all(b"SUBSCRIBE trunkline:notify:alerts.kitchen\r\n").unwrap();
    let mut lines = BufReader::new(ear).lines().map_while(Result::ok);
    assert!(lines.any(|line| line == ":1"), "the subscription is confirmed");
    let before = trunkline::model::unix_ms();
    house.event(reading("e1", 93.5)).await;
    let wire = lines.find(|line| line.starts_with('{')).unwrap();
    let wire: Value = serde_json::from_str(&wire).unwrap();
    let moment = |name: &str| wire[name].as_str().unwrap().parse::<u64>().unwrap();
    let (accepted, published) = (moment("acceptedms"), moment("publishedms"));
    assert!(before <= accepted && accepted <= published, "{before} {wire}");
    assert_eq!((&wire["specversion"], &wire["type"]), (&json!("1.0"), &json!("alert.overheat")));
}

#[tokio::test]
async fn a_filter_goes_one_way_or_the_other_and_data_is_the_variables_or_else_the_events() {
    let house = House::start().await;
    house.chain(overheat()).await;
    let mut stream = house.listen("alerts.*&channel=calm.kitchen").await;
    for (id, celsius, channel, data) in [
        (
            "e1",
            80.5,
            "alerts.kitchen",
            json!({ "message": "Sensor kitchen is hot", "celsius": 80.5 }),
        ),
        ("e2", 80.0, "calm.kitchen", json!({ "celsius": 80.0 })),
    ] {
        house.event(reading(id, celsius)).await;
        let notification = heard(&mut stream).await;
        assert_eq!((&notification["subject"], &notification["data"]), (&json!(channel), &data));
    }
}

#[tokio::test]
async fn a_chain_hears_of_the_events_it_is_on_and_of_no_other() {
    let house = House::start().await;
    for (id, on) in [
        ("exact", json!({ "type": "door.open" })),
        ("prefix", json!({ "type": "door.*" })),
        ("all", json!({ "type": "*", "subject": "*" })),
        ("about", json!({ "type": "*", "subject": "front" })),
        ("disabled", json!({ "type": "*" })),
    ] {
        let mut chain = echo(id, &format!("by.{id}"));
        chain["on"] = on;
        chain["enabled"] = (id != "disabled").into();
        house.chain(chain).await;
    }
    let mut stream = house.listen("by.*").await;
    for (jobs, (event, expected)) in [
        (json!({ "type": "door.open" }), vec!["by.all", "by.exact", "by.prefix"]),
        (json!({ "type": "door.shut.tight" }), vec!["by.all", "by.prefix"]),
        (json!({ "type": "door" }), vec!["by.all"]),
        (json!({ "type": "x", "subject": "front" }), vec!["by.about", "by.all"]),
        (json!({ "type": "x", "subject": "back" }), vec!["by.all"]),
    ]
    .into_iter()
    .enumerate()
    {
        house.event(event.clone()).await;
        house.settled(jobs as u32 + 1).await;
        house.notify("by.end", json!("end")).await;
        let spoke = heard_until(&mut stream, "end").await;
        let spoke: BTreeSet<_> = spoke.iter().map(|it| it["subject"].as_str().unwrap()).collect();
        assert_eq!(spoke, expected.into_iter().collect(), "{event}");
    }
}

#[tokio::test]
async fn one_chain_that_fails_silences_no_other_and_ends_in_the_dead_letters() {
    let house = House::start().await;
    for id in ["a", "b", "y", "z"] {
        house.chain(echo(id, "heard")).await;
    }
    let mut failing = echo("m", "heard");
    failing["nodes"][0]["notify"]["channel"] = "'heard.' + event.data.missing".into();
    house.chain(failing).await;
    let mut stream = house.listen("heard&channel=heard.*").await;

    house.event(json!({ "type": "t", "id": "7", "data": "spoken" })).await;
    house.settled(1).await;
    house.notify("heard", json!("end")).await;
    let sources: BTreeSet<_> = heard_until(&mut stream, "end")
        .await
        .iter()
        .map(|it| it["source"].as_str().unwrap().to_owned())
        .collect();
    let expected = ["a", "b", "y", "z"].map(|id| format!("/rule-chains/{id}"));
    assert_eq!(sources, expected.into_iter().collect());

    let dead = house.redis.cli(&["XRANGE", "trunkline:{q:rule-engine-events}:dead", "-", "+"]);
    assert_eq!(dead.list().len(), 1, "{dead:?}");
    let letter = dead.list()[0].list()[1].texts();
    let field = |name: &str| letter[letter.iter().position(|it| it == name).unwrap() + 1].clone();
    assert_eq!(field("reason"), "rule_error");
    let detail = field("detail");
    assert!(detail.contains("`m`") && detail.contains("notify.channel"), "{detail}");
    assert!(!detail.contains("spoken") && field("body").contains("spoken"), "{letter:?}");
    let count = async |name: &str, label: &str, value: &str| {
        house.worker.metric(name).await.label(label, value).settles(1.0).await;
    };
    count("trunkline_rule_evaluations_total", "outcome", "error").await;
    count("trunkline_jobs_dead_total", "reason", "rule_error").await;
    house.server.metric("trunkline_queue_jobs").await.label("state", "dead").reaches(1.0).await;
}

#[tokio::test]
async fn the_next_event_meets_the_chains_as_they_were_last_put() {
    let house = House::start().await;
    let path = "/v1/rule-chains/greet";
    let greet = |word: &str| {
        let mut chain = echo("greet", "door");
        chain["nodes"] = json!([
            { "id": "say", "kind": "transform", "set": { "word": format!("'{word}'") }, "then": "tell" },
            chain["nodes"][0],
        ]);
        chain
    };
    let mut stream = house.listen("door").await;
    for (status, word) in [(201, "hello"), (200, "goodbye")] {
        let put = house.public.put(path, &greet(word)).await;
        assert_eq!(put.status, status);
        assert_eq!(house.public.get(path).await.json(), put.json());
        house.event(json!({ "type": "t" })).await;
        assert_eq!(heard(&mut stream).await["data"], json!({ "word": word }));
    }
    let ids = async || {
        let listed = house.public.get("/v1/rule-chains").await.json();
        listed["chains"].as_array().unwrap().iter().map(|it| it["id"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(ids().await, ["greet"]);
    assert_eq!(house.public.delete(path).await.status, 204);
    assert_eq!(ids().await, [] as [Value; 0]);
    assert_eq!(problem(&house.public.get(path).await), (404, "not-found".into()));
    assert_eq!(problem(&house.public.delete(path).await), (404, "not-found".into()));
    house.event(json!({ "type": "t" })).await;
    house.settled(3).await;
    house.notify("door", json!("end")).await;
    assert_eq!(data(&heard_until(&mut stream, "end").await), [] as [&Value; 0]);
}

#[tokio::test]
async fn a_chain_that_breaks_rules_is_refused_with_every_fault_and_changes_nothing() {
    let house = House::start().await;
    house.chain(echo("kept", "door")).await;
    let mut broken = echo("kept", "door");
    broken["id"] = "other".into();
    broken["on"] = json!({});
    broken["nodes"][0]["notify"]["channel"] = "1 +".into();
    let refused = house.public.put("/v1/rule-chains/kept", &broken).await;
    assert_eq!(problem(&refused), (400, "invalid".into()));
    let paths: Vec<_> =
        refused.json()["errors"].as_array().unwrap().iter().map(|it| it["path"].clone()).collect();
    for path in ["$.id", "$.on.type", "$.nodes[0].notify.channel"] {
        assert!(paths.contains(&json!(path)), "{path} in {paths:?}");
    }
    let mut stream = house.listen("door").await;
    house.event(json!({ "type": "t", "data": "still" })).await;
    assert_eq!(heard(&mut stream).await["data"], "still");
}
