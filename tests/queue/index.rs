//! Rule chains: stored by a server, copied by workers.

use std::sync::Arc;
use std::time::Duration;

use trunkline::index::{ChainCache, ChainStore, Keys, Put};
use trunkline::model::Component;

use crate::house::{House, NAMESPACE};
use crate::support::eventually::eventually;

/// The second within which a change is promised to be seen: what asks later must see it. It is said
/// so, and not that who asks all the time sees it in time, which a machine that stands still breaks.
async fn a_second_passes() {
    tokio::time::sleep(Duration::from_secs(1)).await;
}

fn keys() -> Keys {
    Keys::new(NAMESPACE)
}

#[tokio::test]
async fn chains_are_created_replaced_shown_and_removed() {
    let house = House::start();
    let (owner, _) = house.link(Component::Server).await;
    let store = ChainStore::new(owner.shared(), keys());

    assert_eq!(store.put("a", b"{1}").await.unwrap(), Put::Created);
    assert_eq!(store.put("a", b"{2}").await.unwrap(), Put::Updated);
    assert_eq!(store.get("a").await.unwrap().as_deref(), Some(&b"{2}"[..]));
    assert_eq!(store.get("b").await.unwrap(), None);
    assert_eq!(store.list().await.unwrap(), [("a".to_owned(), b"{2}".to_vec())]);
    assert!(store.delete("a").await.unwrap());
    assert!(!store.delete("a").await.unwrap());
    assert!(store.list().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_worker_sees_a_change_within_a_second_and_nothing_is_loaded_in_vain() {
    let house = House::start();
    let (server, _) = house.link(Component::Server).await;
    let (worker, _) = house.link(Component::Worker).await;
    let (store, cache) =
        (ChainStore::new(server.shared(), keys()), ChainCache::new(worker.shared(), keys()));
    let empty = cache.snapshot().await.unwrap();
    assert_eq!((empty.version, empty.chains.len()), (0, 0));

    let id = |n| format!("chain-{n:03}");
    let body = "x".repeat(200);
    for n in 0..300 {
        store.put(&id(n), body.as_bytes()).await.unwrap();
    }
    a_second_passes().await;
    let full = cache.snapshot().await.unwrap();
    assert!(full.chains.iter().map(|(id, _)| id.clone()).eq((0..300).map(id)));

    // Stored again as it is: no new version, and the very same copy a while later.
    store.put(&id(0), body.as_bytes()).await.unwrap();
    // Past the half second for which a look vouches.
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert!(Arc::ptr_eq(&full, &cache.snapshot().await.unwrap()));
}

#[tokio::test]
async fn what_is_not_known_to_be_fresh_is_not_used() {
    let house = House::start();
    let (worker, _) = house.link(Component::Worker).await;
    let cache = ChainCache::new(worker.shared(), keys());
    cache.snapshot().await.unwrap();

    house.redis.kill9();
    eventually("a refusal", async || match cache.snapshot().await {
        Err(_) => Ok(()),
        Ok(_) => Err("a copy of a Redis that is gone"),
    })
    .await;
}

#[tokio::test]
async fn after_a_flush_the_same_number_of_changes_is_not_taken_for_the_same_chains() {
    let house = House::start();
    let (owner, _) = house.link(Component::Server).await;
    let store = ChainStore::new(owner.shared(), keys());
    let cache = ChainCache::new(owner.shared(), keys());
    store.put("old", b"{}").await.unwrap();
    assert_eq!(cache.snapshot().await.unwrap().chains[0].0, "old");

    house.redis.cli(&["FLUSHALL"]);
    store.put("new", b"{}").await.unwrap();

    a_second_passes().await;
    let chains = cache.snapshot().await.unwrap().chains.clone();
    assert!(chains.len() == 1 && chains[0].0 == "new", "{chains:?}");
}
