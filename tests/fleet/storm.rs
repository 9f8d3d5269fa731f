//! Two hundred processes lose their Redis at the same moment, and dial it until it is back: not
//! too often, not together, and all of them with success.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::block_in_place;
use trunkline::conn::{Budget, Options, Owner, Status, Target};
use trunkline::model::{Component, ConnectionState, Label, Role};

use crate::ALONE;
use crate::support::DEADLINE;
use crate::support::redis::Redis;
use crate::support::stalls::Stalls;

const WORKERS: usize = 150;
const SERVERS: usize = 50;
const PROCESSES: usize = WORKERS + SERVERS;
/// Two for a server, one for a worker.
const CONNECTIONS: usize = 2 * SERVERS + WORKERS;

const AWAY: Duration = Duration::from_secs(5);
/// How long the way back may take. The longest wait between two dials is 2 s.
const BACK: Duration = Duration::from_secs(5);

/// What a process does to Redis: its connections, and nothing else.
struct Process {
    owner: Owner,
    /// When its dials failed, over all roles.
    failed: Arc<Mutex<Vec<Instant>>>,
}

impl Process {
    async fn start(component: Component, port: u16) -> Process {
        let target = Target::Tcp { host: "127.0.0.1".to_owned(), port };
        let options = Options::new(target, "test", component);
        let owner = Owner::new(options, &Budget::of(component)).unwrap();
        if component == Component::Server {
            owner.subscriber().unwrap();
        }
        let process = Process { owner, failed: Arc::default() };
        for status in process.statuses() {
            tokio::spawn(note_failures(status, Arc::clone(&process.failed)));
        }
        process.owner.connect().await;
        process
    }

    fn statuses(&self) -> impl Iterator<Item = watch::Receiver<Status>> {
        Role::ALL.iter().filter_map(|&role| self.owner.watch(role))
    }

    /// How often it dialled since it was started.
    fn dials(&self) -> u64 {
        self.statuses().map(|status| status.borrow().generation).sum()
    }
}

/// Notes when a dial has failed, which for a port that refuses is when it was made.
async fn note_failures(mut status: watch::Receiver<Status>, failed: Arc<Mutex<Vec<Instant>>>) {
    let mut noted = 0;
    while status.changed().await.is_ok() {
        let now = status.borrow_and_update().clone();
        match now.state {
            ConnectionState::Backoff if now.generation > noted => {
                failed.lock().unwrap().push(now.entered);
                noted = now.generation;
            }
            // Losing this one is no dial that failed.
            ConnectionState::Ready => noted = now.generation,
            _ => {}
        }
    }
}

/// All processes, with every connection ready.
async fn fleet(port: u16) -> Vec<Process> {
    let components = (0..PROCESSES).map(|index| match index < WORKERS {
        true => Component::Worker,
        false => Component::Server,
    });
    let fleet = join_all(components.map(|component| Process::start(component, port))).await;
    all_ready(&fleet, DEADLINE).await;
    fleet
}

/// Waits until everybody has everything.
async fn all_ready(fleet: &[Process], deadline: Duration) {
    let waiting = fleet.iter().flat_map(Process::statuses).map(async |mut status| {
        status.wait_for(Status::is_ready).await.unwrap();
    });
    if tokio::time::timeout(deadline, join_all(waiting)).await.is_err() {
        let statuses = fleet.iter().flat_map(Process::statuses);
        let missing = statuses.filter(|status| !status.borrow().is_ready()).count();
        panic!("{missing} of {CONNECTIONS} connections are not ready after {deadline:?}");
    }
}

/// Waits until everybody is back, which is in time as far as the machine does not stand still.
async fn is_back(fleet: &[Process], redis: &Redis) {
    let back = Stalls::watch();
    all_ready(fleet, 3 * DEADLINE).await;
    back.less_than(BACK, "the way back");
    redis.has_connections(CONNECTIONS).await;
}

/// What the fleet dialled over a while.
struct Dialled {
    /// By each process.
    each: Vec<u64>,
    took: Duration,
}

impl Dialled {
    fn total(&self) -> u64 {
        self.each.iter().sum()
    }
}

/// Counts over the length of an outage.
async fn count_dials(fleet: &[Process]) -> Dialled {
    let (since, before): (_, Vec<_>) = (Instant::now(), fleet.iter().map(Process::dials).collect());
    // Time is what is looked at: how many dials fit into it.
    tokio::time::sleep(AWAY).await;
    let each = fleet.iter().zip(before).map(|(process, before)| process.dials() - before);
    Dialled { each: each.collect(), took: since.elapsed() }
}

