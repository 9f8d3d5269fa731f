//! A real queue, workers whose jobs wait for a word of ours, and a look at all that Redis has.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use trunkline::queue::*;

use super::reference::{Letter, Place, Reference};
use crate::house::{House, NAMESPACE, Post, Worker, WorkerPlan};
use crate::support::eventually::within;
use crate::support::process::Daemon;

/// Longer than a history takes: nobody's lease runs out by itself.
const LEASE: Duration = Duration::from_secs(300);
/// That of a worker which is there to take over: it looks for what was abandoned within half of it.
/// Those of the living are renewed here meanwhile, and must not run out while this process stands still.
const HASTE: Duration = Duration::from_secs(4);
const DEADLINE: Duration = Duration::from_secs(30);

/// A job that was given out, and the way to say what becomes of it.
type Handed = (Job, usize, oneshot::Sender<Verdict>);

/// Gives every job to the test.
struct Hands {
    worker: usize,
    handed: mpsc::Sender<Handed>,
}

impl Handler for Hands {
    async fn handle(&self, job: Job) -> Verdict {
        let (say, said) = oneshot::channel();
        self.handed.send((job, self.worker, say)).await.unwrap();
        said.await.unwrap()
    }
}

pub struct Stage {
    pub house: House,
    pub post: Post,
    letters: usize,
    attempts: u32,
    pub workers: BTreeMap<usize, (Worker, usize)>,
    pub born: usize,
    handed: mpsc::Receiver<Handed>,
    hand: mpsc::Sender<Handed>,
    words: BTreeMap<String, oneshot::Sender<Verdict>>,
}

impl Stage {
    pub async fn new(reference: &Reference) -> Stage {
        let mut house = House::start();
        let (critical, recovery) =
            (reference.bounds.critical as u64, reference.bounds.recovery as u64);
        house.thresholds = Thresholds { warning: critical - 1, critical, recovery };
        let post = house.producer().await;
        let (hand, handed) = mpsc::channel(1000);
        let (letters, attempts) = (reference.bounds.letters, reference.bounds.attempts);
        let (workers, words) = (BTreeMap::new(), BTreeMap::new());
        Stage { house, post, letters, attempts, workers, born: 0, handed, hand, words }
    }

    pub async fn hire(&mut self, slots: usize) -> usize {
        let worker = self.hire_for(slots, LEASE).await;
        self.workers.insert(self.born, (worker, slots));
        self.born
    }

    async fn hire_for(&mut self, concurrency: usize, lease: Duration) -> Worker {
        self.born += 1;
        let limits = Limits { attempts: self.attempts, backoff: Duration::from_millis(2) };
        let retention = Retention { max: self.letters as u64, age: Duration::from_secs(3600) };
        let safety_poll = Duration::from_millis(50);
        let plan = WorkerPlan {
            concurrency,
            limits,
            lease,
            retention,
            safety_poll,
            ..self.house.worker()
        };
        plan.start_with(Hands { worker: self.born, handed: self.hand.clone() }).await
    }

    pub fn slots(&self) -> usize {
        self.workers.values().map(|(_, slots)| slots).sum()
    }

    pub fn say(&mut self, name: &str, verdict: Verdict) {
        self.words.remove(name).unwrap().send(verdict).unwrap();
    }

    pub async fn crash(&mut self, worker: usize) {
        self.workers.remove(&worker).unwrap().0.crash().await;
    }

    pub async fn drain(&mut self, worker: usize) -> Drained {
        self.workers.remove(&worker).unwrap().0.stop().await
    }

    /// Waits until everything is where the reference has it, and the workers have all they can.
    pub async fn settles(&mut self, reference: &mut Reference) {
        within(DEADLINE, "what the reference has", async || {
            self.hear(reference);
            let busy = reference.those(|it| matches!(it, Place::Taken(_))).len();
            let waiting = reference.ready().len();
            if busy < self.slots() && waiting > 0 {
                return Err(format!("{waiting} wait, {busy} of {} are taken", self.slots()));
            }
            self.compare(reference)
        })
        .await;
    }

    /// Notes what was given out.
    fn hear(&mut self, reference: &mut Reference) {
        while let Ok((job, worker, say)) = self.handed.try_recv() {
            let name = reference.take(&job, worker);
            self.words.insert(name, say);
        }
    }

