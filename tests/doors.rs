//! The doors of a real server over a real Redis: what goes in, what comes out, and what a caller
//! is told when Redis is away, slow, full or unwilling.
#![cfg(feature = "bridge")]
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod support;

use serde_json::{Value, json};

use support::eventually::eventually;
use support::http::{Http, Response, Sse};
use support::process::{Daemon, Launch};
use support::redis::Redis;

struct House {
    redis: Redis,
    server: Daemon,
    public: Http,
}

impl House {
    async fn start() -> Self {
        Self::with(|server| server).await
    }

    async fn with(how: impl FnOnce(Launch) -> Launch) -> Self {
        let redis = Redis::start();
        let server = how(Daemon::server(&redis.url()).patient()).start();
        server.wait_ready().await;
        let public = server.public().await;
        Self { redis, server, public }
    }

    async fn notify(&self, channel: &str, data: Value) -> Response {
        self.public.post("/v1/notifications", &json!({ "channel": channel, "data": data })).await
    }

    async fn event(&self, event: Value) -> Response {
        self.public.post("/v1/events", &event).await
    }

    /// What Redis says this server is subscribed to for its clients.
    fn subscribed(&self) -> Vec<String> {
        let mut names = self.redis.cli(&["PUBSUB", "CHANNELS", "trunkline:notify:*"]).texts();
        names.sort();
        names
    }
}

/// The data of the next notification.
async fn heard(stream: &mut Sse) -> Value {
    loop {
        let event = stream.event().await;
        match event.event.as_str() {
            "status" => {}
            "notification" => return event.json()["data"].clone(),
            other => panic!("a {other} event: {}", event.data),
        }
    }
}

/// The status and the last word of the type, of an answer that must be a problem.
fn problem(answer: &Response) -> (u16, String) {
    assert_eq!(answer.header("content-type"), "application/problem+json", "{}", answer.text());
    let uri = answer.json()["type"].as_str().unwrap().to_owned();
    assert_eq!(answer.json()["status"], answer.status);
    (answer.status, uri.rsplit(':').next().unwrap().to_owned())
}

#[tokio::test]
async fn a_client_hears_what_is_published_after_its_200_and_each_notification_once() {
    let house = House::start().await;
    let mut stream = Sse::open(&house.public, "/v1/stream?channel=a.b&channel=a.*").await;
    let answer = house.notify("a.b", json!(1)).await;
    // The server has two subscriptions that match, and a subscription counts in Redis.
    assert_eq!((answer.status, &answer.json()["receivers"]), (200, &json!(2)));
    house.redis.cli(&["PUBLISH", "trunkline:notify:a.c", "2"]);
    house.redis.cli(&["PUBLISH", "trunkline:notify:a", "not meant"]);
    house.notify("a.b", json!(3)).await;
    for expected in [1, 2, 3] {
        assert_eq!(heard(&mut stream).await, expected);
    }
    let nobody = house.notify("nobody", json!(0)).await;
    assert_eq!((nobody.status, &nobody.json()["receivers"]), (200, &json!(0)));
}

#[tokio::test]
async fn redis_is_subscribed_to_exactly_what_clients_want() {
    let house = House::start().await;
    let first = Sse::open(&house.public, "/v1/stream?channel=a&channel=b").await;
    let second = Sse::open(&house.public, "/v1/stream?channel=b").await;
    assert_eq!(house.subscribed(), ["trunkline:notify:a", "trunkline:notify:b"]);
    drop(first);
    eventually("only b is left", async || match house.subscribed() {
        names if names == ["trunkline:notify:b"] => Ok(()),
        other => Err(other.join(" ")),
    })
    .await;
    drop(second);
    house
        .server
        .metric("trunkline_clients_connected")
        .await
        .label("transport", "sse")
        .settles(0.0)
        .await;
}

#[tokio::test]
async fn an_event_is_in_redis_when_it_is_answered_and_a_repeat_makes_no_second_job() {
    let house = House::start().await;
    let event = json!({ "type": "t", "id": "7", "data": { "n": 1 } });
    let first = house.event(event.clone()).await;
    assert_eq!((first.status, first.json()), (202, json!({ "accepted": [{ "id": "7" }] })));
    let again = house.event(event).await;
    assert_eq!(again.json(), json!({ "accepted": [{ "id": "7", "duplicate": true }] }));
    let jobs = house.redis.cli(&["XLEN", "trunkline:{q:rule-engine-events}:stream"]);
    assert_eq!(jobs.integer(), 1);
}

