//! Redis itself.

use crate::support::redis::Redis;
use crate::{Look, doctor, finds, kept, types};

/// What a Redis without a fleet has to be told of.
const ALONE: (&str, &str) = ("fleet", "note");

#[tokio::test]
async fn each_setting_that_will_hurt_is_found_and_what_is_to_be_typed_mends_it() {
    let redis = kept().start();
    let look = || doctor(&redis.url());
    let well = finds(look, &[ALONE]).await;
    assert_eq!((well.exit, &well.document["verdict"]), (0, &"healthy".into()));
    for (setting, value, check, severity, exit) in [
        ("maxmemory-policy", "allkeys-lru", "eviction", "bad", 2),
        ("maxmemory", "0", "memory", "note", 0),
        ("appendonly", "no", "persistence", "warn", 0),
        ("appendfsync", "no", "persistence", "note", 0),
        // The harness and the doctor itself.
        ("maxclients", "2", "maxclients", "bad", 2),
        ("client-output-buffer-limit", "pubsub 1mb 512kb 60", "output-buffers", "warn", 0),
        ("tcp-keepalive", "0", "tcp-keepalive", "warn", 0),
        ("timeout", "2", "timeout", "warn", 0),
    ] {
        redis.cli(&["CONFIG", "SET", setting, value]);
        // There may be room for one only.
        redis.is_left().await;
        let found = Look::at(look()).await;
        let mut faults = vec![ALONE, (check, severity)];
        faults.sort_by_key(|(check, severity)| {
            (*severity == "warn" || *severity == "bad", *check == "fleet")
        });
        assert_eq!(found.faults(), faults, "{setting} {value}");
        assert_eq!(found.exit, exit, "{setting} {value}");
        redis.is_left().await;
        let strict = Look::at(look().args(["--strict"])).await;
        assert_eq!(strict.exit, if severity == "note" { 0 } else { 2 }, "{setting} {value}");
        let mends = found.fixes(check).into_iter().find(|line| line.contains(" CONFIG SET "));
        types(&redis, mends.unwrap());
        finds(look, &[ALONE]).await;
    }
}

#[tokio::test]
async fn memory_that_runs_out_is_found() {
    let redis = kept().start();
    redis.cli(&["SETRANGE", "much", &(20 << 20).to_string(), "x"]);
    let used: u64 = redis.info("memory", "used_memory").parse().unwrap();
    redis.cli(&["CONFIG", "SET", "maxmemory", &(used * 100 / 87).to_string()]);
    let found = finds(|| doctor(&redis.url()), &[ALONE, ("memory", "warn")]).await;
    types(&redis, found.fixes("memory").last().unwrap());
    finds(|| doctor(&redis.url()), &[ALONE]).await;
}

#[tokio::test]
async fn a_replica_is_looked_at_and_refused() {
    let (master, replica) = (Redis::start(), kept().start());
    replica.cli(&["REPLICAOF", "127.0.0.1", &master.port().to_string()]);
    let found = finds(|| doctor(&replica.url()), &[ALONE, ("role", "bad")]).await;
    assert_eq!(found.exit, 2);
    let master_url = format!("export REDIS_URL=redis://127.0.0.1:{}", master.port());
    assert_eq!(found.fixes("role")[0], master_url);
}

#[tokio::test]
async fn a_file_that_cannot_be_written_is_found() {
    let redis = kept().argument("dbfilename", "dump.rdb").start();
    redis.cli(&["CONFIG", "SET", "rdbcompression", "yes"]);
    // A folder stands where the snapshot should.
    let place = redis.cli(&["CONFIG", "GET", "dir"]).texts()[1].clone();
    std::fs::create_dir(format!("{place}/dump.rdb")).unwrap();
    redis.cli(&["BGSAVE"]);
    let found = finds(|| doctor(&redis.url()), &[ALONE, ("persistence", "bad")]).await;
    assert!(found.fixes("persistence")[0].ends_with("INFO persistence"));
}
