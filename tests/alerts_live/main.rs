//! Each alert against real daemons: a fault is made, the alert comes; the fault ends, and it goes.
//!
//! Prometheus, the Alertmanager and the rules are the shipped ones, but for their time: every
//! duration of the rules, and the intervals of the daemons that belong to them, are divided by
//! [`scaled::SCALE`]. Faults of different fleets happen at the same time. After a change run
//! `TRUNKLINE_WRITE=1 cargo test --test alerts_live` and commit `docs/alerts.md`.
#![cfg(feature = "bridge")]
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]
#![allow(unreachable_pub, reason = "a test binary exports nothing, its modules do to each other")]

#[path = "../support/mod.rs"]
mod support;

mod connections;
mod flow;
mod leaks;
mod maxclients;
mod process;
mod publish;
mod queue;
mod scaled;
mod subscriber;
mod table;
mod watch;

use std::sync::Arc;

use futures_util::future::LocalBoxFuture;
use tokio::task::{JoinSet, LocalSet};

use scaled::interval;
use support::port;
use support::process::{Daemon, Launch};
use support::redis::Redis;
use table::Row;
use watch::{Target, Watch};

/// A fleet that runs, what of it is scraped, and what will happen to it.
pub struct Script {
    targets: Vec<Target>,
    run: Box<dyn FnOnce(Arc<Watch>) -> LocalBoxFuture<'static, Vec<Row>>>,
}

impl Script {
    fn new<F>(targets: Vec<Target>, run: impl FnOnce(Arc<Watch>) -> F + 'static) -> Script
    where
        F: Future<Output = Vec<Row>> + 'static,
    {
        Script { targets, run: Box::new(move |watch| Box::pin(run(watch))) }
    }
}

/// A daemon of a fleet of its own, whose intervals are as much shorter as the rules.
pub fn hurried(launch: Launch, namespace: &str) -> Launch {
    let intervals = [
        ("--probe-interval", 15),
        ("--audit-interval", 60),
        ("--heartbeat-interval", 15),
        ("--sample-interval", 5),
    ];
    let launch = launch.env("TRUNKLINE_NAMESPACE", namespace).env("TRUNKLINE_QUEUE", namespace);
    launch.args(intervals.iter().flat_map(|(flag, seconds)| [flag.to_string(), interval(*seconds)]))
}

/// What is scraped of a daemon that was given no admin port.
pub async fn target(job: &'static str, daemon: &Daemon) -> Target {
    Target { job, address: daemon.address("admin").await }
}

/// An admin port for a daemon that is started more than once.
pub fn fixed(job: &'static str) -> (Target, String) {
    let address = format!("127.0.0.1:{}", port::free());
    (Target { job, address: address.parse().unwrap() }, address)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_alert_comes_with_its_fault_and_goes_with_it() {
    let redis = Arc::new(Redis::start());
    let mut scripts = vec![
        connections::down(&redis).await,
        connections::flapping(&redis).await,
        connections::storm(&redis).await,
        process::absent(&redis).await,
        process::crash_loop(&redis).await,
        process::descriptors(&redis).await,
        publish::burn().await,
        flow::late(&redis).await,
        flow::slow_clients(&redis).await,
        subscriber::silent(&redis).await,
        subscriber::missing(&redis).await,
        subscriber::garbage(&redis).await,
        queue::stuck(&redis).await,
        queue::dead(&redis).await,
        leaks::guards(&redis).await,
        leaks::unknown(&redis).await,
        leaks::quiet(&redis).await,
        maxclients::near().await,
    ];
    let targets: Vec<Target> =
        scripts.iter_mut().flat_map(|script| std::mem::take(&mut script.targets)).collect();
    let watch = Arc::new(Watch::start(&targets).await);
    let (mut running, here) = (JoinSet::new(), LocalSet::new());
    for script in scripts {
        running.spawn_local_on((script.run)(Arc::clone(&watch)), &here);
    }
    // All of them to their end, so that one run says everything that is wrong.
    let mut rows = vec![];
    let mut failed = 0;
    while let Some(script) = here.run_until(running.join_next()).await {
        match script {
            Ok(found) => rows.extend(found),
            Err(_) => failed += 1,
        }
    }
    assert_eq!(failed, 0, "scripts failed; what each of them saw is above");
    // Whatever else happened to a fleet, only those that leak were told of as leaking.
    for told in watch.told() {
        let (alert, job) = (&told.labels["alertname"], told.labels.get("job"));
        let leaks = job.is_some_and(|job| job.starts_with("trunkline-leak-"));
        assert!(leaks || !alert.contains("Leak"), "{told:?}");
    }
    table::check(rows);
}
