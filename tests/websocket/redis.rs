//! What becomes of a conversation when Redis goes away, hangs, or takes a channel away.

use serde_json::json;

use super::client::{Client, problem};
use super::support::house::House;
use super::support::process::Daemon;
use super::support::redis::Redis;

#[tokio::test]
async fn a_client_stays_through_an_outage_and_hears_again() {
    let house = House::start().await;
    let mut client = Client::hearing(&house, &["door", "a.*"]).await;
    house.redis.kill9();
    let desired = house.server.metric("trunkline_subscriptions_confirmed").await;
    desired.settles(0.0).await;
    // It may ask; the server has no answer from Redis, and says so.
    assert_eq!(client.ask(json!({ "ping": 1 })).await, json!({ "pong": 1 }));
    let told = client.ask(json!({ "subscribe": ["new"] })).await;
    assert_eq!(problem(&told), "redis-unavailable");
    assert!(told["error"]["detail"].as_str().unwrap().contains("new"), "{told}");
    house.redis.restart();
    desired.settles(2.0).await;
    house.server.wait_nothing_missing().await;
    house.notify("door", json!("again")).await;
    house.notify("a.b", json!("and by prefix")).await;
    // That Redis kept nothing over its restart, so nobody knows what was in it.
    let lost = json!({ "lost": { "channels": ["a.*", "door"], "reason": "epoch" } });
    assert_eq!(client.next().await, lost);
    for expected in ["again", "and by prefix"] {
        assert_eq!(client.heard().await, expected);
    }
    // What was not confirmed is not subscribed behind its back either.
    assert_eq!(house.notify("new", json!("unheard")).await["receivers"], 0);
    client.subscribe(&["new"]).await;
    house.notify("new", json!("heard")).await;
    assert_eq!(client.heard().await, "heard");
}

#[tokio::test]
async fn a_client_may_come_while_redis_is_away() {
    let house = House::start().await;
    house.redis.kill9();
    let mut client = Client::open(&house, "?channel=door").await;
    assert_eq!(problem(&client.next().await), "redis-unavailable");
    house.redis.restart();
    house.server.wait_nothing_missing().await;
    client.subscribe(&["door"]).await;
    house.notify("door", json!(1)).await;
    assert_eq!(client.heard().await, 1);
}

#[tokio::test]
async fn subscribed_is_not_said_before_redis_has_said_so() {
    let house = House::start().await;
    let mut client = Client::hearing(&house, &["door"]).await;
    house.redis.stop();
    client.say(json!({ "subscribe": ["later"] })).await;
    let early = tokio::time::timeout(std::time::Duration::from_millis(300), client.next()).await;
    assert!(early.is_err(), "{early:?}");
    house.redis.cont();
    assert_eq!(client.next().await, json!({ "subscribed": ["later"] }));
}

#[tokio::test]
async fn a_channel_that_redis_takes_away_is_told_and_can_be_had_again_when_it_is_given_back() {
    let everything = "user default on nopass ~* &* +@all";
    let redis = Redis::plan().users(&[everything, "user line on >secret ~* &* +@all"]).start();
    let url = redis.url().replace("redis://", "redis://line:secret@");
    let server = Daemon::server(&url).start();
    server.wait_ready().await;
    let mut client = Client::at(server.public().await.address(), "").await;
    client.subscribe(&["kept", "lost"]).await;
    let rights = ["&trunkline:probe:*", "&trunkline:ctl", "&trunkline:notify:kept"];
    redis.cli(&[&["ACL", "SETUSER", "line", "resetchannels"], &rights[..]].concat());
    let told = client.next().await;
    assert_eq!(problem(&told), "subscription-refused");
    assert!(told["error"]["detail"].as_str().unwrap().contains("lost"), "{told}");
    server.metric("trunkline_subscriptions_confirmed").await.settles(1.0).await;
    redis.cli(&["PUBLISH", "trunkline:notify:kept", "1"]);
    assert_eq!(client.heard().await, 1);

    redis.cli(&["ACL", "SETUSER", "line", "&trunkline:notify:lost"]);
    client.subscribe(&["kept", "lost"]).await;
    redis.cli(&["PUBLISH", "trunkline:notify:lost", "2"]);
    assert_eq!(client.heard().await, 2);
}