    /// Everything Redis has against everything it ought to have.
    fn compare(&self, reference: &Reference) -> Result<(), String> {
        let House { redis, keys, .. } = &self.house;
        let same = |what: &str, there: &dyn std::fmt::Debug, ought: &dyn std::fmt::Debug| {
            let (there, ought) = (format!("{there:?}"), format!("{ought:?}"));
            if there == ought {
                Ok(())
            } else {
                Err(format!("{what}: {there}, ought to be {ought}"))
            }
        };
        let stream = redis.cli(&["XRANGE", &keys.stream(), "-", "+"]);
        let by_id: BTreeMap<String, String> = stream
            .list()
            .iter()
            .map(|entry| (entry.list()[0].text(), field(&entry.list()[1].texts(), "body")))
            .collect();
        let packed = redis.cli(&["ZRANGE", &keys.delayed(), "0", "-1"]).texts();
        let delayed: Vec<String> = packed.iter().map(|packed| marked(packed)).collect();
        let packed = redis.cli(&["ZRANGE", &keys.blocked(), "0", "-1"]).texts();
        let blocked: Vec<String> = packed.iter().map(|packed| marked(packed)).collect();
        let all: Vec<&String> = by_id.values().chain(&delayed).chain(&blocked).collect();
        let mut sorted = all.clone();
        sorted.sort();
        same("unfinished", &sorted, &reference.live().iter().collect::<Vec<_>>())?;
        let later = reference.those(|it| it == Place::Later);
        if let Some(early) = later.iter().find(|name| !delayed.contains(name)) {
            return Err(format!("{early} is not delayed"));
        }
        let held = reference.those(|it| matches!(it, Place::Taken(_) | Place::Lost));
        let pending: BTreeSet<String> = self
            .pending()
            .into_iter()
            .map(|(id, ..)| by_id.get(&id).cloned().unwrap_or(id))
            .collect();
        same("in workers' hands", &pending, &held)?;
        let letters: Vec<Vec<String>> = self.house.dead();
        let letters: Vec<_> = letters.iter().map(|letter| letter_of(letter)).collect();
        let ought: Vec<_> = reference.dead.iter().map(plain).collect();
        same("dead letters", &letters, &ought)?;
        same("full", &(redis.cli(&["EXISTS", &keys.full()]).integer() == 1), &reference.full)
    }

    /// What is pending: entry, consumer, deliveries.
    fn pending(&self) -> Vec<(String, String, i64)> {
        let House { redis, keys, .. } = &self.house;
        if redis.cli(&["EXISTS", &keys.stream()]).integer() == 0 {
            return vec![];
        }
        let pending = match redis.ask(&["XPENDING", &keys.stream(), GROUP, "-", "+", "1000"]) {
            // No worker has been there yet, who makes the group.
            crate::support::resp::Reply::Error(_) => return vec![],
            pending => pending,
        };
        let one = |entry: &crate::support::resp::Reply| {
            let entry = entry.list();
            (entry[0].text(), entry[1].text(), entry[3].integer())
        };
        pending.list().iter().map(one).collect()
    }

    /// Sets how long ago the leases of held jobs were renewed, so that those of the crashed alone
    /// have run out.
    fn age_leases(&self, reference: &Reference, worn: Option<&str>) {
        let House { redis, keys, .. } = &self.house;
        let lost = reference.those(|it| it == Place::Lost);
        for (id, consumer, deliveries) in self.pending() {
            let entry = redis.cli(&["XRANGE", &keys.stream(), &id, &id]);
            let Some(entry) = entry.list().first() else { continue };
            let name = field(&entry.list()[1].texts(), "body");
            let idle = if lost.contains(&name) { "1000000" } else { "0" };
            let more = if worn == Some(&*name) { MAX_DELIVERIES as i64 - 1 } else { 0 };
            let count = (deliveries + more).to_string();
            let claim = ["XCLAIM", &keys.stream(), GROUP, &consumer, "0", &id, "IDLE", idle];
            redis.cli(&[&claim[..], &["RETRYCOUNT", &count, "JUSTID"]].concat());
        }
    }

