//! Jobs of one partition are done one after the other, in the order in which they were put in.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Semaphore;
use trunkline::model::{DeadReason, unix_ms};
use trunkline::queue::{EnqueueError, Job, NewJob, Partition, Thresholds, Verdict};

use crate::house::{Diary, House, NAMESPACE, Post, WorkerPlan, event, job};
use crate::support::eventually::eventually;
use crate::support::process::Daemon;

/// What is abandoned is found within half of it. It is longer than this process stands still, so
/// that nobody takes over what a worker has just been given.
pub const LEASE: Duration = Duration::from_secs(4);

/// A job whose key is what stands before the slash.
pub fn keyed(body: &str) -> NewJob {
    let key = body.split('/').next().unwrap();
    NewJob { partition: Some(Partition::of(key)), ..event(body) }
}

fn body(job: &Job) -> String {
    String::from_utf8(job.body.clone()).unwrap()
}

impl Post {
    pub async fn keyed(&self, bodies: &[&str]) {
        let jobs: Vec<_> = bodies.iter().copied().map(keyed).collect();
        self.producer.enqueue(&jobs).await.unwrap();
    }
}

impl House {
    /// Waits until so many wait for their time, and so many behind another.
    pub async fn has(&self, delayed: u64, blocked: u64) {
        eventually("delayed and blocked jobs", async || match self.depths().await {
            depths if (depths.delayed, depths.blocked) == (delayed, blocked) => Ok(()),
            depths => Err(format!("{depths:?}")),
        })
        .await;
    }

    /// Waits until nothing is noted of any partition.
    pub async fn forgets(&self) {
        eventually("no partition", async || {
            match self.redis.cli(&["HGETALL", &self.keys.partitions()]).texts() {
                noted if noted.is_empty() => Ok(()),
                noted => Err(format!("{noted:?}")),
            }
        })
        .await;
    }

    /// The bodies in the stream, as far as they are there.
    pub fn stream(&self) -> Vec<String> {
        let entries = self.redis.cli(&["XRANGE", &self.keys.stream(), "-", "+"]);
        let body = |fields: Vec<String>| {
            fields.chunks_exact(2).find(|pair| pair[0] == "body").map(|pair| pair[1].clone())
        };
        entries.list().iter().filter_map(|entry| body(entry.list()[1].texts())).collect()
    }
}

/// A handler whose jobs that end in `!` wait for the gate.
pub fn gated(gate: &Arc<Semaphore>) -> Diary {
    let gate = gate.clone();
    Diary::new(move |job| {
        let gate = gate.clone();
        async move {
            if job.body.ends_with(b"!") {
                gate.acquire().await.unwrap().forget();
            }
            Verdict::Done
        }
    })
}

/// What is in hand, and what came of each key.
#[derive(Default)]
struct Book {
    in_hand: BTreeMap<String, String>,
    begun: BTreeMap<String, Vec<u32>>,
    most: usize,
    faults: Vec<String>,
}

