//! Redis goes away under a running server, or takes a connection from it, and comes back: real
//! processes, `/metrics`, `/status`, the log and CLIENT LIST as witnesses.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use support::chain;
use support::eventually::eventually;
use support::fleet::Fleet;
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
    let scene = Scene::start(Daemon::server(&redis.url())).await;
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
    let (median, longest) = (took[took.len() / 2], took[took.len() - 1]);
    assert!(median < Duration::from_millis(50), "{median:?}");
    assert!(longest < Duration::from_millis(400), "{longest:?}");
    assert_eq!(redis.client_list().len(), 2);
    survivor.server.sigterm();
    assert!(survivor.server.exit().await.success());
    assert_eq!(redis.client_list().len(), 0);
}

async fn is_killed(role: &str) {
    let redis = Redis::start();
    let scene = Scene::start(Daemon::server(&redis.url())).await;
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
    assert_eq!(redis.client_list().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shared_connection_that_is_killed_is_replaced_and_the_subscriber_stays() {
    is_killed("shared").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_that_is_killed_is_replaced_and_the_shared_connection_stays() {
    is_killed("subscriber").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_that_became_deaf_is_found_by_its_probe_and_replaced() {
    let redis = Redis::start();
    let proxy = Proxy::to(redis.port());
    let launch = Daemon::server(&proxy.url()).args(["--probe-interval", "1s"]);
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
                let push =
                    direction == Direction::ToClient && text.starts_with(">3\r\n$7\r\nmessage");
                if push && deaf.load(Ordering::Relaxed) { Vec::new() } else { piece }
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
    let redis = Redis::start();
    let fleet = Fleet::start(&redis.url(), 1, 1).await;
    let (server, worker) = (&fleet.servers[0], &fleet.workers[0]);
    let http = server.public().await;
    chain::store(&http, &chain::telling("told", "told")).await;
    let both = async || {
        let answer = http.post("/v1/notifications", &json!({"channel": "told", "data": 1})).await;
        assert_eq!(answer.status, 200);
        let accepted = http.post("/v1/events", &json!({"type": "told"})).await;
        assert_eq!(accepted.status, 202);
        answer.json()["receivers"].clone()
    };
    let counted = async |daemon: &Daemon, name: &str, count: f64| {
        daemon.metric(name).await.reaches(count).await;
        daemon.metric("trunkline_publish_no_receivers_total").await.settles(1.0).await;
    };

    assert_eq!(both().await, 0);
    for daemon in [server, worker] {
        counted(daemon, "trunkline_publish_attempts_total", 1.0).await;
    }

    let ears = Ears::open(server, "told").await;
    assert_eq!(both().await, 1);
    eventually("both are heard", async || match ears.heard().len() {
        2 => Ok(()),
        other => Err(other),
    })
    .await;
    for daemon in [server, worker] {
        counted(daemon, "trunkline_publish_attempts_total", 2.0).await;
        support::laws::laws_hold(daemon).await;
    }
}
