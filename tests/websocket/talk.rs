//! What is said on a WebSocket.

use serde_json::json;
use tokio_websockets::Message;

use super::client::{Client, problem};
use super::support::house::{House, heard as heard_by_sse};
use super::support::http::Sse;
use super::support::laws::laws_hold;
use super::{settles, ws};

#[tokio::test]
async fn a_client_is_told_that_redis_confirmed_and_then_hears() {
    let house = House::start().await;
    let mut client = Client::open(&house, "?channel=door&channel=a.*").await;
    assert_eq!(client.next().await, json!({ "subscribed": ["door", "a.*"] }));
    let names = house.redis.cli(&["PUBSUB", "CHANNELS", "trunkline:notify:*"]).texts();
    assert_eq!(names, ["trunkline:notify:door"]);
    let answer = house.notify("door", json!({ "open": true })).await;
    assert_eq!(answer["receivers"], 1);
    house.redis.cli(&["PUBLISH", "trunkline:notify:a.b", "foreign"]);
    house.redis.cli(&["PUBLISH", "trunkline:notify:a", "not meant"]);
    let first = client.next().await["notification"].clone();
    let expected = json!({ "specversion": "1.0", "id": answer["id"], "source": "/v1/notifications",
        "type": first["type"], "subject": "door", "time": first["time"], "data": { "open": true } });
    assert_eq!(first, expected);
    let second = client.next().await["notification"].clone();
    assert_eq!(
        (&second["type"], &second["data"]),
        (&json!("trunkline.foreign"), &json!("foreign"))
    );
    assert_eq!(client.ask(json!({ "ping": 1 })).await, json!({ "pong": 1 }));
}

#[tokio::test]
async fn both_transports_hear_the_same_notification() {
    let house = House::start().await;
    let mut stream = house.listen("door").await;
    let mut client = Client::hearing(&house, &["door"]).await;
    house.notify("door", json!("both")).await;
    assert_eq!(client.next().await["notification"], heard_by_sse(&mut stream).await);
}

#[tokio::test]
async fn subscriptions_come_and_go_and_redis_has_exactly_those_that_are_wanted() {
    let house = House::start().await;
    let mut client = Client::hearing(&house, &["a", "b.*"]).await;
    client.subscribe(&["a"]).await;
    let gone = client.ask(json!({ "unsubscribe": ["a", "never-had"] })).await;
    assert_eq!(gone, json!({ "unsubscribed": ["a", "never-had"] }));
    house.notify("a", json!("not any more")).await;
    house.notify("b.c", json!("still")).await;
    assert_eq!(client.heard().await, "still");
    let desired = house.server.metric("trunkline_subscriptions_desired").await;
    desired.settles(1.0).await;
    client.subscribe(&["a"]).await;
    house.notify("a", json!("again")).await;
    assert_eq!(client.heard().await, "again");
    drop(client);
    desired.settles(0.0).await;
}

/// Comes to these subscriptions and leaves them, round and round, until it hears `end`.
/// What it heard, and how often it went round.
async fn churn(client: &mut Client, covers: &[&[&str]]) -> (Vec<i64>, usize) {
    let (mut all, mut rounds) = (Vec::new(), 0);
    for (old, new) in covers.iter().cycle().zip(covers.iter().cycle().skip(1)) {
        client.say(json!({ "subscribe": new })).await;
        client.say(json!({ "unsubscribe": old })).await;
        let mut answers = 0;
        while answers < 2 {
            let message = client.next().await;
            match message.get("notification").map(|it| &it["data"]) {
                Some(end) if end == "end" => return (all, rounds),
                Some(number) => all.push(number.as_i64().unwrap()),
                None => answers += 1,
            }
        }
        rounds += 1;
    }
    unreachable!("it goes round for ever")
}

#[tokio::test]
async fn a_notification_is_heard_in_order_and_once_however_often_subscriptions_change() {
    let house = House::start().await;
    let mut steady = Client::hearing(&house, &["a.b.c"]).await;
    let mut by_prefix = Client::hearing(&house, &["a.*", "x"]).await;
    let mut by_name = Client::hearing(&house, &["a.b.c", "x"]).await;
    let mut changing = Client::hearing(&house, &["x", "a.b.c"]).await;
    let publishing = async {
        for number in 0..400 {
            house.notify("a.b.c", json!(number)).await;
        }
        house.notify("a.b.c", json!("end")).await;
        std::future::pending::<()>().await;
    };
    let heard = async {
        tokio::join!(
            churn(&mut by_prefix, &[&["x"], &["a.b.c", "a.b.*"], &["a.b.*"], &["a.b.c"]]),
            churn(&mut by_name, &[&["x"], &["a.*"], &["a.*", "a.b.*"]]),
            churn(&mut changing, &[&["a.b.c"], &["a.*"], &["a.b.c", "a.b.*"], &["a.*", "a.b.*"]]),
        )
    };
    let (prefix, name, changed) = tokio::select! {
        heard = heard => heard,
        () = publishing => unreachable!("it never ends"),
    };
    let expected: Vec<i64> = (0..400).collect();
    assert_eq!(steady.heard_until_end().await, expected);
    for (all, rounds) in [prefix, name, changed] {
        assert_eq!(all, expected, "it heard the channel all the time, over {rounds} changes");
        assert!(rounds > 20, "{rounds} changes are few");
    }
}

