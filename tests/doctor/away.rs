//! Redis cannot be looked at.

use std::time::{Duration, Instant};

use crate::support::port;
use crate::support::process::Daemon;
use crate::support::redis::Redis;
use crate::{Look, doctor, kept};

async fn is_away(url: &str, reason: &str) -> Look {
    let look = Look::at(doctor(url).args(["--redis-connect-timeout", "2s"])).await;
    assert_eq!((look.exit, &look.document["verdict"]), (1, &"unreachable".into()), "{url}");
    assert_eq!(look.faults(), [("reach", "bad")], "{url}");
    let is = look.finding("reach")["is"].as_str().unwrap();
    assert!(is.ends_with(&format!("cannot be looked at: {reason}.")), "{is}");
    assert!(!look.fixes("reach").is_empty());
    look
}

#[tokio::test]
async fn whatever_keeps_redis_away_is_named_in_time() {
    is_away(&format!("redis://127.0.0.1:{}", port::free()), "refused").await;
    is_away("redis://nowhere.invalid:6390", "dns").await;
    let redis = Redis::plan().password("right").start();
    let url = redis.url().replace("redis://", "redis://:hunter2@");
    let look = is_away(&url, "auth").await;
    assert!(!look.document.to_string().contains("hunter2"), "a password is told");
    redis.stop();
    let started = Instant::now();
    is_away(&redis.url(), "timeout").await;
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
    redis.cont();
    // Its authority is one of the test's own.
    is_away(&Redis::plan().tls().start().url(), "tls").await;
}

#[tokio::test]
async fn a_redis_that_is_full_turns_it_away() {
    let redis = kept().start();
    redis.cli(&["CONFIG", "SET", "maxclients", "1"]);
    is_away(&redis.url(), "maxclients").await;
}

#[tokio::test]
async fn what_is_asked_wrongly_is_not_done() {
    for (arguments, says) in [
        (&["--watch", "1ms"][..], "--watch"),
        (&["--admin", "nonsense"], "--admin"),
        (&["--namespace", "Not One"], "--namespace"),
        (&["--queue-warning", "1"], "--queue-recovery"),
        (&["--nonsense"], "--nonsense"),
    ] {
        let tool = Daemon::tool().args(["doctor"]).args(arguments).start();
        assert_eq!(tool.exit().await.code(), Some(64), "{arguments:?}");
        let said = tool.lines().join("\n");
        assert!(said.contains(says), "{arguments:?}: {said}");
    }
}
