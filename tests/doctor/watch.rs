//! Looking again and again.

use serde_json::Value;

use crate::support::eventually::eventually;
use crate::support::process::Daemon;
use crate::{doctor, kept, names};

async fn lines(doctor: &Daemon, count: usize, with: &str) -> Vec<String> {
    eventually(&format!("{count} lines with {with:?}"), async || {
        let lines: Vec<_> = doctor.lines().into_iter().filter(|line| line.contains(with)).collect();
        if lines.len() >= count { Ok(lines) } else { Err(doctor.lines().join("\n")) }
    })
    .await
}

#[tokio::test]
async fn it_looks_again_on_the_same_connection_until_it_is_told_to_end() {
    let redis = kept().start();
    let watching = doctor(&redis.url()).args(["--watch", "200ms"]).start();
    lines(&watching, 2, "verdict: healthy").await;
    let connected = names(&redis);
    let [name] = connected.as_slice() else { panic!("one connection: {connected:?}") };
    assert!(name.starts_with("trunkline:tool:doctor-") && name.ends_with(":shared:1"), "{name}");
    redis.cli(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]);
    lines(&watching, 2, "verdict: unhealthy").await;
    assert_eq!(&names(&redis), &connected, "it dials once");

    watching.sigint();
    assert_eq!(watching.exit().await.code(), Some(2), "that of the last look");
    redis.is_left().await;
    let all = watching.lines();
    assert!(all.last().unwrap().starts_with("verdict: "), "ends with a whole block");
    assert!(!all.join("\n").contains('\u{1b}'), "no terminal, nothing to steer");
}

#[tokio::test]
async fn it_tells_of_a_redis_that_goes_and_comes_back() {
    let redis = kept().start();
    let watching = doctor(&redis.url()).args(["--watch", "200ms", "--json"]).start();
    lines(&watching, 1, "\"verdict\":\"healthy\"").await;
    redis.kill9();
    lines(&watching, 1, "\"verdict\":\"unreachable\"").await;
    let before = watching.lines().len();
    redis.restart();
    eventually("it looks again", async || {
        let lines = watching.lines();
        let last: Value = serde_json::from_str(lines.last().unwrap()).unwrap();
        if lines.len() > before && last["verdict"] == "healthy" { Ok(()) } else { Err(last) }
    })
    .await;
    watching.sigterm();
    assert_eq!(watching.exit().await.code(), Some(0));
}
