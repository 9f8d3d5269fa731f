//! The fault laboratory: a fleet under load, faults drawn from a seed, and what must be true
//! of all of it afterwards.
//!
//! A failure prints its seed. `LAB_SEED=… LAB_SECONDS=… cargo test --test lab drawn_from` has the
//! same faults again.
#![cfg(feature = "bridge")]
#![allow(unreachable_pub, reason = "a test binary exports nothing, its modules do to each other")]
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod books;
mod check;
mod clients;
mod clock;
mod dials;
mod ear;
mod failover;
mod faults;
mod fleet;
mod handed;
mod lab;
mod load;
mod plan;
mod redis_faults;
#[path = "../support/mod.rs"]
mod support;
mod tally;
mod usage;
mod witness;

use std::time::{Duration, Instant};

use lab::Lab;
use load::Rate;
use plan::Plan;
use tally::Tally;

/// What a machine does beside its other tests.
const GENTLE: Rate = Rate { batch: 5, every: Duration::from_millis(50) };

/// The seeds of the short run. They are always the same, so that it is red for what was changed
/// and not for what was drawn; the long run draws others.
const SHORT: [u64; 2] = [2, 9102];

/// More than a million in half an hour, on two cores of one's own. Faults take their share.
const STEADY: Rate = Rate { batch: 100, every: Duration::from_millis(50) };

/// A round of this seed; whatever goes wrong in it is told with the seed.
async fn round(lab: &Lab, seed: u64, seconds: u64) -> Tally {
    let plan = Plan::draw(seed, seconds);
    let told = Told { lab, replay: format!("LAB_SEED={seed} LAB_SECONDS={seconds}"), plan: &plan };
    eprintln!("{}", told.replay);
    let tally = lab.round(&plan).await;
    eprintln!("{}: {tally}", told.replay);
    tally
}

/// Prints how to have it again if its round panics.
struct Told<'a> {
    lab: &'a Lab,
    replay: String,
    plan: &'a Plan,
}

impl Drop for Told<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("---- {} ----\n{}", self.replay, self.plan);
            self.lab.tell_logs();
        }
    }
}

fn from_environment(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok().filter(|value| !value.is_empty())?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name} is no whole number: {value}")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_fault_drawn_from_a_seed_breaks_a_promise() {
    let lab = Lab::start(GENTLE).await;
    let seconds = from_environment("LAB_SECONDS").unwrap_or(5);
    match from_environment("LAB_SEED") {
        Some(seed) => _ = round(&lab, seed, seconds).await,
        None => {
            for seed in SHORT {
                round(&lab, seed, seconds).await;
            }
        }
    }
}

/// `make soak`. Each round has a seed of its own, counted up from `LAB_SEED`, and is held to every
/// promise before the next begins.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "as long as it is asked to be: make soak"]
async fn no_promise_is_broken_in_a_long_time() {
    let first = from_environment("LAB_SEED").unwrap_or_else(|| u64::from(fastrand::u32(..)));
    let minutes = from_environment("LAB_MINUTES").unwrap_or(30);
    let seconds = from_environment("LAB_SECONDS").unwrap_or(50);
    let (started, until) = (Instant::now(), Duration::from_secs(60 * minutes));
    let lab = Lab::start(STEADY).await;
    let mut sum = Tally::default();
    for seed in first.. {
        sum += round(&lab, seed, seconds).await;
        let elapsed = Duration::from_secs(started.elapsed().as_secs());
        eprintln!("==== from seed {first} to {seed} in {elapsed:?}: {sum}");
        if started.elapsed() >= until {
            return;
        }
    }
}
