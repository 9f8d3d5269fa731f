//! What becomes of the order of a partition when workers crash, operators delete, Redis has no memory
//! or answers get lost.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use trunkline::queue::{GROUP, MAX_DELIVERIES, Partition, Verdict};

use crate::house::{Diary, House, WorkerPlan};
use crate::ordered::{LEASE, gated, keyed};
use crate::support::eventually::{eventually, within};
use crate::support::proxy::{Direction, Proxy};

#[tokio::test]
async fn what_a_worker_leaves_keeps_its_place_whether_it_crashed_or_was_told_to_stop() {
    for crashes in [true, false] {
        let house = House::start();
        let post = house.producer().await;
        let lost = Diary::new(async |_| std::future::pending().await);
        let done = Diary::done();
        let plan = WorkerPlan { lease: LEASE, ..house.worker() };
        let first = house.worker().start(&lost).await;
        post.keyed(&["a/0", "a/1", "a/2"]).await;
        lost.reaches(1).await;
        house.parks(1).await;
        let _other = if crashes {
            first.crash().await;
            house.leases_run_out();
            plan.start(&done).await
        } else {
            first.stop().await;
            // It is in the stream again, and those that come now are behind it.
            post.keyed(&["a/3"]).await;
            assert_eq!(house.stream(), ["a/0"]);
            plan.start(&done).await
        };
        if crashes {
            post.keyed(&["a/3"]).await;
        }
        house.is_drained().await;
        assert_eq!(done.bodies(), ["a/0", "a/1", "a/2", "a/3"], "crashed: {crashes}");
        assert_eq!(lost.bodies(), ["a/0"]);
        house.forgets().await;
    }
}

#[tokio::test]
async fn a_job_that_nobody_could_ever_settle_lets_the_next_go() {
    let house = House::start();
    house.producer().await.keyed(&["a/0", "a/1"]).await;
    let stream = house.keys.stream();
    house.redis.cli(&["XGROUP", "CREATE", &stream, GROUP, "0"]);
    let read = ["XREADGROUP", "GROUP", GROUP, "gone", "STREAMS", &stream, ">"];
    let taken = house.redis.cli(&read);
    let id = taken.list()[0].list()[1].list()[0].list()[0].text();
    let worn = ["XCLAIM", &stream, GROUP, "gone", "0", &id, "IDLE", "99999"];
    house.redis.cli(&[&worn[..], &["RETRYCOUNT", &MAX_DELIVERIES.to_string()]].concat());
    let diary = Diary::done();
    let _worker = WorkerPlan { lease: LEASE, ..house.worker() }.start(&diary).await;
    house.buries(1).await;
    // In the same step: no sweep has mended it.
    assert_eq!(house.redis.cli(&["ZCARD", &house.keys.blocked()]).integer(), 0);
    house.is_drained().await;
    assert_eq!(diary.bodies(), ["a/1"]);
    house.forgets().await;
}

#[tokio::test]
async fn those_behind_a_job_that_an_operator_deleted_come_by_themselves() {
    let house = House::start();
    let post = house.producer().await;
    let (stream, heads) = (house.keys.stream(), house.keys.partitions());
    // Nobody is behind `lone`, and nothing of it may stay either.
    post.keyed(&["a/0", "a/1", "a/2", "b/0", "b/1", "lone/0", "c/0", "c/1"]).await;
    assert_eq!(house.stream(), ["a/0", "b/0", "lone/0", "c/0"]);
    house.redis.cli(&["DEL", &stream]);
    // Who comes now does not pass by those who wait.
    post.keyed(&["c/2"]).await;
    assert_eq!(house.stream(), ["c/1"]);
    // And one that is noted nowhere is behind all the same.
    house.redis.cli(&["HDEL", &heads, &Partition::of("b").to_string()]);

    let diary = Diary::done();
    let _worker = WorkerPlan { lease: LEASE, ..house.worker() }.start(&diary).await;
    house.is_drained().await;
    let of = |key: &str| diary.bodies().into_iter().filter(|it| it.starts_with(key)).collect();
    let (a, b, c): (Vec<_>, Vec<_>, Vec<_>) = (of("a/"), of("b/"), of("c/"));
    assert_eq!(
        (a, b, c),
        (vec!["a/1".into(), "a/2".into()], vec!["b/1".into()], vec!["c/1".into(), "c/2".into()])
    );
    house.forgets().await;
}

