//! The laboratory: Redis, proxies before it, a fleet, callers, clients, and rounds of faults.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use trunkline::queue::{GROUP, Keys};

use crate::books::{CHAIN, NODE, What};
use crate::check;
use crate::clients::{Client, Transport};
use crate::clock::{self, Clocks, Whose};
use crate::dials::Dials;
use crate::failover;
use crate::faults;
use crate::fleet::{Fleet, Place, SERVERS, WORKERS};
use crate::handed::Handed;
use crate::load::{Hush, Load, Rate};
use crate::plan::Plan;
use crate::redis_faults;
use crate::support::chain;
use crate::support::eventually::within;
use crate::support::laws::broken_laws;
use crate::support::metrics::Page;
use crate::support::proxy::Proxy;
use crate::support::redis::Redis;
use crate::support::resp::Reply;
use crate::support::stalls::Stalls;
use crate::tally::Tally;
use crate::usage::Usage;
use crate::witness::Witness;

/// Until every process is ready after the last fault, the queue is empty and the laws hold: far
/// more than they need, so that only what never comes right runs into it.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// How long nothing is wrong at the end of a round.
const CALM: Duration = Duration::from_millis(1500);

/// The machine stood still: enough for a command that waits 500 ms for its answer to give up.
const STALL: Duration = Duration::from_millis(200);
/// How often the calm begins anew because of it.
const CALMS: usize = 20;

/// Log lines of each process in the report of a failure.
const LINES: usize = 60;

/// What each client listens to, and how.
const CLIENTS: &[(Transport, &[&str])] = &[
    (Transport::Sse, &["lab.*"]),
    (Transport::WebSocket, &["lab.*"]),
    (Transport::Sse, &["lab.direct.0", "lab.events.a", "burst"]),
    (Transport::WebSocket, &["lab.events.*", "lab.direct.1", "burst"]),
    (Transport::Sse, &["lab.direct.*", "lab.direct.1", "lab.events.b"]),
    (Transport::WebSocket, &["lab.events.c", "lab.direct.0", "lab.direct.1"]),
];

/// All of it ends with the test.
pub struct Lab {
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) load: Load,
    pub(crate) witness: Witness,
    /// What the fleet dials. It is for faults.
    pub(crate) network: Proxy,
    /// Behind it, before Redis: who may speak to which one.
    pub(crate) gate: Proxy,
    pub(crate) redis: Redis,
    pub(crate) clocks: Arc<Clocks>,
    clients: Vec<Client>,
    hush: Mutex<Option<Hush>>,
    /// What each process took when it was first at rest, by its id.
    usages: Mutex<Vec<(u32, Usage)>>,
    started: Instant,
}

impl Lab {
    /// Starts everything, and goes through a round without a fault.
    pub async fn start(rate: Rate) -> Lab {
        // Written before it is answered, and never put off: what was answered outlives a crash
        // of Redis, if not of the machine.
        let redis = Redis::plan().argument("appendonly", "yes").argument("appendfsync", "no");
        let clocks = Arc::new(Clocks::right());
        let clock = clocks.variables(Whose::Redis);
        let redis = clock.into_iter().fold(redis, |plan, (name, value)| plan.env(name, value));
        let redis = failover::quick(redis).start();
        let gate = Proxy::to(redis.port());
        let network = Proxy::to(gate.port());
        let witness = Witness::start(redis.socket()).await;
        let fleet = Arc::new(Fleet::start(&network.url(), Arc::clone(&clocks)).await);
        let (load, hush) = Load::start(&fleet, rate).await;
        let listen = |(number, &(transport, channels)): (usize, &(Transport, _))| {
            Client::start(&fleet, number, transport, channels)
        };
        let clients = CLIENTS.iter().enumerate().map(listen).collect();
        let lab = Lab {
            fleet,
            load,
            witness,
            network,
            gate,
            redis,
            clocks,
            clients,
            hush: Mutex::new(Some(hush)),
            usages: Mutex::default(),
            started: Instant::now(),
        };
        lab.fleet.recovers(PATIENCE).await;
        lab.store_chain().await;
        lab.round(&Plan::quiet()).await;
        lab
    }

