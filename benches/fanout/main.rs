//! What it costs to hand a notification to many clients: `trunkline-server` as a real process
//! beside the bytes of the same messages written by one bare thread, in turn in one run.
//!
//! `cargo bench --bench fanout` prints the tables. Without `--bench`, as `cargo test` runs it,
//! every measurement is a short one that only shows that it works.
#![allow(clippy::unwrap_used, reason = "in a benchmark a panic is the report")]
#![allow(missing_docs, unreachable_pub, reason = "nobody imports a benchmark")]

#[path = "../../tests/support/mod.rs"]
mod support;

mod cost;
mod listeners;
mod publisher;
mod raw;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};

use listeners::{Listeners, Transport};
use publisher::Publisher;
use raw::Raw;
use support::process::Daemon;
use support::redis::Redis;

/// What is measured; the first is what the others are held against.
const TRANSPORTS: [Transport; 3] = [Transport::Raw, Transport::Sse, Transport::Ws];
/// Outstanding notifications of the closed loop.
const WINDOW: u64 = 8;

/// How long, how often and with how many clients something is measured.
#[derive(Clone, Copy)]
struct Patience {
    round: Duration,
    rounds: usize,
    clients: usize,
    idle: usize,
    tides: usize,
    scrapes: usize,
}

fn main() {
    let thorough = std::env::args().any(|argument| argument == "--bench");
    let patience = if thorough {
        let round = Duration::from_secs(4);
        Patience { round, rounds: 5, clients: 1_000, idle: 10_000, tides: 10, scrapes: 10 }
    } else {
        let round = Duration::from_millis(50);
        Patience { round, rounds: 1, clients: 10, idle: 100, tides: 2, scrapes: 2 }
    };
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let redis = Redis::start();
    // What is measured is not how soon Redis gives up on a subscriber.
    redis.cli(&["CONFIG", "SET", "client-output-buffer-limit", "pubsub 0 0 0"]);

    fan_out(&runtime, &redis, patience);
    idle(&runtime, &redis, patience);
    come_and_go(&runtime, &redis, patience);
}

/// A server, ready, and where its clients find it.
fn serve(runtime: &Runtime, redis: &Redis) -> (Daemon, SocketAddr) {
    // The listeners only listen: nobody would answer a WebSocket's pings.
    let server = Daemon::server(&redis.url()).args(["--heartbeat-interval", "10m"]).start();
    let address = runtime.block_on(async {
        server.wait_ready().await;
        server.address("public").await
    });
    (server, address)
}

/// One who hands on, its clients, and how its CPU time is read.
struct Contender {
    transport: Transport,
    listeners: Listeners,
    publisher: Publisher,
    hands_on: HandsOn,
    paced: Vec<Measured>,
    closed: Vec<Measured>,
}

enum HandsOn {
    Thread(Raw),
    Process(Daemon),
}

impl Contender {
    fn new(runtime: &Runtime, redis: &Redis, transport: Transport, clients: usize) -> Self {
        // One channel each: nobody hears what another's clients are sent.
        let channel = transport.name();
        let wire = format!("trunkline:notify:{channel}");
        let publisher = Publisher::connect(redis.port(), &wire);
        let (hands_on, address) = if transport == Transport::Raw {
            let raw = Raw::start(redis.port(), &wire, clients);
            let address = raw.address;
            (HandsOn::Thread(raw), address)
        } else {
            let (server, address) = serve(runtime, redis);
            (HandsOn::Process(server), address)
        };
        let listeners = Listeners::open(transport, address, channel, clients);
        Self { transport, listeners, publisher, hands_on, paced: Vec::new(), closed: Vec::new() }
    }

    fn cpu(&mut self) -> u64 {
        match &self.hands_on {
            HandsOn::Process(server) => cost::cpu(server.pid()),
            HandsOn::Thread(raw) => {
                let (listeners, publisher) = (&mut self.listeners, &mut self.publisher);
                let due = listeners.heard + listeners.count();
                let cpu = raw.cpu(|| publisher.publish(listeners.now()));
                while listeners.heard < due {
                    listeners.read(Duration::from_millis(100));
                }
                cpu
            }
        }
    }
}

/// One round of one contender.
struct Measured {
    /// Deliveries per second.
    rate: f64,
    /// CPU seconds of the one who hands on per million deliveries.
    cpu: f64,
    /// Milliseconds.
    p50: f64,
    p99: f64,
}

