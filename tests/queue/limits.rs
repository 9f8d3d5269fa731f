//! How much the queue takes, and how often it gives.

use std::time::Duration;

use tokio::sync::Semaphore;
use trunkline::model::CommandFailure;
use trunkline::queue::*;

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
    house.producer().await.post_all(["deadly".into(), "last chance".into()]).await;
    let stream = house.keys.stream();
    house.redis.cli(&["XGROUP", "CREATE", &stream, GROUP, "0"]);
    let taken = house.redis.cli(&["XREADGROUP", "GROUP", GROUP, "gone", "STREAMS", &stream, ">"]);
    let entries = &taken.list()[0].list()[1];
    for (entry, deliveries) in entries.list().iter().zip([MAX_DELIVERIES, MAX_DELIVERIES - 1]) {
        let (id, many) = (entry.list()[0].text(), deliveries.to_string());
        let claim = ["XCLAIM", &stream, GROUP, "gone", "0", &id];
        house.redis.cli(&[&claim[..], &["IDLE", "99999", "RETRYCOUNT", &many]].concat());
    }

    let diary = Diary::done();
    // Longer than this process stands still: what is taken over is done in time.
    let lease = Duration::from_secs(4);
    let _worker = WorkerPlan { lease, ..house.worker() }.start(&diary).await;

    let letter = house.buries(1).await.remove(0);
    assert!(
        letter.contains(&"abandoned".into()) && letter.contains(&"deadly".into()),
        "{letter:?}"
    );
    diary.reaches(1).await;
    house.is_drained().await;
    let given: Vec<_> = diary.jobs().iter().map(|job| (job.body.clone(), job.deliveries)).collect();
    assert_eq!(given, [(b"last chance".to_vec(), MAX_DELIVERIES)]);
}

#[tokio::test]
async fn a_repeat_is_known_for_the_window_and_no_longer() {
    let house = House::start();
    let post = house.producer().await;
    let key = |id: &str| DedupKey::new("/test", id);
    let (given, assigned) = (Dedup::Given(key("given")), Dedup::Assigned(key("assigned")));
    let put = async |window: Duration, dedup: Dedup| {
        let (keys, thresholds) = (house.keys.clone(), house.thresholds);
        let options = QueueOptions { keys, thresholds, dedup_window: window };
        let producer = Producer::new(post.owner.shared(), options);
        let jobs = [NewJob { dedup: Some(dedup), ..job("x") }];
        producer.enqueue(&jobs).await.unwrap()[0].duplicate
    };
    let lasts = |id: &str| {
        let entry = format!("{}{}", house.keys.dedup(), key(id));
        let left = house.redis.cli(&["PTTL", &entry]).integer();
        house.redis.cli(&["DEL", &entry]);
        left
    };
    const HOUR: Duration = Duration::from_secs(3_600);
    assert!(!put(HOUR, given).await && put(HOUR, given).await);
    assert!((3_500_000..=3_600_000).contains(&lasts("given")));
    // An id of our own is known to whoever repeats at once, and to nobody later.
    assert!(!put(HOUR, assigned).await && put(HOUR, assigned).await);
    assert!((200_000..=300_000).contains(&lasts("assigned")));
    let short = Duration::from_secs(100);
    assert!(!put(short, assigned).await);
    assert!((1..=100_000).contains(&lasts("assigned")));
    assert!(!put(Duration::ZERO, given).await && !put(Duration::ZERO, given).await);
    assert_eq!(lasts("given"), -2, "there is no entry");
}

#[tokio::test]
async fn a_job_of_the_older_form_goes_again_at_its_next_attempt() {
    let house = House::start();
    let (stream, head) = (house.keys.stream(), ["id", "7", "type", "event", "at", "1000"]);
    let rest = ["attempt", "1", "deliveries", "0", "body", "old"];
    house.redis.cli(&[&["XADD", &stream, "*"], &head[..], &rest[..]].concat());
    let diary = Diary::new(async |job| match job.attempt {
        1 => Verdict::Retry { reason: "once" },
        _ => Verdict::Done,
    });
    let _worker = house.worker().start(&diary).await;
    diary.reaches(2).await;
    house.is_drained().await;
    let told: Vec<_> = diary.jobs().iter().map(|job| (job.attempt, job.deliveries)).collect();
    assert_eq!(told, [(1, 1), (2, 2)]);
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
    // However often it goes again, its age is that of the first time.
    let mut begun: Vec<_> =
        diary.jobs().iter().map(|job| (job.body.clone(), job.enqueued_ms)).collect();
    begun.sort_unstable();
    begun.dedup();
    assert_eq!(begun.len(), 2, "{begun:?}");
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

    // The one put back may be settled after the last one has been taken.
    house.has(1, 0).await;
    let depths = house.depths().await;
    assert_eq!((depths.waiting, depths.active, depths.delayed, depths.dead), (1, 3, 1, 1));
    assert!(depths.oldest < Duration::from_secs(20), "{:?}", depths.oldest);
}
