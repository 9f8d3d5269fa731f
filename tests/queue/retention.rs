//! How many dead letters are kept, for how long, and that the rest is counted.

use trunkline::queue::{GROUP, MAX_DELIVERIES};

use crate::house::{House, NAMESPACE};
use crate::support::process::Daemon;

/// A worker of the house's queue as a process, since counters are a process' own.
fn worker(house: &House, arguments: &[&str]) -> Daemon {
    let worker = Daemon::worker(&house.redis.url());
    let own = ["--namespace", NAMESPACE, "--queue", "q"];
    let hasty = ["--redis-command-timeout", "2s", "--job-lease", "6s"];
    worker.args(own).args(hasty).args(arguments).start()
}

async fn drops(worker: &Daemon, reason: &str, count: f64) {
    let dropped = worker.metric("trunkline_dead_letters_dropped_total").await;
    dropped.label("reason", reason).settles(count).await;
}

/// What the stranger said whose entries were buried, the oldest first.
fn said(house: &House) -> Vec<String> {
    house.dead().into_iter().map(|letter| letter.last().unwrap().clone()).collect()
}

#[tokio::test]
async fn the_newest_dead_letters_are_kept_and_what_they_push_out_is_counted() {
    let house = House::start();
    let stream = house.keys.stream();
    for n in 0..7 {
        house.redis.cli(&["XADD", &stream, "*", "stranger", &n.to_string()]);
    }
    let worker = worker(&house, &["--dead-letters-max", "3"]);
    drops(&worker, "too_many", 4.0).await;
    assert_eq!(said(&house), ["4", "5", "6"]);

    // One that the takeover buries pushes out another.
    house.redis.cli(&["XADD", &stream, "9999999999999-0", "stranger", "7"]);
    house.redis.cli(&["XGROUP", "CREATECONSUMER", &stream, GROUP, "gone"]);
    let many = MAX_DELIVERIES.to_string();
    let id = "9999999999999-0";
    let held = ["XCLAIM", &stream, GROUP, "gone", "0", id, "IDLE", "99999"];
    house.redis.cli(&[&held[..], &["RETRYCOUNT", &many, "FORCE"]].concat());
    drops(&worker, "too_many", 5.0).await;
    drops(&worker, "too_old", 0.0).await;
    assert_eq!(said(&house), ["5", "6", "7"]);
}

#[tokio::test]
async fn dead_letters_that_are_too_old_go_though_nobody_dies_any_more() {
    let house = House::start();
    let dead = house.keys.dead();
    for n in 0..100 {
        house.redis.cli(&["XADD", &dead, &format!("1738310400000-{n}"), "stranger", "old"]);
    }
    // A minute before its time.
    let now: u64 = house.redis.cli(&["TIME"]).texts()[0].parse().unwrap();
    let young = format!("{}-0", (now - 59 * 60) * 1_000);
    house.redis.cli(&["XADD", &dead, &young, "stranger", "young"]);
    let worker = worker(&house, &["--dead-letters-age", "1h"]);
    drops(&worker, "too_old", 100.0).await;
    drops(&worker, "too_many", 0.0).await;
    assert_eq!(said(&house), ["young"]);
}

#[tokio::test]
async fn a_burial_drops_what_is_too_old() {
    let house = House::start();
    house.redis.cli(&["XADD", &house.keys.dead(), "1738310400000-0", "stranger", "old"]);
    house.redis.cli(&["XADD", &house.keys.stream(), "*", "stranger", "new"]);
    // Its first takeover is at any moment of a day, so hardly within these seconds.
    let worker = Daemon::worker(&house.redis.url());
    let own = ["--namespace", NAMESPACE, "--queue", "q", "--job-lease", "48h"];
    let worker = worker.args(own).args(["--dead-letters-age", "1h"]).start();
    drops(&worker, "too_old", 1.0).await;
    assert_eq!(said(&house), ["new"]);
}
