//! What cannot be told is told to be lost, with the reason, and what follows is heard.

use serde_json::json;

use super::client::Client;
use super::listener::Listener;
use super::support::eventually::eventually;
use super::support::house::House;
use super::support::resp::Reply;

async fn small() -> House {
    House::with(|server| {
        let server = server.env("TRUNKLINE_HISTORY_SIZE", "5");
        server.env("TRUNKLINE_HISTORY_OFF", "off,none.*")
    })
    .await
}
/// Waits until one loss of this reason is counted, and no more: a client may hear of it before.
async fn told_once(house: &House, reason: &str) {
    let told = house.server.metric("trunkline_losses_told_total").await;
    told.label("reason", reason).settles(1.0).await;
}

#[tokio::test]
async fn more_than_is_kept_is_trimmed_and_the_rest_is_told() {
    let house = small().await;
    let listener = Listener::open(&house.public, "a&channel=b").await;
    let cursor = listener.cursor.clone();
    drop(listener);
    for number in 0..8 {
        house.notify("a", json!(number)).await;
    }
    house.notify("b", json!("b")).await;
    let mut back = Listener::resume(&house.public, "a&channel=b", &cursor).await;
    assert_eq!(back.lost().await, json!({ "channels": ["a"], "reason": "trimmed" }));
    assert_eq!(
        back.take(6).await,
        [3, 4, 5, 6, 7].map(|it| json!(it)).into_iter().chain([json!("b")]).collect::<Vec<_>>()
    );
    house.notify("a", json!("live")).await;
    assert_eq!(back.data().await, "live");
    told_once(&house, "trimmed").await;

    let mut client = Client::open(&house, &format!("?channel=a&after={cursor}")).await;
    assert_eq!(client.next().await, json!({ "subscribed": ["a"] }));
    let lost = client.next().await;
    assert_eq!(lost, json!({ "lost": { "channels": ["a"], "reason": "trimmed" } }));
    assert_eq!(client.heard().await, 4);

    for number in 0..6 {
        house.notify("b", json!(number)).await;
    }
    let mut both = Listener::resume(&house.public, "a&channel=b", &cursor).await;
    assert_eq!(both.lost().await, json!({ "channels": ["a", "b"], "reason": "trimmed" }));
}

#[tokio::test]
async fn what_is_older_than_it_is_kept_is_trimmed() {
    let house = House::with(|server| server.env("TRUNKLINE_HISTORY_AGE", "1s")).await;
    let listener = Listener::open(&house.public, "a&channel=b").await;
    let cursor = listener.cursor.clone();
    drop(listener);
    house.notify("a", json!(1)).await;
    let stream = "trunkline:{history}:stream:a";
    eventually("the stream is gone", async || match house.redis.cli(&["EXISTS", stream]) {
        Reply::Integer(0) => Ok(()),
        there => Err(format!("{there:?}")),
    })
    .await;
    let mut back = Listener::resume(&house.public, "a&channel=b", &cursor).await;
    assert_eq!(back.lost().await, json!({ "channels": ["a"], "reason": "trimmed" }));
}

#[tokio::test]
async fn a_redis_that_was_emptied_has_a_new_history() {
    let house = small().await;
    let mut staying = Listener::open(&house.public, "a").await;
    house.notify("a", json!(1)).await;
    assert_eq!(staying.data().await, 1);
    let cursor = staying.cursor.clone();
    house.redis.cli(&["FLUSHALL"]);
    house.notify("a", json!(2)).await;
    assert_eq!(staying.data().await, 2);
    let mut back = Listener::resume(&house.public, "a", &cursor).await;
    assert_eq!(back.lost().await, json!({ "channels": ["a"], "reason": "epoch" }));
    assert_ne!(back.cursor, cursor, "it goes on from here");
    house.notify("a", json!(3)).await;
    assert_eq!((back.data().await, staying.data().await), (json!(3), json!(3)));
    told_once(&house, "epoch").await;
}

