//! What one worker does: jobs with rules and a publish, from a backlog and one by one, what it
//! asks of Redis while there is nothing to do, and what others on its connection feel of it.
//!
//! `cargo bench --bench jobs` prints tables. Without `--bench`, as `cargo test` runs it, every
//! measurement is a short one that only shows that it works. The worker is the real program.
#![allow(clippy::unwrap_used, reason = "in a benchmark a panic is the report")]
#![allow(missing_docs, reason = "nobody imports a benchmark")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use redis::{Client, PushKind};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use trunkline::conn::{Budget, Options, Owner, Target};
use trunkline::flow::process::Process;
use trunkline::history::{self, History};
use trunkline::index::{self, ChainCache, ChainStore};
use trunkline::model::{Component, JobType};
use trunkline::queue::{
    Consumer, ConsumerOptions, Handler, Job, Keys, Limits, MAX_BATCH, NewJob, Producer,
    QueueOptions, Retention, Thresholds, Verdict,
};

use support::process::Daemon;
use support::redis::Redis;

const NAMESPACE: &str = "trunkline";
const QUEUE: &str = "rule-engine-events";
/// The worker in this process.
const INSTANCE: &str = "beside";
/// Jobs that a worker does at the same time: the default, and what a busy one is given.
const CONCURRENCY: [usize; 3] = [20, 64, 256];

/// How much and how often is measured.
#[derive(Clone, Copy)]
struct Patience {
    jobs: usize,
    rounds: usize,
    paced: usize,
    idle: Duration,
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let thorough = std::env::args().any(|argument| argument == "--bench");
    let patience = if thorough {
        Patience { jobs: 200_000, rounds: 3, paced: 1_000, idle: Duration::from_secs(25) }
    } else {
        Patience { jobs: 300, rounds: 1, paced: 10, idle: Duration::from_millis(200) }
    };
    println!("one worker, 256-byte events, filter and action, medians of {}", patience.rounds);
    println!(
        "{:<14}{:>10}{:>16}{:>16}{:>12}",
        "concurrency", "jobs/s", "worker us/job", "redis us/job", "commands"
    );
    let plain = CONCURRENCY.map(|concurrency| (concurrency, 0, concurrency.to_string()));
    let kept = (64, 100, "64, history".to_owned());
    for (concurrency, history, name) in plain.into_iter().chain([kept]) {
        let mut rounds = Vec::new();
        for _ in 0..patience.rounds {
            rounds.push(backlog(concurrency, history, patience.jobs).await);
        }
        let of = |figure: fn(&Round) -> f64| median(rounds.iter().map(figure).collect());
        println!(
            "{name:<14}{:>10.0}{:>16.2}{:>16.2}{:>12.2}",
            of(|it| it.rate),
            of(|it| it.worker),
            of(|it| it.redis),
            of(|it| it.commands)
        );
    }
    println!("\nat 100 jobs/s, p50 and p99 in ms:");
    let picked_up = pick_up(patience.paced).await;
    let heard = ("from enqueue to heard", round_trip(patience.paced).await);
    for (name, [p50, p99]) in picked_up.into_iter().chain([heard]) {
        println!("  {name:<24}{p50:>8.2}{p99:>8.2}");
    }
    let ways = sharing(patience).await;
    println!("\npublishing beside a queue at full load, p50 and p99 in ms:");
    for (name, [p50, p99]) in ["on its connection", "on one apart"].iter().zip(ways) {
        println!("  {name:<20}{p50:>8.2}{p99:>8.2}");
    }
    println!("\nan idle worker, commands per second:");
    let mut all = 0.0;
    for (command, rate) in idle(patience.idle).await {
        println!("  {command:<20}{rate:>8.2}");
        all += rate;
    }
    println!("  {:<20}{all:>8.2}", "together");
}

/// One backlog, per job.
struct Round {
    rate: f64,
    /// CPU of the worker and of Redis, in microseconds.
    worker: f64,
    redis: f64,
    /// Commands that Redis counted, those inside scripts included.
    commands: f64,
}

