//! Schedules over HTTP, and three workers of which one is killed.

use serde_json::{Value, json};
use trunkline::queue::MAX_SCHEDULES;

use crate::house::House;
use crate::support::eventually::eventually;
use crate::support::process::Daemon;
use crate::support::traffic::Ears;

/// Not due while a test runs, unless it is said to be.
const YEARLY: &str = "0 0 1 1 *";

fn told(missed: &str) -> Value {
    json!({ "cron": YEARLY, "event": { "type": "told", "data": 1 }, "missed": missed })
}

impl House {
    /// Makes a schedule due so long ago by the clock of Redis, and tells nobody.
    fn due(&self, id: &str, ago_ms: u64) {
        let time = self.redis.cli(&["TIME"]).texts();
        let tick = time[0].parse::<u64>().unwrap() * 1_000 - ago_ms;
        self.redis.cli(&["ZADD", &self.keys.ticks(), &tick.to_string(), id]);
    }
}

async fn hears(ears: &Ears, count: usize) -> Vec<Value> {
    eventually(&format!("{count} notifications"), async || match ears.heard() {
        heard if heard.len() >= count => Ok(heard),
        heard => Err(format!("{heard:?}")),
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ticks_fire_once_though_a_worker_is_killed_and_the_missed_ones_by_their_policy() {
    let house = House::start().await;
    let ears = Ears::open(&house.server, "told").await;
    for (id, missed) in [("report", "once"), ("skipped", "skip"), ("once", "once")] {
        let answer = house.http.put(&format!("/v1/schedules/{id}"), &told(missed)).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
    }
    // Nobody was there for an hour.
    house.due("skipped", 3_600_000);
    house.due("once", 3_600_000);
    let doomed = house.worker().await;
    let fired = async |worker: &Daemon| worker.metric("trunkline_schedules_fired_total").await;
    let missed = async |policy: &str| {
        let missed = doomed.metric("trunkline_schedules_missed_total").await;
        missed.label("policy", policy)
    };
    let heard = hears(&ears, 1).await;
    assert_eq!(heard[0]["source"], "/rule-chains/told");
    fired(&doomed).await.settles(1.0).await;
    for policy in ["skip", "once"] {
        missed(policy).await.settles(1.0).await;
    }

    // What it fired is done, and so is not done again by another.
    house.is_drained().await;
    let others = [house.worker().await, house.worker().await];
    doomed.sigkill();
    house.due("report", 0);
    hears(&ears, 2).await;
    house.is_drained().await;
    let [first, second] = &others;
    let all =
        fired(first).await.value().await.unwrap() + fired(second).await.value().await.unwrap();
    assert_eq!((all, ears.heard().len()), (1.0, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schedule_is_stored_shown_and_removed_and_a_bad_one_is_told_why() {
    let house = House::start().await;
    let put = async |id: &str, document: &Value| {
        house.http.put(&format!("/v1/schedules/{id}"), document).await
    };
    let path = "/v1/schedules/report";
    assert_eq!(house.http.get(path).await.status, 404);
    let stored = put("report", &told("skip")).await;
    assert_eq!(stored.status, 201, "{}", stored.text());
    let document = stored.json();
    assert_eq!((&document["id"], &document["timezone"]), (&json!("report"), &json!("UTC")));
    let next = document["next"].as_str().unwrap();
    assert!(next.ends_with("-01-01T00:00:00.000Z"), "{next}");
    // What was shown can be sent again, and is no change.
    assert_eq!(house.http.get(path).await.json(), document);
    let again = put("report", &document).await;
    assert_eq!((again.status, again.json()), (200, document.clone()));
    let all = house.http.get("/v1/schedules").await;
    assert_eq!(all.json(), json!({ "schedules": [document] }));

    let event = json!({ "type": "told", "data": "x".repeat(64 * 1024) });
    for (id, wrong, path, says) in [
        ("report", json!({ "cron": "0 0 30 2 *" }), "$.cron", "no day"),
        ("report", json!({ "timezone": "Mars" }), "$.timezone", "IANA"),
        ("report", json!({ "event": event }), "$.event", "at most 65536"),
        ("a.b", json!({}), "$.id", "letters"),
    ] {
        let mut document = told("skip");
        document.as_object_mut().unwrap().extend(wrong.as_object().unwrap().clone());
        let answer = put(id, &document).await;
        assert_eq!(answer.status, 400, "{}", answer.text());
        let fault = &answer.json()["errors"][0];
        let message = fault["message"].as_str().unwrap();
        assert!(fault["path"] == path && message.contains(says), "{fault}");
    }
    let mut words = vec!["ZADD".to_owned(), house.keys.ticks()];
    (1..MAX_SCHEDULES).for_each(|n| words.extend(["9e14".to_owned(), format!("s{n}")]));
    house.redis.cli(&words.iter().map(String::as_str).collect::<Vec<_>>());
    let answer = put("more", &told("skip")).await;
    assert_eq!(answer.status, 400, "{}", answer.text());
    assert!(answer.text().contains("1000 schedules"), "{}", answer.text());

    assert_eq!(house.http.delete(path).await.status, 204);
    assert_eq!(house.http.delete(path).await.status, 404);
    assert_eq!(house.http.get("/v1/schedules").await.json(), json!({ "schedules": [] }));
}