/// No process dials more than twelve times in a second.
fn each_is_patient(fleet: &[Process], dialled: &Dialled) {
    let most = *dialled.each.iter().max().unwrap();
    // The last second has only begun.
    let allowed = 12 * (dialled.took.as_secs() + 1);
    assert!(most <= allowed, "{most} dials of one process in {:?}", dialled.took);
    for process in fleet {
        let mut failed = process.failed.lock().unwrap().clone();
        failed.sort();
        for thirteen in failed.windows(13) {
            // A dial that began late, because this machine stood still, is nearer to the next one.
            let within = thirteen[12] - thirteen[0];
            assert!(within >= Duration::from_millis(700), "13 dials of one process in {within:?}");
        }
    }
}

/// That everybody still dials. How often is up to the machine as well: one that is busy is late.
fn nobody_gave_up(dialled: &Dialled) {
    let fewest = *dialled.each.iter().min().unwrap();
    assert!(fewest >= 3, "{fewest} dials of one process in {:?}", dialled.took);
}

/// The largest part of the waits of all workers, from the `first` of each on, that are alike: no
/// further apart than `apart`.
///
/// All lost Redis at the same moment, so those who wait equally long dial together, again and
/// again. When they dial says less: here they share two cores, and get into each other's way.
/// What each moment then holds is worked out beside `backoff::delay`.
fn alike(fleet: &[Process], first: usize, apart: Duration) -> f64 {
    let mut waits = Vec::new();
    // A worker has one connection, so what lies between two of its dials is one wait.
    for worker in &fleet[..WORKERS] {
        let failed = worker.failed.lock().unwrap();
        waits.extend(failed.windows(2).skip(first).map(|pair| pair[1] - pair[0]));
    }
    waits.sort();
    assert!(waits.len() >= 100, "only {} waits", waits.len());
    let from = |index: usize| waits.partition_point(|it| *it <= waits[index] + apart) - index;
    (0..waits.len()).map(from).max().unwrap_or_default() as f64 / waits.len() as f64
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_processes_knock_at_a_closed_port_apart_from_each_other_and_all_are_back() {
    let _alone = ALONE.lock().await;
    let redis = Redis::start();
    let fleet = fleet(redis.port()).await;
    block_in_place(|| redis.kill9());
    let dialled = count_dials(&fleet).await;

    each_is_patient(&fleet, &dialled);
    // Each shared connection every 100 ms, and once more at the start; each subscriber every 2 s,
    // and twice more, for its loss and for what it had begun. One process is 2 from the mean of
    // 50, by the spread of its waits, so all are 29 from theirs: this is beyond them by fourteen.
    let seconds = dialled.took.as_secs_f64();
    let most = PROCESSES as f64 * (10.0 * seconds + 2.0) + SERVERS as f64 * (seconds / 2.0 + 2.0);
    let total = dialled.total() as f64;
    assert!(total <= most, "{total} dials, {most} at the most");
    nobody_gave_up(&dialled);
    // Waits of 100 ms give or take half: a fifth are within 20 ms, give or take a hundredth.
    let alike = alike(&fleet, 0, Duration::from_millis(20));
    assert!(alike < 0.5, "{:.0} % of the waits are alike", alike * 100.0);

    block_in_place(|| redis.restart());
    is_back(&fleet, &redis).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_processes_leave_a_redis_that_accepts_and_fails_more_and_more_alone() {
    let _alone = ALONE.lock().await;
    let redis = Redis::start();
    let fleet = fleet(redis.port()).await;
    block_in_place(|| redis.kill9());
    let deaf = TcpListener::bind((Ipv4Addr::LOCALHOST, redis.port())).await.unwrap();
    let accepted = Arc::<AtomicUsize>::default();
    let counted = Arc::clone(&accepted);
    let accepting = tokio::spawn(async move {
        loop {
            // It is closed at once.
            drop(deaf.accept().await.unwrap());
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    let dialled = count_dials(&fleet).await;
    let seen = accepted.load(Ordering::Relaxed);

    each_is_patient(&fleet, &dialled);
    // Waits of up to 50, 100, 200, … 2000 ms let a connection dial 9.1 times in 5 s, give or take
    // 1.3; so all 250 dial 2,270 times, give or take 20.
    let most = 10 * CONNECTIONS;
    assert!(seen <= most, "{seen} dials, {most} at the most");
    nobody_gave_up(&dialled);
    // From the fifth on a wait is anything up to 1.6 s, and then up to 2 s. Of those that end
    // within the 5 s about a fifth are within 300 ms, give or take a fiftieth.
    let alike = alike(&fleet, 4, Duration::from_millis(300));
    assert!(alike < 0.5, "{:.0} % of the waits are alike", alike * 100.0);

    accepting.abort();
    // Only then the port is free.
    let _ = accepting.await;
    block_in_place(|| redis.restart());
    is_back(&fleet, &redis).await;
}
