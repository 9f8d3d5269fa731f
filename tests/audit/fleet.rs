//! One process counts for all, and knows the dead from the living.

use std::sync::Arc;

use serde_json::Value;

use crate::support::eventually::eventually;
use crate::support::metrics::Page;
use crate::support::process::{Daemon, field};
use crate::support::proxy::{Direction, Proxy};
use crate::support::redis::Redis;
use crate::support::resp::Connection;
use crate::{DEADLINE, ENDED, LEAKED, auditing, auditing_every, side};

const FLEET: &str = "trunkline_redis_fleet_connections";
const COUNTED: &str = "trunkline_redis_fleet_audit_timestamp_seconds";
const LEASE: &str = "trunkline:audit:{fleet}";

/// Waits until one of these counts for the fleet, and returns its place.
async fn counting(redis: &Redis, daemons: &[&Daemon]) -> usize {
    eventually("one counts for all", async || {
        let holder = redis.cli(&["GET", LEASE]).text();
        for (at, daemon) in daemons.iter().enumerate() {
            if daemon.is_running() && field(&daemon.status().await, "instance") == holder {
                return Ok(at);
            }
        }
        Err(format!("{holder:?} holds the lease"))
    })
    .await
}

fn is_counted(finding: &Value) -> bool {
    finding["state"] == "ok" && finding["found"] == 3
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_stands_still_is_dead_until_it_goes_on() {
    let redis = Redis::start();
    // It starts first and alone, so it counts for all; the other asks once, and not again.
    let server = auditing(Daemon::server(&redis.url()));
    side(&server, "fleet", |it| it["state"] == "ok").await;
    let worker = auditing_every("1h", Daemon::worker(&redis.url()));
    worker.wait_ready().await;
    let fleet = side(&server, "fleet", is_counted).await;
    assert_eq!(fleet["expected"], 3, "{fleet}");
    let counted = server.metric(FLEET).await.label("owner", "live");
    counted.settles(3.0).await;
    assert_eq!(server.metric(FLEET).await.label("owner", "dead").value().await, Some(0.0));
    assert!(!Page::of(&worker).await.has(FLEET), "one counts, the others say nothing");
    side(&worker, "fleet", |it| it["state"] == "elsewhere").await;

    worker.sigstop();
    let dead = server.metric(FLEET).await.label("owner", "dead").label("role", "shared");
    dead.settles(1.0).await;
    let line = server.logged(LEAKED, |line| field(line, "side") == "fleet").await;
    assert!(field(&line, "offenders").contains("role=shared"), "{line}");
    let listed = redis.client_list();
    let client = listed.iter().find(|it| it.name.contains(":worker:")).unwrap();
    let fleet = side(&server, "fleet", |it| it["state"] == "leak").await;
    let offender = &fleet["offenders"][0];
    assert_eq!(offender["id"], client.id);
    assert!(client.name.contains(field(offender, "instance")), "{offender}");

    worker.sigcont();
    server.metric(FLEET).await.label("owner", "dead").settles(0.0).await;
    server.logged(ENDED, |line| field(line, "side") == "fleet").await;
    server.metric(FLEET).await.label("owner", "live").settles(3.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_counts_when_the_one_that_did_is_gone() {
    let redis = Redis::start();
    let worker = || auditing_every("1s", Daemon::worker(&redis.url()));
    let daemons: Vec<_> = (0..3).map(|_| worker()).collect();
    let all: Vec<&Daemon> = daemons.iter().collect();
    for daemon in &all {
        daemon.wait_ready().await;
    }
    let first = counting(&redis, &all).await;
    side(all[first], "fleet", is_counted).await;
    all[first].sigkill();
    let second = counting(&redis, &all).await;
    assert_ne!(second, first);
    let fleet = side(all[second], "fleet", |it| it["state"] == "ok" && it["found"] == 2).await;
    assert_eq!(fleet["expected"], 2, "{fleet}");

    // Taken away from one that lives: what it counted is no longer said to be so.
    redis.cli(&["SET", LEASE, "somebody-else"]);
    side(all[second], "fleet", |it| it["state"] == "elsewhere").await;
    for metric in [FLEET, COUNTED] {
        is_no_number(all[second], metric).await;
    }
}

async fn is_no_number(daemon: &Daemon, metric: &str) {
    eventually(&format!("{metric} is not a number"), async || {
        match daemon.metric(metric).await.value().await {
            Some(value) if value.is_nan() => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

/// Lets Redis tell of nine thousand clients more than it has, in as many bytes as before.
fn crowd(direction: Direction, piece: Vec<u8>) -> Vec<u8> {
    let Ok(text) = std::str::from_utf8(&piece) else { return piece };
    let told = "connected_clients:3\r\ncluster_connections:";
    match direction == Direction::ToClient && text.contains(told) {
        true => text.replace(told, "connected_clients:9003\r\ncluster_connecti:").into_bytes(),
        false => piece,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_crowd_only_the_one_that_counts_for_all_asks_for_the_list() {
    const SERVER: &str = "trunkline_redis_server_connections";
    const SUCCESS: &str = "trunkline_redis_audit_last_success_timestamp_seconds";
    let redis = Redis::start();
    let proxy = Proxy::to(redis.port());
    let holder = auditing_every("1s", Daemon::worker(&redis.url()));
    side(&holder, "fleet", |it| it["state"] == "ok").await;
    let other = auditing(Daemon::worker(&proxy.url()));
    side(&other, "redis", |it| it["state"] == "ok").await;
    // Whoever it is, it holds on to it.
    redis.cli(&["SET", LEASE, field(&holder.status().await, "instance")]);
    // The harness is a client too, and those of the fleet are two.
    let told = redis.info("clients", "connected_clients");
    assert_eq!(told, "3");
    proxy.filter(Arc::new(crowd));
    side(&other, "redis", |it| it["state"] == "elsewhere").await;
    is_no_number(&other, SERVER).await;
    is_no_number(&other, SUCCESS).await;
    assert_eq!(side(&holder, "redis", |it| it["state"] == "ok").await["found"], 1);
    proxy.forward();
    side(&other, "redis", |it| it["state"] == "ok").await;
    other.metric(SERVER).await.settles(1.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn signs_of_life_say_who_and_how_many_and_go_away() {
    let redis = Redis::start();
    let server = auditing(Daemon::server(&redis.url()));
    server.wait_ready().await;
    let status = server.status().await;
    let key = format!("trunkline:alive:{{{}}}", field(&status, "instance"));
    let sign = eventually("a sign of life", async || {
        let sign = redis.cli(&["GET", &key]).text();
        serde_json::from_str::<Value>(&sign).map_err(|_| sign)
    })
    .await;
    let expected = serde_json::json!({ "shared": 1, "subscriber": 1 });
    assert_eq!((field(&sign, "component"), &sign["expected"]), ("server", &expected));
    let lasts = redis.cli(&["PTTL", &key]).integer();
    assert!((1..=3_000).contains(&lasts), "{lasts} ms");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tool_and_other_namespaces_are_not_counted() {
    let redis = Redis::start();
    for name in ["trunkline:tool:here:shared:1", "another:worker:here:shared:1", "stranger"] {
        let mut client = Connection::open(&redis.socket(), DEADLINE).unwrap();
        client.call(&["CLIENT", "SETNAME", name]).unwrap();
        // Kept open to the end of the test's process.
        std::mem::forget(client);
    }
    let worker = auditing(Daemon::worker(&redis.url()));
    let fleet = side(&worker, "fleet", |it| it["state"] == "ok").await;
    assert_eq!((&fleet["expected"], &fleet["found"]), (&1.into(), &1.into()), "{fleet}");
    let clients = worker.metric("trunkline_redis_server_clients").await;
    clients.reaches(5.0).await;
    worker.metric("trunkline_redis_server_maxclients").await.reaches(1_000.0).await;
}