    /// Lets the faults of a plan happen under load. Panics if a promise is broken afterwards.
    pub async fn round(&self, plan: &Plan) -> Tally {
        self.clients_listen().await;
        self.hush.lock().unwrap().take();
        let dials = Dials::watch(&self.fleet);
        tokio::join!(
            faults::happen(self, &plan.redis, redis_faults::befall),
            faults::happen(self, &plan.network, faults::network),
            faults::happen(self, &plan.fleet, faults::fleet),
            faults::happen(self, &plan.clocks, clock::befall),
        );
        let ended = Instant::now();
        self.fleet.recovers(PATIENCE).await;
        self.clients_listen().await;
        self.note(format!("every process is ready, {:?} after the last fault", ended.elapsed()));
        let before = self.calm().await;
        self.note("nobody posts any more".to_owned());
        let mut wrong = self.comes_to_rest().await;
        wrong.extend(dials.too_many());
        wrong.extend(Handed::now(self).await.differs_since(&before));
        let tally = self.keep_books(plan, &mut wrong);
        assert!(wrong.is_empty(), "{} promises are broken:\n  {}", wrong.len(), wrong.join("\n  "));
        tally
    }

    /// Lets a moment pass under load in which nothing is wrong, and nobody post afterwards. What
    /// had been handed on before it is returned. A machine that stands still is wrong, too: the
    /// moment begins anew.
    async fn calm(&self) -> Handed {
        for _ in 0..CALMS {
            let before = {
                // What is under way may have met the last fault.
                let _hush = self.load.hush().await;
                self.is_drained().await;
                self.load.calm();
                Handed::now(self).await
            };
            let stalls = Stalls::watch();
            tokio::time::sleep(CALM).await;
            let hush = self.load.hush().await;
            if stalls.longest() < STALL {
                *self.hush.lock().unwrap() = Some(hush);
                return before;
            }
            self.note(format!("the machine stood still for {:?}", stalls.longest()));
            drop(hush);
            self.fleet.recovers(PATIENCE).await;
            self.clients_listen().await;
        }
        panic!("this machine is never at rest for {CALM:?}");
    }

    /// Tells what happens. The report of a failure has all of it.
    pub fn note(&self, what: String) {
        let line = format!("{:8.3} {what}", self.started.elapsed().as_secs_f64());
        eprintln!("{line}");
    }

    /// Prints what each process has said last.
    pub fn tell_logs(&self) {
        for place in Place::all() {
            let lines = self.fleet.at(place).daemon.lines();
            let last = lines[lines.len().saturating_sub(LINES)..].join("\n");
            eprintln!("---- what {place:?} said last ----\n{last}");
        }
    }

    /// The chain that tells of every event on the channel of its subject.
    pub async fn store_chain(&self) {
        let mut telling = chain::telling(CHAIN, "lab.event");
        telling["nodes"] = json!([{ "id": NODE, "kind": "action",
            "notify": { "channel": "'lab.events.' + event.subject", "type": "lab.event" } }]);
        within(PATIENCE, "the chain is stored", async || {
            let (path, field) =
                (format!("/v1/rule-chains/{CHAIN}"), [("content-type", "application/json")]);
            let door = self.fleet.door(fastrand::usize(..));
            let answer = door.try_send(hyper::Method::PUT, &path, &field, telling.to_string());
            match answer.await?.status {
                200 | 201 => Ok(()),
                other => Err(other.to_string()),
            }
        })
        .await;
    }

    /// Jobs that are not settled, wherever they are.
    pub fn unfinished(&self) -> i64 {
        let keys = keys();
        self.redis.cli(&["XLEN", &keys.stream()]).integer()
            + self.redis.cli(&["ZCARD", &keys.delayed()]).integer()
            + self.redis.cli(&["ZCARD", &keys.blocked()]).integer()
    }

