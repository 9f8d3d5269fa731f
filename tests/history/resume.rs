//! A client that was away hears exactly what it missed, and then what comes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use super::client::Client;
use super::listener::Listener;
use super::support::eventually::eventually;
use super::support::house::House;
use super::support::laws::laws_hold;
use super::support::metrics::Page;
use super::support::process::Daemon;
use super::support::proxy::Proxy;
use super::support::redis::Redis;

async fn publish(house: &House, channel: &str, range: std::ops::Range<u64>) {
    for number in range {
        house.notify(channel, json!(number)).await;
    }
}
fn numbers(range: std::ops::Range<u64>) -> Vec<Value> {
    range.map(|number| json!(number)).collect()
}

#[tokio::test]
async fn several_channels_and_a_prefix_are_resumed_by_one_cursor_in_the_order_of_publishing() {
    let house = House::start().await;
    const CHANNELS: &str = "a&channel=b&channel=c.*";
    let mut listener = Listener::open(&house.public, CHANNELS).await;
    publish(&house, "a", 0..2).await;
    publish(&house, "c.x", 2..3).await;
    assert_eq!(listener.take(3).await, numbers(0..3));
    let cursor = listener.cursor.clone();
    drop(listener);
    let connected = house.server.metric("trunkline_clients_connected").await;
    eventually("the client is gone", async || match connected.value().await {
        Some(0.0) => Ok(()),
        there => Err(format!("{there:?}")),
    })
    .await;

    for round in 0..5 {
        let at = 10 * round;
        publish(&house, "c.x.y", at + 3..at + 5).await;
        publish(&house, "elsewhere", 0..3).await;
        publish(&house, "b", at + 5..at + 8).await;
        publish(&house, "c.z", at + 8..at + 10).await;
        publish(&house, "a", at + 10..at + 13).await;
    }
    let mut back = Listener::resume(&house.public, CHANNELS, &cursor).await;
    publish(&house, "b", 53..55).await;
    assert_eq!(back.take(52).await, numbers(3..55));
    let recovered = house.server.metric("trunkline_resumes_total").await;
    recovered.label("outcome", "recovered").reaches(1.0).await;
    // How late they are says nothing of this service: only what came live is measured.
    eventually("what was replayed is counted and not measured", async || {
        let page = Page::of(&house.server).await;
        let sum = |metric, labels: &[(&str, &str)]| page.sum(metric, labels);
        let replayed = sum("trunkline_notifications_replayed_total", &[("for", "client")]);
        let measured = sum("trunkline_delivery_latency_seconds_count", &[]);
        let right = (50.0..=52.0).contains(&replayed) && measured == 55.0 - replayed;
        if right { Ok(()) } else { Err(format!("{replayed} and {measured}")) }
    })
    .await;
    laws_hold(&house.server).await;
}

#[tokio::test]
async fn a_client_that_comes_back_while_redis_does_not_answer_is_told_when_it_does() {
    let redis = Redis::start();
    let proxy = Proxy::to(redis.port());
    let server = Daemon::server(&proxy.url()).start();
    server.wait_ready().await;
    let public = server.public().await;
    // The channel stays subscribed to, so that coming back asks Redis for nothing but the history.
    let mut stays = Listener::open(&public, "a").await;
    let cursor = stays.cursor.clone();
    public.post("/v1/notifications", &json!({ "channel": "a", "data": 1 })).await;
    assert_eq!(stays.data().await, 1);
    proxy.silence();
    let mut back = Listener::resume(&public, "a", &cursor).await;
    let failures = server.metric("trunkline_redis_command_errors_total").await;
    failures.label("reason", "timeout").reaches(1.0).await;
    proxy.forward();
    assert_eq!(back.data().await, 1);
    server.wait_nothing_missing().await;
    public.post("/v1/notifications", &json!({ "channel": "a", "data": 2 })).await;
    assert_eq!((back.data().await, stays.data().await), (json!(2), json!(2)));
}

#[tokio::test]
async fn a_client_that_reads_late_what_it_missed_is_waited_for() {
    let house = House::with(|server| {
        let server = server.env("TRUNKLINE_HISTORY_SIZE", "400");
        server.env("TRUNKLINE_CLIENT_QUEUE_BYTES", "128KiB")
    })
    .await;
    let listener = Listener::open(&house.public, "a").await;
    let cursor = listener.cursor.clone();
    drop(listener);
    // Each more than a page, and all more than may wait and the buffers of its socket together.
    let large = "x".repeat(60_000);
    for _ in 0..120 {
        house.notify("a", json!(large)).await;
    }
    let mut back = Client::open(&house, &format!("?channel=a&after={cursor}")).await;
    let waiting = house.server.metric("trunkline_client_messages_waiting").await;
    waiting.label("transport", "ws").reaches(1.0).await;
    // More than is kept back for it: it has to be read, too.
    publish(&house, "a", 0..200).await;
    assert_eq!(back.next().await, json!({ "subscribed": ["a"] }));
    for _ in 0..120 {
        assert_eq!(back.heard().await, large);
    }
    for number in 0..200 {
        assert_eq!(back.heard().await, number);
    }
    house.notify("a", json!("live")).await;
    assert_eq!(back.heard().await, "live");
}

