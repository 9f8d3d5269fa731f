//! From being put in to being done.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;
use trunkline::queue::{Enqueued, MAX_BATCH, Verdict};

use crate::house::{Diary, House, WorkerPlan, event, job};
use crate::support::eventually::eventually;
use crate::support::redis::Redis;

#[tokio::test]
async fn a_repeated_source_and_id_makes_one_job() {
    let house = House::start();
    let (post, diary) = (house.producer().await, Diary::done());
    let _worker = house.worker().start(&diary).await;

    let first = post.producer.enqueue(&[event("a"), event("a"), event("b")]).await.unwrap();
    let again = post.producer.enqueue(&[event("b"), event("c")]).await.unwrap();

    let told = |enqueued: &[Enqueued]| enqueued.iter().map(|one| one.duplicate).collect::<Vec<_>>();
    assert_eq!((told(&first), told(&again)), (vec![false, true, false], vec![true, false]));
    diary.reaches(3).await;
    house.is_drained().await;
    assert_eq!((diary.jobs().len(), diary.distinct()), (3, 3));
}

#[tokio::test]
async fn a_job_arrives_as_it_was_put_in() {
    let house = House::start();
    let (post, diary) = (house.producer().await, Diary::done());
    let _worker = house.worker().start(&diary).await;
    let mut sent = job("\u{0} bytes \u{7f}");
    sent.traceparent = Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into());

    post.producer.enqueue(std::slice::from_ref(&sent)).await.unwrap();
    diary.reaches(1).await;

    let taken = diary.jobs().remove(0);
    assert_eq!((taken.body, taken.traceparent), (sent.body, sent.traceparent));
    assert_eq!((taken.attempt, taken.deliveries), (1, 1));
}

/// Nobody polls: a job that is not announced is never found.
async fn each_of_so_many_jobs_is_announced(house: House, count: usize) {
    let (post, diary) = (house.producer().await, Diary::done());
    let _worker = house.worker().start(&diary).await;
    for taken in 0..count {
        post.post(&taken.to_string()).await;
        diary.reaches(taken + 1).await;
    }
    house.is_drained().await;
}

#[tokio::test]
async fn a_thousand_jobs_find_an_idle_worker_without_a_single_poll() {
    each_of_so_many_jobs_is_announced(House::start(), 1000).await;
}

#[tokio::test]
async fn where_tracking_is_denied_a_message_wakes_the_worker() {
    let plan = Redis::plan().users(&["user default on nopass ~* &* +@all -client|tracking"]);
    each_of_so_many_jobs_is_announced(House::with(plan), 100).await;
}

#[tokio::test]
async fn where_nothing_tells_of_jobs_the_worker_polls() {
    let plan = Redis::plan()
        .users(&["user default on nopass ~* resetchannels +@all -client|tracking -subscribe"]);
    each_of_so_many_jobs_is_announced(House::with(plan), 20).await;
}