#[tokio::test]
async fn a_position_that_redis_does_not_know_yet_is_of_the_future() {
    let house = small().await;
    let listener = Listener::open(&house.public, "a").await;
    let (epoch, at) = listener.cursor.split_once('-').unwrap();
    let future = format!("{epoch}-{}", at.parse::<u64>().unwrap() + 60_000_000);
    let mut back = Listener::resume(&house.public, "a", &future).await;
    assert_eq!(back.lost().await, json!({ "channels": ["a"], "reason": "future" }));
    house.notify("a", json!(1)).await;
    assert_eq!(back.data().await, 1);
    told_once(&house, "future").await;
}

#[tokio::test]
async fn of_a_channel_whose_history_is_off_nothing_is_told_but_that() {
    let house = small().await;
    const CHANNELS: &str = "a&channel=off&channel=none.x&channel=no.*";
    let mut listener = Listener::open(&house.public, CHANNELS).await;
    let cursor = listener.cursor.clone();
    house.notify("off", json!("live")).await;
    assert_eq!((listener.data().await, &listener.cursor), (json!("live"), &cursor));
    drop(listener);
    house.notify("off", json!(1)).await;
    house.notify("a", json!(2)).await;
    let mut back = Listener::resume(&house.public, CHANNELS, &cursor).await;
    assert_eq!(back.lost().await, json!({ "channels": ["none.x", "off"], "reason": "off" }));
    assert_eq!(back.data().await, 2);
    assert_eq!(house.redis.cli(&["EXISTS", "trunkline:{history}:stream:off"]), Reply::Integer(0));
}

#[tokio::test]
async fn with_history_off_there_is_no_cursor_and_an_old_one_is_answered() {
    let house = House::with(|server| server.env("TRUNKLINE_HISTORY_SIZE", "0")).await;
    let mut client = Client::hearing(&house, &["a"]).await;
    house.notify("a", json!(1)).await;
    assert_eq!((client.heard().await, client.cursor.clone()), (json!(1), None));
    let old = "00000000000000ff-1738310400000000";
    let mut back = Listener::resume(&house.public, "a", old).await;
    assert_eq!(back.lost().await, json!({ "channels": ["a"], "reason": "off" }));
    house.notify("a", json!(2)).await;
    assert_eq!(back.data().await, 2);
    assert_eq!(house.redis.cli(&["KEYS", "trunkline:{history}:*"]), Reply::List(vec![]));
}

#[tokio::test]
async fn a_prefix_with_too_many_channels_to_be_read_is_told_once_and_the_rest_is_heard() {
    let house = House::start().await;
    const CHANNELS: &str = "a&channel=w.*";
    let listener = Listener::open(&house.public, CHANNELS).await;
    let cursor = listener.cursor.clone();
    drop(listener);
    // More than a page.
    for number in 0..100 {
        house.notify("a", json!(number)).await;
    }
    let at = house.redis.cli(&["HGET", "trunkline:{history}:head", "at"]).text();
    let mut index = vec!["ZADD".to_owned(), "trunkline:{history}:channels".to_owned()];
    (0..4_096).for_each(|number| index.extend([at.clone(), format!("w.{number}")]));
    house.redis.cli(&index.iter().map(String::as_str).collect::<Vec<_>>());
    let mut back = Listener::resume(&house.public, CHANNELS, &cursor).await;
    assert_eq!(back.lost().await, json!({ "channels": ["w.*"], "reason": "trimmed" }));
    assert_eq!(back.take(100).await, (0..100).map(|it| json!(it)).collect::<Vec<_>>());
    house.notify("w.0", json!("live")).await;
    assert_eq!(back.data().await, "live");
    told_once(&house, "trimmed").await;
    let lost = house.server.metric("trunkline_resumes_total").await;
    lost.label("outcome", "lost").reaches(1.0).await;
}
