//! Hearing of changed keys on the shared connection.

use std::time::Duration;

use trunkline::conn::{Options, Owner, Signal};
use trunkline::model::{Role, Secret, WakeupMode};

use crate::fixture::*;
use crate::support::DEADLINE;
use crate::support::redis::Redis;

const KEY: &str = "test:{q}:wake";

fn listening(redis: &Redis) -> Options {
    let mut options = options(redis.port());
    options.signals = vec![KEY.to_owned(), "test:{other}:wake".to_owned()];
    options
}

async fn changes(signal: &mut Signal, why: &str) {
    let changed = tokio::time::timeout(DEADLINE, signal.changed()).await;
    changed.unwrap_or_else(|_| panic!("not heard within {DEADLINE:?}: {why}"));
}

async fn is_quiet(signal: &mut Signal) -> bool {
    tokio::time::timeout(MOMENT, signal.changed()).await.is_err()
}

/// The signal of [`KEY`], after what it says at the start.
async fn signal(owner: &Owner) -> Signal {
    let mut signal = owner.shared().signal(KEY);
    while !is_quiet(&mut signal).await {}
    assert!(signal.listening() || signal.mode() == WakeupMode::Polling);
    signal
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_by_another_client_is_heard_and_one_of_another_key_is_not() {
    let redis = Redis::start();
    let owner = ready_owner(listening(&redis)).await;
    let mut signal = signal(&owner).await;
    assert_eq!(signal.mode(), WakeupMode::Tracking);
    redis.cli(&["SET", "test:{other}:wake", "1"]);
    redis.cli(&["SET", "test:{third}:wake", "1"]);
    assert!(is_quiet(&mut signal).await);
    let before = signal.count();
    for _ in 0..2 {
        redis.cli(&["SET", KEY, "1"]);
        changes(&mut signal, "SET").await;
    }
    redis.cli(&["FLUSHALL"]);
    changes(&mut signal, "FLUSHALL").await;
    assert!(signal.count() >= before + 3);
    assert_eq!(ours(&redis).len(), 1, "no second connection");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_connection_is_a_change_and_the_next_one_hears_again() {
    let redis = Redis::start();
    let owner = ready_owner(listening(&redis)).await;
    let mut signal = signal(&owner).await;
    kill(&redis, &connection(&redis, "shared"));
    changes(&mut signal, "the loss").await;
    is_ready_after(&owner, Role::Shared, 1).await;
    while !is_quiet(&mut signal).await {}
    assert!(signal.listening());
    redis.cli(&["SET", KEY, "1"]);
    changes(&mut signal, "SET after the reconnect").await;
    owner.close(Duration::ZERO).await;
    assert!(!signal.listening(), "nobody tells of changes any more");
}

async fn as_user(rights: &str) -> (Redis, Owner) {
    let redis = Redis::plan().users(&[&format!("user app on >pw ~* {rights}")]).start();
    let mut options = listening(&redis);
    (options.username, options.password) = (Some("app".to_owned()), Some(Secret::new("pw")));
    let owner = ready_owner(options).await;
    (redis, owner)
}

#[tokio::test(flavor = "multi_thread")]
async fn without_tracking_the_key_is_a_channel() {
    let (redis, owner) = as_user("&* +@all -client|tracking").await;
    let mut signal = signal(&owner).await;
    assert_eq!(signal.mode(), WakeupMode::Subscribe);
    redis.cli(&["SET", KEY, "1"]);
    assert!(is_quiet(&mut signal).await);
    assert_eq!(redis.cli(&["PUBLISH", KEY, ""]).integer(), 1);
    changes(&mut signal, "PUBLISH").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_either_one_has_to_poll() {
    let (redis, owner) = as_user("resetchannels +@all -client|tracking").await;
    let signal = signal(&owner).await;
    assert_eq!((signal.mode(), signal.listening()), (WakeupMode::Polling, false));
    assert_eq!(connection(&redis, "shared").sub, 0);
}
