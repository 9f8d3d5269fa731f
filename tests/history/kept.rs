//! What Redis keeps, in which order, and for how long.

use serde_json::{Value, json};

use super::listener::{Heard, Listener};
use super::support::eventually::eventually;
use super::support::house::House;

const HEAD: &str = "trunkline:{history}:head";
const INDEX: &str = "trunkline:{history}:channels";
const STREAM: &str = "trunkline:{history}:stream:a";

fn numbers(range: std::ops::Range<u64>) -> Vec<Value> {
    range.map(|number| json!(number)).collect()
}

/// A cursor from before everything.
async fn begin(house: &House, channels: &str) -> String {
    Listener::open(&house.public, channels).await.cursor
}

#[tokio::test]
async fn what_takes_several_pages_stays_in_the_order_of_all_channels() {
    let house = House::start().await;
    const CHANNELS: &str = "a&channel=b&channel=c.*";
    let cursor = begin(&house, CHANNELS).await;
    for number in 0..150 {
        let channel = ["a", "b", "c.x"][number / 50];
        house.notify(channel, json!(number)).await;
    }
    // More channels than a page has entries.
    for number in 150..220 {
        house.notify(&format!("c.{number}"), json!(number)).await;
    }
    house.notify("z.c.x", json!("nobody asked for it")).await;
    let mut back = Listener::resume(&house.public, CHANNELS, &cursor).await;
    assert_eq!(back.take(220).await, numbers(0..220));
    // The same channel by its name and by a prefix is one.
    let mut twice = Listener::resume(&house.public, "c.x&channel=c.*&channel=a", &cursor).await;
    assert_eq!(twice.take(50).await, numbers(0..50));
    assert_eq!(twice.take(120).await, numbers(100..220));
    house.notify("a", json!("live")).await;
    assert_eq!((back.data().await, twice.data().await), (json!("live"), json!("live")));
}

#[tokio::test]
async fn positions_rise_when_the_clock_of_redis_stands_or_goes_back() {
    let house = House::start().await;
    let cursor = begin(&house, "a").await;
    // A clock that was a minute ahead and was put right.
    let ahead = cursor.split_once('-').unwrap().1.parse::<u64>().unwrap() + 60_000_000;
    house.redis.cli(&["HSET", HEAD, "at", &ahead.to_string()]);
    let mut listener = Listener::open(&house.public, "a").await;
    house.notify("a", json!(0)).await;
    assert_eq!(listener.data().await, 0);
    let first = listener.cursor.clone();
    house.notify("a", json!(1)).await;
    assert_eq!(listener.data().await, 1);
    let places = [&first, &listener.cursor].map(|it| it.split_once('-').unwrap().1.to_owned());
    assert_eq!(places, [ahead + 1, ahead + 2].map(|it| it.to_string()));
    for (cursor, from) in [(&first, 1), (&cursor, 0)] {
        let mut back = Listener::resume(&house.public, "a", cursor).await;
        assert_eq!(back.take(2 - from as usize).await, numbers(from..2));
    }
}

#[tokio::test]
async fn what_a_history_that_is_gone_left_behind_is_in_nobodys_way() {
    let house = House::start().await;
    let mut listener = Listener::open(&house.public, "a").await;
    let old = listener.cursor.clone();
    // The stream of a clock that was ahead has outlived its history, of which half a head is left.
    house.redis.cli(&["XADD", STREAM, "4000000000000000-0", "before", "0", "payload", "{}"]);
    house.redis.cli(&["HDEL", HEAD, "at"]);
    house.notify("a", json!(1)).await;
    assert_eq!(listener.data().await, 1);
    assert_eq!(house.redis.cli(&["XLEN", STREAM]).integer(), 1);
    let mut back = Listener::resume(&house.public, "a", &old).await;
    assert_eq!(back.lost().await, json!({ "channels": ["a"], "reason": "epoch" }));
    house.notify("a", json!(2)).await;
    assert_eq!(back.next().await, Heard::Data(json!(2)));
}

#[tokio::test]
async fn what_could_not_be_published_is_not_kept() {
    let house = House::start().await;
    let cursor = begin(&house, "a").await;
    house.redis.cli(&["ACL", "SETUSER", "default", "-publish"]);
    let refused =
        house.public.post("/v1/notifications", &json!({ "channel": "a", "data": 1 })).await;
    assert_eq!(refused.status, 503, "{}", refused.text());
    house.redis.cli(&["ACL", "SETUSER", "default", "+publish"]);
    assert_eq!(house.redis.cli(&["XLEN", STREAM]).integer(), 0);
    house.notify("a", json!(2)).await;
    let mut back = Listener::resume(&house.public, "a", &cursor).await;
    assert_eq!(back.data().await, 2);
}

#[tokio::test]
async fn of_a_channel_that_is_always_busy_the_old_go_and_so_do_quiet_channels_from_the_index() {
    let house = House::with(|server| {
        // So many do not come in these seconds.
        let server = server.env("TRUNKLINE_HISTORY_SIZE", "100000");
        server.env("TRUNKLINE_HISTORY_AGE", "2s")
    })
    .await;
    house.redis.cli(&["ZADD", INDEX, "1", "quiet"]);
    house.notify("a", json!("old")).await;
    let first = || {
        let oldest = house.redis.cli(&["XRANGE", STREAM, "-", "+", "COUNT", "1"]);
        oldest.list().first().map(|entry| entry.list()[0].text())
    };
    let old = first();
    eventually("both are gone", async || {
        house.notify("a", json!("busy")).await;
        let index = house.redis.cli(&["ZRANGE", INDEX, "0", "-1"]).texts();
        let oldest = first();
        let gone = oldest.is_some() && oldest != old && index == ["a"];
        if gone { Ok(()) } else { Err(format!("{oldest:?} {index:?}")) }
    })
    .await;
}
