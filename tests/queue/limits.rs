//! How much the queue takes, and how often it gives.

use std::time::Duration;

use tokio::sync::Semaphore;
use trunkline::model::CommandFailure;
use trunkline::queue::{EnqueueError, GROUP, MAX_DELIVERIES, Thresholds, Verdict};

use crate::house::{Diary, House, WorkerPlan, event, job};
use crate::support::eventually::eventually;

#[tokio::test]
async fn a_full_queue_refuses_until_it_has_come_down_to_recovery() {
    let mut house = House::start();
    house.thresholds = Thresholds { warning: 5, critical: 10, recovery: 3 };
    let post = house.producer().await;
    let full = async |jobs: &[_]| match post.producer.enqueue(jobs).await {
        Err(EnqueueError::Full) => true,
        Ok(_) => false,
        Err(error) => panic!("{error}"),
    };
    assert!(!full(&[event("first")]).await);
    for n in 1..10 {
        assert!(!full(&[job(&n.to_string())]).await);
    }
    assert!(full(&[event("late"), event("later")]).await, "critical is reached");
    assert!(house.depths().await.full);
    let repeat = post.producer.enqueue(&[event("first"), event("first")]).await.unwrap();
    assert!(repeat.iter().all(|one| one.duplicate), "a repeat needs no room");

    let take = |count: i64| {
        let stream = house.keys.stream();
        for entry in
            house.redis.cli(&["XRANGE", &stream, "-", "+"]).list().iter().take(count as usize)
        {
            house.redis.cli(&["XDEL", &stream, &entry.list()[0].text()]);
        }
    };
    take(6);
    assert!(full(&[event("late"), event("later")]).await, "above recovery it stays full");
    take(1);
    assert!(!house.depths().await.full, "seen without anybody posting");
    assert!(!full(&[event("late"), event("later")]).await);
    assert_eq!(house.depths().await.waiting, 5, "what was refused had left nothing behind");
}

#[tokio::test]
async fn a_job_that_kills_its_worker_is_given_up_after_ten_deliveries() {
    let house = House::start();
    house.producer().await.post("deadly").await;
    let stream = house.keys.stream();
    house.redis.cli(&["XGROUP", "CREATE", &stream, GROUP, "0"]);
    let taken = house.redis.cli(&["XREADGROUP", "GROUP", GROUP, "gone", "STREAMS", &stream, ">"]);
    let id = taken.list()[0].list()[1].list()[0].list()[0].text();
    let many = MAX_DELIVERIES.to_string();
    let claim = ["XCLAIM", &stream, GROUP, "gone", "0", &id, "IDLE", "99999", "RETRYCOUNT", &many];
    house.redis.cli(&claim);

    let diary = Diary::done();
    let lease = Duration::from_secs(1);
    let _worker = WorkerPlan { lease, ..house.worker() }.start(&diary).await;

    let letter = house.buries(1).await.remove(0);
    assert!(
        letter.contains(&"abandoned".into()) && letter.contains(&"deadly".into()),
        "{letter:?}"
    );
    assert_eq!(diary.jobs().len(), 0);
    house.is_drained().await;
}

#[tokio::test]
async fn faults_of_redis_use_up_no_attempt_and_still_end() {
    let house = House::start();
    let diary = Diary::new(async |job| match job.body.as_slice() {
        b"unlucky" if job.deliveries < 5 => Verdict::RetryUncounted,
        b"unlucky" => Verdict::Done,
        _ => Verdict::RetryUncounted,
    });
    let mut plan = house.worker();
    plan.limits.backoff = Duration::from_millis(1);
    let _worker = plan.start(&diary).await;

    house.producer().await.post_all(["unlucky".into(), "hopeless".into()]).await;

    let letter = house.buries(1).await.remove(0);
    assert!(
        letter.contains(&"abandoned".into()) && letter.contains(&"hopeless".into()),
        "{letter:?}"
    );
    house.is_drained().await;
    assert!(diary.jobs().iter().all(|job| job.attempt == 1));
    let deliveries = |body: &[u8]| diary.jobs().iter().filter(|job| job.body == body).count();
    assert_eq!((deliveries(b"unlucky"), deliveries(b"hopeless")), (5, MAX_DELIVERIES as usize));
}

#[tokio::test]
async fn a_redis_without_memory_still_gives_out_and_settles() {
    static GATE: Semaphore = Semaphore::const_new(0);
    let house = House::start();
    let post = house.producer().await;
    let diary = Diary::new(async |job| {
        let _one_by_one = GATE.acquire().await.unwrap();
        match (job.body.as_slice(), job.attempt) {
            (b"again", 1) => Verdict::Retry { reason: "once" },
            _ => Verdict::Done,
        }
    });
    let _worker = WorkerPlan { concurrency: 2, ..house.worker() }.start(&diary).await;
    post.post("again").await;
    post.post_all((0..40).map(|n| n.to_string())).await;
    diary.reaches(2).await;

    house.redis.cli(&["CONFIG", "SET", "maxmemory", "1"]);
    GATE.add_permits(1);
    diary.reaches(41).await;
    let stream = house.keys.stream();
    eventually("all settled but the one to be put back", async || {
        match house.redis.cli(&["XLEN", &stream]).integer() {
            1 => Ok(()),
            more => Err(more),
        }
    })
    .await;
    match post.producer.enqueue(&[event("late"), event("later")]).await {
        Err(EnqueueError::Redis(error)) => assert_eq!(error.reason(), CommandFailure::Oom),
        other => panic!("{other:?}"),
    }

    house.redis.cli(&["CONFIG", "SET", "maxmemory", "0"]);
    let late = post.producer.enqueue(&[event("late"), event("later")]).await.unwrap();
    assert!(late.iter().all(|one| !one.duplicate), "the refused batch had left something behind");
    house.is_drained().await;
    assert_eq!(diary.jobs().len(), 44);
}

#[tokio::test]
async fn an_attempt_takes_no_longer_than_the_lease() {
    let house = House::start();
    let diary = Diary::new(async |job| match job.attempt {
        1 => std::future::pending().await,
        _ => Verdict::Done,
    });
    let lease = Duration::from_millis(500);
    let plan = WorkerPlan { lease, concurrency: 1, ..house.worker() };
    let _worker = plan.start(&diary).await;
    house.producer().await.post("stuck").await;
    diary.reaches(2).await;
    house.is_drained().await;
}

#[tokio::test]
async fn the_depths_say_where_jobs_are() {
    let house = House::start();
    let diary = Diary::new(async |job| match job.body.as_slice() {
        b"slow" => std::future::pending().await,
        b"later" => Verdict::Retry { reason: "not now" },
        _ => Verdict::Dead { reason: trunkline::model::DeadReason::RuleError, detail: "no".into() },
    });
    let mut plan = WorkerPlan { concurrency: 3, ..house.worker() };
    plan.limits.backoff = Duration::from_secs(30);
    let _worker = plan.start(&diary).await;
    let post = house.producer().await;
    post.post_all(["later", "dead", "slow", "slow", "slow", "waiting"].map(String::from)).await;
    house.buries(1).await;
    diary.reaches(5).await;

    let depths = house.depths().await;
    assert_eq!((depths.waiting, depths.active, depths.delayed, depths.dead), (1, 3, 1, 1));
    assert!(depths.oldest < Duration::from_secs(20), "{:?}", depths.oldest);
}
