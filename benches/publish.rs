//! What the instrumented connection costs: publishing through [`Publisher`] against a bare
//! connection of redis-rs, side by side in one run, and how quickly it refuses while Redis is down.
//!
//! `cargo bench --bench publish` prints a table. Without `--bench`, as `cargo test` runs it, every
//! measurement is a short one that only shows that it works.
#![allow(clippy::unwrap_used, reason = "in a benchmark a panic is the report")]
#![allow(missing_docs, reason = "nobody imports a benchmark")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{AsyncConnectionConfig, Client, IntoConnectionInfo, cmd};
use tokio::runtime::{Builder, Runtime};
use trunkline::conn::{Budget, Error, Options, Owner, Publisher, Target};
use trunkline::model::{Component, Role};

use support::redis::Redis;

const CHANNEL: &str = "bench:notify:a";
const PAYLOAD: [u8; 256] = [b'x'; 256];
const TASKS: [usize; 4] = [1, 8, 64, 256];

/// How long and how often a measurement is made.
#[derive(Clone, Copy)]
struct Patience {
    round: Duration,
    rounds: usize,
    refusals: usize,
}

fn main() {
    let thorough = std::env::args().any(|argument| argument == "--bench");
    let patience = if thorough {
        Patience { round: Duration::from_millis(400), rounds: 7, refusals: 100_000 }
    } else {
        Patience { round: Duration::from_millis(5), rounds: 1, refusals: 1_000 }
    };
    // With a recorder, as in production: counting is part of the price.
    metrics_exporter_prometheus::PrometheusBuilder::new().install_recorder().unwrap();
    let redis = Redis::start();

    println!(
        "publishing {} bytes, thousand per second, medians of {}",
        PAYLOAD.len(),
        patience.rounds
    );
    println!("{:<16}{:>6}{:>12}{:>12}{:>8}", "runtime", "tasks", "bare", "trunkline", "ratio");
    for (name, runtime) in runtimes() {
        for tasks in TASKS {
            let [bare, ours, ratio] = runtime.block_on(compare(redis.port(), tasks, patience));
            println!("{name:<16}{tasks:>6}{bare:>12.1}{ours:>12.1}{ratio:>8.2}");
        }
    }

    println!("\nrefusing while redis is down, microseconds, of {}", patience.refusals);
    println!("{:<16}{:>6}{:>12}{:>12}{:>12}", "runtime", "tasks", "p50", "p99", "max");
    for (name, runtime) in runtimes() {
        for tasks in [1, 64] {
            redis.restart();
            let [p50, p99, max] = runtime.block_on(refuse(&redis, tasks, patience));
            println!("{name:<16}{tasks:>6}{p50:>12.2}{p99:>12.2}{max:>12.1}");
        }
    }
}

fn runtimes() -> [(&'static str, Runtime); 2] {
    [
        ("multi-thread", Builder::new_multi_thread().enable_all().build().unwrap()),
        ("current-thread", Builder::new_current_thread().enable_all().build().unwrap()),
    ]
}

/// Thousands per second bare and through a [`Publisher`], and the median ratio of the second to
/// the first of neighbouring rounds: what the machine does meanwhile hits both alike.
async fn compare(port: u16, tasks: usize, patience: Patience) -> [f64; 3] {
    let connection = bare(port).await;
    let (owner, publisher) = instrumented(port).await;
    let (mut bare, mut ours, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..patience.rounds {
        let (connection, publisher) = (connection.clone(), publisher.clone());
        let round = patience.round;
        bare.push(rate(tasks, round, move || publish_bare(connection.clone())).await);
        ours.push(rate(tasks, round, move || publish_ours(publisher.clone())).await);
        ratios.push(ours[ours.len() - 1] / bare[bare.len() - 1]);
    }
    owner.close(Duration::ZERO).await;
    [median(bare), median(ours), median(ratios)]
}

async fn publish_bare(mut connection: MultiplexedConnection) {
    let mut publish = cmd("PUBLISH");
    publish.arg(CHANNEL).arg(&PAYLOAD[..]);
    publish.query_async::<u64>(&mut connection).await.unwrap();
}

async fn publish_ours(publisher: Publisher) {
    publisher.publish(CHANNEL, &PAYLOAD).await.unwrap();
}

/// How many thousand times a second so many tasks together complete what `work` makes.
async fn rate<F>(
    tasks: usize,
    round: Duration,
    work: impl Fn() -> F + Clone + Send + 'static,
) -> f64
where
    F: Future<Output = ()> + Send,
{
    let started = Instant::now();
    let working = (0..tasks).map(|_| {
        let work = work.clone();
        tokio::spawn(async move {
            let mut done = 0_u64;
            while started.elapsed() < round {
                work().await;
                done += 1;
            }
            done
        })
    });
    let done: u64 = join_all(working).await.into_iter().map(|done| done.unwrap()).sum();
    done as f64 / started.elapsed().as_secs_f64() / 1e3
}

/// p50, p99 and the longest of a refusal, in microseconds.
async fn refuse(redis: &Redis, tasks: usize, patience: Patience) -> [f64; 3] {
    let (owner, publisher) = instrumented(redis.port()).await;
    redis.kill9();
    let mut watch = owner.watch(Role::Shared).unwrap();
    watch.wait_for(|status| !status.is_ready()).await.unwrap();
    let refusing = (0..tasks).map(|_| {
        let publisher = publisher.clone();
        tokio::spawn(async move {
            let mut took = Vec::with_capacity(patience.refusals / tasks);
            for _ in 0..patience.refusals / tasks {
                let started = Instant::now();
                let error = publisher.publish(CHANNEL, &PAYLOAD).await.unwrap_err();
                took.push(started.elapsed().as_secs_f64() * 1e6);
                assert!(matches!(error, Error::NotReady { .. }), "{error}");
                // As a caller would that has something else to do.
                tokio::task::yield_now().await;
            }
            took
        })
    });
    let mut took: Vec<f64> =
        join_all(refusing).await.into_iter().flat_map(|took| took.unwrap()).collect();
    took.sort_by(f64::total_cmp);
    [took[took.len() / 2], took[took.len() * 99 / 100], took[took.len() - 1]]
}

/// A connection of redis-rs with the same protocol, socket options and bounds as ours.
async fn bare(port: u16) -> MultiplexedConnection {
    let info = format!("redis://127.0.0.1:{port}/?protocol=resp3").into_connection_info().unwrap();
    let info = info.set_tcp_settings(TcpSettings::default().set_nodelay(true));
    let config = AsyncConnectionConfig::new()
        .set_response_timeout(Some(Duration::from_millis(500)))
        .set_pipeline_buffer_size(1024);
    let client = Client::open(info).unwrap();
    client.get_multiplexed_async_connection_with_config(&config).await.unwrap()
}

async fn instrumented(port: u16) -> (Owner, Publisher) {
    let target = Target::Tcp { host: "127.0.0.1".to_owned(), port };
    let options = Options::new(target, "bench", Component::Tool);
    let owner = Owner::new(options, &Budget::of(Component::Tool)).unwrap();
    owner.connect().await;
    owner.shared().ready(support::DEADLINE).await.unwrap();
    let publisher = owner.publisher();
    (owner, publisher)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
