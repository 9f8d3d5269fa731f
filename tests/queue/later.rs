//! Jobs that are not to be done before their time.

use trunkline::conn::Sent;
use trunkline::queue::{EnqueueError, NewJob};

use crate::house::{Diary, House, NAMESPACE, NEVER, WorkerPlan, event};
use crate::support::eventually::eventually;
use crate::support::stalls::Stalls;

/// The clock that counts.
fn redis_ms(house: &House) -> u64 {
    let time = house.redis.cli(&["TIME"]).texts();
    time[0].parse::<u64>().unwrap() * 1000 + time[1].parse::<u64>().unwrap() / 1000
}

impl House {
    /// Waits until the one worker has nothing to do but to wait.
    async fn is_settled_and_parked(&self) {
        eventually("an empty stream", async || {
            match self.redis.cli(&["XLEN", &self.keys.stream()]).integer() {
                0 => Ok(()),
                left => Err(left),
            }
        })
        .await;
        self.parks(1).await;
    }
}

fn later(id: &str, due: u64) -> NewJob {
    NewJob { not_before_ms: Some(due), ..event(id) }
}

#[tokio::test]
async fn a_job_for_later_is_done_at_its_time_though_nobody_polls() {
    let house = House::start();
    let post = house.producer().await;
    let diary = Diary::done();
    // Parked, and without a safety poll or a takeover that would find the job by chance.
    let _worker = WorkerPlan { lease: NEVER, ..house.worker() }.start(&diary).await;
    house.parks(1).await;
    let now = redis_ms(&house);
    post.producer.enqueue(&[later("far", now + 3_600_000), event("now")]).await.unwrap();
    diary.reaches(1).await;
    house.is_settled_and_parked().await;
    // It knows of the far one, and nothing but this tells it of the near one.
    let due = redis_ms(&house) + 4_000;
    let stalls = Stalls::watch();
    post.producer.enqueue(&[later("near", due)]).await.unwrap();

    house.is_settled_and_parked().await;
    assert_eq!(diary.bodies(), ["now"]);
    assert!(redis_ms(&house) < due, "too slow a machine to tell");
    let depths = house.depths().await;
    assert_eq!((depths.delayed, depths.waiting, depths.oldest.as_secs()), (2, 0, 0));
    let repeat = post.producer.enqueue(&[later("near", due)]).await.unwrap();
    assert!(repeat[0].duplicate);

    diary.reaches(2).await;
    let done = redis_ms(&house);
    let late = 1_000 + stalls.sum().as_millis() as u64;
    assert!((due..due + late).contains(&done), "due {due}, done by {done}");
    let near = diary.jobs().remove(1);
    assert_eq!((near.body.as_slice(), near.enqueued_ms, near.attempt), (&b"near"[..], due, 1));
    assert_eq!(house.depths().await.delayed, 1);
}

#[tokio::test]
async fn a_time_that_has_passed_means_at_once() {
    let house = House::start();
    let post = house.producer().await;
    let now = redis_ms(&house);
    post.producer.enqueue(&[later("past", now - 50_000)]).await.unwrap();
    let depths = house.depths().await;
    assert_eq!((depths.waiting, depths.delayed), (1, 0));
    let diary = Diary::done();
    let _worker = house.worker().start(&diary).await;
    diary.reaches(1).await;
    assert!(diary.jobs()[0].enqueued_ms >= now, "its age begins when it was put in");
}

#[tokio::test]
async fn who_may_not_delay_is_refused_and_may_repeat() {
    let mut house = House::start();
    let rest = "user-without-zadd";
    let rights = ["on", ">pw", "~*", "&*", "+@all", "-zadd"];
    house.redis.cli(&[&["ACL", "SETUSER", rest], &rights[..]].concat());
    house.login = Some(|_| ("user-without-zadd", "pw"));
    let post = house.producer().await;
    let jobs = [event("now"), later("later", redis_ms(&house) + 60_000)];
    match post.producer.enqueue(&jobs).await {
        Err(EnqueueError::Redis(error)) => assert_eq!(error.sent(), Sent::Refused, "{error}"),
        other => panic!("{other:?}"),
    }
    let keys = house.redis.cli(&["KEYS", &format!("{NAMESPACE}:*")]);
    assert!(keys.list().is_empty(), "{keys:?}");

    house.redis.cli(&["ACL", "SETUSER", rest, "+zadd"]);
    let taken = post.producer.enqueue(&jobs).await.unwrap();
    assert!(taken.iter().all(|one| !one.duplicate));
    eventually("both", async || match house.depths().await {
        depths if (depths.waiting, depths.delayed) == (1, 1) => Ok(()),
        depths => Err(format!("{depths:?}")),
    })
    .await;
}
