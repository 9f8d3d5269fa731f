//! Events that are poison, come twice, or are too many.

use std::collections::HashSet;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Value, json};
use trunkline::model::{chain_notification_id, rfc3339, unix_ms};

use crate::house::{House, SOURCE, attempts, notification_of};
use crate::support::DEADLINE;
use crate::support::chain::{self, telling};
use crate::support::traffic::Ears;

/// More than a worker has slots: poison that kept one for good would be noticed.
const POISONED: usize = 30;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn poison_ends_in_the_dead_letters_with_its_reason_and_stops_nobody() {
    let house = House::start().await;
    let ears = Ears::open(&house.server, "told").await;
    let mut broken = telling("broken", "never");
    broken["on"]["type"] = json!("told.broken");
    broken["nodes"][0]["notify"]["channel"] = json!("'to.' + event.data.missing.name");
    chain::store(&house.http, &broken).await;
    let mut sound = telling("sound", "sound");
    sound["on"]["type"] = json!("told.*");
    sound["nodes"][0]["notify"]["channel"] = json!("'told'");
    chain::store(&house.http, &sound).await;
    let worker = house.worker().await;

    let poisoned: Vec<_> = (0..POISONED).map(|number| format!("poison-{number}")).collect();
    for id in &poisoned {
        let event = json!({ "type": "told.broken", "source": SOURCE, "id": id, "data": {} });
        assert_eq!(house.http.post("/v1/events", &event).await.status, 202);
    }
    let add = |fields: &[&str]| {
        let stream = house.keys.stream();
        house.redis.cli(&[&["XADD", &stream, "*"], fields].concat());
    };
    add(&["nonsense", "yes"]);
    let job = ["type", "event", "at", "1", "attempt", "1", "deliveries", "0"];
    add(&[&job[..], &["id", "no-json", "body", "{not json"]].concat());
    add(&[&job[..], &["id", "no-event", "body", "{\"specversion\":\"1.0\"}"]].concat());
    let expected = house.post(0..50).await;

    ears.hear_all(&expected, DEADLINE).await;
    house.is_drained().await;
    let dead = house.dead();
    let reasons = |reason: &str| dead.iter().filter(|(why, _)| why == reason).count();
    let counts = (reasons("rule_error"), reasons("malformed"), dead.len());
    assert_eq!(counts, (POISONED, 3, POISONED + 3), "{dead:?}");
    assert!(
        dead.iter().any(|(_, id)| id == "no-json") && dead.iter().any(|(_, id)| id == "no-event")
    );
    // The events that broke one chain were told by the other.
    let told = |id: &String| chain_notification_id(SOURCE, id, "sound", "tell");
    let other: HashSet<_> = poisoned.iter().map(told).collect();
    ears.hear_all(&other, DEADLINE).await;
    for (reason, count) in [("rule_error", POISONED as f64), ("malformed", 3.0)] {
        let died = worker.metric("trunkline_jobs_dead_total").await;
        died.label("reason", reason).settles(count).await;
    }
    // What cannot succeed is tried once.
    let evaluations = worker.metric("trunkline_rule_evaluations_total").await;
    evaluations.label("outcome", "error").settles(POISONED as f64).await;
    worker.metric("trunkline_job_retries_total").await.settles(0.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_is_repeated_makes_one_job() {
    let house = House::start().await;
    let ears = Ears::open(&house.server, "told").await;
    let event = json!({ "type": "told", "source": SOURCE, "id": "7" });
    let accepted = async |event: &Value| {
        let answer = house.http.post("/v1/events", event).await;
        assert_eq!(answer.status, 202, "{}", answer.text());
        answer.json()["accepted"][0].clone()
    };
    assert_eq!(accepted(&event).await, json!({ "id": "7" }));
    assert_eq!(accepted(&event).await, json!({ "id": "7", "duplicate": true }));
    assert_eq!(house.unfinished(), 1);
    let worker = house.worker().await;
    house.is_drained().await;
    // Done is not forgotten.
    assert_eq!(accepted(&event).await, json!({ "id": "7", "duplicate": true }));
    let other = json!({ "type": "told", "source": "/other", "id": "7" });
    assert_eq!(accepted(&other).await, json!({ "id": "7" }));

    attempts(&worker, "done").await.settles(2.0).await;
    let of = |source| chain_notification_id(source, "7", "told", "tell");
    let expected = HashSet::from([of(SOURCE), of("/other")]);
    ears.hear_all(&expected, DEADLINE).await;
    assert_eq!(ears.ids().len(), 2);
    for name in ["trunkline_events_accepted_total", "trunkline_events_duplicate_total"] {
        house.server.metric(name).await.settles(2.0).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_refuses_events_until_it_has_come_down_to_recovery() {
    let house = House::with(|server| {
        let thresholds = server.env("QUEUE_WARNING_THRESHOLD", "20");
        let thresholds = thresholds.env("QUEUE_CRITICAL_THRESHOLD", "30");
        thresholds.env("QUEUE_RECOVERY_THRESHOLD", "10")
    })
    .await;
    let ears = Ears::open(&house.server, "told").await;
    let mut expected = house.post(0..30).await;
    let is_refused = async |number| {
        let refused = house.post_batch(&[number]).await;
        assert_eq!(refused.status, 503, "{}", refused.text());
        assert_eq!(refused.json()["type"], "urn:trunkline:problem:queue-full");
        assert!(refused.header("retry-after").parse::<u64>().unwrap() > 0);
    };
    is_refused(30).await;
    house.server.metric("trunkline_queue_full").await.reaches(1.0).await;
    // One above recovery it is still full; somebody else has done these.
    let trim = |left: &str| house.redis.cli(&["XTRIM", &house.keys.stream(), "MAXLEN", left]);
    trim("11");
    is_refused(30).await;
    trim("10");
    expected.extend(house.post(30..31).await);
    for done_elsewhere in 0..20 {
        expected.remove(&notification_of(&done_elsewhere));
    }
    house.post(31..50).await;
    is_refused(50).await;

    let _worker = house.worker().await;
    house.is_drained().await;
    expected.extend((31..50).map(|number| notification_of(&number)));
    expected.extend(house.post(50..51).await);
    ears.hear_all(&expected, DEADLINE).await;
    assert_eq!(ears.ids().into_iter().collect::<HashSet<_>>(), expected);
    house.server.metric("trunkline_queue_full").await.settles(0.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_for_later_comes_at_its_time_in_every_mode() {
    let house = House::with(|server| server.args(["--sample-interval", "100ms"])).await;
    let ears = Ears::open(&house.server, "told").await;
    let _worker = house.worker().await;
    // Long enough to be asked for in every mode and to be seen waiting.
    let due = unix_ms() + 5_000;
    let at = rfc3339(UNIX_EPOCH + Duration::from_millis(due));
    let event = |id: &str, at: &str| json!({ "specversion": "1.0", "type": "told", "source": SOURCE, "id": id, "notbefore": at, "data": {} });
    let send = async |kind: &str, headers: &[(&str, &str)], body: String| {
        let headers = [&[("content-type", kind)], headers].concat();
        house.http.send("POST".parse().unwrap(), "/v1/events", &headers, body).await
    };
    let (one, batch) = ("application/cloudevents+json", "application/cloudevents-batch+json");
    let binary = |at| {
        [
            ("ce-specversion", "1.0"),
            ("ce-type", "told"),
            ("ce-source", SOURCE),
            ("ce-id", "binary"),
            ("ce-notbefore", at),
        ]
    };
    let many = |at: &str| json!([event("first", at), event("second", at)]).to_string();
    for (kind, headers, body) in [
        ("application/json", vec![], event("short", &at).to_string()),
        (one, vec![], event("whole", &at).to_string()),
        (batch, vec![], many(&at)),
        ("application/json", binary(&at).to_vec(), "{}".to_owned()),
    ] {
        let answer = send(kind, &headers, body).await;
        assert_eq!(answer.status, 202, "{}", answer.text());
    }
    let delayed = house.server.metric("trunkline_queue_jobs").await.label("state", "delayed");
    delayed.reaches(5.0).await;
    let early = ears.heard();
    assert!(unix_ms() >= due || early.is_empty(), "heard before its time: {early:?}");
    let expected: HashSet<_> = ["short", "whole", "first", "second", "binary"]
        .map(|id| chain_notification_id(SOURCE, id, "told", "tell"))
        .into();
    ears.hear_all(&expected, DEADLINE).await;
    house.is_drained().await;

    for (at, says) in [
        ("2001-01-01T00:00:00Z", "minute"),
        ("2999-01-01T00:00:00Z", "366 days"),
        ("soon", "RFC 3339"),
    ] {
        for (kind, headers, body, path) in [
            ("application/json", vec![], event("short", at).to_string(), "$.notbefore"),
            (one, vec![], event("whole", at).to_string(), "$.notbefore"),
            (batch, vec![], many(at), "$[1].notbefore"),
            ("application/json", binary(at).to_vec(), "{}".to_owned(), "ce-notbefore"),
        ] {
            let answer = send(kind, &headers, body).await;
            let document = answer.json();
            let faults = document["errors"].as_array().unwrap();
            let fault = faults.iter().find(|fault| fault["path"] == path).expect(path);
            assert!(fault["message"].as_str().unwrap().contains(says), "{fault}");
            assert_eq!(answer.status, 400);
        }
    }
    assert_eq!(house.redis.cli(&["XLEN", &house.keys.stream()]).integer(), 0);
}
