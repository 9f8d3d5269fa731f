//! How fast a publish fails while Redis is away, and how fast it succeeds again: `Publisher`
//! beside other clients, against one Redis in one run.
//!
//! `cargo bench --bench recovery` prints the tables in about three minutes; with `-- --long` it
//! has outages of 20 and 60 seconds too. Without `--bench`, as `cargo test` runs it, every outage
//! is a short one that only shows that it works.
#![allow(clippy::unwrap_used, reason = "in a benchmark a panic is the report")]
#![allow(missing_docs, unreachable_pub, reason = "nobody imports a benchmark")]

#[path = "../../tests/support/mod.rs"]
mod support;

mod clients;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use clients::{Client, Kind};
use support::redis::Redis;

/// Between two publishes of one client. It is how exactly the way back can be told.
const PACE: Duration = Duration::from_millis(5);
/// After this long every client knows that Redis is gone; and what succeeds later than this was
/// delayed.
const KNOWN: Duration = Duration::from_millis(50);
/// Who is not back so long after Redis is not waited for.
const PATIENCE: Duration = Duration::from_secs(15);

/// What happens to Redis.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// It is killed: its port refuses.
    Away,
    /// It is stopped: its kernel accepts and nobody answers.
    Hung,
}

fn main() {
    let asked = |name: &str| std::env::args().any(|argument| argument == name);
    let (second, moment) = (Duration::from_secs(1), Duration::from_millis(200));
    let mut plan = if asked("--bench") {
        vec![(Fault::Away, second, 15), (Fault::Away, 5 * second, 9), (Fault::Hung, 3 * second, 5)]
    } else {
        vec![(Fault::Away, moment, 1), (Fault::Hung, moment, 1)]
    };
    if asked("--long") {
        plan.extend([(Fault::Away, 20 * second, 5), (Fault::Away, 60 * second, 3)]);
    }
    let runtime = Builder::new_multi_thread().enable_all().build().unwrap();
    let redis = Redis::start();
    for (fault, lasts, rounds) in plan {
        let rounds: Vec<_> = (0..rounds).map(|_| round(&runtime, &redis, fault, lasts)).collect();
        show(fault, lasts, &rounds);
    }
}

/// One publish.
struct Post {
    began: Instant,
    ended: Instant,
    acknowledged: bool,
}

/// One outage, with what each client published.
struct Round {
    down: Instant,
    /// When Redis answered again.
    back: Instant,
    posts: Vec<Vec<Post>>,
}

impl Round {
    /// What a client began to publish while Redis was down and every client knew it.
    fn meanwhile(&self, kind: usize) -> impl Iterator<Item = &Post> {
        let known = self.down + KNOWN;
        self.posts[kind].iter().filter(move |post| (known..self.back).contains(&post.began))
    }

    /// From Redis being back to the first publish that succeeded, whenever it was begun.
    fn back_after(&self, kind: usize) -> Option<Duration> {
        let known = self.down + KNOWN;
        let succeeded = self.posts[kind].iter().filter(|it| it.acknowledged && it.ended > known);
        let first = succeeded.map(|post| post.ended).min()?;
        Some(first.saturating_duration_since(self.back))
    }
}

