//! How a conversation ends, and what its counters say then.

use std::time::Duration;

use serde_json::json;
use tokio_websockets::{CloseCode, Message};

use super::bytes::Peer;
use super::client::Client;
use super::support::house::{House, heard};
use super::support::laws::laws_hold;
use super::{closed, settles};

fn words(message: &serde_json::Value) -> &str {
    message["closing"]["reason"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn a_client_that_closes_gets_its_own_code_back_and_takes_its_subscriptions_along() {
    let house = House::start().await;
    for code in [1000, 1001, 3000, 4999] {
        let mut client = Client::hearing(&house, &["door"]).await;
        let close = Message::close(Some(CloseCode::try_from(code).unwrap()), "bye");
        client.send(close).await;
        let (rest, (answer, _)) = client.rest().await;
        assert_eq!((rest.len(), answer), (0, code));
    }
    closed(&house, "client", 4).await;
    house.server.metric("trunkline_subscriptions_desired").await.settles(0.0).await;
}

#[tokio::test]
async fn a_client_that_just_goes_has_left() {
    let house = House::start().await;
    drop(Client::hearing(&house, &["door"]).await);
    closed(&house, "client", 1).await;
    settles(&house, "trunkline_clients_connected", 0.0).await;
}

#[tokio::test]
async fn a_client_that_resets_its_connection_has_left_by_either_transport() {
    let house = House::start().await;
    Peer::websocket(&house, "?channel=door").await.reset();
    closed(&house, "client", 1).await;
    Peer::open(&house, "/v1/stream?channel=door", &[]).await.reset();
    let streams = house.server.metric("trunkline_clients_closed_total").await;
    streams.label("transport", "sse").label("reason", "client").reaches(1.0).await;
}

#[tokio::test]
async fn a_binary_message_is_1003() {
    let house = House::start().await;
    let mut client = Client::hearing(&house, &["door"]).await;
    client.send(Message::binary(&b"{\"ping\":1}"[..])).await;
    assert_eq!(client.rest().await.1.0, 1003);
    closed(&house, "error", 1).await;
}

#[tokio::test]
async fn a_message_over_32_kib_is_1009_and_one_of_that_size_is_read() {
    let house = House::start().await;
    let mut client = Client::open(&house, "").await;
    let padded = |length: usize| format!("{}{{\"ping\":1}}", " ".repeat(length - 10));
    client.send(Message::text(padded(32 * 1024))).await;
    assert_eq!(client.next().await, json!({ "pong": 1 }));
    client.send(Message::text(padded(32 * 1024 + 1))).await;
    assert_eq!(client.rest().await.1.0, 1009);
    closed(&house, "too_large", 1).await;
}

#[tokio::test]
async fn at_the_end_clients_hear_what_waits_and_when_to_come_back_and_then_1001() {
    let house = House::start().await;
    let mut clients = vec![];
    for _ in 0..20 {
        clients.push(Client::hearing(&house, &["door"]).await);
    }
    house.notify("door", json!("last")).await;
    // Its answer is Redis'; the way back from there to the clients takes a moment more.
    let enqueued = house.server.metric("trunkline_client_messages_enqueued_total").await;
    enqueued.label("transport", "ws").reaches(20.0).await;
    house.server.sigterm();
    let mut hints = vec![];
    for client in &mut clients {
        assert_eq!(client.heard().await, "last");
        let (rest, (code, _)) = client.rest().await;
        assert_eq!((rest.len(), words(&rest[0]), code), (1, "shutdown", 1001));
        hints.push(rest[0]["closing"]["reconnect"].as_u64().unwrap());
    }
    assert!(hints.iter().all(|hint| (1_000..5_000).contains(hint)), "{hints:?}");
    hints.sort_unstable();
    hints.dedup();
    assert!(hints.len() > 10, "spread: {hints:?}");
    assert!(house.server.exit().await.success());
    // The worker's alone.
    house.redis.has_connections(1).await;
}

#[tokio::test]
async fn a_client_that_never_answers_its_goodbye_does_not_hold_up_the_end() {
    let house = House::start().await;
    let client = Client::hearing(&house, &["door"]).await;
    house.server.sigterm();
    assert!(house.server.exit().await.success());
    drop(client);
}

#[tokio::test]
async fn a_client_that_answers_no_ping_is_closed_and_one_that_answers_is_not() {
    let house = House::with(|server| server.env("TRUNKLINE_HEARTBEAT_INTERVAL", "1s")).await;
    // It does not read, so it does not answer.
    let mut deaf = Client::hearing(&house, &["door"]).await;
    let mut there = Client::hearing(&house, &["door"]).await;
    let staying = async {
        loop {
            there.next().await;
        }
    };
    tokio::select! {
        () = closed(&house, "ping_timeout", 1) => {}
        () = staying => unreachable!("nothing is published"),
    }
    // The other one goes on answering meanwhile.
    let (rest, (code, _)) = tokio::select! {
        rest = deaf.rest() => rest,
        _ = there.next() => unreachable!("nothing is published"),
    };
    assert_eq!((words(&rest[0]), code), ("ping_timeout", 1002));
    assert_eq!(there.ask(json!({ "ping": 1 })).await, json!({ "pong": 1 }));
    settles(&house, "trunkline_clients_connected", 1.0).await;
}

#[tokio::test]
async fn a_client_that_stops_reading_is_closed_as_slow_and_the_others_hear_everything() {
    let house = House::with(|server| server.env("TRUNKLINE_CLIENT_QUEUE", "64")).await;
    let mut awake = Client::hearing(&house, &["door"]).await;
    let mut stream = house.listen("door").await;
    let mut asleep = Client::hearing(&house, &["door"]).await;
    let before = resident_bytes(house.server.pid());
    let slow = house.server.metric("trunkline_clients_closed_total").await;
    let slow = slow.label("transport", "ws").label("reason", "slow");
    let (large, mut sent) = ("x".repeat(60_000), 0);
    while slow.value().await != Some(1.0) {
        house.notify("door", json!({ "number": sent, "large": large })).await;
        assert_eq!(awake.heard().await["number"], sent);
        assert_eq!(heard(&mut stream).await["data"]["number"], sent);
        sent += 1;
        assert!(sent < 2_000, "it is still not slow");
    }
    let grown = resident_bytes(house.server.pid()).saturating_sub(before);
    assert!(grown < 8 << 20, "{grown} bytes for one client that sleeps");
    // It wakes up, finds what the kernel had taken, and then why there is no more.
    let (rest, (code, reason)) = asleep.rest().await;
    let (closing, notifications) = rest.split_last().unwrap();
    assert_eq!((words(closing), code), ("slow", 4008), "{reason}");
    for (number, message) in notifications.iter().enumerate() {
        assert_eq!(message["notification"]["data"]["number"], number);
    }
    assert!(notifications.len() < sent);
    house.notify("door", json!("on")).await;
    assert_eq!(awake.heard().await, "on");
    laws_hold(&house.server).await;
    let dropped = house.server.metric("trunkline_client_messages_dropped_total").await;
    dropped.label("transport", "ws").label("reason", "slow").reaches(1.0).await;
}

#[tokio::test]
async fn a_client_that_asks_and_never_reads_the_answers_is_bounded_too() {
    let house = House::start().await;
    let mut client = Client::open(&house, "").await;
    let before = resident_bytes(house.server.pid());
    let flooding = async {
        // Sooner or later nothing of it is read any more, which is what holds it up.
        for number in 0..300_000 {
            client.say(json!({ "ping": number })).await;
        }
    };
    let _ = tokio::time::timeout(Duration::from_secs(2), flooding).await;
    let grown = resident_bytes(house.server.pid()).saturating_sub(before);
    assert!(grown < 8 << 20, "{grown} bytes for one client that does not read");
    house.notify("door", json!("the server is there")).await;
}

/// What of a program is in memory.
fn resident_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
}

#[tokio::test]
async fn a_client_that_stops_reading_keeps_its_place_where_the_channels_policy_lets_it() {
    let house = House::with(|server| {
        let server = server.env("TRUNKLINE_CLIENT_QUEUE", "16");
        server.env("TRUNKLINE_DELIVERY", "latest.*=latest-only, oldest=drop-oldest")
    })
    .await;
    for (channel, reason) in [("latest.a", "superseded"), ("oldest", "oldest")] {
        let mut asleep = Client::hearing(&house, &[channel]).await;
        let dropped = house.server.metric("trunkline_client_messages_dropped_total").await;
        let dropped = dropped.label("transport", "ws").label("reason", reason);
        let (large, mut sent) = ("x".repeat(60_000), 0);
        while dropped.value().await.is_none_or(|count| count < 20.0) {
            house.notify(channel, json!({ "number": sent, "large": large })).await;
            sent += 1;
        }
        house.notify(channel, json!({ "number": sent })).await;
        let (mut before, mut gaps) = (None, 0);
        loop {
            let number = asleep.heard().await["number"].as_u64().unwrap();
            gaps += u64::from(before.is_some_and(|before| number != before + 1));
            assert!(before.is_none_or(|before| number > before), "in order");
            before = Some(number);
            if number == sent {
                break;
            }
        }
        assert!(gaps > 0, "{channel}: nothing was left out");
        assert_eq!(asleep.ask(json!({ "ping": 1 })).await, json!({ "pong": 1 }));
    }
    laws_hold(&house.server).await;
}
