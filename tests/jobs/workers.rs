//! Workers that die, stand still, learn of a change, and have a lot to do.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use trunkline::conn::{Budget, Options, Owner, Target};
use trunkline::model::{Component, JobType};
use trunkline::queue::{MAX_BATCH, NewJob, Producer, QueueOptions, Thresholds};

use crate::house::{House, SOURCE, attempts, hasty_worker_at};
use crate::support::DEADLINE;
use crate::support::chain::{self, telling};
use crate::support::eventually::{eventually, within};
use crate::support::process::{Daemon, field};
use crate::support::proxy::{Direction, Proxy};
use crate::support::traffic::Ears;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_in_the_hands_of_workers_that_crash_are_done_by_another() {
    // So many that the three are still at it, should this test not look for seconds.
    const JOBS: usize = 1500;
    let house = House::start().await;
    let ears = Ears::open(&house.server, "told").await;
    // So slow a way to Redis that whoever takes a job is killed with it in hand.
    let proxy = Proxy::to(house.redis.port());
    let mut doomed = Vec::new();
    for _ in 0..3 {
        doomed.push(hasty_worker_at(&proxy.url()).await);
    }
    proxy.delay(Duration::from_millis(50));
    let expected = house.post(0..JOBS).await;
    house.has_in_hand(doomed.len()).await;
    doomed.iter().for_each(Daemon::sigkill);
    // Nothing that they said may still arrive, or the count is not what they left.
    proxy.reset();
    house.has_heard_the_last_of_the_workers().await;
    let left = house.in_hand().iter().sum::<i64>();
    assert!(left > 0, "they died with empty hands");

    let heir = house.heir().await;
    ears.hear_all(&expected, 2 * DEADLINE).await;
    house.is_drained().await;
    assert_eq!(house.dead(), []);
    let heard: HashSet<_> = ears.ids().into_iter().collect();
    assert_eq!(heard, expected, "a notification of no job");
    heir.metric("trunkline_jobs_reclaimed_total").await.settles(left as f64).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_stood_still_beyond_its_lease_has_lost_its_job_and_cannot_settle_it() {
    let house = House::start().await;
    let ears = Ears::open(&house.server, "told").await;
    let proxy = Proxy::to(house.redis.port());
    let sleeper = hasty_worker_at(&proxy.url()).await;
    // Its publish and what it says afterwards gets lost: it is stopped with the job in hand.
    let publishes = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&publishes);
    proxy.filter(Arc::new(move |direction, piece| {
        let publish = String::from_utf8_lossy(&piece).contains("trunkline:notify:told");
        let from_there_on = seen.fetch_or(publish, Ordering::Relaxed) || publish;
        if from_there_on && direction == Direction::ToServer { Vec::new() } else { piece }
    }));
    let expected = house.post(0..1).await;
    eventually("the sleeper publishes", async || match publishes.load(Ordering::Relaxed) {
        true => Ok(()),
        false => Err("it does not"),
    })
    .await;
    sleeper.sigstop();
    proxy.reset();
    proxy.forward();
    assert_eq!(house.unfinished(), 1, "it is still in the sleeper's hand");

    let heir = hasty_worker_at(&house.redis.url()).await;
    ears.hear_all(&expected, DEADLINE).await;
    let next = house.post(1..2).await;
    ears.hear_all(&next, DEADLINE).await;
    // Nothing is in the heir's hand that the sleeper could take over.
    house.is_drained().await;
    sleeper.sigcont();

    let lost = sleeper.metric("trunkline_job_leases_lost_total").await;
    lost.settles(1.0).await;
    for outcome in ["done", "retried", "dead"] {
        attempts(&sleeper, outcome).await.settles(0.0).await;
    }
    attempts(&heir, "done").await.settles(2.0).await;
    house.is_drained().await;
    assert_eq!(house.dead(), []);
    // It takes jobs again as if nothing had been.
    heir.sigterm();
    assert!(heir.exit().await.success());
    let expected = house.post(2..3).await;
    ears.hear_all(&expected, DEADLINE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_that_is_changed_is_used_by_every_worker_within_a_second() {
    const WORKERS: usize = 4;
    let house = House::start().await;
    let ears = Ears::open(&house.server, "told").await;
    let mut workers = Vec::new();
    for _ in 0..WORKERS {
        workers.push(house.worker().await);
    }
    // Who works is a matter of luck, and so is how many jobs it takes until each has.
    let until_each_has_loaded = async |times: usize, first: usize| {
        let mut posted = first..first;
        let mut ids = HashSet::new();
        let began = Instant::now();
        while workers.iter().any(|worker| loaded(worker) < times) {
            assert!(began.elapsed() < DEADLINE, "a worker never used the chain {times} times new");
            let more = house.post(posted.end..posted.end + 100).await;
            posted.end += 100;
            ears.hear_all(&more, DEADLINE).await;
            ids.extend(more);
        }
        house.is_drained().await;
        (ids, posted.end)
    };
    // Each has the chain in its cache.
    let (_, posted) = until_each_has_loaded(1, 0).await;

    chain::store(&house.http, &telling("told", "changed")).await;
    let changed = Instant::now();
    // The promised second is itself what is tried: a witness would have to ask sooner.
    tokio::time::sleep_until((changed + Duration::from_secs(1)).into()).await;
    let (after, _) = until_each_has_loaded(2, posted).await;
    let kind = |id: &str| if after.contains(id) { "changed" } else { "told" };
    for notification in ears.heard() {
        assert_eq!(notification["type"], kind(notification["id"].as_str().unwrap()));
    }
}

/// How often this worker has said that it loaded rule chains.
fn loaded(worker: &Daemon) -> usize {
    let lines = worker.logs();
    lines.iter().filter(|line| field(line, "message") == "rule chains loaded").count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backlog_of_a_hundred_thousand_jobs_drains() {
    const JOBS: usize = 100_000;
    let house = House::start().await;
    // Straight through the queue's own door: over HTTP it would be the server that is measured.
    let target = Target::Tcp { host: "127.0.0.1".into(), port: house.redis.port() };
    let mut options = Options::new(target, "trunkline", Component::Tool);
    options.command_timeout = DEADLINE;
    let owner = Owner::new(options, &Budget::of(Component::Tool)).unwrap();
    owner.shared().ready(DEADLINE).await.unwrap();
    let thresholds = Thresholds { warning: 200_000, critical: 400_000, recovery: 100_000 };
    let options =
        QueueOptions { keys: house.keys.clone(), thresholds, dedup_window: Duration::ZERO };
    let producer = Producer::new(owner.shared(), options);
    let job = |number: usize| {
        let body = format!(
            r#"{{"specversion":"1.0","type":"other","source":"{SOURCE}","id":"{number}"}}"#
        );
        NewJob {
            job_type: JobType::Event,
            body: body.into_bytes(),
            traceparent: None,
            dedup: None,
            not_before_ms: None,
            partition: None,
        }
    };
    for first in (0..JOBS).step_by(MAX_BATCH) {
        let batch: Vec<_> = (first..first + MAX_BATCH).map(job).collect();
        producer.enqueue(&batch).await.unwrap();
    }
    assert_eq!(house.unfinished(), JOBS as i64);

    let started = Instant::now();
    let workers = [house.worker().await, house.worker().await];
    within(Duration::from_secs(120), "an empty queue", async || match house.unfinished() {
        0 => Ok(()),
        left => Err(left),
    })
    .await;
    eprintln!("{JOBS} jobs in {:?}", started.elapsed());
    assert_eq!(house.dead(), []);
    let done = async || {
        let mut sum = 0.0;
        for worker in &workers {
            sum += attempts(worker, "done").await.value().await.unwrap();
        }
        sum
    };
    eventually("every job is done", async || match done().await {
        sum if sum == JOBS as f64 => Ok(()),
        sum => Err(sum),
    })
    .await;
}