/// A Redis with a rule chain in it, and whoever fills its queue.
struct Field {
    redis: Redis,
    owner: Owner,
    producer: Producer,
    keys: Keys,
}

impl Field {
    async fn new() -> Self {
        let redis = Redis::start();
        let target = Target::Tcp { host: "127.0.0.1".into(), port: redis.port() };
        let options = Options::new(target, NAMESPACE, Component::Tool);
        let owner = Owner::new(options, &Budget::of(Component::Tool)).unwrap();
        owner.shared().ready(support::DEADLINE).await.unwrap();
        let chain = json!({ "on": { "type": "telemetry.temperature" }, "nodes": [
            { "id": "hot", "kind": "filter", "when": "event.data.celsius > 80", "then": "tell" },
            { "id": "tell", "kind": "action", "notify": {
                "channel": "\"alerts.\" + event.subject", "type": "alert.overheat" } } ] });
        let store = ChainStore::new(owner.shared(), index::Keys::new(NAMESPACE));
        store.put("overheat", chain.to_string().as_bytes()).await.unwrap();
        let keys = Keys::new(NAMESPACE, QUEUE);
        let most = 10_000_000;
        let thresholds = Thresholds { warning: most, critical: most + 1, recovery: 1 };
        let options = QueueOptions { keys: keys.clone(), thresholds, dedup_window: Duration::ZERO };
        let producer = Producer::new(owner.shared(), options);
        Self { redis, owner, producer, keys }
    }

    async fn fill(&self, jobs: usize) {
        for first in (0..jobs).step_by(MAX_BATCH) {
            let batch: Vec<_> = (first..jobs.min(first + MAX_BATCH)).map(job).collect();
            self.producer.enqueue(&batch).await.unwrap();
        }
    }

    /// One that keeps so many notifications of each channel.
    fn worker(&self, concurrency: usize, history: usize) -> Daemon {
        let worker =
            Daemon::worker(&self.redis.url()).env("TRUNKLINE_HISTORY_SIZE", history.to_string());
        worker.args(["--concurrency", &concurrency.to_string()]).start()
    }

    /// A worker's connection in this process, and what comes before every channel.
    async fn link(&self) -> (Owner, String) {
        let target = Target::Tcp { host: "127.0.0.1".into(), port: self.redis.port() };
        let mut options = Options::new(target, NAMESPACE, Component::Worker);
        options.instance = INSTANCE.to_owned();
        options.signals = vec![self.keys.wake(INSTANCE), index::Keys::new(NAMESPACE).version()];
        let prefix = options.notify_channel("");
        let owner = Owner::new(options, &Budget::of(Component::Worker)).unwrap();
        owner.shared().ready(support::DEADLINE).await.unwrap();
        (owner, prefix)
    }

    fn left(&self) -> usize {
        usize::try_from(self.redis.cli(&["XLEN", &self.keys.stream()]).integer()).unwrap()
    }
}

/// How a worker in this process takes jobs.
fn consuming(concurrency: usize) -> ConsumerOptions {
    ConsumerOptions {
        instance: INSTANCE.to_owned(),
        concurrency,
        limits: Limits { attempts: 3, backoff: Duration::from_millis(500) },
        lease: Duration::from_secs(30),
        retention: Retention { max: 100_000, age: Duration::from_secs(30 * 86_400) },
        safety_poll: Duration::from_secs(5),
        thresholds: Thresholds { warning: 1_000_000, critical: 2_000_000, recovery: 500_000 },
    }
}

/// A CloudEvent of 256 bytes that the chain lets through.
fn job(number: usize) -> NewJob {
    let mut event = json!({ "specversion": "1.0", "type": "telemetry.temperature",
        "source": "/sensors", "subject": format!("sensor-{}", number % 100),
        "id": format!("{number:08}"), "time": "2025-01-31T08:00:00.000Z",
        "data": { "celsius": 81.5, "note": "" } });
    let rest = 256 - event.to_string().len();
    event["data"]["note"] = "x".repeat(rest).into();
    let body = event.to_string().into_bytes();
    NewJob {
        job_type: JobType::Event,
        body,
        traceparent: None,
        dedup: None,
        not_before_ms: None,
        partition: None,
    }
}

