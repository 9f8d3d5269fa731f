//! Crashes, lost answers, a Redis that hangs, dies or forgets.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;
use trunkline::queue::{GROUP, Verdict};

use crate::house::{Diary, House, WorkerPlan, event};
use crate::support::eventually::{eventually, within};
use crate::support::proxy::{Direction, Proxy};

const LEASE: Duration = Duration::from_millis(900);

/// Longer than this process stands still: who gets a job has done it before another may have it.
const STEADY: Duration = Duration::from_secs(4);

/// Longer than anything below: a connection that hangs is replaced after about two seconds,
/// and a lost lease is found within a lease and a half.
const RECOVERY: Duration = Duration::from_secs(30);

fn never() -> Diary {
    Diary::new(async |_| std::future::pending().await)
}

#[tokio::test]
async fn the_jobs_of_a_crashed_worker_are_done_by_another() {
    let house = House::start();
    let post = house.producer().await;
    let (lost, done) = (never(), Diary::done());
    let crashing = house.worker().start(&lost).await;
    post.post_all((0..10).map(|n| n.to_string())).await;
    lost.reaches(10).await;
    let _other = WorkerPlan { lease: STEADY, ..house.worker() }.start(&done).await;

    crashing.crash().await;
    house.leases_run_out();

    house.is_drained().await;
    assert_eq!(done.distinct(), 10);
    assert!(done.jobs().iter().all(|job| (job.attempt, job.deliveries) == (1, 2)));
}

#[tokio::test]
async fn a_small_worker_takes_over_what_a_large_one_left_in_one_go() {
    let house = House::start();
    let (lost, done) = (never(), Diary::done());
    let lease = Duration::from_secs(4);
    let crashing = WorkerPlan { lease, concurrency: 64, ..house.worker() }.start(&lost).await;
    house.producer().await.post_all((0..60).map(|n| n.to_string())).await;
    lost.reaches(60).await;
    crashing.crash().await;

    let _other = WorkerPlan { lease, concurrency: 2, ..house.worker() }.start(&done).await;

    // Two every half lease would take a minute.
    house.is_drained_within(lease * 4).await;
    assert_eq!(done.distinct(), 60);
}

#[tokio::test]
async fn a_slow_job_stays_with_the_worker_that_renews_its_lease() {
    let house = House::start();
    let diary = Diary::new(async |_| {
        // Longer than the other's lease: that is what slow means.
        tokio::time::sleep(Duration::from_millis(5_800)).await;
        Verdict::Done
    });
    // The bound of an attempt is this worker's own lease; the other would take over after its. It
    // renews every two seconds, which leaves two for a process that stands still.
    let lease = Duration::from_secs(6);
    let _slow = WorkerPlan { lease, ..house.worker() }.start(&diary).await;
    let other = Diary::done();
    house.producer().await.post("slow").await;
    diary.reaches(1).await;
    let _other = WorkerPlan { lease: STEADY, ..house.worker() }.start(&other).await;
    house.is_drained().await;
    assert_eq!((diary.jobs().len(), other.jobs().len()), (1, 0));
}

#[tokio::test]
async fn a_worker_that_lost_its_lease_cannot_settle() {
    cannot_settle_once_it_is_held_by(Some("thief")).await;
}

#[tokio::test]
async fn a_worker_that_lost_its_lease_and_got_another_cannot_settle_under_the_first() {
    cannot_settle_once_it_is_held_by(None).await;
}

/// Takes a job over in somebody's name, or in that of the worker itself.
async fn cannot_settle_once_it_is_held_by(thief: Option<&str>) {
    let house = House::start();
    let gate = Arc::new(Semaphore::new(0));
    let diary = Diary::new({
        let gate = Arc::clone(&gate);
        move |_| {
            let gate = Arc::clone(&gate);
            async move {
                gate.acquire().await.unwrap().forget();
                Verdict::Done
            }
        }
    });
    let _worker = house.worker().start(&diary).await;
    house.producer().await.post("contested").await;
    diary.reaches(1).await;
    let stream = house.keys.stream();
    let pending =
        || house.redis.cli(&["XPENDING", &stream, GROUP, "-", "+", "10"]).list()[0].texts();
    let (id, worker) = (pending()[0].clone(), pending()[1].clone());
    let holder = thief.unwrap_or(&worker);
    house.redis.cli(&["XCLAIM", &stream, GROUP, holder, "0", &id]);

    gate.add_permits(1);
    // The next job is settled after the lost one was tried.
    gate.add_permits(1);
    house.producer().await.post("next").await;
    diary.reaches(2).await;
    eventually("the next job settled", async || {
        match house.redis.cli(&["XLEN", &stream]).integer() {
            1 => Ok(()),
            more => Err(more),
        }
    })
    .await;
    assert_eq!(pending()[..2], [id, holder.to_owned()]);
}

