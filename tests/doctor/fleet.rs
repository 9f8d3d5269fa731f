//! The fleet, as Redis sees it and as its daemons tell.

use crate::support::eventually::eventually;
use crate::support::metrics::Page;
use crate::{Look, admin, daemons, doctor, finds, kept, named, names, raw, text, types};

#[tokio::test]
async fn a_healthy_fleet_is_healthy_and_does_not_notice() {
    let redis = kept().start();
    let [server, worker] = daemons(&redis).await;
    let before = names(&redis);
    let opened = async || {
        Page::of(&server).await.sum("trunkline_redis_connections_opened_total", &[])
            + Page::of(&worker).await.sum("trunkline_redis_connections_opened_total", &[])
    };
    let opened_before = opened().await;
    let (of_server, of_worker) = (admin(&server).await, admin(&worker).await);
    let asked = ["--strict", "--admin", &of_server, "--admin", &of_worker];
    let look = Look::at(doctor(&redis.url()).args(asked)).await;
    assert_eq!((look.faults(), look.exit), (vec![], 0), "{}", look.document);
    assert!(look.findings().iter().all(|it| it["known"] == true));
    assert!(text(look.finding("connections"), "is").starts_with("3 connections"));
    assert_eq!(look.findings().iter().filter(|it| it["check"] == "status").count(), 2);
    // Nothing of it is left behind, and nobody was counted or cut off for it.
    eventually("its connection is gone", async || {
        let now = names(&redis);
        if now == before { Ok(()) } else { Err(now.join(", ")) }
    })
    .await;
    assert_eq!(opened().await, opened_before);
    let keys = redis.cli(&["KEYS", "*"]).texts().join(" ");
    assert!(!keys.contains("doctor"), "{keys}");
}

#[tokio::test]
async fn people_read_the_same_as_machines() {
    let redis = kept().start();
    redis.cli(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]);
    let look = Look::at(doctor(&redis.url())).await;
    let doctor = doctor(&redis.url()).env("TERM", "xterm-256color").start();
    assert_eq!(doctor.exit().await.code(), Some(look.exit));
    let lines = doctor.lines();
    let text_of_all = lines.join("\n");
    assert!(!text_of_all.contains('\u{1b}'), "no colours in a pipe: {text_of_all}");
    let starts: Vec<_> = look
        .findings()
        .iter()
        .map(|it| format!("  {:<4}  {}", text(it, "severity"), text(it, "check")))
        .collect();
    let shown: Vec<_> =
        lines.iter().filter(|line| line.starts_with("  ") && !line.starts_with("   ")).collect();
    assert_eq!(shown.len(), starts.len(), "{text_of_all}");
    assert!(
        shown.iter().zip(&starts).all(|(line, start)| line.starts_with(start)),
        "{text_of_all}"
    );
    let fix = format!("$ redis-cli -p {} CONFIG SET maxmemory-policy noeviction", redis.port());
    assert!(text_of_all.contains(&fix), "{text_of_all}");
    assert!(lines.last().unwrap().starts_with("verdict: unhealthy (1 bad, "), "{text_of_all}");
}

#[tokio::test]
async fn a_connection_that_was_left_behind_is_found_and_can_be_closed() {
    let redis = kept().start();
    let [_server, worker] = daemons(&redis).await;
    let instance = text(&worker.status().await, "instance").to_owned();
    let _leaked = named(&redis, &format!("trunkline:worker:{instance}:shared:0"));
    let look = || doctor(&redis.url());
    let found = finds(look, &[("connections", "bad")]).await;
    assert_eq!(found.exit, 2);
    let about = found.finding("connections")["about"][0].as_str().unwrap();
    for part in [":shared:0", "id=", "addr=127.0.0.1:", "age=", "idle=", "cmd=hello"] {
        assert!(about.contains(part), "{part} is not in {about}");
    }
    types(&redis, found.fixes("connections")[0]);
    finds(look, &[]).await;
    assert!(names(&redis).contains(&format!("trunkline:worker:{instance}:shared:1")));
}

#[tokio::test]
async fn a_handshake_that_failed_and_stayed_open_is_found() {
    let redis = kept().start();
    let _daemons = daemons(&redis).await;
    let look = || doctor(&redis.url()).args(["--redis-connect-timeout", "1s"]);
    let (_socket, answer) = raw(&redis, "HELLO 3 AUTH nobody wrong SETNAME none");
    assert_eq!(answer, '-');
    let found = finds(look, &[("unnamed", "warn")]).await;
    types(&redis, found.fixes("unnamed")[0]);
    finds(look, &[]).await;
    // What somebody else does on this host is worth a note.
    let (_other, _) = raw(&redis, "PING");
    finds(look, &[("unnamed", "note")]).await;
}

