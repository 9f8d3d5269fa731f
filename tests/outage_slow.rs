//! Redis answers late, not at all, or with a refusal, and comes round: real processes,
//! `/metrics`, `/status` and the log as witnesses.
#![cfg(feature = "bridge")]
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use support::chain;
use support::eventually::eventually;
use support::metrics::Page;
use support::process::{Daemon, field};
use support::proxy::Proxy;
use support::redis::Redis;
use support::scene::{Loss, Scene, loss};
use support::stalls::Stalls;
use support::traffic::{Ears, Traffic};
use tokio::task::block_in_place;

const HANGS: [Loss<'static>; 2] = [("shared", &["heartbeat"]), ("subscriber", &["heartbeat"])];

/// Waits until both connections are found lost, each within the two seconds that are promised, as
/// far as the machine itself does not stand still.
async fn both_are_found(scene: &Scene) {
    let stalls = Stalls::watch();
    let (shared, subscriber) =
        tokio::join!(loss(&scene.server, "shared"), loss(&scene.server, "subscriber"));
    let late = shared.max(subscriber);
    let promised = Duration::from_secs(2) + stalls.sum();
    assert!(late < promised, "shared {shared:?}, subscriber {subscriber:?}, not {promised:?}");
}

/// Waits until a dial of the shared connection failed for this reason.
async fn dial_fails(server: &Daemon, reason: &str) {
    let failures = server.metric("trunkline_redis_connect_failures_total").await;
    failures.label("role", "shared").label("reason", reason).reaches(1.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_stands_still_is_found_and_replaced_and_goes_on() {
    let redis = Redis::start();
    let scene = Scene::start(Daemon::server(&redis.url())).await;
    let fault = async |scene: &Scene| {
        block_in_place(|| redis.stop());
        both_are_found(scene).await;
        let down = Instant::now();
        scene.traffic.is_refused(50).await;
        let lasted = down.elapsed();
        redis.cont();
        lasted
    };
    let _survivor = scene.survives(&HANGS, fault).await;
    // The dials given up meanwhile are gone.
    redis.has_connections(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_that_stands_still_with_all_that_is_on_it_costs_no_connection() {
    let redis = Redis::start();
    let server = Daemon::server(&redis.url()).start();
    server.wait_ready().await;
    let generation = async |role: &str| server.connection(role).await["generation"].as_u64();
    let generations = async || [generation("shared").await, generation("subscriber").await];
    // If this test stands still as well, they may have too much time or too little.
    for _ in 0..5 {
        let before = generations().await;
        // Redis first, so that it surely owes an answer; and last, so that it still does.
        redis.stop();
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        server.sigstop();
        tokio::time::sleep(Duration::from_secs(2)).await;
        server.sigcont();
        tokio::time::sleep(Duration::from_millis(100)).await;
        redis.cont();
        server.wait_nothing_missing().await;
        if generations().await == before {
            return;
        }
    }
    panic!("it costs a connection each time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_pauses_its_clients_is_found_and_goes_on() {
    const PAUSE: Duration = Duration::from_secs(4);
    let redis = Redis::start();
    let scene = Scene::start(Daemon::server(&redis.url())).await;
    let fault = async |scene: &Scene| {
        redis.cli(&["CLIENT", "PAUSE", &PAUSE.as_millis().to_string()]);
        let paused = Instant::now();
        both_are_found(scene).await;
        let left = PAUSE - paused.elapsed();
        scene.traffic.is_refused(10).await;
        left
    };
    scene.survives(&HANGS, fault).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_falls_silent_is_found_and_what_it_held_back_does_no_harm() {
    let redis = Redis::start();
    let proxy = Proxy::to(redis.port());
    let scene = Scene::start(Daemon::server(&proxy.url())).await;
    let fault = async |scene: &Scene| {
        proxy.silence();
        both_are_found(scene).await;
        let down = Instant::now();
        scene.traffic.is_refused(50).await;
        let lasted = down.elapsed();
        proxy.forward();
        lasted
    };
    scene.survives(&HANGS, fault).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_became_a_replica_is_left_until_it_is_master_again() {
    let redis = Redis::start();
    let nowhere = support::port::free().to_string();
    let scene = Scene::start(Daemon::server(&redis.url())).await;
    let fault = async |scene: &Scene| {
        redis.cli(&["REPLICAOF", "127.0.0.1", &nowhere]);
        // A replica takes PUBLISH; the first write is what meets the refusal.
        let http = scene.server.public().await;
        let answer = http.post("/v1/events", &json!({"type": "any"})).await;
        assert_eq!(answer.status, 503, "{}", answer.text());
        assert_eq!(answer.json()["type"], "urn:trunkline:problem:redis-unavailable");
        loss(&scene.server, "shared").await;
        let down = Instant::now();
        scene.traffic.is_refused(30).await;
        dial_fails(&scene.server, "not_master").await;
        let lasted = down.elapsed();
        redis.cli(&["REPLICAOF", "NO", "ONE"]);
        lasted
    };
    scene.survives(&[("shared", &["readonly"])], fault).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_loading_is_waited_for_by_the_running_and_by_the_starting() {
    let slow = [("key-load-delay", "400"), ("loading-process-events-interval-bytes", "1024")];
    let plan = slow.iter().fold(Redis::plan(), |plan, (name, value)| plan.argument(name, value));
    let redis = Arc::new(plan.start());
    let fill = "for i = 1, 6000 do redis.call('SET', 'other:' .. i, i) end";
    redis.cli(&["EVAL", fill, "0"]);
    redis.cli(&["SAVE"]);
    let scene = Scene::start(Daemon::server(&redis.url())).await;
    let died: &[&str] = &["eof", "reset"];
    let fault = async |scene: &Scene| {
        block_in_place(|| redis.kill9());
        scene.traffic.is_refused(1).await;
        let down = Instant::now();
        let loading = Arc::clone(&redis);
        let loading = tokio::task::spawn_blocking(move || loading.restart());
        let newcomer = Daemon::server(&redis.url()).start();
        dial_fails(&newcomer, "loading").await;
        dial_fails(&scene.server, "loading").await;
        let lasted = down.elapsed();
        assert!(!loading.is_finished(), "it loads for more than two seconds");
        loading.await.unwrap();
        newcomer.wait_ready().await;
        lasted
    };
    scene.survives(&[("shared", died), ("subscriber", died)], fault).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_that_no_longer_holds_is_retried_until_it_does() {
    let redis = Redis::plan().password("right").start();
    let url = redis.url().replace("//", "//:right@");
    let scene = Scene::start(Daemon::server(&url)).await;
    let fault = async |scene: &Scene| {
        redis.cli(&["ACL", "SETUSER", "default", "resetpass", ">other"]);
        redis.cli(&["CLIENT", "KILL", "USER", "default"]);
        dial_fails(&scene.server, "auth").await;
        let down = Instant::now();
        scene.traffic.is_refused(50).await;
        let lasted = down.elapsed();
        redis.cli(&["ACL", "SETUSER", "default", ">right"]);
        lasted
    };
    let survivor = scene.survives(&[("shared", &["eof"]), ("subscriber", &["eof"])], fault).await;
    assert!(survivor.server.is_running());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_from_the_start_is_a_visible_state_and_no_crash() {
    let redis = Redis::plan().password("right").start();
    let url = redis.url().replace("//", "//:not-the-one@");
    let server = Daemon::server(&url).args(["--redis-backoff-max", "200ms"]).start();
    let failures = server.metric("trunkline_redis_connect_failures_total").await;
    failures.label("role", "shared").label("reason", "auth").reaches(5.0).await;
    let admin = server.admin().await;
    assert_eq!(admin.get("/livez").await.status, 200);
    let ready = admin.get("/readyz").await;
    assert_eq!((ready.status, &ready.json()["missing"][0]), (503, &json!("shared")));
    let refused = server.public().await.post("/v1/events", &json!({"type": "any"})).await;
    assert_eq!(refused.json()["type"], "urn:trunkline:problem:redis-unavailable");
    let shared = server.connection("shared").await;
    assert_eq!(shared["last_reason"], "auth");

    redis.cli(&["ACL", "SETUSER", "default", ">not-the-one"]);
    server.wait_ready().await;
    let traffic = Traffic::start(&server).await;
    traffic.flows().await;
    traffic.stop(0).await.balance();
    // The password is nowhere to be read, and the refusals were one line for each connection.
    let (lines, page) = (server.lines().join("\n"), admin.get("/metrics").await);
    for text in [&lines, page.text(), &server.status().await.to_string()] {
        assert!(!text.contains("not-the-one"), "{text}");
    }
    let told = |line: &serde_json::Value| field(line, "message") == "redis cannot be reached";
    assert!(server.logs().iter().filter(|line| told(line)).count() <= 2, "{lines}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_without_room_is_retried_until_there_is_some() {
    let redis = Redis::start();
    let scene = Scene::start(Daemon::server(&redis.url())).await;
    let fault = async |scene: &Scene| {
        // The harness' own connection is the one there is room for.
        redis.cli(&["CONFIG", "SET", "maxclients", "1"]);
        for client in redis.client_list() {
            redis.cli(&["CLIENT", "KILL", "ID", &client.id.to_string()]);
        }
        dial_fails(&scene.server, "maxclients").await;
        let down = Instant::now();
        scene.traffic.is_refused(50).await;
        let lasted = down.elapsed();
        redis.cli(&["CONFIG", "SET", "maxclients", "100"]);
        lasted
    };
    scene.survives(&[("shared", &["eof"]), ("subscriber", &["eof"])], fault).await;
}

/// How long Redis is away: far longer than the 2.75 s after which the system that this one
/// replaces gave up for good.
const AWAY: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_away_for_a_minute_is_dialled_in_moderation_and_found() {
    let redis = Redis::start();
    let worker = Daemon::worker(&redis.url()).start();
    worker.wait_ready().await;
    let scene = Scene::start(Daemon::server(&redis.url())).await;
    let died: &[&str] = &["eof", "reset"];
    let fault = async |scene: &Scene| {
        block_in_place(|| redis.kill9());
        scene.traffic.is_refused(1).await;
        let gone = Instant::now();
        let mut before = [dials(&scene.server).await, dials(&worker).await];
        // Looking at them over time is the point: nothing else is waited for.
        let mut looks = tokio::time::interval(Duration::from_secs(5));
        // One that comes late is not made up for by one that comes early.
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        looks.tick().await;
        let mut looked = Instant::now();
        while gone.elapsed() < AWAY {
            looks.tick().await;
            let now = [dials(&scene.server).await, dials(&worker).await];
            let since = looked.elapsed().as_secs_f64();
            looked = Instant::now();
            for (now, before) in now.iter().zip(before) {
                // A page may be a second old.
                let dials = now - before;
                assert!(dials <= 12.0 * (since + 1.0), "{dials} dials in {since} s");
                assert!(dials >= 10.0, "{dials} dials in {since} s: it gives up");
            }
            before = now;
        }
        let ready = scene.server.admin().await.get("/readyz").await;
        assert_eq!(ready.status, 503, "{}", ready.text());
        let lasted = gone.elapsed();
        block_in_place(|| redis.restart());
        lasted
    };
    let survivor = scene.survives(&[("shared", died), ("subscriber", died)], fault).await;

    worker.wait_nothing_missing().await;
    let http = survivor.server.public().await;
    chain::store(&http, &chain::telling("told", "told")).await;
    let ears = Ears::open(&survivor.server, "told").await;
    assert_eq!(http.post("/v1/events", &json!({"type": "told"})).await.status, 202);
    eventually("the worker works again", async || match ears.heard().len() {
        1 => Ok(()),
        other => Err(other),
    })
    .await;
}

/// Dials so far, over all connections.
async fn dials(daemon: &Daemon) -> f64 {
    Page::of(daemon).await.sum("trunkline_redis_connect_attempts_total", &[])
}
