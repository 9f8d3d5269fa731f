//! Who has which connection, and what it is called.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};

use redis::cmd;
use trunkline::conn::{Budget, Error, Owner};
use trunkline::model::{Component, Role, Secret};

use crate::fixture::*;
use crate::support::DEADLINE;
use crate::support::redis::Redis;

#[tokio::test(flavor = "multi_thread")]
async fn publishers_use_the_shared_connection_and_the_subscriber_has_its_own() {
    let redis = Redis::start();
    let owner = ready_server(options(redis.port())).await;
    let subscriber = owner.subscriber().unwrap();
    subscriber.subscribe(&channel("door"), DEADLINE).await.unwrap();
    let (first, second) = (owner.publisher(), owner.publisher());
    for publisher in [&first, &second, &first.clone()] {
        assert_eq!(publisher.publish("test:notify:door", b"open").await.unwrap(), 1);
    }
    let id = owner.shared().call(cmd("CLIENT").arg("ID")).await.unwrap();
    let shared = connection(&redis, "shared");
    assert_eq!(id, redis::Value::Int(shared.id as i64));
    assert_ne!(connection(&redis, "subscriber").id, shared.id);
    assert_eq!((shared.resp, ours(&redis).len()), (3, 2));
    assert_eq!(redis.info("commandstats", "cmdstat_publish").split([',', '=']).nth(1), Some("3"));
}

#[tokio::test(flavor = "multi_thread")]
async fn asking_twice_for_the_subscriber_gives_the_same_one_even_at_once() {
    let redis = Redis::start();
    for _ in 0..50 {
        let owner = Arc::new(owner(options(redis.port())));
        let together = Arc::new(Barrier::new(8));
        let asking = (0..8).map(|_| {
            let (owner, together) = (Arc::clone(&owner), Arc::clone(&together));
            tokio::task::spawn_blocking(move || {
                together.wait();
                owner.subscriber().unwrap().messages().is_some()
            })
        });
        let firsts = futures_util::future::join_all(asking).await.into_iter();
        let firsts = firsts.filter(|first| *first.as_ref().unwrap()).count();
        assert_eq!(firsts, 1, "one receiving end, whoever asks");
    }
    let owner = ready_server(options(redis.port())).await;
    assert_eq!(owner.subscriber().unwrap().status().generation, 1);
    assert_eq!(ours(&redis).len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_has_one_owner_and_a_workers_has_no_subscriber() {
    let redis = Redis::start();
    let budget = Budget::of(Component::Worker);
    let owner = Owner::new(options(redis.port()), &budget).unwrap();
    let refused = Owner::new(options(redis.port()), &budget).err();
    assert!(matches!(refused, Some(Error::OverBudget { role: Role::Shared })));
    let refused = owner.subscriber().err();
    assert!(matches!(refused, Some(Error::OverBudget { role: Role::Subscriber })));
    owner.connect().await;
    is_ready(&owner, Role::Shared).await;
    assert_eq!(ours(&redis).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_connection_that_has_logged_in_is_ever_unnamed() {
    let redis = Redis::plan().users(&["user default off", "user app on >pw ~* &* +@all"]).start();
    let mut options = options(redis.port());
    (options.username, options.password) = (Some("app".to_owned()), Some(Secret::new("pw")));
    options.backoff.min /= 10;
    options.backoff.max = options.backoff.min;
    let begins = format!("test:server:{}:", options.instance);
    let owner = ready_server(options).await;
    let (redis, done) = (Arc::new(redis), Arc::new(AtomicBool::new(false)));
    let looking = {
        let (redis, done) = (Arc::clone(&redis), Arc::clone(&done));
        tokio::task::spawn_blocking(move || {
            let mut looks = 0;
            while !done.load(Ordering::Relaxed) {
                for client in redis.client_list().into_iter().filter(|c| c.user == "app") {
                    let rest = client.name.strip_prefix(&begins);
                    let (role, generation) =
                        rest.and_then(|r| r.split_once(':')).unwrap_or_default();
                    let exact = ["shared", "subscriber"].contains(&role)
                        && generation.parse::<u64>().is_ok_and(|number| number > 0);
                    assert!(exact, "logged in as {:?}", client.name);
                    looks += 1;
                }
            }
            looks
        })
    };
    for generation in 1..=40 {
        redis.cli(&["CLIENT", "KILL", "USER", "app"]);
        for role in [Role::Shared, Role::Subscriber] {
            is_ready_after(&owner, role, generation).await;
        }
    }
    let generation = status(&owner, Role::Shared).generation.to_string();
    assert!(connection(&redis, "shared").name.ends_with(&format!(":shared:{generation}")));
    done.store(true, Ordering::Relaxed);
    assert!(looking.await.unwrap() > 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn abandoned_sockets_show_do_not_block_the_redial_and_are_refused_beyond_sixteen() {
    let redis = Redis::start();
    let mut options = options(redis.port());
    options.backoff.min /= 10;
    options.backoff.max = options.backoff.min;
    let owner = ready_owner(options).await;
    for abandoned in 1..=16 {
        owner.abandon(Role::Shared);
        is_ready_after(&owner, Role::Shared, abandoned).await;
        let budget = owner.budget();
        assert_eq!(budget.open(Role::Shared) as u64, abandoned + 1);
        assert_eq!(budget.expected(Role::Shared), 1);
    }
    assert_eq!(ours(&redis).len(), 17);
    owner.abandon(Role::Shared);
    fails(&owner, Role::Shared, "other").await;
    tokio::time::sleep(MOMENT).await;
    assert_eq!(ours(&redis).len(), 17, "no more is dialled");
}