#[tokio::test]
async fn the_connection_of_a_dead_process_is_found() {
    let redis = kept().start();
    let _daemons = daemons(&redis).await;
    let _dead = named(&redis, "trunkline:worker:dead:shared:1");
    let look = || doctor(&redis.url()).args(["--heartbeat-interval", "200ms"]);
    let found = finds(look, &[("owners", "bad")]).await;
    assert!(
        found.finding("owners")["about"][0].as_str().unwrap().starts_with("trunkline:worker:dead")
    );
    types(&redis, found.fixes("owners")[0]);
    finds(look, &[]).await;
}

#[tokio::test]
async fn a_fleet_with_a_part_missing_is_found() {
    let redis = kept().start();
    let look = || doctor(&redis.url());
    let _half = named(&redis, "trunkline:server:half:shared:1");
    let found =
        finds(look, &[("connections", "warn"), ("fleet", "warn"), ("subscriptions", "bad")]).await;
    let about = found.finding("connections")["about"][0].as_str().unwrap();
    assert_eq!(about, "server half has no subscriber connection");
    assert_eq!(found.finding("subscriptions")["is"], "0 of 1 servers listen to trunkline:ctl.");
}

#[tokio::test]
async fn a_queue_in_trouble_is_found() {
    let redis = kept().start();
    let _daemons = daemons(&redis).await;
    let key = |name: &str| format!("trunkline:{{q:rule-engine-events}}:{name}");
    let look = || doctor(&redis.url());
    redis.cli(&[
        "XADD",
        &key("dead"),
        "*",
        "reason",
        "rule_error",
        "detail",
        "no such key: celsius",
    ]);
    let found = finds(look, &[("dead-letters", "warn")]).await;
    let letters = found.finding("dead-letters");
    assert_eq!(
        (text(letters, "is"), &letters["about"][0]),
        ("1 dead letter.", &"the last: rule_error: no such key: celsius".into())
    );
    redis.cli(&["DEL", &key("dead")]);

    for job in 0..3 {
        redis.cli(&["ZADD", &key("delayed"), "99999999999999", &job.to_string()]);
    }
    let thresholds = ["--queue-recovery", "1", "--queue-warning", "2", "--queue-critical", "4"];
    finds(|| look().args(thresholds), &[("queue", "warn")]).await;
    redis.cli(&["SET", &key("full"), "1"]);
    let found = finds(|| look().args(thresholds), &[("queue", "bad")]).await;
    assert!(text(found.finding("queue"), "means").contains("queue-full"));
    redis.cli(&["DEL", &key("full"), &key("delayed")]);

    // Another group's entry would do as well: nobody here will ever settle it.
    redis.cli(&["XGROUP", "CREATE", "trunkline:{q:other}:stream", "workers", "0", "MKSTREAM"]);
    redis.cli(&["XADD", "trunkline:{q:other}:stream", "*", "at", "1"]);
    redis.cli(&[
        "XREADGROUP",
        "GROUP",
        "workers",
        "gone",
        "STREAMS",
        "trunkline:{q:other}:stream",
        ">",
    ]);
    let other = || look().args(["--queue", "other", "--job-lease", "1s"]);
    let found = finds(other, &[("consumers", "note"), ("pending", "warn")]).await;
    assert_eq!(found.finding("consumers")["about"][0], "gone  jobs=1");
}

#[tokio::test]
async fn what_daemons_say_of_outages_is_told() {
    let redis = kept().start();
    let [server, _worker] = daemons(&redis).await;
    let of_server = admin(&server).await;
    let look = || doctor(&redis.url()).args(["--admin", &of_server]);
    redis.cli(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    let found = finds(look, &[("outages", "note")]).await;
    let about = found.finding("outages")["about"][0].as_str().unwrap();
    assert!(about.starts_with("subscriber  ") && about.contains(" eof, "), "{about}");

    let nobody = "http://127.0.0.1:1";
    let found =
        finds(|| look().args(["--admin", nobody]), &[("outages", "note"), ("status", "warn")])
            .await;
    assert!(text(found.finding("status"), "is").starts_with(nobody));
}