#[tokio::test]
async fn a_websocket_is_resumed_by_its_first_subscribe_or_by_its_query() {
    let house = House::start().await;
    let mut client = Client::hearing(&house, &["a", "b.*"]).await;
    let begun = client.cursor.clone().expect("where it begins");
    publish(&house, "a", 0..2).await;
    assert_eq!([client.heard().await, client.heard().await], [0, 1]);
    let cursor = client.cursor.clone().unwrap();
    drop(client);
    publish(&house, "b.c", 2..5).await;

    let mut back = Client::open(&house, "").await;
    back.say(json!({ "subscribe": ["a", "b.*"], "after": cursor })).await;
    assert_eq!(back.next().await, json!({ "subscribed": ["a", "b.*"] }));
    for number in 2..5 {
        assert_eq!(back.heard().await, number);
    }
    assert!(back.cursor > Some(cursor), "positions rise");
    let mut again = Client::open(&house, &format!("?channel=a&channel=b.*&after={begun}")).await;
    assert_eq!(again.next().await, json!({ "subscribed": ["a", "b.*"] }));
    for number in 0..5 {
        assert_eq!(again.heard().await, number);
    }
}

#[tokio::test]
async fn who_went_before_anything_came_misses_nothing_either() {
    let house = House::start().await;
    publish(&house, "a", 0..3).await;
    let listener = Listener::open(&house.public, "a").await;
    let cursor = listener.cursor.clone();
    drop(listener);
    publish(&house, "a", 3..5).await;
    let mut back = Listener::resume(&house.public, "a", &cursor).await;
    assert_eq!(back.take(2).await, numbers(3..5));
}

#[tokio::test]
async fn a_client_that_missed_more_than_may_wait_for_it_gets_all_of_it_while_more_comes() {
    let house = House::with(|server| {
        let server = server.env("TRUNKLINE_HISTORY_SIZE", "5000");
        server.env("TRUNKLINE_CLIENT_QUEUE", "16").env("TRUNKLINE_CLIENT_QUEUE_BYTES", "128KiB")
    })
    .await;
    let house = Arc::new(house);
    let listener = Listener::open(&house.public, "a").await;
    let cursor = listener.cursor.clone();
    drop(listener);
    publish(&house, "a", 0..1_000).await;
    let done = Arc::new(AtomicBool::new(false));
    let publishing = tokio::spawn({
        let (house, done) = (house.clone(), done.clone());
        async move {
            let mut number = 1_000;
            while !done.load(Ordering::Relaxed) {
                house.notify("a", json!(number)).await;
                number += 1;
            }
            house.notify("a", json!("end")).await;
            number
        }
    });
    let mut back = Listener::resume(&house.public, "a", &cursor).await;
    let mut heard = back.take(1_200).await;
    done.store(true, Ordering::Relaxed);
    let count = publishing.await.unwrap();
    heard.extend(back.until_end().await);
    assert_eq!(heard, numbers(0..count));
    laws_hold(&house.server).await;
}

/// Clients come and go at random while something is always on its way. Whatever each of them
/// heard, put together, is everything once and in order.
#[tokio::test]
async fn who_comes_and_goes_hears_everything_once_and_in_order() {
    let house = House::with(|server| server.env("TRUNKLINE_HISTORY_SIZE", "1501")).await;
    let house = Arc::new(house);
    let mut clients = tokio::task::JoinSet::new();
    for seed in 0..12 {
        let public = house.public.address();
        let listener = Listener::open(&house.public, "a").await;
        clients.spawn(async move {
            let mut luck = fastrand::Rng::with_seed(seed);
            let public = super::support::http::Http::at(public);
            let (mut listener, mut all) = (listener, Vec::new());
            loop {
                for _ in 0..luck.u32(0..40) {
                    match listener.data().await {
                        end if end == "end" => return (seed, all),
                        data => all.push(data),
                    }
                }
                let cursor = listener.cursor.clone();
                drop(listener);
                tokio::task::yield_now().await;
                listener = Listener::resume(&public, "a", &cursor).await;
            }
        });
    }
    publish(&house, "a", 0..1_500).await;
    house.notify("a", json!("end")).await;
    while let Some(heard) = clients.join_next().await {
        let (seed, heard) = heard.unwrap();
        assert_eq!(heard, numbers(0..1_500), "seed {seed}");
    }
}