#[tokio::test]
async fn attempts_of_a_key_never_overlap_and_begin_in_order_while_keys_go_side_by_side() {
    const KEYS: u32 = 20;
    const EACH: u32 = 15;
    let book = Arc::new(Mutex::new(Book::default()));
    let diary = Diary::new({
        let book = book.clone();
        move |job| {
            let (name, book) = (body(&job), book.clone());
            async move {
                let Some((key, number)) = name.split_once('/') else { return Verdict::Done };
                let number: u32 = number.parse().unwrap();
                {
                    let mut book = book.lock().unwrap();
                    if let Some(other) = book.in_hand.insert(key.to_owned(), name.clone()) {
                        book.faults.push(format!("{name} beside {other}"));
                    }
                    book.most = book.most.max(book.in_hand.len());
                    book.begun.entry(key.to_owned()).or_default().push(number);
                }
                tokio::time::sleep(Duration::from_millis(fastrand::u64(0..4))).await;
                book.lock().unwrap().in_hand.remove(key);
                match number % 5 {
                    0 if job.attempt == 1 => Verdict::Retry { reason: "once" },
                    3 if job.deliveries == 1 => Verdict::RetryUncounted,
                    4 if key.ends_with('7') => {
                        Verdict::Dead { reason: DeadReason::RuleError, detail: "no".into() }
                    }
                    _ => Verdict::Done,
                }
            }
        }
    });
    let house = House::start();
    let post = house.producer().await;
    let mut workers = vec![];
    for _ in 0..3 {
        workers.push(WorkerPlan { concurrency: 8, ..house.worker() }.start(&diary).await);
    }
    for number in 0..EACH / 3 {
        let three = (0..KEYS).flat_map(|key| (0..3).map(move |n| (key, 3 * number + n)));
        let ours: Vec<_> = three.map(|(key, n)| keyed(&format!("key{key}/{n}"))).collect();
        post.producer.enqueue(&ours).await.unwrap();
        post.post_all((0..20).map(|n| format!("{number} {n}"))).await;
    }
    house.is_drained_within(Duration::from_secs(30)).await;

    {
        let book = book.lock().unwrap();
        assert_eq!(book.faults, [""; 0]);
        assert_eq!(book.begun.len(), KEYS as usize);
        let often = |n: u32| if matches!(n % 5, 0 | 3) { 2 } else { 1 };
        let all: Vec<u32> = (0..EACH).flat_map(|n| std::iter::repeat_n(n, often(n))).collect();
        for (key, begun) in &book.begun {
            assert_eq!(*begun, all, "{key}");
        }
        assert!(book.most > 5, "at most {} keys at a time", book.most);
    }
    assert_eq!(house.dead().len() as u32, 2 * EACH / 5);
    let unkeyed: BTreeSet<_> = diary.bodies().into_iter().filter(|it| !it.contains('/')).collect();
    assert_eq!(unkeyed.len() as u32, 20 * EACH / 3);
    house.forgets().await;
}

#[tokio::test]
async fn a_retry_holds_up_its_own_key_and_nobody_else() {
    let diary = Diary::new(async |job| match (job.body.as_slice(), job.attempt) {
        (b"a/0", 1) => Verdict::Retry { reason: "once" },
        _ => Verdict::Done,
    });
    let house = House::start();
    let post = house.producer().await;
    let mut plan = house.worker();
    plan.limits.backoff = Duration::from_secs(5);
    let _worker = plan.start(&diary).await;
    post.keyed(&["a/0", "a/1", "b/0"]).await;
    house.has(1, 1).await;
    // A late one meets a head that is delayed.
    post.keyed(&["a/2"]).await;
    post.post("none").await;
    diary.reaches(3).await;
    house.has(1, 2).await;
    house.is_drained().await;
    let mut bodies = diary.bodies();
    assert_eq!(bodies.split_off(3), ["a/0", "a/1", "a/2"], "after {bodies:?}");
    assert_eq!(bodies[0], "a/0");
}

#[tokio::test]
async fn a_job_given_up_lets_the_next_go_and_comes_last_when_it_is_put_back() {
    let gate = Arc::new(Semaphore::new(0));
    let diary = Diary::new({
        let gate = gate.clone();
        move |job| {
            let gate = gate.clone();
            async move {
                let no = Verdict::Dead { reason: DeadReason::RuleError, detail: "no".into() };
                if job.body == b"a/1" {
                    gate.acquire().await.unwrap().forget();
                }
                if job.body == b"a/0" && gate.available_permits() == 0 { no } else { Verdict::Done }
            }
        }
    });
    let house = House::start();
    let _worker = house.worker().start(&diary).await;
    house.producer().await.keyed(&["a/0", "a/1", "a/2"]).await;
    house.buries(1).await;
    diary.reaches(2).await;
    let url = house.redis.url();
    let own = ["--namespace", NAMESPACE, "--queue", "q", "--redis-url", &url];
    let tool = Daemon::tool().args([&["queue", "dead", "requeue", "--all"][..], &own].concat());
    assert!(tool.start().exit().await.success());
    house.has(0, 2).await;
    gate.add_permits(2);
    house.is_drained().await;
    assert_eq!(diary.bodies(), ["a/0", "a/1", "a/2", "a/0"]);
    house.forgets().await;
}

