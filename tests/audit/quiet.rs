//! What happens to connections in a bad week, and is no leak.

use crate::support::process::Daemon;
use crate::support::proxy::Proxy;
use crate::support::redis::Redis;
use crate::{audited_again, auditing, leaks_logged, side};

/// Every side of these was asked again and sees no leak, and none ever did.
async fn have_leaked_nothing(daemons: &[&Daemon], sides: &[&str]) {
    for daemon in daemons {
        for name in sides {
            let finding = audited_again(daemon, name, 3).await;
            assert_eq!(finding["state"], "ok", "{name}: {finding}");
            assert_eq!(finding["expected"], finding["found"], "{name}: {finding}");
        }
        assert_eq!(leaks_logged(daemon), [""; 0]);
    }
}

const SIDES: [&str; 3] = ["guards", "kernel", "redis"];

#[tokio::test(flavor = "multi_thread")]
async fn reconnects_and_restarts_leak_nothing() {
    let redis = Redis::start();
    let server = auditing(Daemon::server(&redis.url()));
    let worker = auditing(Daemon::worker(&redis.url()));
    server.wait_ready().await;
    worker.wait_ready().await;
    for _ in 0..10 {
        for client in redis.client_list() {
            redis.cli(&["CLIENT", "KILL", "ID", &client.id.to_string()]);
        }
        server.wait_nothing_missing().await;
        worker.wait_nothing_missing().await;
    }
    have_leaked_nothing(&[&server, &worker], &SIDES).await;
    tokio::task::block_in_place(|| redis.restart());
    server.wait_nothing_missing().await;
    worker.wait_nothing_missing().await;
    have_leaked_nothing(&[&server, &worker], &SIDES).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_crash_and_the_end_of_a_neighbour_leak_nothing() {
    let redis = Redis::start();
    let server = auditing(Daemon::server(&redis.url()));
    let neighbours = [Daemon::worker(&redis.url()), Daemon::server(&redis.url())].map(auditing);
    server.wait_ready().await;
    for neighbour in &neighbours {
        neighbour.wait_ready().await;
    }
    neighbours[0].sigkill();
    neighbours[1].sigterm();
    neighbours[1].exit().await;
    have_leaked_nothing(&[&server], &SIDES).await;
    // It may have to wait for the lease of those that are gone.
    let fleet = side(&server, "fleet", |it| it["state"] == "ok" && it["found"] == 2).await;
    assert_eq!(fleet["expected"], 2, "{fleet}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_whose_end_redis_never_heard_of_is_no_leak() {
    let redis = Redis::start();
    let proxy = Proxy::to(redis.port());
    let worker = auditing(Daemon::worker(&proxy.url()));
    worker.wait_ready().await;
    side(&worker, "redis", |it| it["found"] == 1).await;
    proxy.strand();
    worker.metric("trunkline_redis_connections_closed_total").await.reaches(1.0).await;
    worker.wait_nothing_missing().await;
    let found = side(&worker, "redis", |it| it["found"].as_u64() > Some(1)).await;
    assert_eq!(found["offenders"], serde_json::json!([]), "{found}");
    audited_again(&worker, "redis", 3).await;
    assert_eq!(leaks_logged(&worker), [""; 0]);
    assert_eq!(side(&worker, "redis", |_| true).await["state"], "ok");
}