#[tokio::test]
async fn jobs_with_many_others_between_them_are_settled_and_those_stay_in_hand() {
    static GATE: Semaphore = Semaphore::const_new(0);
    let house = House::start();
    let diary = Diary::new(async |job| match job.body.as_slice() {
        b"edge" => {
            GATE.acquire().await.unwrap().forget();
            Verdict::Done
        }
        _ => std::future::pending().await,
    });
    let _worker = WorkerPlan { concurrency: 64, ..house.worker() }.start(&diary).await;
    let between = (0..40).map(|n| n.to_string());
    let edge = || std::iter::once("edge".to_owned());
    house.producer().await.post_all(edge().chain(between).chain(edge())).await;
    diary.reaches(42).await;

    // Both at once, so that they are settled together.
    GATE.add_permits(2);

    let stream = house.keys.stream();
    eventually("the two settled", async || match house.redis.cli(&["XLEN", &stream]).integer() {
        40 => Ok(()),
        more => Err(more),
    })
    .await;
    assert_eq!(house.redis.cli(&["XPENDING", &stream, GROUP]).list()[0].integer(), 40);
}

#[tokio::test]
async fn after_a_flush_between_two_plain_reads_the_worker_goes_on() {
    let house = House::start();
    let (post, port) = (house.producer().await, house.redis.port());
    let diary = Diary::new(move |job| {
        if job.body == b"flush" {
            // Right now: a job later the worker does not read plainly any more.
            let mut redis = TcpStream::connect(("127.0.0.1", port)).unwrap();
            redis.write_all(b"FLUSHALL\r\n").unwrap();
            redis.read_exact(&mut [0; 5]).unwrap();
        }
        async { Verdict::Done }
    });
    // With one slot a claim that finds a job has found all it asked for.
    post.post_all(["flush".to_owned(), "lost".to_owned()]).await;
    let _worker = WorkerPlan { concurrency: 1, ..house.worker() }.start(&diary).await;
    diary.reaches(1).await;

    house.parks(1).await;
    post.post("after").await;

    diary.reaches(2).await;
    assert_eq!(diary.bodies(), ["flush", "after"]);
    house.is_drained().await;
}

#[tokio::test]
async fn after_a_flush_the_worker_goes_on() {
    let house = House::start();
    let (post, diary) = (house.producer().await, Diary::done());
    let _worker = house.worker().start(&diary).await;
    post.post("before").await;
    diary.reaches(1).await;
    house.parks(1).await;

    house.redis.cli(&["FLUSHALL"]);
    // The flush itself wakes the worker, which parks again and makes the group anew.
    house.parks(1).await;
    post.post("after").await;

    diary.reaches(2).await;
    house.is_drained().await;
}