#[tokio::test]
async fn without_redis_nothing_is_accepted_and_the_caller_is_told_when_to_come_back() {
    let house = House::start().await;
    house.redis.kill9();
    eventually("the loss is known", async || {
        let answer = house.event(json!({ "type": "t" })).await;
        match problem(&answer) {
            (503, kind) if kind == "redis-unavailable" => {
                assert_eq!(answer.header("retry-after"), "1");
                Ok(())
            }
            // The first may be in flight when the connection breaks.
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    assert_eq!(problem(&house.notify("a", json!(1)).await), (503, "redis-unavailable".into()));
    let stream = house.public.get("/v1/stream?channel=a").await;
    assert_eq!(problem(&stream), (503, "redis-unavailable".into()));
}

#[tokio::test]
async fn when_redis_hangs_the_outcome_is_unknown_and_the_id_allows_a_safe_repeat() {
    an_unknown_outcome_is_repeated_safely(json!({ "type": "t", "id": "7" })).await;
}

#[tokio::test]
async fn an_id_that_the_server_made_allows_a_safe_repeat_too() {
    an_unknown_outcome_is_repeated_safely(json!({ "type": "t" })).await;
}

async fn an_unknown_outcome_is_repeated_safely(mut event: Value) {
    // An answer is given up before the connection is, which takes a second and a half.
    let hasty = |server: Launch| server.env("TRUNKLINE_REDIS_COMMAND_TIMEOUT", "1200ms");
    let house = House::with(hasty).await;
    // Redis learns the script now, so that the next call is the whole job.
    assert_eq!(house.event(json!({ "type": "t" })).await.status, 202);
    house.redis.stop();
    let answer = house.event(event.clone()).await;
    assert_eq!(problem(&answer), (503, "outcome-unknown".into()));
    let ids = answer.json()["ids"].clone();
    if let Some(id) = event.get("id") {
        assert_eq!(ids, json!([id]));
    }
    event["id"] = ids[0].clone();
    house.redis.cont();
    let jobs = || house.redis.cli(&["XLEN", "trunkline:{q:rule-engine-events}:stream"]).integer();
    eventually("the first one was executed", async || match jobs() {
        2 => Ok(()),
        other => Err(other),
    })
    .await;
    house.server.wait_ready().await;
    let repeat = eventually("redis is back", async || match house.event(event.clone()).await {
        answer if answer.status == 202 => Ok(answer),
        answer => Err(answer.status),
    })
    .await;
    assert_eq!(repeat.json()["accepted"], json!([{ "id": ids[0], "duplicate": true }]));
    assert_eq!(jobs(), 2);
    house.server.metric("trunkline_events_accepted_total").await.settles(1.0).await;
    house.server.metric("trunkline_events_duplicate_total").await.settles(1.0).await;
}

#[tokio::test]
async fn a_full_queue_refuses_events() {
    let house = House::with(|server| {
        server
            .env("QUEUE_RECOVERY_THRESHOLD", "1")
            .env("QUEUE_WARNING_THRESHOLD", "2")
            .env("QUEUE_CRITICAL_THRESHOLD", "3")
    })
    .await;
    for _ in 0..3 {
        assert_eq!(house.event(json!({ "type": "t" })).await.status, 202);
    }
    let refused = house.event(json!({ "type": "t" })).await;
    assert_eq!(problem(&refused), (503, "queue-full".into()));
    assert_eq!(refused.header("retry-after"), "5");
}

#[tokio::test]
async fn a_channel_that_redis_takes_away_is_told_to_its_clients_and_the_others_are_not_touched() {
    let everything = "user default on nopass ~* &* +@all";
    let redis = Redis::plan().users(&[everything, "user line on >secret ~* &* +@all"]).start();
    let url = redis.url().replace("redis://", "redis://line:secret@");
    let server = Daemon::server(&url).patient().start();
    server.wait_ready().await;
    let public = server.public().await;
    let mut both = Sse::open(&public, "/v1/stream?channel=kept&channel=lost").await;
    let mut other = Sse::open(&public, "/v1/stream?channel=kept").await;

    // Redis closes the connections whose subscriptions the new rights no longer cover.
    let rights = ["&trunkline:probe:*", "&trunkline:ctl", "&trunkline:notify:kept"];
    redis.cli(&[&["ACL", "SETUSER", "line", "resetchannels"], &rights[..]].concat());
    let told = loop {
        let event = both.event().await;
        match event.event.as_str() {
            "status" => {}
            "problem" => break event.json(),
            other => panic!("a {other} event: {}", event.data),
        }
    };
    assert_eq!(told["type"], "urn:trunkline:problem:subscription-refused");
    assert!(told["detail"].as_str().unwrap().contains("lost"));

    server.metric("trunkline_subscriptions_confirmed").await.settles(1.0).await;
    let notice = json!({ "channel": "kept", "data": 1 });
    assert_eq!(public.post("/v1/notifications", &notice).await.status, 200);
    assert_eq!((heard(&mut both).await, heard(&mut other).await), (json!(1), json!(1)));
    server.wait_ready().await;
}

#[tokio::test]
async fn a_channel_that_redis_refuses_is_an_error_for_its_client_alone() {
    let line = "user default on nopass ~* +@all resetchannels &trunkline:probe:* &trunkline:ctl \
                &trunkline:notify:open";
    let redis = Redis::plan().users(&[line]).start();
    let server = Daemon::server(&redis.url()).patient().start();
    server.wait_ready().await;
    let public = server.public().await;
    let refused = public.get("/v1/stream?channel=open&channel=secret").await;
    assert_eq!(problem(&refused), (403, "subscription-refused".into()));
    assert!(refused.json()["detail"].as_str().unwrap().contains("secret"));
    Sse::open(&public, "/v1/stream?channel=open").await;
    assert_eq!(server.admin().await.get("/readyz").await.json()["missing"], json!([]));
}

#[tokio::test]
async fn at_the_end_clients_are_told_and_nothing_of_ours_is_left_in_redis() {
    let house = House::start().await;
    let mut stream = Sse::open(&house.public, "/v1/stream?channel=a").await;
    house.notify("a", json!(1)).await;
    assert_eq!(heard(&mut stream).await, 1);
    house.server.sigterm();
    let goodbye = loop {
        let event = stream.event().await;
        if event.event != "status" {
            break event;
        }
    };
    assert_eq!(
        (goodbye.event.as_str(), &goodbye.json()["reason"]),
        ("closing", &json!("shutdown"))
    );
    assert_eq!(goodbye.retry, goodbye.json()["reconnect"].as_u64());
    assert!(house.server.exit().await.success());
    house.redis.is_left().await;
}