#[tokio::test]
async fn those_behind_a_retry_that_an_operator_deleted_come_by_themselves() {
    let house = House::start();
    let diary = Diary::new(async |job| match job.body.as_slice() {
        b"a/0" => Verdict::Retry { reason: "again" },
        _ => Verdict::Done,
    });
    let mut plan = WorkerPlan { lease: LEASE, ..house.worker() };
    plan.limits.backoff = Duration::from_secs(30);
    let _worker = plan.start(&diary).await;
    house.producer().await.keyed(&["a/0", "a/1"]).await;
    house.has(1, 1).await;
    house.redis.cli(&["DEL", &house.keys.delayed()]);
    house.is_drained().await;
    assert_eq!(diary.bodies(), ["a/0", "a/1"]);
    house.forgets().await;
}

#[tokio::test]
async fn very_many_of_them_come_in_one_go() {
    let house = House::start();
    let post = house.producer().await;
    for hundred in 0..16 {
        let jobs = (0..50).flat_map(|n| (0..2).map(move |place| format!("{hundred}-{n}/{place}")));
        let jobs: Vec<_> = jobs.map(|body| keyed(&body)).collect();
        post.producer.enqueue(&jobs).await.unwrap();
    }
    house.redis.cli(&["DEL", &house.keys.stream()]);
    let diary = Diary::done();
    let lease = Duration::from_secs(6);
    let _worker = WorkerPlan { lease, ..house.worker() }.start(&diary).await;
    // 128 of 800 every half lease would take three of these.
    house.is_drained_within(lease * 2).await;
    assert_eq!(diary.distinct(), 800);
}

#[tokio::test]
async fn a_settlement_that_is_told_twice_lets_one_go() {
    let mut house = House::start();
    let post = house.producer().await;
    let proxy = Proxy::to(house.redis.port());
    house.detour = Some(proxy.port());
    let gate = Arc::new(Semaphore::new(0));
    let diary = gated(&gate);
    let worker = house.worker().start(&diary).await;
    // The first makes Redis know the script: a call by its hash is all that the second needs.
    post.keyed(&["warm"]).await;
    house.is_drained().await;
    house.forgets().await;
    post.keyed(&["a/0!", "a/1!", "a/2!", "a/3!"]).await;
    diary.reaches(2).await;

    proxy.silence_one(Direction::ToClient);
    gate.add_permits(1);
    eventually("the first settled", async || {
        match house.redis.cli(&["ZCARD", &house.keys.blocked()]).integer() {
            2 => Ok(()),
            other => Err(other),
        }
    })
    .await;
    proxy.reset();
    proxy.forward();
    worker.owner.shared().ready(Duration::from_secs(30)).await.unwrap();
    within(Duration::from_secs(30), "the next in hand", async || match house.depths().await {
        depths if (depths.active, depths.blocked) == (1, 2) => Ok(()),
        depths => Err(format!("{depths:?}")),
    })
    .await;
    assert_eq!(house.stream(), ["a/1!"]);
    gate.add_permits(3);
    house.is_drained_within(Duration::from_secs(30)).await;
    assert_eq!(diary.bodies(), ["warm", "a/0!", "a/1!", "a/2!", "a/3!"]);
}

#[tokio::test]
async fn a_redis_without_memory_lets_the_next_go_all_the_same() {
    let house = House::start();
    let gate = Arc::new(Semaphore::new(0));
    let diary = gated(&gate);
    let _worker = house.worker().start(&diary).await;
    let post = house.producer().await;
    post.keyed(&["a/0!", "a/1", "a/2"]).await;
    diary.reaches(1).await;
    house.redis.cli(&["CONFIG", "SET", "maxmemory", "1"]);
    assert!(post.producer.enqueue(&[keyed("a/3"), keyed("b/0")]).await.is_err());
    gate.add_permits(1);
    house.is_drained().await;
    house.redis.cli(&["CONFIG", "SET", "maxmemory", "0"]);
    let late = post.producer.enqueue(&[keyed("a/3"), keyed("b/0")]).await.unwrap();
    assert!(late.iter().all(|one| !one.duplicate), "the refused batch had left something behind");
    house.is_drained().await;
    assert_eq!(diary.bodies()[..3], ["a/0!", "a/1", "a/2"]);
}