fn fan_out(runtime: &Runtime, redis: &Redis, patience: Patience) {
    println!("256 B to {} clients, medians of {}", patience.clients, patience.rounds);
    let contender = |transport| Contender::new(runtime, redis, transport, patience.clients);
    let mut contenders = TRANSPORTS.map(contender);
    for _ in 0..patience.rounds {
        for contender in &mut contenders {
            let paced = measure(contender, patience.round, Some(100.0));
            contender.paced.push(paced);
            let closed = measure(contender, patience.round, None);
            contender.closed.push(closed);
        }
    }
    for (title, of) in [
        ("100 messages a second", (|it| &it.paced) as fn(&Contender) -> &Vec<Measured>),
        ("closed loop, 8 outstanding", |it| &it.closed),
    ] {
        println!(
            "\n{title:<28}{:>12}{:>12}{:>10}{:>10}",
            "delivered/s", "CPU s/M", "p50 ms", "p99 ms"
        );
        for contender in &contenders {
            let median =
                |value: fn(&Measured) -> f64| median(of(contender).iter().map(value).collect());
            let (rate, cpu) = (median(|it| it.rate), median(|it| it.cpu));
            let (p50, p99) = (median(|it| it.p50), median(|it| it.p99));
            let name = contender.transport.name();
            println!("{name:<28}{rate:>12.0}{cpu:>12.2}{p50:>10.2}{p99:>10.2}");
        }
    }
}

/// Publishes for the length of a round, at a rate or as fast as everybody hears it.
fn measure(contender: &mut Contender, round: Duration, rate: Option<f64>) -> Measured {
    let cpu = contender.cpu();
    let (listeners, publisher) = (&mut contender.listeners, &mut contender.publisher);
    listeners.reset();
    let (started, clients) = (Instant::now(), listeners.count());
    let mut published = 0_u64;
    while started.elapsed() < round {
        let (may, patience) = match rate {
            Some(rate) => {
                let due = started.elapsed().as_secs_f64() * rate;
                let next = (published as f64 + 1.0 - due).max(0.0) / rate;
                (due >= published as f64 + 1.0, Duration::from_secs_f64(next))
            }
            None => (published - listeners.heard / clients < WINDOW, Duration::from_millis(100)),
        };
        if may {
            publisher.publish(listeners.now());
            published += 1;
        } else {
            listeners.read(patience);
        }
    }
    let took = started.elapsed();
    let deadline = Instant::now() + support::DEADLINE;
    while listeners.heard < published * clients {
        assert!(Instant::now() < deadline, "{} of {}", listeners.heard, published * clients);
        listeners.read(Duration::from_millis(100));
    }
    let (heard, mut latencies) = (listeners.heard, std::mem::take(&mut listeners.latencies));
    let cpu = contender.cpu() - cpu;
    latencies.sort_unstable();
    let at = |share: usize| latencies[(latencies.len() - 1) * share / 100] as f64 / 1e6;
    let rate = heard as f64 / took.as_secs_f64();
    Measured { rate, cpu: cpu as f64 / 1e3 / heard as f64, p50: at(50), p99: at(99) }
}

/// What a client costs that hears nothing, and what it does to a scrape.
fn idle(runtime: &Runtime, redis: &Redis, patience: Patience) {
    println!(
        "\nidle clients{:>12}{:>12}{:>16}{:>16}",
        "clients", "kB each", "scrape ms: none", "with them"
    );
    for transport in TRANSPORTS.into_iter().skip(1) {
        let (server, address) = serve(runtime, redis);
        let alone = runtime.block_on(scrape(&server, patience.scrapes));
        let before = cost::resident(server.pid());
        let listeners = Listeners::open(transport, address, transport.name(), patience.idle);
        let each = cost::resident(server.pid()).saturating_sub(before) as f64 / 1024.0;
        let each = each / listeners.count() as f64;
        let crowded = runtime.block_on(scrape(&server, patience.scrapes));
        let (name, count) = (transport.name(), listeners.count());
        println!("{name:<12}{count:>12}{each:>12.2}{alone:>16.2}{crowded:>16.2}");
    }
}

/// What clients leave behind that come in great numbers, and go.
fn come_and_go(runtime: &Runtime, redis: &Redis, patience: Patience) {
    println!("\ncame and went{:>12}{:>16}{:>12}{:>12}", "", "resident MB", "files", "tasks");
    let (server, address) = serve(runtime, redis);
    let tell = |gone: usize| {
        let tasks = runtime.block_on(async {
            let clients = server.metric("trunkline_clients_connected").await;
            clients.settles(0.0).await;
            server.metric("trunkline_runtime_alive_tasks").await.value().await.unwrap()
        });
        let resident = cost::resident(server.pid()) as f64 / (1024.0 * 1024.0);
        let files = std::fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap().count();
        println!("{gone:<13}{:>12}{resident:>16.1}{files:>12}{tasks:>12}", "");
    };
    tell(0);
    for tide in 0..patience.tides {
        let transport = TRANSPORTS[1 + tide % 2];
        // The ports of those before are not free yet.
        let first = (10 + tide) * patience.idle;
        drop(Listeners::open_from(first, transport, address, transport.name(), patience.idle));
        tell((tide + 1) * patience.idle);
    }
}

/// Milliseconds of a `GET /metrics`, the median of several that each render anew.
async fn scrape(server: &Daemon, times: usize) -> f64 {
    let metric = server.metric("trunkline_metrics_render_duration_seconds").await;
    let mut took = Vec::new();
    for _ in 0..times {
        took.push(metric.value().await.unwrap() * 1e3);
        // A page is rendered at most once a second; this waits for a new one.
        tokio::time::sleep(Duration::from_millis(1_010)).await;
    }
    median(took)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
