//! Servers and workers that are killed and started anew.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use crate::clock::{Clocks, Whose};
use crate::support::eventually::within;
use crate::support::http::Http;
use crate::support::process::{Daemon, Launch};

/// How many servers.
pub const SERVERS: usize = 2;
/// How many workers.
pub const WORKERS: usize = 3;
/// As short as three command timeouts allow, so that a dead worker's jobs are soon taken over.
pub const LEASE: Duration = Duration::from_millis(1500);
/// A drain takes 20 s at most.
const DRAIN: Duration = Duration::from_secs(30);

/// One place in the fleet, whatever process is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A server.
    Server(usize),
    /// A worker.
    Worker(usize),
}

impl Place {
    /// Whether it is the first of its kind.
    pub fn is_elder(self) -> bool {
        matches!(self, Place::Server(0) | Place::Worker(0))
    }

    /// All of them.
    pub fn all() -> impl Iterator<Item = Place> {
        (0..SERVERS).map(Place::Server).chain((0..WORKERS).map(Place::Worker))
    }
}

/// A running process.
pub struct Member {
    /// The program.
    pub daemon: Daemon,
    /// Its admin listener.
    pub admin: Http,
    /// Its public listener, if it is a server.
    pub public: Option<Http>,
}

/// The whole fleet, on one Redis.
pub struct Fleet {
    redis_url: String,
    clocks: Arc<Clocks>,
    servers: Vec<Mutex<Arc<Member>>>,
    workers: Vec<Mutex<Arc<Member>>>,
    /// What no fault explains.
    odd: Mutex<Vec<String>>,
}

impl Fleet {
    /// Starts it on the Redis at this URL.
    pub async fn start(redis_url: &str, clocks: Arc<Clocks>) -> Fleet {
        let (mut servers, mut workers) = (Vec::new(), Vec::new());
        for place in Place::all() {
            let member = Mutex::new(Arc::new(start(redis_url, &clocks, place).await));
            match place {
                Place::Server(_) => servers.push(member),
                Place::Worker(_) => workers.push(member),
            }
        }
        let (redis_url, odd) = (redis_url.to_owned(), Mutex::default());
        Fleet { redis_url, clocks, servers, workers, odd }
    }

    /// The process in this place now.
    pub fn at(&self, place: Place) -> Arc<Member> {
        Arc::clone(&self.slot(place).lock().unwrap())
    }

    /// Kills the process in this place as a crash would.
    pub fn kill(&self, place: Place) {
        let member = self.at(place);
        if !member.daemon.is_running() {
            self.odd.lock().unwrap().push(format!("{place:?} had ended by itself"));
        }
        member.daemon.sigkill();
    }

    /// What is odd about the processes that there are and those that were, since this was last
    /// asked.
    pub fn take_odd(&self) -> Vec<String> {
        Place::all().for_each(|place| self.listen_to(place));
        std::mem::take(&mut *self.odd.lock().unwrap())
    }

    /// No fault makes a program panic, whatever becomes of the panic.
    fn listen_to(&self, place: Place) {
        let lines = self.at(place).daemon.lines();
        let panics = lines.into_iter().filter(|line| line.contains("panicked"));
        self.odd.lock().unwrap().extend(panics.map(|line| format!("{place:?} says {line}")));
    }

    /// Starts a new process in this place. Whatever was there is killed, if it has not ended.
    pub async fn renew(&self, place: Place) {
        let member = Arc::new(start(&self.redis_url, &self.clocks, place).await);
        self.listen_to(place);
        *self.slot(place).lock().unwrap() = member;
    }

    /// Ends the process in this place as an operator does, and starts a new one.
    pub async fn replace(&self, place: Place) {
        let member = self.at(place);
        member.daemon.sigterm();
        within(DRAIN, &format!("{place:?} ends"), async || match member.daemon.is_running() {
            true => Err("it runs"),
            false => Ok(()),
        })
        .await;
        let status = member.daemon.exit().await;
        assert!(status.code().is_some(), "{place:?} ended with {status}");
        self.renew(place).await;
    }

    /// Waits until no process misses anything; `/readyz` forgives for a while, so it is asked
    /// what is missing.
    pub async fn recovers(&self, deadline: Duration) {
        for place in Place::all() {
            let member = self.at(place);
            within(deadline, &format!("{place:?} misses nothing"), async || {
                let answer = member.admin.try_send(hyper::Method::GET, "/readyz", &[], "").await?;
                match (answer.status, &answer.json()["missing"]) {
                    (200, Value::Array(missing)) if missing.is_empty() => Ok(()),
                    (status, missing) => Err(format!("{status}, missing {missing}")),
                }
            })
            .await;
        }
    }

    /// A server to speak to: the n-th, counting round and round.
    pub fn door(&self, n: usize) -> Http {
        self.at(Place::Server(n % SERVERS)).public.clone().expect("a server has one")
    }

    fn slot(&self, place: Place) -> &Mutex<Arc<Member>> {
        match place {
            Place::Server(index) => &self.servers[index],
            Place::Worker(index) => &self.workers[index],
        }
    }
}

/// Starts a process and returns when it listens, which it does without Redis too.
async fn start(redis_url: &str, clocks: &Clocks, place: Place) -> Member {
    let clock = clocks.variables(Whose::Process(place));
    let launch = launch(redis_url, place).env("RUST_LOG", "info");
    let launch = clock.into_iter().fold(launch, |launch, (name, value)| launch.env(name, value));
    let daemon = launch.start();
    let admin = daemon.admin().await;
    let public = match place {
        Place::Server(_) => Some(daemon.public().await),
        Place::Worker(_) => None,
    };
    Member { daemon, admin, public }
}

fn launch(redis_url: &str, place: Place) -> Launch {
    match place {
        // Seen ids are kept no longer than a round may take, or a long run fills Redis with them.
        Place::Server(_) => Daemon::server(redis_url).args(["--dedup-window", "10m"]),
        Place::Worker(_) => {
            let lease = format!("{}ms", LEASE.as_millis());
            Daemon::worker(redis_url).args(["--job-lease", &lease, "--job-backoff", "100ms"])
        }
    }
}
