//! A job becomes notifications: what one chain does wrong is not the others' loss.

use std::time::Duration;

use serde_json::{Value, json};
use trunkline::conn::Owner;
use trunkline::flow::ingest::{Ingest, Trace};
use trunkline::flow::process::Process;
use trunkline::history::{History, Retention};
use trunkline::index::{ChainCache, ChainStore, Keys};
use trunkline::model::{ChannelName, Component, Event, JobType, Subscription};
use trunkline::queue::{Handler, Job, Verdict};

use crate::house::{House, NAMESPACE};
use crate::support::DEADLINE;
use crate::support::eventually::eventually;
use crate::support::redis::Redis;

fn prefix() -> String {
    format!("{NAMESPACE}:notify:")
}

/// Stores chains that speak for every event: id and the expression for the channel.
async fn store(house: &House, chains: &[(&str, &str)]) {
    let (server, _) = house.link(Component::Server).await;
    let store = ChainStore::new(server.shared(), Keys::new(NAMESPACE));
    for (id, channel) in chains {
        let tell = json!({ "id": "tell", "kind": "action",
            "notify": { "channel": channel, "type": "t" } });
        let chain = json!({ "id": id, "name": id, "enabled": true,
            "on": { "type": "*", "subject": "*" }, "nodes": [tell] });
        store.put(id, chain.to_string().as_bytes()).await.unwrap();
    }
}

fn process(worker: &Owner) -> Process {
    let chains = ChainCache::new(worker.shared(), Keys::new(NAMESPACE));
    let kept = Retention { size: 10, age: DEADLINE, off: vec![] };
    let (shared, publisher) = (worker.shared(), worker.publisher());
    Process::new(chains, History::new(shared, publisher, NAMESPACE, prefix(), kept)).unwrap()
}

fn job(event: Value) -> Job {
    let body = Event::shorthand(event).unwrap().to_json();
    Job {
        id: "1".into(),
        job_type: JobType::Event,
        attempt: 1,
        deliveries: 1,
        enqueued_ms: 0,
        body,
        traceparent: None,
        trace: None,
        partition: None,
    }
}

/// Listens on a channel, and gives the sources of what is heard within so many messages.
async fn hears(house: &House, channel: &str) -> (Owner, trunkline::conn::Messages) {
    let (server, _) = house.link(Component::Server).await;
    let subscriber = server.subscriber().unwrap();
    server.connect().await;
    let messages = subscriber.messages().unwrap();
    let exact = Subscription::Exact(ChannelName::parse(channel).unwrap());
    subscriber.subscribe(&exact, DEADLINE).await.unwrap();
    (server, messages)
}

async fn source(messages: &mut trunkline::conn::Messages) -> String {
    let message = tokio::time::timeout(DEADLINE, messages.next()).await.unwrap().unwrap();
    let notification: Value = serde_json::from_slice(&message.payload).unwrap();
    notification["source"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_chain_that_fails_is_dead_lettered_and_the_others_go_on() {
    let house = House::start();
    store(&house, &[("a", "event.data.nothing"), ("b", "'door'")]).await;
    let (_server, mut door) = hears(&house, "door").await;
    let (post, diary) = (house.producer().await, house.link(Component::Worker).await.0);
    let worker = house.worker().start_with(process(&diary)).await;

    let ingest = Ingest::new(post.producer.clone(), 65_536);
    let event = Event::shorthand(json!({ "type": "t" })).unwrap();
    ingest.accept(vec![event], Trace::default()).await.unwrap();

    let letter = house.buries(1).await.remove(0);
    assert!(letter.contains(&"rule_error".into()), "{letter:?}");
    assert!(letter.iter().any(|field| field.contains("chain `a`")), "{letter:?}");
    assert!(!letter.iter().any(|field| field.contains("chain `b`")), "{letter:?}");
    assert_eq!(source(&mut door).await, "/rule-chains/b");
    worker.stop().await;
}

#[tokio::test]
async fn a_channel_that_redis_denies_one_chain_does_not_silence_the_next() {
    let rest = "user worker on nopass ~* resetchannels +@all";
    let house = House::with(Redis::plan().users(&[
        "user default on nopass ~* &* +@all",
        &format!("{rest} &{}door &{NAMESPACE}:*:wake:* &{NAMESPACE}:ctl", prefix()),
    ]));
    store(&house, &[("a", "'secret'"), ("b", "'door'")]).await;
    let (_server, mut door) = hears(&house, "door").await;
    let mut house = house;
    house.login = Some(|_| ("worker", "any"));
    let (worker, _) = house.link(Component::Worker).await;

    let verdict = process(&worker).handle(job(json!({ "type": "t" }))).await;

    assert_eq!(verdict, Verdict::RetryUncounted);
    assert_eq!(source(&mut door).await, "/rule-chains/b");
}

#[tokio::test]
async fn a_connection_that_is_gone_is_not_asked_for_every_notification() {
    let mut house = House::start();
    // It gives an answer up before it gives the connection up, and could ask again.
    house.command_timeout = Duration::from_secs(1);
    let (worker, _) = house.link(Component::Worker).await;
    store(&house, &[("a", "'door'"), ("b", "'door'")]).await;
    let process = process(&worker);
    eventually("both are published", async || {
        match process.handle(job(json!({ "type": "t" }))).await {
            Verdict::Done => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    let published = || -> u64 {
        let told = house.redis.info("commandstats", "cmdstat_publish");
        told.split([',', '=']).nth(1).unwrap().parse().unwrap()
    };
    let before = published();
    house.redis.stop();
    let verdict = process.handle(job(json!({ "type": "t" }))).await;
    house.redis.cont();
    assert_eq!(verdict, Verdict::RetryUncounted);
    // What was said to it meanwhile it does before what comes now on the same connection. A new
    // one comes after the old one, which Redis reads to its end.
    eventually("it answers the worker", async || worker.shared().call(&redis::cmd("PING")).await)
        .await;
    let asked = published() - before;
    assert!(asked <= 1, "it was asked for {asked} notifications");
}
