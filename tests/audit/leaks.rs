//! The three ways to leak, each done to a real worker.

use serde_json::Value;

use crate::support::eventually::eventually;
use crate::support::metrics::Page;
use crate::support::process::{Daemon, field};
use crate::support::redis::Redis;
use crate::{ENDED, LEAKED, audited_again, auditing, leaks_logged, side};

fn leaky(redis: &Redis, daemon: &str, leak: &str) -> Daemon {
    let launch = Daemon::example("leaky").env("REDIS_URL", redis.url());
    auditing(launch.env("TRUNKLINE_TEST_DAEMON", daemon).env("TRUNKLINE_TEST_LEAK", leak))
}

fn is_leak(finding: &Value) -> bool {
    finding["state"] == "leak"
}

/// What each side counts, by its metric: guards, kernel, Redis.
async fn counted(daemon: &Daemon) -> [f64; 3] {
    let page = Page::of(daemon).await;
    [
        "trunkline_redis_connections_open",
        "trunkline_redis_sockets_open",
        "trunkline_redis_server_connections",
    ]
    .map(|metric| page.sum(metric, &[]))
}

/// Waits until the metrics are these.
async fn counts(daemon: &Daemon, expected: [f64; 3]) {
    eventually(&format!("{expected:?} are counted"), async || {
        let counted = counted(daemon).await.map(|it| it.to_string());
        if counted == expected.map(|it| it.to_string()) { Ok(()) } else { Err(counted.join(", ")) }
    })
    .await;
}

/// The sides that see a leak, and those that were asked and see none.
async fn shows_on(daemon: &Daemon, seeing: &[&str], blind: &[&str]) {
    for name in seeing {
        side(daemon, name, is_leak).await;
    }
    for name in blind {
        let finding = audited_again(daemon, name, 3).await;
        assert_eq!(finding["state"], "ok", "{name}: {finding}");
    }
    eventually(&format!("{seeing:?} are told once, and no other"), async || {
        let mut logged = leaks_logged(daemon);
        logged.sort();
        if logged == seeing { Ok(()) } else { Err(format!("{logged:?}")) }
    })
    .await;
}

#[tokio::test]
async fn a_forgotten_stream_shows_with_the_guards_alone_until_it_is_gone() {
    let redis = Redis::start();
    let worker = leaky(&redis, "worker", "guard");
    let found = side(&worker, "guards", is_leak).await;
    assert_eq!((&found["expected"], &found["found"]), (&1.into(), &2.into()));
    counts(&worker, [2.0; 3]).await;
    shows_on(&worker, &["guards"], &["kernel", "redis"]).await;

    let connection = worker.connection("shared").await;
    let [offender] = connection["offenders"].as_array().unwrap().as_slice() else {
        panic!("one offender in {connection}")
    };
    assert_eq!(offender["generation"], 1);
    assert!(field(offender, "place").starts_with("src/conn/dial.rs:"), "{offender}");
    let listed = redis.client_list();
    let client = listed.iter().find(|client| client.name.ends_with(":shared:1")).unwrap();
    assert_eq!(
        (offender["id"].as_u64(), field(offender, "addr")),
        (Some(client.id), &*client.addr)
    );
    let line = worker.logged(LEAKED, |line| field(line, "side") == "guards").await;
    for word in [format!("id={}", client.id), format!("addr={}", client.addr)] {
        assert!(field(&line, "offenders").contains(&word), "{word} in {line}");
    }

    redis.cli(&["CLIENT", "KILL", "ID", &client.id.to_string()]);
    worker.logged(ENDED, |line| field(line, "side") == "guards").await;
    let found = side(&worker, "guards", |it| it["state"] == "ok").await;
    assert_eq!(found["offenders"], Value::Array(vec![]));
    counts(&worker, [1.0; 3]).await;
}

#[tokio::test]
async fn a_socket_below_the_guards_shows_with_the_kernel_and_by_its_name_with_redis() {
    let redis = Redis::start();
    let server = leaky(&redis, "server", "socket");
    shows_on(&server, &["kernel", "redis"], &["guards"]).await;
    counts(&server, [2.0, 3.0, 3.0]).await;
    let found = side(&server, "redis", is_leak).await;
    let offender = &found["offenders"][0];
    assert_eq!((&offender["generation"], &offender["role"]), (&99.into(), &"shared".into()));
    let kernel = side(&server, "kernel", is_leak).await;
    assert_eq!(kernel["offenders"][0]["addr"], offender["addr"], "both mean the same one");
}

#[tokio::test]
async fn a_failed_handshake_that_stays_open_shows_with_the_kernel_alone() {
    let redis = Redis::start();
    let worker = leaky(&redis, "worker", "handshake");
    shows_on(&worker, &["kernel"], &["guards", "redis"]).await;
    counts(&worker, [1.0, 2.0, 1.0]).await;
    let listed = redis.client_list();
    let nameless = listed.iter().find(|client| client.name.is_empty()).unwrap();
    let kernel = side(&worker, "kernel", is_leak).await;
    assert_eq!(kernel["offenders"][0]["addr"], *nameless.addr);
}

/// What `trunkline doctor` says of a daemon that leaks, and its exit code.
async fn diagnosed(redis: &Redis, daemon: &Daemon) -> (Value, i32) {
    let url = format!("http://{}", daemon.admin().await.address());
    let doctor = Daemon::tool().args(["doctor", "--json", "--admin", &url]);
    let doctor = doctor.env("REDIS_URL", redis.url()).start();
    let exit = doctor.exit().await.code().unwrap();
    let said: Value = serde_json::from_str(&doctor.lines().join("\n")).unwrap();
    let mut findings = said["findings"].as_array().unwrap().iter();
    let bad = findings.find(|it| it["check"] == "status" && it["severity"] == "bad");
    (bad.unwrap_or_else(|| panic!("no leak in {said}")).clone(), exit)
}

#[tokio::test]
async fn doctor_says_where_each_of_them_was_opened_as_far_as_anybody_can_know() {
    for (leak, seen_by, place) in [
        ("guard", "guards", "src/conn/dial.rs:"),
        // Nothing of ours opened these: what is known is their end here, as `ss -tp` shows it.
        ("socket", "kernel", "addr=127.0.0.1:"),
        ("handshake", "kernel", "addr=127.0.0.1:"),
    ] {
        let redis = Redis::start();
        let worker = leaky(&redis, "worker", leak);
        let offender = side(&worker, seen_by, is_leak).await["offenders"][0].clone();
        let (finding, exit) = diagnosed(&redis, &worker).await;
        let about = finding["about"].to_string();
        assert!(field(&finding, "is").contains("leaks"), "{leak}: {finding}");
        assert!(about.contains(place), "{leak}: {place} is not in {finding}");
        assert!(about.contains(field(&offender, "addr")), "{leak}: {offender} is not in {finding}");
        assert_eq!(exit, 2, "{leak}");
    }
}

#[tokio::test]
async fn a_daemon_that_leaks_nothing_is_told_of_nothing() {
    let redis = Redis::start();
    let server = leaky(&redis, "server", "");
    shows_on(&server, &[], &["guards", "kernel", "redis"]).await;
    counts(&server, [2.0; 3]).await;
}