    /// Waits until no job is left. However many there are, they must not stop becoming fewer.
    pub async fn is_drained(&self) {
        let mut fewest = (i64::MAX, Instant::now());
        loop {
            match self.unfinished() {
                0 => return,
                left if left < fewest.0 => fewest = (left, Instant::now()),
                _ if fewest.1.elapsed() < PATIENCE => {}
                _ => panic!("no job was done for {PATIENCE:?}: {}", self.backlog()),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Where the jobs are that are not settled.
    fn backlog(&self) -> String {
        let (stream, delayed) = (keys().stream(), keys().delayed());
        let ask = |command: &[&str]| self.redis.ask(command);
        let there = ask(&["XLEN", &stream]).text();
        let later = ask(&["ZRANGE", &delayed, "0", "0", "WITHSCORES"]);
        let later = (ask(&["ZCARD", &delayed]).text(), later.list().get(1).map(Reply::text));
        let hands = ask(&["XINFO", "CONSUMERS", &stream, GROUP]);
        format!("{there} in the stream, {later:?} later, in hand: {hands:?}")
    }

    async fn clients_listen(&self) {
        within(PATIENCE, "every client listens", async || {
            match self.clients.iter().find(|client| !client.confirmed()) {
                None => Ok(()),
                Some(client) => Err(format!("{} does not", client.name)),
            }
        })
        .await;
    }

    /// Waits for what must come to be without load, and says what does not.
    async fn comes_to_rest(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        self.is_drained().await;
        let deadline = Instant::now() + PATIENCE;
        let mut until = async |check: &mut dyn FnMut() -> Option<String>| {
            loop {
                match check() {
                    None => return,
                    Some(what) if Instant::now() > deadline => return wrong.push(what),
                    Some(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        };
        let said = self.load.said_in_calm();
        for client in &self.clients {
            until(&mut || match client.misses(&said) {
                0 => None,
                some => Some(format!("{} waits for {some}", client.name)),
            })
            .await;
        }
        until(&mut || self.off_budget()).await;
        for place in Place::all() {
            let member = self.fleet.at(place);
            loop {
                let page = Page::parse(member.admin.get("/metrics").await.text());
                let broken = broken_laws(&page);
                if broken.is_empty() {
                    wrong.extend(self.grown(place, Usage::of(&member, &page)));
                    break;
                }
                if Instant::now() > deadline {
                    wrong.extend(broken.into_iter().map(|law| format!("{place:?}: {law}")));
                    break;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        wrong
    }

    /// What Redis lists beyond the budget, or short of it.
    fn off_budget(&self) -> Option<String> {
        let clients = self.redis.client_list();
        let names: Vec<_> = clients.iter().map(|client| client.name.as_str()).collect();
        let count = |component: &str, role: &str| {
            let bears = |name: &&&str| {
                let parts: Vec<_> = name.split(':').collect();
                parts.len() == 5 && (parts[1], parts[3]) == (component, role)
            };
            names.iter().filter(bears).count()
        };
        let counts =
            [count("server", "shared"), count("server", "subscriber"), count("worker", "shared")];
        // The witness besides.
        let all = 2 * SERVERS + WORKERS + 1;
        let right = counts == [SERVERS, SERVERS, WORKERS] && names.len() == all;
        (!right).then(|| format!("CLIENT LIST is not the budget: {names:?}"))
    }

    /// What a process takes more than when it was first at rest.
    fn grown(&self, place: Place, now: Usage) -> Vec<String> {
        let mut usages = self.usages.lock().unwrap();
        let pids: Vec<_> = Place::all().map(|place| self.fleet.at(place).daemon.pid()).collect();
        usages.retain(|(of, _)| pids.contains(of));
        let pid = self.fleet.at(place).daemon.pid();
        match usages.iter().find(|(of, _)| *of == pid) {
            None => {
                usages.push((pid, now));
                Vec::new()
            }
            Some((_, before)) => {
                let grown = now.grown_since(before, &self.clients);
                grown.into_iter().map(|what| format!("{place:?} has {what}")).collect()
            }
        }
    }

    /// Compares what was said, published, buried and heard.
    fn keep_books(&self, plan: &Plan, wrong: &mut Vec<String>) -> Tally {
        let books = self.load.take();
        let (published, odd) = self.witness.take();
        wrong.extend(books.odd.iter().take(20).cloned());
        wrong.extend(odd.into_iter().chain(self.fleet.take_odd()).take(20));
        let buried = self.buried();
        wrong.extend(check::promises(&books, &published, &buried));
        let is_buried = |what: &&What| matches!(what, What::Event(it) if buried.contains(it));
        let mut tally = Tally {
            accepted: books.accepted(),
            not_accepted: books.fates.len() - books.accepted(),
            buried: books.fates.keys().filter(is_buried).count(),
            published: published.values().map(|times| u64::from(times.least)).sum(),
            heard: 0,
            faults: plan.len(),
        };
        for client in &self.clients {
            let ear = client.take();
            tally.heard += ear.heard.len();
            let mut faults = ear.odd.iter().take(20).cloned().collect::<Vec<_>>();
            faults.extend(check::hearing(&ear, |what| client.wants(what), &books, &published));
            wrong.extend(faults.into_iter().map(|fault| format!("{}: {fault}", client.name)));
        }
        tally
    }

    /// The numbers of the events among the dead letters.
    fn buried(&self) -> HashSet<u64> {
        let letters = self.redis.cli(&["XRANGE", &keys().dead(), "-", "+"]);
        let number = |letter: &Reply| {
            let fields = letter.list()[1].texts();
            let body = fields.chunks(2).find(|pair| pair[0] == "body")?.get(1)?.clone();
            let event: Value = serde_json::from_str(&body).ok()?;
            event["data"]["number"].as_u64()
        };
        letters.list().iter().filter_map(number).collect()
    }
}

fn keys() -> Keys {
    Keys::new("trunkline", "rule-engine-events")
}