#[tokio::test]
async fn several_idle_workers_share_a_batch() {
    static GATE: Semaphore = Semaphore::const_new(0);
    let house = House::start();
    let (post, diary) = (
        house.producer().await,
        Diary::new(async |_| {
            GATE.acquire().await.unwrap().forget();
            Verdict::Done
        }),
    );
    let plan = WorkerPlan { concurrency: 1, ..house.worker() };
    let _workers = [plan.start(&diary).await, plan.start(&diary).await, plan.start(&diary).await];
    house.parks(3).await;

    post.post_all((0..3).map(|n| n.to_string())).await;

    // Nobody has finished one, and nobody may have two: each has its own.
    diary.reaches(3).await;
    assert_eq!(house.depths().await.active, 3);
    GATE.add_permits(3);
    house.is_drained().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backlog_of_a_hundred_thousand_jobs_drains() {
    const JOBS: usize = 100_000;
    let house = House::start();
    let post = house.producer().await;
    let batch: Vec<_> = (0..MAX_BATCH).map(|n| job(&n.to_string())).collect();
    for _ in 0..JOBS / MAX_BATCH {
        post.producer.enqueue(&batch).await.unwrap();
    }
    assert_eq!(house.depths().await.waiting, JOBS as u64);

    let diary = Diary::done();
    let plan = WorkerPlan { concurrency: 64, ..house.worker() };
    let _workers = [plan.start(&diary).await, plan.start(&diary).await];

    house.is_drained_within(Duration::from_secs(120)).await;
    assert_eq!(diary.jobs().len(), JOBS);
}

#[tokio::test]
async fn a_failing_job_ends_in_the_dead_letters_and_stops_nobody() {
    let house = House::start();
    let post = house.producer().await;
    let diary = Diary::new(async |job| match job.body.as_slice() {
        b"poison" => Verdict::Retry { reason: "poisoned" },
        _ => Verdict::Done,
    });
    let _worker = WorkerPlan { concurrency: 1, ..house.worker() }.start(&diary).await;

    post.post("poison").await;
    post.post_all((0..50).map(|n| n.to_string())).await;

    let letter = house.buries(1).await.remove(0);
    for expected in ["attempts", "poisoned", "poison"] {
        assert!(letter.iter().any(|field| field == expected), "no {expected} in {letter:?}");
    }
    house.is_drained().await;
    let attempts: Vec<_> =
        diary.jobs().iter().filter(|job| job.body == b"poison").map(|job| job.attempt).collect();
    assert_eq!((attempts, diary.distinct()), (vec![1, 2, 3], 51));
}

#[tokio::test]
async fn a_delayed_job_has_its_turn_although_the_stream_never_runs_dry() {
    let house = House::start();
    let post = Arc::new(house.producer().await);
    let came_again = Arc::new(AtomicBool::new(false));
    post.post("late").await;
    post.post_all((0..100).map(|n| n.to_string())).await;
    let diary = Diary::new({
        let (post, came_again) = (Arc::clone(&post), Arc::clone(&came_again));
        move |job| {
            let (post, came_again) = (Arc::clone(&post), Arc::clone(&came_again));
            async move {
                match (job.body.as_slice(), job.attempt) {
                    (b"late", 1) => return Verdict::Retry { reason: "not yet" },
                    (b"late", _) => came_again.store(true, Ordering::Relaxed),
                    // Each makes the next, until the delayed one has come.
                    _ if !came_again.load(Ordering::Relaxed) => post.post("more").await,
                    _ => {}
                }
                Verdict::Done
            }
        }
    });
    let _worker = WorkerPlan { concurrency: 4, ..house.worker() }.start(&diary).await;

    eventually("the delayed job", async || match came_again.load(Ordering::Relaxed) {
        true => Ok(()),
        false => Err(diary.jobs().len()),
    })
    .await;
    house.is_drained().await;
}

#[tokio::test]
async fn a_panic_costs_an_attempt_and_neither_the_job_nor_the_slot() {
    let house = House::start();
    let post = house.producer().await;
    let diary = Diary::new(async |job| match job.attempt {
        1 => panic!("on purpose"),
        _ => Verdict::Done,
    });
    let _worker = WorkerPlan { concurrency: 1, ..house.worker() }.start(&diary).await;

    post.post_all(["a".into(), "b".into()]).await;

    diary.reaches(4).await;
    house.is_drained().await;
    assert_eq!((diary.distinct(), house.dead().len()), (2, 0));
}

#[tokio::test]
async fn an_entry_that_is_no_job_is_buried_as_it_is() {
    let house = House::start();
    let diary = Diary::done();
    let _worker = house.worker().start(&diary).await;
    house.redis.cli(&["XADD", &house.keys.stream(), "*", "who", "knows"]);
    // Nobody told the worker of it; the next job does.
    house.producer().await.post("a").await;

    let letter = house.buries(1).await.remove(0);
    assert!(letter.contains(&"malformed".into()) && letter.contains(&"knows".into()), "{letter:?}");
    house.is_drained().await;
}

#[tokio::test]
async fn a_delayed_entry_that_nobody_can_read_is_buried_and_holds_up_nobody() {
    let house = House::start();
    let many = " field value".repeat(5_000);
    let mut foreign = vec!["XADD", "stream", "*"];
    foreign.extend(many.split_whitespace());
    let stream = house.keys.stream();
    foreign[1] = &stream;
    house.redis.cli(&foreign);
    house.redis.cli(&["ZADD", &house.keys.delayed(), "1", "garbage"]);
    // Fields that are no texts.
    let nested = "return redis.call('ZADD', KEYS[1], 2, cmsgpack.pack({ 'job', { 'a' } }))";
    house.redis.cli(&["EVAL", nested, "1", &house.keys.delayed()]);
    let diary = Diary::done();
    let _worker = house.worker().start(&diary).await;

    house.producer().await.post("a").await;

    let letters = house.buries(3).await;
    assert!(letters.iter().all(|letter| letter.contains(&"malformed".into())), "{letters:?}");
    assert!(letters.concat().contains(&"garbage".into()));
    diary.reaches(1).await;
    house.is_drained().await;
}

#[tokio::test]
async fn a_wake_up_that_fails_does_not_unsay_that_the_job_is_in() {
    let house = House::start();
    house.redis.cli(&["SET", &house.keys.idle(), "not a sorted set"]);
    let (post, diary) = (house.producer().await, Diary::done());
    post.post("a").await;
    assert_eq!(house.depths().await.waiting, 1);

    house.redis.cli(&["DEL", &house.keys.idle()]);
    let _worker = house.worker().start(&diary).await;
    diary.reaches(1).await;
}

#[tokio::test]
async fn a_worker_that_drains_finishes_what_it_can_and_hands_back_the_rest() {
    static GATE: Semaphore = Semaphore::const_new(0);
    let house = House::start();
    let post = house.producer().await;
    let stuck = Diary::new(async |job| match job.body.as_slice() {
        b"slow" => std::future::pending().await,
        _ => {
            GATE.acquire().await.unwrap().forget();
            Verdict::Done
        }
    });
    // The slow one uses all of it up; the quick one needs a part of it.
    let grace = Duration::from_secs(3);
    let worker = WorkerPlan { grace, ..house.worker() }.start(&stuck).await;
    post.post_all(["slow".into(), "quick".into()]).await;
    stuck.reaches(2).await;

    GATE.add_permits(1);
    let drained = worker.stop().await;
    assert_eq!((drained.finished, drained.handed_back, drained.left), (1, 1, 0));
    let consumers = house.redis.cli(&["XINFO", "CONSUMERS", &house.keys.stream(), "workers"]);
    assert_eq!(consumers.list().len(), 0, "its name stayed behind");

    let next = Diary::done();
    let _worker = house.worker().start(&next).await;
    house.is_drained().await;
    let job = next.jobs().remove(0);
    assert_eq!((job.body.as_slice(), job.attempt, job.deliveries), (&b"slow"[..], 1, 1));
}