    /// The leases of the crashed run out, and a new worker takes over what they had. It does that,
    /// and whatever else waits, at once: `judge` says how.
    pub async fn take_over(
        &mut self,
        reference: &mut Reference,
        worn: Option<&str>,
        mut judge: impl FnMut() -> Verdict,
    ) {
        self.age_leases(reference, worn);
        worn.inspect(|name| reference.wear_out(name));
        let worker = self.hire_for(20, HASTE).await;
        let own = self.born;
        let mut worn = worn;
        within(DEADLINE, "everything taken over", async || {
            while let Ok((job, by, say)) = self.handed.try_recv() {
                let name = reference.take(&job, by);
                if by != own {
                    self.words.insert(name, say);
                    continue;
                }
                // Until the worn out one is buried no other may be: letters have an order.
                let verdict = if worn.is_some() { Verdict::Done } else { judge() };
                reference.settle(&name, &verdict);
                say.send(verdict).unwrap();
            }
            if let Some(name) = worn {
                let buried = self
                    .house
                    .dead()
                    .iter()
                    .any(|letter| letter_of(letter).starts_with(&format!("{name} abandoned")));
                if buried {
                    reference.abandon_the_worn();
                    worn = None;
                }
            }
            // Nobody renews the leases of those who live as often as this worker looks.
            self.renew(reference);
            let lost = reference.those(|it| it == Place::Lost);
            let waiting = reference.ready();
            if lost.is_empty() && waiting.is_empty() {
                self.compare(reference)
            } else {
                Err(format!("{lost:?} and {waiting:?}"))
            }
        })
        .await;
        let drained = worker.stop().await;
        assert_eq!((drained.handed_back, drained.left), (0, 0));
    }

    fn renew(&self, reference: &Reference) {
        let House { redis, keys, .. } = &self.house;
        let taken = reference.those(|it| matches!(it, Place::Taken(_)));
        if !taken.is_empty() {
            for (id, consumer, deliveries) in self.pending() {
                let entry = redis.cli(&["XRANGE", &keys.stream(), &id, &id]);
                let name =
                    entry.list().first().map(|entry| field(&entry.list()[1].texts(), "body"));
                if name.is_some_and(|name| taken.contains(&name)) {
                    let claim = ["XCLAIM", &keys.stream(), GROUP, &consumer, "0", &id, "IDLE", "0"];
                    redis.cli(
                        &[&claim[..], &["RETRYCOUNT", &deliveries.to_string(), "JUSTID"]].concat(),
                    );
                }
            }
        }
    }

    /// The clock of Redis.
    pub fn now_ms(&self) -> u64 {
        let time = self.house.redis.cli(&["TIME"]).texts();
        time[0].parse::<u64>().unwrap() * 1000
    }

    /// Lets the time come that a delayed job asked for.
    pub fn make_due(&self, name: &str) {
        const MOVE: &str = "for _, packed in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
            if packed:find(ARGV[1], 1, true) then redis.call('ZADD', KEYS[1], 'XX', 1, packed) end
        end";
        self.house.redis.cli(&["EVAL", MOVE, "1", &self.house.keys.delayed(), name]);
    }

    /// What an operator does with the letters of these jobs.
    pub async fn operate(&self, order: &str, names: &[String]) -> bool {
        let letters = self.house.redis.cli(&["XRANGE", &self.house.keys.dead(), "-", "+"]);
        let ids: BTreeMap<String, String> = letters
            .list()
            .iter()
            .map(|letter| (field(&letter.list()[1].texts(), "body"), letter.list()[0].text()))
            .collect();
        let ids: Vec<&str> = names.iter().map(|name| &*ids[name]).collect();
        let Thresholds { warning, critical, recovery } = self.house.thresholds;
        let bounds = [
            ("--queue-warning", warning),
            ("--queue-critical", critical),
            ("--queue-recovery", recovery),
        ];
        let bounds: Vec<String> = bounds
            .iter()
            .flat_map(|(name, number)| [(*name).to_owned(), number.to_string()])
            .collect();
        let bounds: Vec<&str> = bounds.iter().map(|word| &**word).collect();
        let bounds = if order == "requeue" { &bounds[..] } else { &[] };
        let url = self.house.redis.url();
        let own = ["--namespace", NAMESPACE, "--queue", "q", "--redis-url", &url];
        let tool = Daemon::tool()
            .args([&["queue", "dead", order], &ids[..], &own, bounds].concat())
            .start();
        tool.exit().await.success()
    }
}

fn field(fields: &[String], name: &str) -> String {
    let pair = fields.chunks_exact(2).find(|pair| pair[0] == name);
    pair.map(|pair| pair[1].clone()).unwrap_or_default()
}

/// A name stands between marks, so that it is found in what Lua packed.
fn marked(packed: &str) -> String {
    let (start, end) = (packed.rfind('<').unwrap(), packed.rfind('>').unwrap());
    packed[start..=end].to_owned()
}

fn letter_of(fields: &[String]) -> String {
    let part = |name| field(fields, name);
    let deaths = part("history").lines().count();
    let attempt = if part("reason") == "malformed" { "1".to_owned() } else { part("attempt") };
    format!("{} {} {attempt} {} {deaths}", part("body"), part("reason"), part("delivered"))
}

fn plain((name, reason, attempt, deliveries, deaths): &Letter) -> String {
    format!("{name} {reason} {attempt} {deliveries} {deaths}")
}
