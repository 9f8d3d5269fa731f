//! A server that lost its subscriber connection for a while hands on what it has missed.

use std::sync::Arc;

use serde_json::{Value, json};

use super::client::Client;
use super::listener::{Heard, Listener};
use super::support::eventually::eventually;
use super::support::house::House;
use super::support::laws::laws_hold;
use super::support::metrics::Page;
use super::support::process::Daemon;
use super::support::proxy::{Direction, Proxy};
use super::support::redis::Redis;

fn numbers(range: std::ops::Range<u64>) -> Vec<Value> {
    range.map(|number| json!(number)).collect()
}

/// Kills the subscriber connection of the server whose Redis this is, as soon as there is one.
async fn kill_subscriber(redis: &Redis) {
    eventually("a subscriber is killed", async || {
        let clients = redis.client_list();
        let found = clients.iter().find(|it| it.name.contains(":subscriber:"));
        let id = found.ok_or("there is none")?.id.to_string();
        redis.cli(&["CLIENT", "KILL", "ID", &id]);
        Ok::<_, &str>(())
    })
    .await;
}

#[tokio::test]
async fn a_subscriber_that_is_killed_time_and_again_while_all_is_busy_misses_nothing() {
    let house = House::with(|server| server.env("TRUNKLINE_HISTORY_SIZE", "600")).await;
    let mut stream = Listener::open(&house.public, "a.*").await;
    let mut client = Client::hearing(&house, &["a.b"]).await;
    for number in 0..600 {
        house.notify("a.b", json!(number)).await;
        if number % 100 == 50 {
            kill_subscriber(&house.redis).await;
        }
    }
    assert_eq!(stream.take(600).await, numbers(0..600));
    for number in 0..600 {
        assert_eq!(client.heard().await, number);
    }
    house.server.wait_nothing_missing().await;
    laws_hold(&house.server).await;
    let page = Page::of(&house.server).await;
    assert_eq!(page.sum("trunkline_history_gaps_total", &[("outcome", "lost")]), 0.0);
}

/// Waits until the server has asked the history where it is, from where its gaps begin.
async fn knows_where_it_is(server: &Daemon) {
    server
        .metric("trunkline_history_gaps_total")
        .await
        .label("outcome", "filled")
        .reaches(1.0)
        .await;
}