#[tokio::test]
async fn after_unsubscribed_nothing_of_the_channel_follows() {
    let house = House::start().await;
    let mut client = Client::open(&house, "").await;
    let mut published = 0;
    for _ in 0..20 {
        client.subscribe(&["door"]).await;
        for _ in 0..10 {
            house.notify("door", json!(published)).await;
            published += 1;
        }
        // Notifications may come before the answer; none may come after it.
        client.ask(json!({ "unsubscribe": ["door"] })).await;
        house.redis.cli(&["PUBLISH", "trunkline:notify:door", "unheard"]);
        client.say(json!({ "ping": 2 })).await;
        assert_eq!(client.next().await, json!({ "pong": 2 }));
    }
    client.subscribe(&["door"]).await;
    house.notify("door", json!("end")).await;
    assert!(client.heard_until_end().await.is_empty());
}

#[tokio::test]
async fn overlapping_subscriptions_hear_once() {
    let house = House::start().await;
    let mut client = Client::hearing(&house, &["a.b.c", "a.*", "a.b.*"]).await;
    for _ in 0..3 {
        house.notify("a.b.c", json!("same")).await;
        house.redis.cli(&["PUBLISH", "trunkline:notify:a.b.c", "same"]);
    }
    house.notify("a.b.c", json!("end")).await;
    assert_eq!(client.heard_until_end().await, ["same"; 6]);
}

#[tokio::test]
async fn answers_come_in_the_order_of_the_questions() {
    let house = House::start().await;
    let mut client = Client::open(&house, "?channel=first").await;
    for number in 0..50 {
        client.say(json!({ "subscribe": [format!("c{number}")] })).await;
        client.say(json!({ "ping": number })).await;
        client.say(json!({ "unsubscribe": [format!("c{number}")] })).await;
    }
    client.send(Message::text("nonsense")).await;
    assert_eq!(client.next().await, json!({ "subscribed": ["first"] }));
    for number in 0..50 {
        assert_eq!(client.next().await, json!({ "subscribed": [format!("c{number}")] }));
        assert_eq!(client.next().await, json!({ "pong": number }));
        assert_eq!(client.next().await, json!({ "unsubscribed": [format!("c{number}")] }));
    }
    assert_eq!(problem(&client.next().await), "malformed");
}

#[tokio::test]
async fn a_message_that_is_none_is_told_so_and_the_conversation_goes_on() {
    let house = House::start().await;
    let mut client = Client::hearing(&house, &["door"]).await;
    for (said, path) in [
        (json!(["subscribe"]), "$"),
        (json!({}), "$"),
        (json!({ "subscribe": ["a"], "ping": 1 }), "$"),
        (json!({ "publish": "a" }), "$.publish"),
        (json!({ "subscribe": "a" }), "$.subscribe"),
        (json!({ "subscribe": ["good", "*"] }), "$.subscribe[1]"),
        (json!({ "ping": null }), "$.ping"),
    ] {
        let answer = client.ask(said).await;
        assert_eq!(problem(&answer), "invalid");
        assert_eq!(answer["error"]["errors"][0]["path"], path, "{answer}");
    }
    // A message with a fault does nothing at all.
    let desired = house.server.metric("trunkline_subscriptions_desired").await;
    desired.settles(1.0).await;
    house.notify("door", json!("still there")).await;
    assert_eq!(client.heard().await, "still there");
}

#[tokio::test]
async fn websocket_clients_are_counted_like_all_others_and_the_laws_hold() {
    let house = House::start().await;
    for name in [
        "clients_connected",
        "deliveries_total",
        "delivery_latency_seconds_count",
        "client_messages_enqueued_total",
        "client_messages_dropped_total",
        "clients_closed_total",
    ] {
        assert_eq!(ws(&house, &format!("trunkline_{name}")).await, 0.0, "{name} at first");
    }
    let mut clients = vec![];
    for _ in 0..3 {
        clients.push(Client::hearing(&house, &["door"]).await);
    }
    Sse::open(&house.public, "/v1/stream?channel=door").await;
    for number in 0..10 {
        house.notify("door", json!(number)).await;
    }
    for client in &mut clients {
        for number in 0..10 {
            assert_eq!(client.heard().await, number);
        }
    }
    // Each by itself: a page may be rendered between one count and the next.
    settles(&house, "trunkline_deliveries_total", 30.0).await;
    settles(&house, "trunkline_clients_connected", 3.0).await;
    settles(&house, "trunkline_delivery_latency_seconds_count", 30.0).await;
    clients.clear();
    let connected = house.server.metric("trunkline_clients_connected").await;
    connected.settles(0.0).await;
    laws_hold(&house.server).await;
}
