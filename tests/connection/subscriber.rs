//! Subscriptions in, messages out.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use trunkline::conn::{Code, Error, Messages, Owner, Subscriber};
use trunkline::model::{ChannelName, Role, Secret, Subscription};

use crate::fixture::*;
use crate::support::DEADLINE;
use crate::support::eventually::eventually;
use crate::support::proxy::{Direction, Proxy};
use crate::support::redis::Redis;

/// Subscribes to all of them at once.
async fn subscribe_all(subscriber: &Subscriber, names: impl IntoIterator<Item = String>) {
    let subscribing = names.into_iter().map(|name| {
        let subscriber = subscriber.clone();
        async move { subscriber.subscribe(&channel(&name), DEADLINE).await }
    });
    for result in futures_util::future::join_all(subscribing).await {
        result.unwrap();
    }
}

/// The notification channels somebody is subscribed to in Redis.
fn in_redis(redis: &Redis) -> HashSet<String> {
    redis.cli(&["PUBSUB", "CHANNELS", "test:notify:*"]).texts().into_iter().collect()
}

fn publish(redis: &Redis, channel: &str, payload: &str) -> i64 {
    redis.cli(&["PUBLISH", &format!("test:notify:{channel}"), payload]).integer()
}

async fn next(messages: &mut Messages) -> (String, String) {
    let message = tokio::time::timeout(DEADLINE, messages.next()).await;
    let message = message.expect("a message in time").expect("not closed");
    (message.channel, String::from_utf8_lossy(&message.payload).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_desired_is_confirmed_before_the_connection_is_ready_again() {
    let redis = Redis::start();
    let owner = ready_server(options(redis.port())).await;
    let subscriber = owner.subscriber().unwrap();
    let names = (0..1_500).map(|n| format!("c{n}")).chain((0..20).map(|n| format!("p{n}.*")));
    subscribe_all(&subscriber, names).await;
    for generation in 1..=3 {
        let mut watch = owner.watch(Role::Subscriber).unwrap();
        kill(&redis, &connection(&redis, "subscriber"));
        let later = |s: &trunkline::conn::Status| s.is_ready() && s.generation > generation;
        watch.wait_for(later).await.unwrap();
        assert_eq!(subscriber.subscriptions(), (1_520, 1_520));
        assert_eq!(in_redis(&redis).len(), 1_500);
        assert_eq!(redis.cli(&["PUBSUB", "NUMPAT"]).integer(), 20);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dial_that_dies_while_subscribing_leaves_nothing_unsubscribed() {
    let redis = Redis::start();
    let proxy = Proxy::to(redis.port());
    let mut options = options(proxy.port());
    // The dial that is cut has to end.
    options.connect_timeout = Duration::from_secs(2);
    let owner = ready_server(options).await;
    let subscriber = owner.subscriber().unwrap();
    subscribe_all(&subscriber, (0..1_100).map(|n| format!("c{n}"))).await;
    // The first 16 kB pass, and with them the first chunk of channels; the rest does not.
    let (armed, passed) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
    let (arms, count) = (Arc::clone(&armed), Arc::clone(&passed));
    proxy.filter(Arc::new(move |direction, piece| {
        let cut = direction == Direction::ToServer
            && arms.load(Ordering::Relaxed)
            && count.fetch_add(piece.len(), Ordering::Relaxed) + piece.len() > 16_000;
        if cut { Vec::new() } else { piece }
    }));
    kill(&redis, &connection(&redis, "subscriber"));
    fails(&owner, Role::Subscriber, "timeout").await;
    armed.store(false, Ordering::Relaxed);
    is_ready_after(&owner, Role::Subscriber, 2).await;
    assert!(passed.load(Ordering::Relaxed) > 16_000);
    assert_eq!(subscriber.subscriptions(), (1_100, 1_100));
    assert_eq!(in_redis(&redis).len(), 1_100);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_churn_and_a_lost_connection_redis_has_exactly_what_is_desired() {
    let redis = Redis::start();
    let owner = ready_server(options(redis.port())).await;
    let subscriber = owner.subscriber().unwrap();
    let churning = (0..40_usize).map(|client| {
        let subscriber = subscriber.clone();
        tokio::spawn(async move {
            for round in 0..25 {
                let name = channel(&format!("c{client}"));
                // Half of them do not wait for the answer.
                let patience = if round % 2 == 0 { DEADLINE } else { Duration::ZERO };
                let _ = subscriber.subscribe(&name, patience).await;
                subscriber.unsubscribe(&name);
            }
            if client % 3 == 0 {
                subscriber.subscribe(&channel(&format!("c{client}")), DEADLINE).await.unwrap();
            }
        })
    });
    let churning: Vec<_> = churning.collect();
    kill(&redis, &connection(&redis, "subscriber"));
    for client in churning {
        client.await.unwrap();
    }
    let desired: HashSet<_> = (0..40).step_by(3).map(|n| format!("test:notify:c{n}")).collect();
    eventually("redis has exactly the desired set", async || {
        let seen = in_redis(&redis);
        if seen == desired { Ok(()) } else { Err(format!("{seen:?}")) }
    })
    .await;
    assert_eq!(subscriber.subscriptions(), (desired.len(), desired.len()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_confirmed_is_heard_even_if_it_was_just_taken_back() {
    let redis = Redis::start();
    let owner = ready_server(options(redis.port())).await;
    let subscriber = owner.subscriber().unwrap();
    for round in 0..300 {
        subscriber.subscribe(&channel("a"), DEADLINE).await.unwrap();
        assert_eq!(publish(&redis, "a", "x"), 1, "in round {round}");
        subscriber.unsubscribe(&channel("a"));
        if round % 2 == 0 {
            tokio::task::yield_now().await;
        }
    }
}

fn as_user(options: &mut trunkline::conn::Options) {
    (options.username, options.password) = (Some("app".to_owned()), Some(Secret::new("pw")));
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_channels_are_set_aside_and_the_others_do_not_suffer() {
    let channels = "&test:ctl &test:probe:* &test:notify:ok*";
    let user = format!("user app on >pw ~* resetchannels {channels} +@all");
    let redis = Redis::plan().users(&[&user]).start();
    let mut options = options(redis.port());
    as_user(&mut options);
    let owner = ready_server(options).await;
    let subscriber = owner.subscriber().unwrap();
    let names = (0..60).map(|n| if n % 10 == 7 { format!("bad{n}") } else { format!("ok{n}") });
    let results = futures_util::future::join_all(names.map(|name| {
        let subscriber = subscriber.clone();
        async move { (name.clone(), subscriber.subscribe(&channel(&name), DEADLINE).await) }
    }))
    .await;
    for (name, result) in results {
        let refused = matches!(result, Err(Error::Server { code: Code::Noperm, .. }));
        assert_eq!((result.is_ok(), refused), (name.starts_with("ok"), name.starts_with("bad")));
        assert_eq!(subscriber.wants(&channel(&name)), name.starts_with("ok"));
    }
    assert_eq!((subscriber.subscriptions(), in_redis(&redis).len()), ((54, 54), 54));
    assert_eq!(status(&owner, Role::Subscriber).generation, 1, "readiness does not suffer");

    // Redis throws out who is subscribed to what is no longer allowed.
    let mut refusals = subscriber.refusals();
    refusals.mark_unchanged();
    let fewer = [
        "ACL",
        "SETUSER",
        "app",
        "resetchannels",
        "&test:ctl",
        "&test:probe:*",
        "&test:notify:ok1*",
    ];
    redis.cli(&fewer);
    is_ready_after(&owner, Role::Subscriber, 1).await;
    assert!(refusals.has_changed().unwrap());
    assert!(subscriber.wants(&channel("ok1")) && !subscriber.wants(&channel("ok2")));
    assert_eq!(in_redis(&redis).len(), 10);
}

async fn server_with_hand_off(redis: &Redis, hand_off: usize) -> (Owner, Messages) {
    let mut options = options(redis.port());
    options.hand_off = hand_off;
    let owner = ready_server(options).await;
    let messages = owner.subscriber().unwrap().messages().unwrap();
    (owner, messages)
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_keep_their_order_on_every_channel_and_come_once_per_subscription() {
    let redis = Redis::start();
    let (owner, mut messages) = server_with_hand_off(&redis, 8192).await;
    let subscriber = owner.subscriber().unwrap();
    subscribe_all(&subscriber, ["a.0", "a.1", "b", "a.*"].map(str::to_owned)).await;
    for number in 0..200 {
        for name in ["a.0", "a.1", "b"] {
            publish(&redis, name, &number.to_string());
        }
    }
    let mut heard: HashMap<(Subscription, String), Vec<u32>> = HashMap::new();
    for _ in 0..200 * 5 {
        let message = tokio::time::timeout(DEADLINE, messages.next()).await.unwrap().unwrap();
        let name = ChannelName::parse(&message.channel).unwrap();
        assert!(message.subscription.matches(&name), "{message:?}");
        let number = std::str::from_utf8(&message.payload).unwrap().parse().unwrap();
        heard.entry((message.subscription, message.channel)).or_default().push(number);
    }
    assert_eq!(heard.len(), 5, "b once, the others by name and by prefix");
    for ((subscription, name), numbers) in heard {
        assert!(numbers.iter().copied().eq(0..200), "{name} by {subscription}: {numbers:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_hand_off_drops_what_is_too_much_and_keeps_the_connection() {
    let redis = Redis::start();
    let (owner, mut messages) = server_with_hand_off(&redis, 10).await;
    let subscriber = owner.subscriber().unwrap();
    subscriber.subscribe(&channel("a"), DEADLINE).await.unwrap();
    for number in 0..50 {
        publish(&redis, "a", &number.to_string());
    }
    // Answered after all of them on the same connection.
    subscriber.subscribe(&channel("b"), DEADLINE).await.unwrap();
    publish(&redis, "b", "dropped too");
    subscriber.subscribe(&channel("c"), DEADLINE).await.unwrap();
    for number in 0..10 {
        assert_eq!(next(&mut messages).await, ("a".to_owned(), number.to_string()));
    }
    publish(&redis, "b", "heard");
    assert_eq!(next(&mut messages).await, ("b".to_owned(), "heard".to_owned()));
    assert_eq!(status(&owner, Role::Subscriber).generation, 1);

    owner.close(Duration::ZERO).await;
    assert!(messages.next().await.is_none(), "the owner closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_that_answers_but_does_not_hear_is_replaced() {
    let redis = Redis::start();
    let proxy = Proxy::to(redis.port());
    let mut options = options(proxy.port());
    options.probe_interval = Some(Duration::from_millis(200));
    let owner = ready_server(options).await;
    eventually("the first probe comes back", async || owner.probed().ok_or("none")).await;
    proxy.filter(Arc::new(|direction, piece| {
        let deaf =
            direction == Direction::ToClient && piece.starts_with(b">3\r\n$7\r\nmessage\r\n");
        if deaf { Vec::new() } else { piece }
    }));
    is_ready_after(&owner, Role::Subscriber, 1).await;
    assert_eq!(owner.outages()[0].reason, "probe_timeout");
    assert_eq!(status(&owner, Role::Shared).generation, 1);
    proxy.forward();
    let before = owner.probed();
    eventually("a probe comes back", async || {
        let now = owner.probed();
        if now > before { Ok(()) } else { Err(format!("{now:?}")) }
    })
    .await;
}
