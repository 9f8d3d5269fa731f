//! A Redis with a queue, and workers and producers on connections of their own.

use std::collections::HashSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use trunkline::conn::{Budget, Options, Owner, Target};
use trunkline::index;
use trunkline::model::{Component, JobType, Secret};
use trunkline::queue::*;

use crate::support::DEADLINE;
use crate::support::eventually::{eventually, within};
use crate::support::redis::{Plan, Redis};

pub const NAMESPACE: &str = "test";

/// So long that a test which needs it fails by its deadline: every job has to be announced.
pub const NEVER: Duration = Duration::from_secs(3600);

/// Where Redis is not hurt, a process that stands still for a moment shall miss no answer.
const PATIENCE: Duration = Duration::from_secs(8);

/// User and password.
pub type Login = (&'static str, &'static str);

/// Everything around one queue.
pub struct House {
    pub redis: Redis,
    pub keys: Keys,
    pub thresholds: Thresholds,
    /// Where connections go instead of Redis' own port.
    pub detour: Option<u16>,
    /// How long those that come may wait for an answer.
    pub command_timeout: Duration,
    /// Who each component is; without, everybody may do everything.
    pub login: Option<fn(Component) -> Login>,
    instances: AtomicU32,
}

impl House {
    pub fn start() -> House {
        House::with(Redis::plan())
    }

    pub fn with(plan: Plan) -> House {
        House {
            redis: plan.start(),
            keys: Keys::new(NAMESPACE, "q"),
            thresholds: Thresholds { warning: 1_000_000, critical: 2_000_000, recovery: 500_000 },
            detour: None,
            command_timeout: PATIENCE,
            login: None,
            instances: AtomicU32::new(0),
        }
    }

    /// A connection of its own that is ready, and the instance it belongs to.
    pub async fn link(&self, component: Component) -> (Owner, String) {
        let instance = format!("i{}", self.instances.fetch_add(1, Ordering::Relaxed));
        let port = self.detour.unwrap_or_else(|| self.redis.port());
        let target = Target::Tcp { host: "127.0.0.1".into(), port };
        let mut options = Options::new(target, NAMESPACE, component);
        options.instance.clone_from(&instance);
        options.command_timeout = self.command_timeout;
        let chains = index::Keys::new(NAMESPACE);
        options.signals = vec![self.keys.wake(&instance), chains.version()];
        if let Some((user, password)) = self.login.map(|login| login(component)) {
            options.username = Some(user.into());
            options.password = Some(Secret::new(password));
        }
        let owner = Owner::new(options, &Budget::of(component)).unwrap();
        owner.connect().await;
        owner.shared().ready(DEADLINE).await.unwrap();
        (owner, instance)
    }

    pub async fn producer(&self) -> Post {
        let (owner, _) = self.link(Component::Server).await;
        let (keys, thresholds) = (self.keys.clone(), self.thresholds);
        let options = QueueOptions { keys, thresholds, dedup_window: Duration::from_secs(3600) };
        Post { producer: Producer::new(owner.shared(), options), owner }
    }

    /// How a worker is unless a test wants it otherwise.
    pub fn worker(&self) -> WorkerPlan<'_> {
        let limits = Limits { attempts: 3, backoff: Duration::from_millis(20) };
        let (lease, safety_poll) = (Duration::from_secs(30), NEVER);
        let retention = Retention { max: 10_000, age: NEVER };
        let grace = Duration::from_millis(300);
        WorkerPlan { house: self, concurrency: 20, limits, lease, retention, safety_poll, grace }
    }

    pub async fn depths(&self) -> Depths {
        let (owner, _) = self.link(Component::Server).await;
        let inspector = Inspector::new(owner.shared(), self.keys.clone(), self.thresholds);
        inspector.depths().await.unwrap()
    }

    /// Waits until no job is left, here or there.
    pub async fn is_drained(&self) {
        self.is_drained_within(DEADLINE).await;
    }

    pub async fn is_drained_within(&self, deadline: Duration) {
        within(deadline, "an empty queue", async || {
            let count = |command, key: String| self.redis.cli(&[command, &key]).integer();
            let stream = count("XLEN", self.keys.stream());
            let set = |key| count("ZCARD", key);
            match stream + set(self.keys.delayed()) + set(self.keys.blocked()) {
                0 => Ok(()),
                left => Err(left),
            }
        })
        .await;
        let pending = self.redis.cli(&["XPENDING", &self.keys.stream(), GROUP]);
        assert_eq!(pending.list()[0].integer(), 0, "a pending entry without a body");
    }

    /// The dead letters, each as its fields.
    pub fn dead(&self) -> Vec<Vec<String>> {
        let letters = self.redis.cli(&["XRANGE", &self.keys.dead(), "-", "+"]);
        letters.list().iter().map(|letter| letter.list()[1].texts()).collect()
    }

    /// Waits for so many dead letters.
    pub async fn buries(&self, count: usize) -> Vec<Vec<String>> {
        let what = format!("{count} dead letters");
        eventually(&what, async || match self.dead() {
            dead if dead.len() == count => Ok(dead),
            dead => Err(format!("{dead:?}")),
        })
        .await
    }

    /// Lets the leases of all that is in somebody's hand run out, as if time had passed.
    pub fn leases_run_out(&self) {
        let stream = self.keys.stream();
        let pending = self.redis.cli(&["XPENDING", &stream, GROUP, "-", "+", "1000"]);
        for entry in pending.list() {
            let entry = entry.texts();
            let claim = ["XCLAIM", &stream, GROUP, &entry[1], "0", &entry[0]];
            self.redis.cli(&[&claim[..], &["IDLE", "3600000", "JUSTID"]].concat());
        }
    }

    /// Waits until so many workers are parked.
    pub async fn parks(&self, count: i64) {
        eventually("parked workers", async || {
            match self.redis.cli(&["ZCARD", &self.keys.idle()]).integer() {
                parked if parked == count => Ok(()),
                parked => Err(parked),
            }
        })
        .await;
    }
}

