//! What clients hear.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::data;
use super::support::house::{House, heard, heard_until, problem};
use super::support::http::Sse;
use super::support::process::Daemon;

/// Publishes as any Redis client may, bytes and all: `text` is a string of Lua.
fn foreign(house: &House, channel: &str, text: &str) {
    let script = format!("return redis.call('PUBLISH', 'trunkline:notify:{channel}', {text})");
    house.redis.cli(&["EVAL", &script, "0"]);
}

#[tokio::test]
async fn one_stream_carries_several_channels_and_a_prefix_is_what_lies_below_it() {
    let house = House::start().await;
    let mut stream = house.listen("a&channel=b.*&channel=end").await;
    for (number, channel) in ["a", "a.x", "b", "b.x", "b.x.y", "bb", "c", "end"].iter().enumerate()
    {
        house.notify(channel, json!(number)).await;
    }
    house.notify("end", json!("end")).await;
    assert_eq!(data(&heard_until(&mut stream, "end").await), [0, 3, 4, 7]);
}

#[tokio::test]
async fn a_client_whose_subscriptions_overlap_hears_once_and_so_does_everybody_else() {
    let house = House::start().await;
    let mut all = house.listen("a.b.c&channel=a.*&channel=a.b.*&channel=a.b.c").await;
    let mut one = house.listen("a.b.*").await;
    // The same words again are another notification, and so is the same foreign payload.
    for _ in 0..3 {
        house.notify("a.b.c", json!("same")).await;
        foreign(&house, "a.b.c", "'same'");
        foreign(&house, "a.b.c", "'same'");
    }
    house.notify("a.b.c", json!("end")).await;
    let (all, one) = (heard_until(&mut all, "end").await, heard_until(&mut one, "end").await);
    assert_eq!(data(&all), ["same"; 9]);
    // By whichever subscription it came, it is the same notification.
    assert_eq!(all, one);
    let ids: BTreeSet<_> = all.iter().map(|it| it["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 9);
}

#[tokio::test]
async fn a_direct_notification_says_what_it_is_and_how_many_servers_were_told() {
    let house = House::start().await;
    assert_eq!(house.notify("door", json!(0)).await["receivers"], 0);
    let other = Daemon::server(&house.redis.url()).start();
    other.wait_ready().await;
    let mut streams = vec![
        house.listen("door").await,
        house.listen("door").await,
        Sse::open(&other.public().await, "/v1/stream?channel=door").await,
    ];
    let sent = json!({ "channel": "door", "type": "door.open", "data": { "by": null } });
    let answer = house.public.post("/v1/notifications", &sent).await.json();
    assert_eq!(answer["receivers"], 2, "servers, not clients");
    for stream in &mut streams {
        let notification = heard(stream).await;
        let time = notification["time"].clone();
        let expected = json!({ "specversion": "1.0", "id": answer["id"], "type": "door.open",
            "source": "/v1/notifications", "subject": "door", "time": time, "data": { "by": null } });
        assert_eq!(notification, expected);
    }
    let id = uuid::Uuid::parse_str(answer["id"].as_str().unwrap()).unwrap();
    assert_eq!(id.get_version_num(), 7);
    let unheard = house.server.metric("trunkline_publish_no_receivers_total").await;
    unheard.settles(1.0).await;
}

#[tokio::test]
async fn what_another_redis_client_publishes_is_heard_by_the_rules() {
    let house = House::start().await;
    let mut stream = house.listen("door").await;
    let event =
        json!({ "specversion": "1.0", "id": "7", "source": "/node", "type": "t", "tenant": "x" });
    foreign(&house, "door", &format!("'{event}'"));
    assert_eq!(heard(&mut stream).await, event, "a CloudEvent stays as it is");
    for (payload, expected) in [
        ("'{\"id\":\"7\"}'", json!({ "id": "7" })),
        ("'[1, 2.5, null]'", json!([1, 2.5, null])),
        ("'open {'", json!("open {")),
        ("'zwei\\nZeilen'", json!("zwei\nZeilen")),
        ("''", json!("")),
    ] {
        foreign(&house, "door", payload);
        let mut notification = heard(&mut stream).await;
        let made = |name: &str, notification: &mut Value| {
            notification.as_object_mut().unwrap().remove(name).unwrap()
        };
        let (id, time) = (made("id", &mut notification), made("time", &mut notification));
        assert!(id.is_string() && time.is_string());
        let rest = json!({ "specversion": "1.0", "type": "trunkline.foreign", "source": "/redis",
            "subject": "door", "data": expected });
        assert_eq!(notification, rest);
    }
    foreign(&house, "door", "string.char(0xff, 0xfe)");
    foreign(&house, "door", "'after'");
    assert_eq!(heard(&mut stream).await["data"], "after");
    let dropped = house.server.metric("trunkline_subscriber_messages_dropped_total").await;
    dropped.label("reason", "decode").settles(1.0).await;
    // Whoever writes straight into Redis stamps nothing that could be trusted.
    let lag = house.server.metric("trunkline_subscriber_lag_seconds_count").await;
    lag.settles(0.0).await;
}

#[tokio::test]
async fn on_a_channel_everybody_hears_in_the_order_of_publishing() {
    let house = House::start().await;
    let mut streams = [house.listen("a.b").await, house.listen("a.*").await];
    for number in 0..100 {
        if number % 2 == 0 {
            house.notify("a.b", json!(number)).await;
        } else {
            foreign(&house, "a.b", &format!("'{number}'"));
        }
    }
    house.notify("a.b", json!("end")).await;
    let expected: Vec<_> = (0..100).collect();
    for stream in &mut streams {
        assert_eq!(data(&heard_until(stream, "end").await), expected);
    }
}

#[tokio::test]
async fn a_stream_begins_with_when_to_come_back_and_is_kept_alive_without_an_id() {
    let house = House::with(|server| server.env("TRUNKLINE_HEARTBEAT_INTERVAL", "100ms")).await;
    let mut stream = house.listen("door").await;
    assert!(stream.headers["content-type"].to_str().unwrap().starts_with("text/event-stream"));
    assert_eq!(stream.headers["cache-control"], "no-store");
    let first = stream.next_event(super::support::DEADLINE).await.unwrap();
    assert!(first.retry.is_some_and(|retry| retry >= 1_000), "{first:?}");
    let mut comments = 0;
    while comments < 3 {
        let event = stream.next_event(super::support::DEADLINE).await.unwrap();
        assert_eq!(event.id, None);
        comments += usize::from(event.comment.is_some());
    }
}

#[tokio::test]
async fn subscriptions_have_their_limits() {
    let house = House::start().await;
    let many = |count: usize| {
        let names: Vec<_> = (0..count).map(|number| format!("channel=c{number}")).collect();
        format!("/v1/stream?{}", names.join("&"))
    };
    Sse::open(&house.public, &many(128)).await;
    assert_eq!(problem(&house.public.get(&many(129)).await), (400, "invalid".into()));
    let longest = "c".repeat(200);
    house.listen(&longest).await;
    for bad in [
        "",
        "channel=",
        "channel=*",
        "channel=.*",
        "channel=a..b",
        "channel=a*",
        "channel=a b",
        "channel=%FF",
        "channel=%C3%BC",
        &format!("channel={longest}c"),
    ] {
        let bad = bad.replace(' ', "%20");
        let refused = house.public.get(&format!("/v1/stream?{bad}")).await;
        assert_eq!(problem(&refused), (400, "invalid".into()), "{bad}");
        assert_eq!(refused.json()["errors"][0]["path"], "channel", "{bad}");
    }
}

#[tokio::test]
async fn a_burst_longer_than_a_clients_queue_is_heard_by_whoever_reads() {
    const BURST: usize = 1_000;
    let house = House::start().await;
    let server = Daemon::server(&house.redis.url()).args(["--client-queue", "8"]).start();
    server.wait_ready().await;
    let mut stream = Sse::open(&server.public().await, "/v1/stream?channel=door").await;
    // All in one step of Redis, so that they come to the server as one piece.
    let script = format!(
        "for i = 1, {BURST} do redis.call('PUBLISH', 'trunkline:notify:door', i) end
         return redis.call('PUBLISH', 'trunkline:notify:door', '\"end\"')"
    );
    house.redis.cli(&["EVAL", &script, "0"]);
    assert_eq!(heard_until(&mut stream, "end").await.len(), BURST);
}
