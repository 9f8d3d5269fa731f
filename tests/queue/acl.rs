//! The ACL lines of the documentation, and nothing more, are enough.

use std::time::Duration;

use serde_json::json;
use trunkline::conn::Error;
use trunkline::index::{self, ChainCache, ChainStore};
use trunkline::model::{ChannelName, CommandFailure, Component, Schedule, Subscription};
use trunkline::queue::{NewJob, ScheduleStore, Thresholds, Verdict};

use crate::house::{Diary, House, NAMESPACE, WorkerPlan, event};
use crate::ordered::keyed;
use crate::support::DEADLINE;
use crate::support::redis::Redis;

/// The users of docs/redis.md, in the namespace of the tests.
fn house() -> House {
    let text = include_str!("../../docs/redis.md");
    let block = text.split("```acl\n").nth(1).unwrap().split("```").next().unwrap();
    let block = block.replace("trunkline:", &format!("{NAMESPACE}:")).replace("<password>", "pw");
    let mut lines: Vec<_> = block.lines().collect();
    assert_eq!(lines.len(), 2);
    lines.push("user default off");
    let mut house = House::with(Redis::plan().users(&lines));
    house.login = Some(|component| match component {
        Component::Server => ("trunkline-server", "pw"),
        Component::Worker | Component::Tool => ("trunkline-worker", "pw"),
    });
    house
}

fn refused(house: &House) -> Vec<String> {
    let log = house.redis.cli(&["ACL", "LOG"]);
    log.list().iter().map(|entry| format!("{entry:?}")).collect()
}

#[tokio::test]
async fn the_documented_users_may_do_all_that_trunkline_does() {
    let mut house = house();
    house.thresholds = Thresholds { warning: 2, critical: 4, recovery: 1 };
    let chains = index::Keys::new(NAMESPACE);
    let post = house.producer().await;

    let (lost, diary) = (
        Diary::new(async |_| std::future::pending().await),
        Diary::new(async |job| match (job.body.as_slice(), job.attempt) {
            (b"retried" | b"a/0", 1) => Verdict::Retry { reason: "once" },
            (b"buried" | b"b/0", _) => Verdict::Retry { reason: "always" },
            _ => {
                // Long enough for a lease to be renewed.
                tokio::time::sleep(Duration::from_millis(400)).await;
                Verdict::Done
            }
        }),
    );
    let plan = WorkerPlan { lease: Duration::from_millis(900), ..house.worker() };
    let crashing = plan.start(&lost).await;
    post.producer.enqueue(&[event("reclaimed")]).await.unwrap();
    lost.reaches(1).await;
    crashing.crash().await;
    post.producer.enqueue(&["retried", "buried", "done"].map(event)).await.unwrap();
    // The queue is full now, and nobody is there to empty it.
    assert!(post.producer.enqueue(&[event("refused")]).await.is_err());
    let worker = plan.start(&diary).await;
    house.buries(1).await;
    house.is_drained().await;
    assert!(!house.depths().await.full);
    house.redis.cli(&["FLUSHALL"]);
    let soon = trunkline::model::unix_ms() + 300;
    let later = NewJob { not_before_ms: Some(soon), ..event("later") };
    post.producer.enqueue(&[event("after the flush"), later]).await.unwrap();
    house.is_drained().await;

    for two in ["a/0", "a/1", "b/0", "b/1"].map(keyed).chunks(2) {
        post.producer.enqueue(two).await.unwrap();
        house.is_drained().await;
    }
    house.buries(1).await;
    worker.stop().await;
    // Nobody is behind the first, and somebody behind the second.
    post.producer.enqueue(&["c/0", "d/0", "d/1"].map(keyed)).await.unwrap();
    house.redis.cli(&["DEL", &house.keys.stream()]);
    let worker = plan.start(&diary).await;
    house.forgets().await;
    house.is_drained().await;

    let store = ChainStore::new(post.owner.shared(), chains.clone());
    store.put("a", b"{}").await.unwrap();
    store.put("b", b"{}").await.unwrap();
    store.delete("b").await.unwrap();
    store.get("a").await.unwrap();
    store.list().await.unwrap();
    let cache = ChainCache::new(worker.owner.shared(), chains);
    assert_eq!(cache.snapshot().await.unwrap().chains.len(), 1);

    let office = ScheduleStore::new(post.owner.shared(), house.keys.clone());
    let schedule = json!({ "cron": "0 0 1 1 *", "event": { "type": "t" } });
    let schedule = Schedule::parse("s", schedule).unwrap().document().to_string();
    let now = office.now_ms().await.unwrap();
    let before = diary.jobs().len();
    for id in ["s", "gone"] {
        office.put(id, schedule.as_bytes(), now + 100).await.unwrap().unwrap();
    }
    office.delete("gone").await.unwrap();
    diary.reaches(before + 1).await;
    office.get("s").await.unwrap().unwrap();
    assert_eq!(office.list().await.unwrap().len(), 1);

    let subscriber = post.owner.subscriber().unwrap();
    post.owner.connect().await;
    let channel = Subscription::Exact(ChannelName::parse("door").unwrap());
    subscriber.subscribe(&channel, DEADLINE).await.unwrap();
    let notify = format!("{NAMESPACE}:notify:door");
    assert_eq!(worker.owner.publisher().publish(&notify, b"open").await.unwrap(), 1);
    post.owner.publisher().publish(&notify, b"open").await.unwrap();

    worker.stop().await;
    assert_eq!(refused(&house), [""; 0]);
}

#[tokio::test]
async fn they_may_do_no_more() {
    let house = house();
    let (worker, _) = house.link(Component::Worker).await;
    let (server, _) = house.link(Component::Server).await;
    let denied = async |owner: &trunkline::conn::Owner, words: &[&str]| {
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        let answer = owner.shared().call(&command).await;
        let reason = answer.as_ref().map_err(Error::reason).err();
        assert_eq!(reason, Some(CommandFailure::Noperm), "{words:?}: {answer:?}");
    };
    for words in [&["FLUSHALL"][..], &["KEYS", "*"], &["GET", "other"], &["CONFIG", "GET", "*"]] {
        denied(&worker, words).await;
        denied(&server, words).await;
    }
    // The audit has rights of its own.
    let audit = format!("{NAMESPACE}:audit:{{fleet}}");
    for words in [&["CLIENT", "LIST"][..], &["INFO"], &["GET", &audit]] {
        denied(&worker, words).await;
        denied(&server, words).await;
    }
    // A worker may SET, and only reads chains.
    let chains = index::Keys::new(NAMESPACE);
    denied(&worker, &["SET", &chains.version(), "1"]).await;
    let store = ChainStore::new(worker.shared(), chains);
    assert!(store.put("a", b"{}").await.is_err());
}

#[tokio::test]
async fn a_prefix_needs_a_line_of_its_own() {
    let house = house();
    let (server, _) = house.link(Component::Server).await;
    let subscriber = server.subscriber().unwrap();
    server.connect().await;
    let prefix = Subscription::parse("alerts.*").unwrap();
    assert!(subscriber.subscribe(&prefix, DEADLINE).await.is_err());

    house.redis.cli(&[
        "ACL",
        "SETUSER",
        "trunkline-server",
        &format!("&{NAMESPACE}:notify:alerts.*"),
    ]);
    subscriber.subscribe(&prefix, DEADLINE).await.unwrap();
}