#[tokio::test]
async fn an_outage_of_two_seconds_costs_the_clients_of_a_server_nothing() {
    const EACH: u64 = 300;
    let redis = Redis::start();
    let proxy = Proxy::to(redis.port());
    // A gap is longer than a page, and than what may wait for a client.
    let server = |url: &str| Daemon::server(url).env("TRUNKLINE_HISTORY_SIZE", "300");
    let cut_off = server(&proxy.url()).env("TRUNKLINE_CLIENT_QUEUE", "64").start();
    let publisher = server(&redis.url()).patient().start();
    cut_off.wait_ready().await;
    publisher.wait_ready().await;
    let (there, public) = (cut_off.public().await, publisher.public().await);
    let mut stream = Listener::open(&there, "a&channel=b.*").await;
    knows_where_it_is(&cut_off).await;
    for outage in 0..2 {
        let at = EACH * outage;
        proxy.refuse();
        proxy.reset();
        let began = std::time::Instant::now();
        let mut number = at;
        while began.elapsed() < std::time::Duration::from_secs(2) || number < at + EACH {
            if number < at + EACH {
                let channel = if number.is_multiple_of(3) { "b.c" } else { "a" };
                let body = json!({ "channel": channel, "data": number });
                assert_eq!(public.post("/v1/notifications", &body).await.status, 200);
                number += 1;
            } else {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        }
        proxy.forward();
        assert_eq!(stream.take(EACH as usize).await, numbers(at..at + EACH));
    }
    let replayed = cut_off.metric("trunkline_notifications_replayed_total").await;
    replayed.label("for", "server").reaches(2.0 * EACH as f64).await;
}

#[tokio::test]
async fn what_a_gap_takes_from_channels_without_history_is_told() {
    let house = House::with(|server| server.env("TRUNKLINE_HISTORY_OFF", "off")).await;
    let mut stream = Listener::open(&house.public, "off").await;
    let mut other = Listener::open(&house.public, "on").await;
    knows_where_it_is(&house.server).await;
    kill_subscriber(&house.redis).await;
    assert_eq!(stream.lost().await, json!({ "channels": ["off"], "reason": "off" }));
    house.notify("on", json!(1)).await;
    assert_eq!(other.data().await, 1);
}

#[tokio::test]
async fn a_gap_over_a_history_that_is_gone_is_told() {
    let house = House::start().await;
    let mut stream = Listener::open(&house.public, "a").await;
    house.notify("a", json!(1)).await;
    assert_eq!(stream.data().await, 1);
    let cursor = stream.cursor.clone();
    house.redis.cli(&["FLUSHALL"]);
    kill_subscriber(&house.redis).await;
    assert_eq!(stream.lost().await, json!({ "channels": ["a"], "reason": "epoch" }));
    assert_ne!(stream.cursor, cursor, "who comes back from here has lost nothing more");
    // The next gap begins where the new history did.
    let gaps = house.server.metric("trunkline_history_gaps_total").await;
    let filled = gaps.label("outcome", "filled");
    let before = filled.value().await.unwrap();
    kill_subscriber(&house.redis).await;
    filled.reaches(before + 1.0).await;
    house.notify("a", json!(2)).await;
    assert_eq!(stream.next().await, Heard::Data(json!(2)));
    let gaps = house.server.metric("trunkline_history_gaps_total").await;
    gaps.label("outcome", "lost").reaches(1.0).await;
}

#[tokio::test]
async fn what_was_trimmed_before_a_gap_could_be_filled_is_told_and_the_rest_is_heard() {
    let redis = Redis::start();
    let proxy = Proxy::to(redis.port());
    let few = |url: &str| Daemon::server(url).patient().env("TRUNKLINE_HISTORY_SIZE", "5").start();
    let (cut_off, publisher) = (few(&proxy.url()), few(&redis.url()));
    cut_off.wait_ready().await;
    publisher.wait_ready().await;
    let public = publisher.public().await;
    let mut stream = Listener::open(&cut_off.public().await, "a&channel=b").await;
    knows_where_it_is(&cut_off).await;
    proxy.refuse();
    proxy.reset();
    for number in 0..8 {
        let body = json!({ "channel": "a", "data": number });
        assert_eq!(public.post("/v1/notifications", &body).await.status, 200);
    }
    proxy.forward();
    assert_eq!(stream.lost().await, json!({ "channels": ["a"], "reason": "trimmed" }));
    assert_eq!(stream.take(5).await, numbers(3..8));
}

#[tokio::test]
async fn a_history_that_does_not_answer_at_once_is_asked_again_before_anything_is_lost() {
    let house = House::start().await;
    let mut stream = Listener::open(&house.public, "a").await;
    knows_where_it_is(&house.server).await;
    house.redis.cli(&["ACL", "SETUSER", "default", "-hmget"]);
    kill_subscriber(&house.redis).await;
    let failures = house.server.metric("trunkline_redis_command_errors_total").await;
    failures.label("reason", "noperm").reaches(1.0).await;
    house.redis.cli(&["ACL", "SETUSER", "default", "+hmget"]);
    house.notify("a", json!(1)).await;
    assert_eq!(stream.data().await, 1);
}

#[tokio::test]
async fn a_server_that_may_not_read_the_history_says_so_and_goes_on() {
    let house = House::start().await;
    let mut stream = Listener::open(&house.public, "a").await;
    house.redis.cli(&["ACL", "SETUSER", "default", "-hmget"]);
    kill_subscriber(&house.redis).await;
    assert_eq!(stream.lost().await, json!({ "channels": ["a"], "reason": "unavailable" }));
    // Who comes back learns it at once.
    let mut back = Listener::resume(&house.public, "b", &stream.cursor).await;
    assert_eq!(back.lost().await, json!({ "channels": ["b"], "reason": "unavailable" }));
    house.redis.cli(&["ACL", "SETUSER", "default", "+hmget"]);
    house.notify("a", json!(1)).await;
    assert_eq!(stream.data().await, 1);
    laws_hold(&house.server).await;
}

/// In the place of the question where the history is, one that Redis refuses.
fn refused_where_it_is(piece: Vec<u8>) -> Vec<u8> {
    const KEY: &str = "$1\r\n1\r\n$24\r\ntrunkline:{history}:head\r\n";
    const REFUSED: &str =
        "*3\r\n$4\r\nEVAL\r\n$37\r\nreturn redis.error_reply('NOPERM no')\r\n$1\r\n0\r\n";
    const EPOCH: usize = "$16\r\n0123456789abcdef\r\n".len();
    let mut text = String::from_utf8_lossy(&piece).into_owned();
    while let Some(key) = text.find(KEY) {
        let begin = text[..key].rfind("*5\r\n").unwrap();
        text.replace_range(begin..key + KEY.len() + EPOCH, REFUSED);
    }
    text.into_bytes()
}

#[tokio::test]
async fn a_gap_from_before_the_server_knew_where_the_history_is_is_told() {
    let house = House::start().await;
    let mut first = Listener::open(&house.public, "a").await;
    let cursor = first.cursor.clone();
    house.notify("a", json!(0)).await;
    assert_eq!(first.data().await, 0);

    let proxy = Proxy::to(house.redis.port());
    proxy.filter(Arc::new(|direction, piece| match direction {
        Direction::ToServer => refused_where_it_is(piece),
        Direction::ToClient => piece,
    }));
    let late = Daemon::server(&proxy.url()).start();
    late.wait_ready().await;
    // Who comes back needs not ask where the history is.
    let mut stream = Listener::resume(&late.public().await, "a", &cursor).await;
    assert_eq!(stream.data().await, 0);
    proxy.refuse();
    proxy.reset();
    house.notify("a", json!(1)).await;
    proxy.forward();
    let lost = json!({ "channels": ["a"], "reason": "unavailable" });
    assert_eq!(stream.lost().await, lost);
    late.wait_nothing_missing().await;
    house.notify("a", json!(2)).await;
    // A slow machine may have been without an answer for so long that it was told twice.
    let mut next = stream.next().await;
    while let Heard::Lost(again) = next {
        assert_eq!(again, lost);
        next = stream.next().await;
    }
    assert_eq!(next, Heard::Data(json!(2)));
    assert_eq!(first.take(2).await, [1, 2]);
}
