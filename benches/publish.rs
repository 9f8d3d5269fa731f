//! What the instrumented connection costs: publishing through [`Publisher`] against a bare
//! connection of redis-rs, side by side in one run, on the runtime of a worker and on the usual
//! one; what counting and tracing cost; and how quickly it refuses while Redis is down.
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
use tokio::runtime::{Builder, Handle, Runtime};
use trunkline::app::{Daemon, Worker};
use trunkline::config::{LogFormat, OtelConfig, Sampler};
use trunkline::conn::{Budget, Error, Options, Owner, Publisher, Target};
use trunkline::model::{Command, Component, Role};
use trunkline::telemetry::events::command::{CommandFinished, InFlight};
use trunkline::telemetry::events::publish::NotificationPublished;
use trunkline::telemetry::trace::{self, TraceOptions, publish_span};
use trunkline::telemetry::{Telemetry, TelemetryOptions};

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
        Patience { round: Duration::from_millis(400), rounds: 9, refusals: 100_000 }
    } else {
        Patience { round: Duration::from_millis(5), rounds: 1, refusals: 1_000 }
    };
    let (several, one) = (Builder::new_multi_thread, Worker::runtime);
    let [several, one] = [several(), one()].map(|mut it| it.enable_all().build().unwrap());
    // As in production: counting is part of the price.
    let telemetry =
        several.block_on(async { Telemetry::start(&telemetry(Handle::current())).unwrap() });
    let redis = Redis::start();

    let Patience { rounds, refusals, .. } = patience;
    println!("publishing {} bytes: thousand per second, p50/p99 us; medians of {rounds}", 256);
    println!("{:<34}{:>6}{:>22}{:>22}{:>7}", "", "tasks", "bare", "trunkline", "ratio");
    let places = [
        ("on several threads", &several, &several),
        ("on one thread", &one, &one),
        ("several threads / as a worker", &several, &one),
    ];
    for (name, bare, ours) in places {
        for tasks in TASKS {
            let [bare, ours] = [Way::bare(bare, redis.port()), Way::ours(ours, redis.port())];
            show(name, tasks, &compare(&bare, &ours, tasks, patience));
        }
    }
    println!("{:<34}{:>6}{:>22}{:>22}{:>7}", "", "tasks", "untraced", "1 in 100 traced", "ratio");
    for tasks in TASKS {
        let [plain, traced] = [Way::ours(&one, redis.port()), Way::traced(&one, redis.port())];
        show("as a worker", tasks, &compare(&plain, &traced, tasks, patience));
    }

    let mut nanos: Vec<f64> = (0..rounds).map(|_| counting(refusals * 10)).collect();
    nanos.sort_by(f64::total_cmp);
    println!("\ncounting one publish, without Redis: {:.0} ns of CPU", nanos[rounds / 2]);

    println!("\nrefusing while redis is down, microseconds, of {refusals}");
    println!("{:<34}{:>6}{:>12}{:>12}{:>12}", "", "tasks", "p50", "p99", "max");
    for (name, runtime) in [("on several threads", &several), ("on one thread", &one)] {
        for tasks in [1, 64] {
            redis.restart();
            let [p50, p99, max] = runtime.block_on(refuse(&redis, tasks, patience));
            println!("{name:<34}{tasks:>6}{p50:>12.2}{p99:>12.2}{max:>12.1}");
        }
    }
    drop(telemetry);
}

/// Metrics on; traces to a collector that is not there, one in a hundred.
fn telemetry(exporting: Handle) -> TelemetryOptions {
    let otel = OtelConfig {
        endpoint: Some("http://127.0.0.1:9/v1/traces".to_owned()),
        sampler: Sampler::TraceIdRatio,
        sampler_arg: 0.01,
    };
    TelemetryOptions {
        component: Component::Worker,
        instance: "bench".to_owned(),
        queue: "bench".to_owned(),
        log_format: LogFormat::Json,
        log_filter: Some("off".to_owned()),
        tracing: TraceOptions::of(&otel),
        exemplars: false,
        exporting,
    }
}

/// One way to publish, on one runtime.
struct Way<'a> {
    runtime: &'a Runtime,
    kind: Kind,
    // Closes the connection with the way.
    _owner: Option<Owner>,
}

#[derive(Clone)]
enum Kind {
    Bare(MultiplexedConnection),
    Ours(Publisher),
    Traced(Publisher),
}

impl<'a> Way<'a> {
    fn bare(runtime: &'a Runtime, port: u16) -> Self {
        let kind = Kind::Bare(runtime.block_on(bare(port)));
        Self { runtime, kind, _owner: None }
    }