#[tokio::test]
async fn one_for_later_takes_its_place_when_it_is_due() {
    let gate = Arc::new(Semaphore::new(0));
    let diary = gated(&gate);
    let house = House::start();
    let post = house.producer().await;
    let _worker = house.worker().start(&diary).await;
    let due = Some(unix_ms() + 4_000);
    let later = NewJob { not_before_ms: due, ..keyed("a/later") };
    post.producer.enqueue(&[later, keyed("a/0"), keyed("a/1!")]).await.unwrap();
    diary.reaches(2).await;
    house.has(1, 0).await;
    // Its time comes while another is in hand.
    house.has(0, 1).await;
    post.keyed(&["a/2"]).await;
    house.has(0, 2).await;
    gate.add_permits(1);
    house.is_drained().await;
    assert_eq!(diary.bodies(), ["a/0", "a/1!", "a/later", "a/2"]);
}

#[tokio::test]
async fn a_retry_that_is_due_goes_before_one_for_later_that_is_due_with_it() {
    // Of those due in the same millisecond the one with the smaller id comes first: the later one.
    const TOGETHER: &str = "local all = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
        redis.call('ZADD', KEYS[1], all[2], all[3])
        return redis.call('ZRANGE', KEYS[1], 0, 0)[1] == all[3] and 1 or 0";
    let house = House::start();
    let diary = Diary::new(async |job| match (job.body.as_slice(), job.attempt) {
        (b"a/0", 1) => Verdict::Retry { reason: "once" },
        _ => Verdict::Done,
    });
    let mut plan = house.worker();
    plan.limits.backoff = Duration::from_secs(5);
    let worker = plan.start(&diary).await;
    let post = house.producer().await;
    let later = NewJob { not_before_ms: Some(unix_ms() + 3_600_000), ..keyed("a/1") };
    post.producer.enqueue(&[later]).await.unwrap();
    post.keyed(&["a/0"]).await;
    house.has(2, 0).await;
    worker.stop().await;
    let delayed = house.keys.delayed();
    assert_eq!(house.redis.cli(&["EVAL", TOGETHER, "1", &delayed]).integer(), 1);
    let _worker = plan.start(&diary).await;
    house.is_drained().await;
    assert_eq!(diary.bodies(), ["a/0", "a/0", "a/1"]);
}

#[tokio::test]
async fn an_entry_that_another_hand_put_into_the_stream_lets_nobody_go() {
    let gate = Arc::new(Semaphore::new(0));
    let (house, diary) = (House::start(), gated(&gate));
    let _worker = house.worker().start(&diary).await;
    house.producer().await.keyed(&["a/0!", "a/1"]).await;
    diary.reaches(1).await;
    let partition = Partition::of("a").to_string();
    let strange = ["job", "7 event 1000 1 0", "body", "strange", "partition", &partition];
    house.redis.cli(&[&["XADD", &house.keys.stream(), "*"], &strange[..]].concat());
    // Nobody was told of it.
    house.producer().await.post("call").await;
    diary.reaches(3).await;
    eventually("both settled", async || match house.stream() {
        left if left == ["a/0!"] => Ok(()),
        left => Err(format!("{left:?}")),
    })
    .await;
    house.has(0, 1).await;
    gate.add_permits(1);
    house.is_drained().await;
    assert_eq!(diary.bodies().last().unwrap(), "a/1");
    house.forgets().await;
}

#[tokio::test]
async fn those_that_wait_behind_another_fill_the_queue() {
    let mut house = House::start();
    house.thresholds = Thresholds { warning: 3, critical: 4, recovery: 1 };
    let post = house.producer().await;
    post.keyed(&["a/0", "a/1", "a/2", "a/3"]).await;
    let depths = house.depths().await;
    assert_eq!((depths.waiting, depths.blocked, depths.full), (1, 3, true));
    let refused = post.producer.enqueue(&[job("one more")]).await;
    assert!(matches!(refused, Err(EnqueueError::Full)), "{refused:?}");
    house.redis.cli(&["DEL", &house.keys.stream()]);
    assert!(house.depths().await.full, "three are left");

    let diary = Diary::done();
    let _worker = WorkerPlan { lease: LEASE, ..house.worker() }.start(&diary).await;
    house.is_drained().await;
    assert!(!house.depths().await.full);
    post.post("one more").await;
}
