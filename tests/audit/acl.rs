//! What may not be asked is not audited, said once, and no alarm.

use crate::support::metrics::Page;
use crate::support::process::{Daemon, Launch, field};
use crate::support::redis::Redis;
use crate::{audited_again, auditing, leaks_logged, side};

/// The blocks of ACL lines in docs/redis.md: the users, and what the audit needs besides.
fn documented() -> (Vec<String>, String) {
    let text = include_str!("../../docs/redis.md");
    let mut blocks = text.split("```acl\n").skip(1).map(|it| it.split("```").next().unwrap());
    let users = blocks.next().unwrap().replace("<password>", "pw");
    let audit = blocks.next().unwrap().trim().to_owned();
    assert!(blocks.next().is_none() && audit.lines().count() == 1, "{audit}");
    (users.lines().map(str::to_owned).collect(), audit)
}

fn start(users: &[String]) -> Redis {
    let users: Vec<_> = users.iter().map(String::as_str).chain(["user default off"]).collect();
    Redis::plan().users(&users).start()
}

fn login(redis: &Redis, user: &str) -> String {
    redis.url().replace("redis://", &format!("redis://{user}:pw@"))
}

fn daemons(redis: &Redis) -> [Daemon; 2] {
    let server: Launch = Daemon::server(&login(redis, "trunkline-server"));
    [server, Daemon::worker(&login(redis, "trunkline-worker"))].map(auditing)
}

fn refused(redis: &Redis) -> Vec<String> {
    redis.cli(&["ACL", "LOG"]).list().iter().map(|entry| format!("{entry:?}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_documented_rights_all_sides_are_asked() {
    let (users, audit) = documented();
    let users: Vec<_> = users.iter().map(|user| format!("{user} {audit}")).collect();
    let redis = start(&users);
    let [server, worker] = daemons(&redis);
    for daemon in [&server, &worker] {
        for name in ["guards", "kernel", "redis"] {
            assert_eq!(audited_again(daemon, name, 3).await["state"], "ok");
        }
        daemon
            .metric("trunkline_redis_audit_last_success_timestamp_seconds")
            .await
            .reaches(1.0)
            .await;
        daemon.metric("trunkline_redis_server_clients").await.reaches(3.0).await;
    }
    let fleets = [&server, &worker].map(async |it| {
        field(&side(it, "fleet", |it| it["state"] != "pending").await, "state").to_owned()
    });
    let mut states = futures_util::future::join_all(fleets).await;
    states.sort();
    assert_eq!(states, ["elsewhere", "ok"]);
    assert_eq!(refused(&redis), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_them_the_audit_is_unsupported_and_says_so_once() {
    let (users, _) = documented();
    let redis = start(&users);
    let [server, worker] = daemons(&redis);
    for daemon in [&server, &worker] {
        for name in ["redis", "fleet"] {
            let found = side(daemon, name, |it| it["state"] == "unsupported").await;
            assert!(field(&found, "reason").contains("docs/redis.md"), "{found}");
        }
        // More audits than a refusal is left alone for.
        assert_eq!(audited_again(daemon, "kernel", 12).await["state"], "ok");
        let said: Vec<_> = daemon
            .logs()
            .into_iter()
            .filter(|line| field(line, "message") == "connections are not audited")
            .map(|line| field(&line, "side").to_owned())
            .collect();
        let times = |side: &str| said.iter().filter(|it| *it == side).count();
        assert_eq!(["guards", "kernel", "redis", "fleet"].map(times), [0, 0, 1, 1], "{said:?}");
        assert_eq!(leaks_logged(daemon), [""; 0]);
        let page = Page::of(daemon).await;
        for absent in [
            "trunkline_redis_server_connections",
            "trunkline_redis_audit_last_success_timestamp_seconds",
            "trunkline_redis_server_clients",
            "trunkline_redis_fleet_connections",
            "trunkline_redis_fleet_audit_timestamp_seconds",
        ] {
            assert!(!page.has(absent), "{absent}");
        }
        assert!(page.has("trunkline_redis_sockets_open"), "the kernel needs no rights");
    }
    let lines = refused(&redis).len();
    assert!(lines < 16, "a refusal is a line in a log that is short: {lines}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_is_granted_later_is_found_without_a_restart() {
    let (users, audit) = documented();
    let redis = start(&users);
    let worker = auditing(Daemon::worker(&login(&redis, "trunkline-worker")));
    side(&worker, "redis", |it| it["state"] == "unsupported").await;
    let words = ["ACL", "SETUSER", "trunkline-worker"].into_iter().chain(audit.split(' '));
    redis.cli(&words.collect::<Vec<_>>());
    for name in ["redis", "fleet"] {
        side(&worker, name, |it| it["state"] == "ok").await;
    }
    worker.metric("trunkline_redis_server_connections").await.settles(1.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_a_unix_socket_the_kernel_is_not_asked_and_the_others_are() {
    let redis = Redis::plan().unix().start();
    let worker = auditing(Daemon::worker(&redis.url()));
    let kernel = side(&worker, "kernel", |it| it["state"] == "unsupported").await;
    assert!(field(&kernel, "reason").contains("unix socket"), "{kernel}");
    for name in ["guards", "redis"] {
        let found = audited_again(&worker, name, 3).await;
        assert_eq!((&found["state"], &found["found"]), (&"ok".into(), &1.into()), "{found}");
    }
    assert!(!Page::of(&worker).await.has("trunkline_redis_sockets_open"));
    let logs = worker.logs();
    let said = logs.iter().filter(|line| field(line, "message") == "connections are not audited");
    assert_eq!(said.count(), 1);
}