/// A producer on a connection of its own.
pub struct Post {
    pub producer: Producer,
    pub owner: Owner,
}

pub fn job(body: &str) -> NewJob {
    let body = body.as_bytes().to_vec();
    NewJob {
        job_type: JobType::Event,
        body,
        traceparent: None,
        dedup: None,
        not_before_ms: None,
        partition: None,
    }
}

pub fn event(id: &str) -> NewJob {
    NewJob { dedup: Some(Dedup::Given(DedupKey::new("/test", id))), ..job(id) }
}

impl Post {
    pub async fn post(&self, body: &str) {
        self.producer.enqueue(&[job(body)]).await.unwrap();
    }

    pub async fn post_all(&self, bodies: impl IntoIterator<Item = String>) {
        let jobs: Vec<_> = bodies.into_iter().map(|body| job(&body)).collect();
        for batch in jobs.chunks(MAX_BATCH) {
            self.producer.enqueue(batch).await.unwrap();
        }
    }
}

/// What workers were given, and what they say.
#[derive(Clone)]
pub struct Diary(Arc<Pages>);

type Answer = Pin<Box<dyn Future<Output = Verdict> + Send>>;

struct Pages {
    jobs: Mutex<Vec<Job>>,
    say: Box<dyn Fn(Job) -> Answer + Send + Sync>,
}

impl Diary {
    pub fn new<F>(say: impl Fn(Job) -> F + Send + Sync + 'static) -> Diary
    where
        F: Future<Output = Verdict> + Send + 'static,
    {
        let say = Box::new(move |job| Box::pin(say(job)) as Answer);
        Diary(Arc::new(Pages { jobs: Mutex::default(), say }))
    }

    /// One where every job is done at once.
    pub fn done() -> Diary {
        Diary::new(async |_| Verdict::Done)
    }

    pub fn jobs(&self) -> Vec<Job> {
        self.0.jobs.lock().unwrap().clone()
    }

    pub fn bodies(&self) -> Vec<String> {
        let text = |job: &Job| String::from_utf8(job.body.clone()).unwrap();
        self.0.jobs.lock().unwrap().iter().map(text).collect()
    }

    pub fn distinct(&self) -> usize {
        self.bodies().into_iter().collect::<HashSet<_>>().len()
    }

    /// Waits until so many jobs were given out.
    pub async fn reaches(&self, count: usize) {
        eventually(&format!("{count} jobs"), async || match self.0.jobs.lock().unwrap().len() {
            jobs if jobs >= count => Ok(()),
            jobs => Err(jobs),
        })
        .await;
    }
}

impl Handler for Diary {
    async fn handle(&self, job: Job) -> Verdict {
        self.0.jobs.lock().unwrap().push(job.clone());
        (self.0.say)(job).await
    }
}

/// A worker to be.
#[derive(Clone, Copy)]
pub struct WorkerPlan<'a> {
    pub house: &'a House,
    pub concurrency: usize,
    pub limits: Limits,
    pub lease: Duration,
    pub retention: Retention,
    pub safety_poll: Duration,
    /// How long what it has in hand may take when it is drained.
    pub grace: Duration,
}

impl WorkerPlan<'_> {
    pub async fn start(self, diary: &Diary) -> Worker {
        self.start_with(diary.clone()).await
    }

    pub async fn start_with(self, handler: impl Handler) -> Worker {
        let (owner, instance) = self.house.link(Component::Worker).await;
        let WorkerPlan { concurrency, limits, lease, retention, safety_poll, grace, .. } = self;
        let thresholds = self.house.thresholds;
        let options = ConsumerOptions {
            instance,
            concurrency,
            limits,
            lease,
            retention,
            safety_poll,
            thresholds,
        };
        let consumer = Consumer::new(owner.shared(), self.house.keys.clone(), options, handler);
        let stop = CancellationToken::new();
        let task = tokio::spawn(consumer.run(stop.clone(), grace));
        Worker { owner, stop, task }
    }
}

/// A running worker.
pub struct Worker {
    pub owner: Owner,
    stop: CancellationToken,
    task: JoinHandle<Drained>,
}

impl Worker {
    /// Ends it as a crash would: nothing is said to Redis, its connection closes.
    pub async fn crash(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
    }

    /// Drains it.
    pub async fn stop(self) -> Drained {
        self.stop.cancel();
        self.task.await.unwrap()
    }
}