    fn ours(runtime: &'a Runtime, port: u16) -> Self {
        let (owner, publisher) = runtime.block_on(instrumented(port));
        Self { runtime, kind: Kind::Ours(publisher), _owner: Some(owner) }
    }

    fn traced(runtime: &'a Runtime, port: u16) -> Self {
        let (owner, publisher) = runtime.block_on(instrumented(port));
        Self { runtime, kind: Kind::Traced(publisher), _owner: Some(owner) }
    }

    fn measure(&self, tasks: usize, round: Duration) -> Measured {
        let kind = self.kind.clone();
        self.runtime.block_on(async move {
            match kind {
                Kind::Bare(it) => rate(tasks, round, move || publish_bare(it.clone())).await,
                Kind::Ours(it) => rate(tasks, round, move || publish_ours(it.clone())).await,
                Kind::Traced(it) => rate(tasks, round, move || publish_traced(it.clone())).await,
            }
        })
    }
}

/// Thousands per second, and two percentiles of how long one took, in microseconds.
#[derive(Clone, Copy)]
struct Measured {
    rate: f64,
    p50: f64,
    p99: f64,
}

/// Two ways, round by round in turn: what the machine does meanwhile hits both alike. The ratio
/// of rates is the median of those of neighbouring rounds.
fn compare(
    one: &Way<'_>,
    other: &Way<'_>,
    tasks: usize,
    patience: Patience,
) -> (Measured, Measured, f64) {
    let mut rounds = Vec::new();
    for _ in 0..patience.rounds {
        let first = one.measure(tasks, patience.round);
        rounds.push((first, other.measure(tasks, patience.round)));
    }
    let of =
        |figure: &dyn Fn(&(Measured, Measured)) -> f64| median(rounds.iter().map(figure).collect());
    let side = |side: fn(&(Measured, Measured)) -> Measured| Measured {
        rate: of(&|it| side(it).rate),
        p50: of(&|it| side(it).p50),
        p99: of(&|it| side(it).p99),
    };
    (side(|it| it.0), side(|it| it.1), of(&|it| it.1.rate / it.0.rate))
}

fn show(name: &str, tasks: usize, (one, other, ratio): &(Measured, Measured, f64)) {
    let cell = |it: &Measured| format!("{:.1} {:.0}/{:.0}", it.rate, it.p50, it.p99);
    println!("{name:<34}{tasks:>6}{:>22}{:>22}{ratio:>7.2}", cell(one), cell(other));
}

/// What telemetry does for one publish, in nanoseconds of this thread's CPU.
fn counting(times: usize) -> f64 {
    let before = cpu();
    for _ in 0..times {
        let in_flight = InFlight::enter();
        let elapsed = Instant::now().elapsed();
        drop(in_flight);
        CommandFinished { command: Command::Publish, elapsed, failure: None }.emit();
        NotificationPublished { receivers: 1, bytes: PAYLOAD.len() }.emit();
    }
    (cpu() - before) / times as f64
}

/// Nanoseconds this thread has been on a CPU.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    stat.split_whitespace().next().unwrap().parse().unwrap()
}

async fn publish_bare(mut connection: MultiplexedConnection) {
    let mut publish = cmd("PUBLISH");
    publish.arg(CHANNEL).arg(&PAYLOAD[..]);
    publish.query_async::<u64>(&mut connection).await.unwrap();
}

async fn publish_ours(publisher: Publisher) {
    publisher.publish(CHANNEL, &PAYLOAD).await.unwrap();
}

async fn publish_traced(publisher: Publisher) {
    let span = publish_span(trace::decide(None));
    span.instrument(publisher.publish(CHANNEL, &PAYLOAD)).await.unwrap();
}

/// How often so many tasks together complete what `work` makes, and how long one takes.
async fn rate<F>(
    tasks: usize,
    round: Duration,
    work: impl Fn() -> F + Clone + Send + 'static,
) -> Measured
where
    F: Future<Output = ()> + Send,
{
    let started = Instant::now();
    let working = (0..tasks).map(|_| {
        let work = work.clone();
        tokio::spawn(async move {
            let (mut took, mut last) = (Vec::new(), started);
            while last - started < round {
                work().await;
                let now = Instant::now();
                took.push((now - last).as_secs_f64() * 1e6);
                last = now;
            }
            took
        })
    });
    let mut took: Vec<f64> =
        join_all(working).await.into_iter().flat_map(|took| took.unwrap()).collect();
    let rate = took.len() as f64 / started.elapsed().as_secs_f64() / 1e3;
    took.sort_by(f64::total_cmp);
    Measured { rate, p50: took[took.len() / 2], p99: took[took.len() * 99 / 100] }
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