#[tokio::test]
async fn after_a_restart_of_redis_nobody_has_to_be_restarted() {
    let house = House::start();
    let (post, diary) = (house.producer().await, Diary::done());
    let _worker = house.worker().start(&diary).await;
    house.parks(1).await;

    house.redis.restart();
    house.parks(1).await;
    within(RECOVERY, "an accepted job", async || post.producer.enqueue(&[event("a")]).await).await;

    diary.reaches(1).await;
    house.is_drained().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_connections_dying_all_the_time_no_job_is_lost_or_made_twice() {
    const JOBS: usize = 1000;
    let house = Arc::new(House::start());
    let (post, diary) = (house.producer().await, Diary::done());
    let plan = WorkerPlan { lease: LEASE, ..house.worker() };
    let _workers = [plan.start(&diary).await, plan.start(&diary).await];
    let enough = Arc::new(AtomicBool::new(false));
    let killer = tokio::spawn({
        let (house, enough) = (house.clone(), enough.clone());
        async move {
            let mut killed = 0;
            while !enough.load(Ordering::Relaxed) || killed == 0 {
                killed += house.redis.cli(&["CLIENT", "KILL", "TYPE", "normal"]).integer();
                tokio::time::sleep(Duration::from_millis(250)).await;
            }
            killed
        }
    });

    let events: Vec<_> = (0..JOBS).map(|n| event(&n.to_string())).collect();
    for batch in events.chunks(20) {
        // Repeating is safe whatever became of the first try.
        within(RECOVERY, "an accepted batch", async || post.producer.enqueue(batch).await).await;
    }
    within(RECOVERY, "every job done", async || match diary.distinct() {
        JOBS => Ok(()),
        some => Err(some),
    })
    .await;
    enough.store(true, Ordering::Relaxed);
    assert!(killer.await.unwrap() > 0);

    house.is_drained_within(RECOVERY).await;
    assert_eq!((diary.distinct(), house.dead().len()), (JOBS, 0));
    let jobs: std::collections::HashSet<_> = diary.jobs().into_iter().map(|job| job.id).collect();
    assert_eq!(jobs.len(), JOBS, "an event made two jobs");
}

#[tokio::test]
async fn a_claim_whose_answer_was_lost_is_not_lost() {
    let mut house = House::start();
    let post = house.producer().await;
    let proxy = Proxy::to(house.redis.port());
    house.detour = Some(proxy.port());
    let diary = Diary::done();
    // A lease this long cannot be what brings the job back.
    let _worker =
        WorkerPlan { lease: Duration::from_secs(3600), ..house.worker() }.start(&diary).await;
    house.parks(1).await;
    let key = house.keys.stream();

    // The wake-up reaches the worker, its claim reaches Redis, the answer does not come. What is
    // still on its way when the worker has parked, does.
    let (silenced, woken) = (Arc::new(AtomicBool::new(true)), AtomicBool::new(false));
    proxy.filter(Arc::new({
        let silenced = silenced.clone();
        move |direction, bytes| {
            // It may come in one piece with an answer from before.
            let wakes = direction == Direction::ToClient
                && bytes.windows(10).any(|word| word == b"invalidate");
            let was_woken = woken.fetch_or(wakes, Ordering::Relaxed);
            let mute = direction == Direction::ToClient
                && !wakes
                && was_woken
                && silenced.load(Ordering::Relaxed);
            if mute { Vec::new() } else { bytes }
        }
    }));
    post.post("a").await;
    eventually("a claim that nobody hears of", async || {
        let pending = house.redis.ask(&["XPENDING", &key, GROUP]);
        match pending.list().first().map(|count| count.integer()) {
            Some(1) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    assert_eq!(diary.jobs().len(), 0);
    silenced.store(false, Ordering::Relaxed);
    proxy.reset();

    diary.reaches(1).await;
    house.is_drained().await;
    assert_eq!(diary.jobs()[0].deliveries, 1);
}

#[tokio::test]
async fn a_settlement_whose_answer_was_lost_is_repeated_without_harm() {
    static GATE: Semaphore = Semaphore::const_new(0);
    let mut house = House::start();
    let post = house.producer().await;
    let proxy = Proxy::to(house.redis.port());
    house.detour = Some(proxy.port());
    let diary = Diary::new(async |_| {
        GATE.acquire().await.unwrap().forget();
        Verdict::Retry { reason: "once" }
    });
    let mut plan = WorkerPlan { grace: RECOVERY, ..house.worker() };
    plan.limits.backoff = Duration::from_secs(60);
    let worker = plan.start(&diary).await;
    let put_back = async |count| {
        eventually("the job put back", async || {
            match house.redis.cli(&["ZCARD", &house.keys.delayed()]).integer() {
                delayed if delayed == count => Ok(()),
                other => Err(other),
            }
        })
        .await;
    };
    // The first makes Redis know the script: a call by its hash is all that the second needs.
    post.post_all(["a".into(), "b".into()]).await;
    diary.reaches(2).await;
    GATE.add_permits(1);
    put_back(1).await;

    proxy.silence_one(Direction::ToClient);
    GATE.add_permits(1);
    put_back(2).await;
    proxy.reset();
    proxy.forward();
    worker.owner.shared().ready(RECOVERY).await.unwrap();

    // Draining waits for the settlement, which is tried again and finds the job gone.
    let drained = worker.stop().await;
    assert_eq!(drained.left, 0);
    let depths = house.depths().await;
    assert_eq!((depths.waiting, depths.active, depths.delayed), (0, 0, 2));
}

#[tokio::test]
async fn a_redis_that_hangs_delays_jobs_and_loses_none() {
    let mut house = House::start();
    let post = house.producer().await;
    // Shorter than it takes to give the connection up: both happen.
    house.command_timeout = Duration::from_millis(500);
    let diary = Diary::new(async |_| {
        tokio::time::sleep(Duration::from_millis(5)).await;
        Verdict::Done
    });
    let _worker = WorkerPlan { lease: LEASE, ..house.worker() }.start(&diary).await;
    post.post_all((0..500).map(|n| n.to_string())).await;
    diary.reaches(50).await;

    house.redis.stop();
    // The hang itself, longer than a lease and than it takes to give the connection up.
    tokio::time::sleep(Duration::from_secs(3)).await;
    house.redis.cont();

    house.is_drained_within(RECOVERY).await;
    assert_eq!((diary.distinct(), house.dead().len()), (500, 0));
}
