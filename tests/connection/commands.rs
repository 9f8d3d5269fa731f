//! Commands on the shared connection: through redis-rs, refused, failed, too many, too late.

use std::time::Duration;

use redis::{AsyncCommands, RedisResult, Value, cmd, pipe};
use trunkline::conn::{Code, Error, Sent};
use trunkline::model::Role;

use crate::fixture::*;
use crate::support::eventually::eventually;
use crate::support::redis::Redis;
use crate::support::stalls::Stalls;

#[tokio::test(flavor = "multi_thread")]
async fn typed_commands_pipelines_and_scripts_of_redis_rs_run_over_it() {
    let redis = Redis::start();
    let owner = ready_owner(options(redis.port())).await;
    let connection = &mut owner.shared();
    let () = connection.set("test:a", 1).await.unwrap();
    let (a, b): (i64, i64) =
        pipe().atomic().incr("test:a", 1).incr("test:b", 5).query_async(connection).await.unwrap();
    assert_eq!((a, b), (2, 5));
    let script = redis::Script::new("return redis.call('INCRBY', KEYS[1], ARGV[1])");
    let sum: i64 = script.key("test:a").arg(40).invoke_async(connection).await.unwrap();
    assert_eq!((sum, redis.cli(&["GET", "test:a"]).text()), (42, "42".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_blocks_or_binds_is_refused_through_the_typed_interface_too() {
    let redis = Redis::start();
    let owner = ready_owner(options(redis.port())).await;
    let (mut shared, before) = (owner.shared(), connection(&redis, "shared"));
    let block = redis::streams::StreamReadOptions::default().block(1_000);
    let refused: [(&str, RedisResult<Value>); 7] = [
        ("BLPOP", shared.blpop("test:list", 1.0).await),
        ("BZPOPMIN", shared.bzpopmin("test:set", 1.0).await),
        ("XREAD BLOCK", shared.xread_options(&["test:s"], &["$"], &block).await),
        ("SELECT", cmd("SELECT").arg(1).query_async(&mut shared).await),
        ("MULTI", cmd("multi").query_async(&mut shared).await),
        ("SUBSCRIBE", pipe().ping().cmd("SUBSCRIBE").arg("c").query_async(&mut shared).await),
        ("WATCH", cmd("WATCH").arg("test:a").query_async(&mut shared).await),
    ];
    for (name, result) in refused {
        let error = Error::from(result.unwrap_err());
        assert!(matches!(&error, Error::Denied { command, .. } if command == name), "{error}");
        assert_eq!(error.sent(), Sent::No);
    }
    let after = connection(&redis, "shared");
    assert_eq!((after.id, after.sub), (before.id, 0));
    let stats = redis.cli(&["INFO", "commandstats"]).text();
    assert!(!stats.contains("blpop") && !stats.contains("cmdstat_multi"), "{stats}");
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_inside_answers_are_errors() {
    let redis = Redis::start();
    let owner = ready_owner(options(redis.port())).await;
    let mut shared = owner.shared();
    redis.cli(&["SET", "test:text", "x"]);
    let error = shared.call(cmd("HGET").arg("test:text").arg("field")).await.unwrap_err();
    assert!(
        matches!(&error, Error::Server { code: Code::Other, text } if text.starts_with("WRONGTYPE"))
    );
    assert_eq!(error.sent(), Sent::Refused);

    let result: RedisResult<Value> =
        pipe().ping().hget("test:text", "field").query_async(&mut shared).await;
    let error = Error::from(result.unwrap_err());
    assert!(
        matches!(&error, Error::Server { text, .. } if text.starts_with("WRONGTYPE")),
        "{error}"
    );

    redis.cli(&["CONFIG", "SET", "maxmemory", "1"]);
    let result: RedisResult<Value> =
        pipe().atomic().set("test:a", 1).query_async(&mut shared).await;
    let error = Error::from(result.unwrap_err());
    assert!(matches!(error, Error::Server { code: Code::Oom, .. }), "why it was aborted: {error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_command_too_many_fails_at_once_and_is_not_sent() {
    let redis = Redis::start();
    let mut options = options(redis.port());
    options.max_in_flight = 8;
    let owner = ready_owner(options).await;
    let increment = || {
        let shared = owner.shared();
        async move { shared.call(cmd("INCR").arg("test:count")).await }
    };
    redis.stop();
    let mut waiting = futures_util::future::join_all((0..8).map(|_| increment()));
    let asked = Stalls::watch();
    let error = tokio::select! {
        biased;
        answers = &mut waiting => panic!("answered by a server that stands still: {answers:?}"),
        ninth = increment() => ninth.unwrap_err(),
    };
    asked.less_than(Duration::from_millis(50), "a refusal");
    assert!(matches!(error, Error::Overloaded { limit: 8 }), "{error}");
    assert_eq!(error.sent(), Sent::No);
    redis.cont();
    for answer in waiting.await {
        answer.unwrap();
    }
    increment().await.expect("there is room again");
    let count = redis.cli(&["GET", "test:count"]).text();
    assert_eq!(count, "9", "the one that was refused was not sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_timed_out_says_that_its_outcome_is_unknown_and_is_executed_later() {
    let redis = Redis::start();
    let mut options = options(redis.port());
    options.command_timeout = Duration::from_millis(100);
    let owner = ready_owner(options).await;
    redis.stop();
    let error = owner.shared().call(cmd("INCR").arg("test:count")).await.unwrap_err();
    redis.cont();
    assert!(matches!(error, Error::Timeout { after } if after >= Duration::from_millis(100)));
    assert_eq!(error.sent(), Sent::Maybe);
    assert!(error.to_string().contains("outcome unknown: may have been executed"), "{error}");
    eventually("it was executed", async || match redis.cli(&["GET", "test:count"]).text() {
        one if one == "1" => Ok(()),
        other => Err(other),
    })
    .await;
    assert_eq!(status(&owner, Role::Shared).generation, 1, "slow is not lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_of_redis_times_commands_out_and_keeps_the_connection() {
    let redis = Redis::start();
    let mut options = options(redis.port());
    options.command_timeout = Duration::from_millis(100);
    let owner = ready_owner(options).await;
    redis.cli(&["CLIENT", "PAUSE", "1000"]);
    let error = owner.publisher().publish("test:notify:a", b"x").await.unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }), "{error}");
    // The witness itself is answered when the pause is over.
    redis.wait_ready();
    eventually("commands are answered again", async || {
        owner.shared().call(&cmd("PING")).await.map(|_| ())
    })
    .await;
    assert_eq!(status(&owner, Role::Shared).generation, 1);
}