/// Lets one worker empty a full queue, and looks at the part in the middle.
async fn backlog(concurrency: usize, history: usize, jobs: usize) -> Round {
    let field = Field::new().await;
    field.fill(jobs).await;
    let worker = field.worker(concurrency, history);
    let reach = async |most: usize| {
        loop {
            let left = field.left();
            if left <= most {
                return left;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let first = reach(jobs - jobs / 10).await;
    let before = (Instant::now(), cpu(worker.pid()), cpu(field.redis.pid()), commands(&field));
    let last = reach(jobs / 10).await;
    let elapsed = before.0.elapsed();
    let spent = [cpu(worker.pid()) - before.1, cpu(field.redis.pid()) - before.2];
    let sent: u64 = commands(&field).values().sum::<u64>() - before.3.values().sum::<u64>();
    reach(0).await;
    let done = (first - last).max(1) as f64;
    Round {
        rate: done / elapsed.as_secs_f64(),
        worker: spent[0] * 1e6 / done,
        redis: spent[1] * 1e6 / done,
        commands: sent as f64 / done,
    }
}

/// Says when it was given a job.
struct Note(mpsc::Sender<Instant>);

impl Handler for Note {
    async fn handle(&self, _job: Job) -> Verdict {
        self.0.try_send(Instant::now()).unwrap();
        Verdict::Done
    }
}

/// From the call to enqueue until a handler of this process has the job, at 100 jobs a second, and
/// what it is made of: until Redis answered that it has the job, and one more round trip, which is
/// the least that it takes to ask for it after having been woken.
async fn pick_up(jobs: usize) -> [(&'static str, [f64; 2]); 3] {
    let field = Field::new().await;
    let (owner, _) = field.link().await;
    let (given, mut begun) = mpsc::channel(1024);
    let consumer = Consumer::new(owner.shared(), field.keys.clone(), consuming(20), Note(given));
    let stop = CancellationToken::new();
    let working = tokio::spawn(consumer.run(stop.clone(), support::DEADLINE));
    let [mut there, mut asked, mut in_hand] = [const { Vec::new() }; 3];
    let mut ticks = tokio::time::interval(Duration::from_millis(10));
    for number in 0..jobs {
        ticks.tick().await;
        let sent = Instant::now();
        field.producer.enqueue(&[job(number)]).await.unwrap();
        there.push(sent.elapsed().as_secs_f64() * 1e3);
        let began = tokio::time::timeout(support::DEADLINE, begun.recv()).await;
        in_hand.push((began.unwrap().unwrap() - sent).as_secs_f64() * 1e3);
        let sent = Instant::now();
        owner.shared().call(&redis::cmd("PING")).await.unwrap();
        asked.push(sent.elapsed().as_secs_f64() * 1e3);
    }
    stop.cancel();
    working.await.unwrap();
    [
        ("from enqueue to answered", middle_and_tail(there)),
        ("one round trip", middle_and_tail(asked)),
        ("from enqueue to in hand", middle_and_tail(in_hand)),
    ]
}

/// From the call to enqueue until the job's notification arrives, at 100 jobs a second.
async fn round_trip(jobs: usize) -> [f64; 2] {
    let field = Field::new().await;
    let worker = field.worker(20, 0);
    worker.wait_ready().await;
    let (heard, mut messages) = mpsc::channel(1024);
    let url = format!("{}/?protocol=resp3", field.redis.url());
    let config =
        redis::AsyncConnectionConfig::new().set_push_sender(move |push: redis::PushInfo| {
            if push.kind == PushKind::PMessage {
                heard.try_send(Instant::now()).unwrap();
            }
            Ok::<_, std::convert::Infallible>(())
        });
    let client = Client::open(url).unwrap();
    let mut ear = client.get_multiplexed_async_connection_with_config(&config).await.unwrap();
    ear.psubscribe(format!("{NAMESPACE}:notify:alerts.*")).await.unwrap();
    let mut took = Vec::new();
    let mut ticks = tokio::time::interval(Duration::from_millis(10));
    for number in 0..jobs {
        ticks.tick().await;
        let sent = Instant::now();
        field.producer.enqueue(&[job(number)]).await.unwrap();
        let heard = tokio::time::timeout(support::DEADLINE, messages.recv()).await;
        took.push((heard.unwrap().unwrap() - sent).as_secs_f64() * 1e3);
    }
    // The first job loads the rules.
    took.remove(0);
    middle_and_tail(took)
}

/// A publish on the connection that the queue uses, and on one of its own, in turn, while jobs
/// are done: all on one thread, as in a worker.
async fn sharing(patience: Patience) -> [[f64; 2]; 2] {
    let field = Field::new().await;
    // More than can be done while it lasts.
    field.fill(3 * patience.jobs).await;
    let (owner, prefix) = field.link().await;
    let cache = ChainCache::new(owner.shared(), index::Keys::new(NAMESPACE));
    let kept = history::Retention { size: 0, age: Duration::from_secs(120), off: vec![] };
    let history = History::new(owner.shared(), owner.publisher(), NAMESPACE, prefix, kept);
    let process = Process::new(cache, history).unwrap();
    let options = consuming(64);
    let consumer = Consumer::new(owner.shared(), field.keys.clone(), options, process);
    let stop = CancellationToken::new();
    let working = tokio::spawn(consumer.run(stop.clone(), support::DEADLINE));
    let publishers = [owner.publisher(), field.owner.publisher()];
    let mut took = [Vec::new(), Vec::new()];
    for _ in 0..patience.paced {
        for (publisher, took) in publishers.iter().zip(&mut took) {
            let started = Instant::now();
            publisher.publish("beside", &[b'x'; 256]).await.unwrap();
            took.push(started.elapsed().as_secs_f64() * 1e3);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    assert!(patience.jobs < 1_000 || field.left() > 0, "the queue was empty before the end");
    stop.cancel();
    working.await.unwrap();
    took.map(middle_and_tail)
}

/// What a worker with nothing to do asks of Redis, by command, those inside scripts included.
async fn idle(wait: Duration) -> Vec<(String, f64)> {
    let field = Field::new().await;
    field.owner.close(Duration::ZERO).await;
    let worker = field.worker(20, 0);
    worker.wait_ready().await;
    // Past what belongs to the start.
    tokio::time::sleep(wait / 10).await;
    let (started, before) = (Instant::now(), commands(&field));
    tokio::time::sleep(wait).await;
    let after = commands(&field);
    let rate = |name: &str, calls: u64| {
        (calls - before.get(name).copied().unwrap_or(0)) as f64 / started.elapsed().as_secs_f64()
    };
    let rates = after.iter().map(|(name, calls)| (name.clone(), rate(name, *calls)));
    rates.filter(|(name, rate)| *rate > 0.0 && name != "info").collect()
}

/// INFO commandstats: calls by command.
fn commands(field: &Field) -> BTreeMap<String, u64> {
    let text = field.redis.cli(&["INFO", "commandstats"]).text();
    let line = |line: &str| {
        let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
        Some((name.to_owned(), rest.split(',').next()?.parse().ok()?))
    };
    text.lines().filter_map(line).collect()
}

/// CPU seconds that a process has used, in its own name and in the kernel's.
fn cpu(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    // A tick of /proc is 10 ms on every Linux (proc_pid_stat(5): sysconf(_SC_CLK_TCK)).
    ticks as f64 / 100.0
}

fn middle_and_tail(mut took: Vec<f64>) -> [f64; 2] {
    took.sort_by(f64::total_cmp);
    [took[took.len() / 2], took[took.len() * 99 / 100]]
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
