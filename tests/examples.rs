//! The examples do what they say, each against a Redis of its own, survive its end where they say
//! so, and leave no connection behind.
#![cfg(feature = "bridge")]
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod support;

use futures_util::future::join_all;
use hyper::Method;
use support::eventually::eventually;
use support::http::Http;
use support::process::Daemon;
use support::redis::Redis;

/// Starts an example.
fn example(name: &str, arguments: &[&str]) -> Daemon {
    Daemon::example(name).args(arguments).start()
}

/// Waits for a line that contains the text, among those after the first `skipped`.
async fn says(example: &Daemon, text: &str, skipped: usize) -> String {
    eventually(&format!("it says {text:?}"), async || {
        let lines = example.lines();
        let found = lines.iter().skip(skipped).find(|line| line.contains(text));
        found.cloned().ok_or_else(|| format!("{lines:#?}"))
    })
    .await
}

/// The names of the connections Redis has, the harness' own left out.
fn names(redis: &Redis) -> Vec<String> {
    redis.client_list().into_iter().map(|client| client.name).collect()
}

/// Ends it as Ctrl-C does, and sees that nothing of it remains.
async fn ends(example: &Daemon, redis: &Redis) {
    example.sigint();
    assert!(example.exit().await.success());
    assert_eq!(example.lines().last().unwrap(), "closed");
    redis.is_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_requests_of_the_axum_service_share_one_connection_and_an_outage_is_a_503() {
    let redis = Redis::start();
    let service = example("axum", &[&redis.url(), "127.0.0.1:0"]);
    let line = says(&service, "listening on ", 0).await;
    let http = Http::at(line.trim_start_matches("listening on ").parse().unwrap());
    eventually("it is ready", async || match http.get("/readyz").await {
        ready if ready.status == 200 => Ok(()),
        answer => Err(format!("{answer:?}")),
    })
    .await;

    let visit = async || http.send(Method::POST, "/visits/home", &[], "").await;
    let visits = join_all((0..50).map(|_| visit())).await;
    assert!(visits.iter().all(|answer| answer.status == 200), "{visits:?}");
    assert_eq!(visit().await.text(), "51\n");
    let connections = names(&redis);
    assert!(connections[0].starts_with("shop:web:"), "{connections:?}");
    assert_eq!(connections.len(), 1, "{connections:?}");
    let page = http.get("/metrics").await.text().to_owned();
    for series in [
        "trunkline_redis_connections_open{role=\"shared\"} 1",
        "trunkline_redis_connections_opened_total{role=\"shared\"} 1",
        "trunkline_redis_command_duration_seconds_count{command=\"other\"} 51",
        "trunkline_redis_command_errors_total{command=\"get\",reason=\"timeout\"} 0",
        "# HELP trunkline_redis_connections_open ",
    ] {
        assert!(page.contains(series), "{series} is not in\n{page}");
    }
    assert!(!page.contains("role=\"subscriber\""), "a role that the budget does not have");

    redis.kill9();
    eventually("a visit is refused, unsent", async || match visit().await {
        refused if refused.status == 503 && refused.text().contains("nothing was sent") => Ok(()),
        answer => Err(format!("{answer:?}")),
    })
    .await;
    redis.restart();
    eventually("visits count again", async || match visit().await {
        counted if counted.status == 200 => Ok(()),
        answer => Err(format!("{answer:?}")),
    })
    .await;
    ends(&service, &redis).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_plain_worker_tells_hears_and_survives_an_outage() {
    let redis = Redis::start();
    let worker = example("plain_worker", &[&redis.url()]);
    says(&worker, "order 1 told", 0).await;
    says(&worker, "heard 1 on orders", 0).await;
    assert_eq!(names(&redis).len(), 2, "a shared connection and a subscriber");
    redis.cli(&["PUBLISH", "shop:notify:orders", "hello"]);
    says(&worker, "heard hello on orders", 0).await;

    redis.kill9();
    says(&worker, "nothing happened, next second again: redis is not ready", 0).await;
    redis.restart();
    let before = worker.lines().len();
    says(&worker, " told", before).await;
    says(&worker, "heard ", before).await;
    ends(&worker, &redis).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_pool_was_used_for_works_on_one_connection() {
    let redis = Redis::start();
    let migrated = example("migrate_from_pool", &[&redis.url()]);
    assert!(migrated.exit().await.success());
    let lines = migrated.lines();
    let begin =
        ["sold 1", "BLPOP: BLPOP is not allowed", "LPOP: a letter", "left 1", "heard by 1: hello"];
    assert_eq!(lines.len(), begin.len(), "{lines:#?}");
    for (line, begin) in lines.iter().zip(begin) {
        assert!(line.starts_with(begin), "{begin:?} expected in {lines:#?}");
    }
    redis.is_left().await;
}