/// Connects everybody anew, so that rounds know nothing of each other, and lets them publish
/// through an outage.
fn round(runtime: &Runtime, redis: &Redis, fault: Fault, lasts: Duration) -> Round {
    let port = redis.port();
    let connect = |kind| runtime.block_on(Client::connect(kind, port));
    let clients: Vec<_> = Kind::ALL.into_iter().map(connect).collect();
    let posts = clients.iter().map(|_| Arc::<Mutex<Vec<Post>>>::default()).collect::<Vec<_>>();
    let publishing: Vec<_> = clients
        .iter()
        .zip(&posts)
        .map(|(client, posts)| runtime.spawn(keep_publishing(client.clone(), Arc::clone(posts))))
        .collect();
    std::thread::sleep(Duration::from_millis(200));

    let down = Instant::now();
    match fault {
        Fault::Away => redis.kill9(),
        Fault::Hung => redis.stop(),
    }
    // Who retries at fixed times would meet the same luck in every round.
    std::thread::sleep(lasts.mul_f64(1.0 + fastrand::f64() / 10.0));
    let witness = std::thread::spawn(move || answers(port));
    match fault {
        Fault::Away => redis.restart(),
        Fault::Hung => redis.cont(),
    }
    let back = witness.join().unwrap();

    let is_back = |posts: &Mutex<Vec<Post>>| {
        posts.lock().unwrap().iter().any(|post| post.acknowledged && post.ended > back)
    };
    while back.elapsed() < PATIENCE
        && clients.iter().zip(&posts).any(|(client, posts)| !client.gave_up() && !is_back(posts))
    {
        std::thread::sleep(Duration::from_millis(10));
    }
    // The rest of what waited is answered too.
    std::thread::sleep(Duration::from_millis(100));
    drop(clients);
    for publishing in publishing {
        publishing.abort();
        // Only then nobody writes to the posts any more.
        let _ = runtime.block_on(publishing);
    }
    let posts = posts.iter().map(|posts| std::mem::take(&mut *posts.lock().unwrap())).collect();
    Round { down, back, posts }
}

/// Publishes at a pace, whatever became of those before.
async fn keep_publishing(client: Client, posts: Arc<Mutex<Vec<Post>>>) {
    let (mut pace, mut under_way) = (tokio::time::interval(PACE), JoinSet::new());
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        pace.tick().await;
        let (client, posts) = (client.clone(), Arc::clone(&posts));
        under_way.spawn(async move {
            let began = Instant::now();
            let acknowledged = client.publish().await;
            let post = Post { began, ended: Instant::now(), acknowledged };
            posts.lock().unwrap().push(post);
        });
        while under_way.try_join_next().is_some() {}
    }
}

/// Dials and asks every millisecond, with nobody's client, until Redis answers.
fn answers(port: u16) -> Instant {
    loop {
        let asked = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).and_then(|mut stream| {
            stream.write_all(b"PING\r\n")?;
            let mut answer = [0; 7];
            stream.read_exact(&mut answer)?;
            Ok(answer)
        });
        if asked.is_ok_and(|answer| &answer == b"+PONG\r\n") {
            return Instant::now();
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn show(fault: Fault, lasts: Duration, rounds: &[Round]) {
    let happens = match fault {
        Fault::Away => "away",
        Fault::Hung => "hung",
    };
    println!("\nredis is {happens} for {lasts:?}, {} times", rounds.len());
    println!(
        "{:<30}{:>9}{:>11}{:>11}{:>9}{:>12}{:>11}{:>9}{:>9}",
        "", "refused", "p50 ms", "p99 ms", "delayed", "longest ms", "back ms", "max", "never"
    );
    for (index, kind) in Kind::ALL.into_iter().enumerate() {
        let posts: Vec<_> = rounds.iter().flat_map(|round| round.meanwhile(index)).collect();
        let took = |post: &Post| (post.ended - post.began).as_secs_f64() * 1e3;
        let failed = posts.iter().filter(|post| !post.acknowledged);
        let refused = sorted(failed.map(|post| took(post)).collect());
        let delayed = posts.iter().filter(|post| post.acknowledged && took(post) > 50.0).count();
        let longest = posts.iter().map(|post| took(post)).fold(0.0, f64::max);
        let back = rounds.iter().filter_map(|round| round.back_after(index));
        let back = sorted(back.map(|after| after.as_secs_f64() * 1e3).collect());
        let never = rounds.len() - back.len();
        let cell = |value: Option<&f64>, digits: usize| match value {
            Some(value) => format!("{value:.digits$}"),
            None => "-".to_owned(),
        };
        println!(
            "{:<30}{:>9}{:>11}{:>11}{delayed:>9}{longest:>12.1}{:>11}{:>9}{never:>9}",
            kind.name(),
            refused.len(),
            cell(refused.get(refused.len() / 2), 3),
            cell(refused.get(refused.len() * 99 / 100), 3),
            cell(back.get(back.len() / 2), 0),
            cell(back.last(), 0),
        );
    }
}

fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    values
}
