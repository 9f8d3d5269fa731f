//! Redis goes away under a running server, or takes a connection from it, and comes back: real
//! processes, `/metrics`, `/status`, the log and CLIENT LIST as witnesses.
#![cfg(feature = "bridge")]
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use support::chain::telling;
use support::eventually::eventually;
use support::house::House;
use support::laws::laws_hold;
use support::process::Daemon;
use support::proxy::{Direction, Proxy};
use support::redis::Redis;
use support::scene::Scene;
use support::traffic::{Answer, Ears};
use tokio::task::block_in_place;

/// How a connection ends when its Redis is killed: by a reset if Redis had not read everything.
const DIED: &[&str] = &["eof", "reset"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_redis_crashes_publishes_fail_at_once_and_go_on_when_it_is_back() {
    let redis = Redis::start();
    let scene = Scene::start(Daemon::server(&redis.url()).patient()).await;
    let losses = [("shared", DIED), ("subscriber", DIED)];
    let survivor = scene
        .survives(&losses, async |scene| {
            block_in_place(|| redis.kill9());
            scene.traffic.is_refused(1).await;
            let down = Instant::now();
            scene.traffic.is_refused(100).await;
            let lasted = down.elapsed();
            block_in_place(|| redis.restart());
            lasted
        })
        .await;

    let refused = survivor.meanwhile.iter().filter(|post| post.answer == Answer::Refused);
    let mut took: Vec<_> = refused.map(|post| post.took).collect();
    took.sort();
    // Far more than it takes, and far less than waiting for anything would take.
    // Two of a hundred may have met a machine that stood still.
    let (median, long) = (took[took.len() / 2], took[took.len() * 97 / 100]);
    assert!(median < Duration::from_millis(50), "{median:?}");
    assert!(long < Duration::from_millis(400), "{long:?}");
    // Not even where nobody heard it: Redis counts what it was told since it is back. The server's
    // probes are few.
    let told = redis.info("commandstats", "cmdstat_publish");
    let told = told.split([',', '=']).nth(1).unwrap().parse::<usize>().unwrap();
    let sent = survivor.meanwhile.iter().chain(&survivor.afterwards);
    let sent = sent.filter(|post| post.answer != Answer::Refused).count();
    assert!(told <= sent + 10, "redis was told {told}, the server sent {sent}");
    redis.has_connections(2).await;
    survivor.server.sigterm();
    assert!(survivor.server.exit().await.success());
    redis.is_left().await;
}

async fn is_killed(role: &str) {
    let redis = Redis::start();
    let scene = Scene::start(Daemon::server(&redis.url()).patient()).await;
    let survivor = scene
        .survives(&[(role, &["eof"])], async |_| {
            let clients = redis.client_list();
            let ours = clients.iter().find(|client| client.name.contains(&format!(":{role}:")));
            redis.cli(&["CLIENT", "KILL", "ID", &ours.unwrap().id.to_string()]);
            Duration::ZERO
        })
        .await;
    let replaced = survivor.server.connection(role).await;
    assert_eq!(replaced["generation"], 2, "{replaced}");
    redis.has_connections(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shared_connection_that_is_killed_is_replaced_and_the_subscriber_stays() {
    is_killed("shared").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_that_is_killed_is_replaced_and_the_shared_connection_stays() {
    is_killed("subscriber").await;
}

/// Clients, and the channels of each: as many as one may have, so that they fill more than one
/// SUBSCRIBE.
const CLIENTS: usize = 9;
const CHANNELS: usize = 128;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_that_is_replaced_is_ready_no_sooner_than_redis_has_all_its_channels() {
    let redis = Redis::start();
    let proxy = Proxy::to(redis.port());
    let patience = ["--redis-connect-timeout", "5s", "--redis-command-timeout", "5s"];
    let server = Daemon::server(&proxy.url()).args(patience).start();
    server.wait_ready().await;
    let mut all_ears = Vec::new();
    for client in 0..CLIENTS {
        let channels: Vec<_> = (0..CHANNELS).map(|number| format!("c{client}.{number}")).collect();
        all_ears.push(Ears::open(&server, &channels.join("&channel=")).await);
    }
    // Far longer than it takes to see that it is ready: what is still under way then is not there.
    proxy.delay(Duration::from_millis(150));
    let subscriber = redis.client_list().into_iter().find(|it| it.name.contains(":subscriber:"));
    redis.cli(&["CLIENT", "KILL", "ID", &subscriber.unwrap().id.to_string()]);
    eventually("another subscriber is ready", async || {
        let subscriber = server.connection("subscriber").await;
        let ready = subscriber["state"] == "ready" && subscriber["generation"] != 1;
        if ready { Ok(()) } else { Err(subscriber) }
    })
    .await;
    let there = redis.cli(&["PUBSUB", "CHANNELS", "trunkline:notify:*"]).texts().len();
    assert_eq!(there, CLIENTS * CHANNELS);
    for (client, ears) in all_ears.iter().enumerate() {
        let channel = format!("trunkline:notify:c{client}.{}", CHANNELS - 1);
        assert_eq!(redis.cli(&["PUBLISH", &channel, "back"]).integer(), 1);
        eventually("its client hears what is published", async || match ears.heard().len() {
            1 => Ok(()),
            other => Err(other),
        })
        .await;
    }
}

/// What Redis says without the messages it pushes.
fn without_messages(piece: &[u8]) -> Vec<u8> {
    const MESSAGE: &[u8] = b">3\r\n$7\r\nmessage\r\n";
    let (mut rest, mut left) = (piece, Vec::new());
    while let Some((&byte, after)) = rest.split_first() {
        let Some(channel) = rest.strip_prefix(MESSAGE) else {
            left.push(byte);
            rest = after;
            continue;
        };
        rest = past_string(past_string(channel));
    }
    left
}

/// What follows a string: `$`, its length, a line break, its bytes, another line break.
fn past_string(text: &[u8]) -> &[u8] {
    let line = text.iter().position(|&byte| byte == b'\n').expect("a whole message");
    let length = std::str::from_utf8(&text[1..line - 1]).unwrap().parse::<usize>().unwrap();
    &text[line + 1 + length + 2..]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_that_became_deaf_is_found_by_its_probe_and_replaced() {
    let redis = Redis::start();
    let proxy = Proxy::to(redis.port());
    let launch = Daemon::server(&proxy.url()).patient().args(["--probe-interval", "1s"]);
    let scene = Scene::start(launch).await;
    let survivor = scene
        .survives(&[("subscriber", &["probe_timeout"])], async |scene| {
            // Everything is answered, and what Redis pushes is swallowed, until the next
            // subscriber introduces itself.
            let deaf = AtomicBool::new(true);
            proxy.filter(Arc::new(move |direction, piece| {
                let text = String::from_utf8_lossy(&piece);
                if direction == Direction::ToServer && text.contains(":subscriber:2") {
                    deaf.store(false, Ordering::Relaxed);
                }
                let swallow = direction == Direction::ToClient && deaf.load(Ordering::Relaxed);
                if swallow { without_messages(&piece) } else { piece }
            }));
            let admin = scene.server.admin().await;
            eventually("the probe is missing for readiness", async || {
                let answer = admin.get("/readyz").await.json();
                let missing = answer["missing"].as_array().unwrap().clone();
                if missing.contains(&json!("probe")) { Ok(()) } else { Err(answer) }
            })
            .await;
            Duration::ZERO
        })
        .await;
    // Redis said that one connection had them: only the probe can know better.
    let acknowledged =
        |answer: &Answer| matches!(answer, Answer::Acknowledged { receivers: 1, .. });
    assert!(survivor.meanwhile.iter().all(|post| acknowledged(&post.answer)));
    let closed = survivor.server.metric("trunkline_redis_connections_closed_total").await;
    closed.label("role", "subscriber").label("reason", "probe_timeout").settles(1.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publish_that_nobody_hears_is_counted_where_it_was_published() {
    let house = House::start().await;
    house.chain(telling("told", "told")).await;
    let both = async || {
        house.event(json!({ "type": "told" })).await;
        house.notify("told", json!(1)).await["receivers"].clone()
    };
    let counted = async |attempts: f64| {
        for daemon in [&house.server, &house.worker] {
            daemon.metric("trunkline_publish_attempts_total").await.reaches(attempts).await;
            daemon.metric("trunkline_publish_no_receivers_total").await.settles(1.0).await;
        }
    };
    assert_eq!(both().await, 0);
    counted(1.0).await;

    let ears = Ears::open(&house.server, "told").await;
    assert_eq!(both().await, 1);
    eventually("both are heard", async || match ears.heard().len() {
        2 => Ok(()),
        other => Err(other),
    })
    .await;
    counted(2.0).await;
    laws_hold(&house.server).await;
    laws_hold(&house.worker).await;
}
