//! Redis goes away, hangs, or is somebody else when it comes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use redis::{Value, cmd, pipe};
use trunkline::conn::{Code, Error, Options, Owner, Sent};
use trunkline::model::{ConnectionState, Role};

use crate::fixture::*;
use crate::support::DEADLINE;
use crate::support::eventually::eventually;
use crate::support::proxy::Proxy;
use crate::support::redis::Redis;
use crate::support::stalls::Stalls;

/// What became of attempts to add one.
#[derive(Debug, Default)]
struct Tally {
    acknowledged: i64,
    unknown: i64,
    unsent: i64,
    slowest: Duration,
    slowest_unsent: Duration,
}

/// Adds one, over and over, until `done`.
async fn keep_adding(owner: Arc<Owner>, done: Arc<AtomicBool>) -> Tally {
    let (shared, mut tally) = (owner.shared(), Tally::default());
    while !done.load(Ordering::Relaxed) {
        let started = Instant::now();
        let result = shared.call(cmd("INCR").arg("test:count")).await;
        let elapsed = started.elapsed();
        tally.slowest = tally.slowest.max(elapsed);
        match result.as_ref().map_err(Error::sent) {
            Ok(_) => tally.acknowledged += 1,
            Err(Sent::Maybe) => {
                tally.unknown += 1;
                tokio::task::yield_now().await;
            }
            Err(Sent::No | Sent::Refused) => {
                tally.unsent += 1;
                tally.slowest_unsent = tally.slowest_unsent.max(elapsed);
                // A pace, so as not to take the processor from what is watched.
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    }
    tally
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_of_redis_fails_commands_at_once_replays_nothing_and_is_one_outage() {
    // Acknowledged means written to the file: what is there after the crash is what was executed.
    // It need not be on the disk, and `everysec` would hold back writes while the disk is busy.
    let file = Redis::plan().argument("appendonly", "yes").argument("appendfsync", "no");
    let redis = file.start();
    let owner = Arc::new(ready_server(options(redis.port())).await);
    let stalls = Stalls::watch();
    let done = Arc::new(AtomicBool::new(false));
    let adding: Vec<_> =
        (0..8).map(|_| tokio::spawn(keep_adding(owner.clone(), done.clone()))).collect();
    let count = || redis.cli(&["GET", "test:count"]).text().parse::<i64>().unwrap_or_default();
    let rises_above = async |least: i64| {
        eventually(&format!("the count rises above {least}"), async || match count() {
            count if count > least => Ok(()),
            count => Err(count),
        })
        .await;
    };
    rises_above(500).await;

    let crashed = Instant::now();
    tokio::task::block_in_place(|| redis.kill9());
    let down = |s: &trunkline::conn::Status| !s.is_ready();
    becomes(&owner, Role::Shared, "is lost", down).await;
    // The outage has to last, so that its length can be told.
    tokio::time::sleep(Duration::from_millis(500)).await;
    tokio::task::block_in_place(|| redis.restart());
    let answers = Stalls::watch();
    for role in [Role::Shared, Role::Subscriber] {
        is_ready(&owner, role).await;
        answers.less_than(Duration::from_secs(1), role.as_ref());
    }
    let away = crashed.elapsed();
    rises_above(count() + 100).await;
    done.store(true, Ordering::Relaxed);

    let mut sum = Tally::default();
    for tally in adding {
        let tally = tally.await.unwrap();
        sum.acknowledged += tally.acknowledged;
        sum.unknown += tally.unknown;
        sum.unsent += tally.unsent;
        sum.slowest = sum.slowest.max(tally.slowest);
        sum.slowest_unsent = sum.slowest_unsent.max(tally.slowest_unsent);
    }
    assert!(sum.unsent > 100 && sum.unknown <= 8, "one in flight for each at the crash: {sum:?}");
    let stood_still = stalls.sum();
    assert!(sum.slowest < Duration::from_millis(500) + stood_still, "{sum:?}");
    let at_once = Duration::from_millis(100) + stood_still;
    assert!(sum.slowest_unsent < at_once, "refused without waiting: {sum:?}");
    let count = count();
    let bounds = sum.acknowledged..=sum.acknowledged + sum.unknown;
    assert!(bounds.contains(&count), "{count} executed: {sum:?}");

    let outages = owner.outages();
    let mut shared = outages.iter().filter(|outage| outage.role == Role::Shared);
    let outage = shared.next().expect("recorded");
    assert!(shared.next().is_none(), "once: {outages:?}");
    assert!(!outage.ongoing && outage.duration <= away, "{outage:?}");
    assert!(outage.duration > Duration::from_millis(450), "{outage:?}");
    assert!(outage.attempts > 2, "{outage:?}");
    // Exactly: those too that were refused before the supervisor knew of the loss, and in the
    // moment it ended.
    assert_eq!(outage.refused as i64, sum.unsent, "{outage:?} {sum:?}");
}

/// Waits for the loss of a connection that was fine until now: within the two seconds that are
/// promised, as far as the machine itself does not stand still.
async fn is_lost_in_time(owner: &Owner, role: Role, reason: &str) {
    let found = Stalls::watch();
    let lost = |s: &trunkline::conn::Status| !s.is_ready() && s.last_reason == Some(reason);
    becomes(owner, role, &format!("is lost by {reason}"), lost).await;
    found.less_than(Duration::from_secs(2), role.as_ref());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_hangs_is_given_up_within_two_seconds_and_comes_back() {
    let redis = Redis::start();
    let owner = ready_server(options(redis.port())).await;
    redis.stop();
    tokio::join!(
        is_lost_in_time(&owner, Role::Shared, "heartbeat"),
        is_lost_in_time(&owner, Role::Subscriber, "heartbeat")
    );
    redis.cont();
    for role in [Role::Shared, Role::Subscriber] {
        is_ready_after(&owner, role, 1).await;
    }
    has_of_ours(&redis, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_goes_silent_is_noticed_within_two_seconds() {
    let redis = Redis::start();
    let proxy = Proxy::to(redis.port());
    let owner = ready_owner(options(proxy.port())).await;
    proxy.silence();
    is_lost_in_time(&owner, Role::Shared, "heartbeat").await;
    proxy.forward();
    is_ready_after(&owner, Role::Shared, 1).await;
    assert_eq!(owner.budget().open(Role::Shared), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_connection_is_replaced_and_the_other_role_does_not_notice() {
    let redis = Redis::start();
    let owner = ready_server(options(redis.port())).await;
    let subscriber = owner.subscriber().unwrap();
    subscriber.subscribe(&channel("a"), DEADLINE).await.unwrap();

    kill(&redis, &connection(&redis, "shared"));
    is_ready_after(&owner, Role::Shared, 1).await;
    assert_eq!(status(&owner, Role::Subscriber).generation, 1);
    kill(&redis, &connection(&redis, "subscriber"));
    is_ready_after(&owner, Role::Subscriber, 1).await;
    assert_eq!(status(&owner, Role::Shared).generation, 2);
    assert_eq!(owner.publisher().publish("test:notify:a", b"x").await.unwrap(), 1);
    let reasons: Vec<_> = owner.outages().iter().map(|o| (o.role, o.reason)).collect();
    assert_eq!(reasons, [(Role::Subscriber, "eof"), (Role::Shared, "eof")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_by_the_network_is_told_from_an_end() {
    let redis = Redis::start();
    let proxy = Proxy::to(redis.port());
    let owner = ready_owner(options(proxy.port())).await;
    proxy.reset();
    is_ready_after(&owner, Role::Shared, 1).await;
    assert_eq!(owner.outages()[0].reason, "reset");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_was_demoted_is_left_until_it_is_master_again() {
    let redis = Redis::start();
    let owner = ready_owner(options(redis.port())).await;
    let nowhere = crate::support::port::free().to_string();
    for round in 1..=2_u64 {
        let before = status(&owner, Role::Shared).generation;
        redis.cli(&["REPLICAOF", "127.0.0.1", &nowhere]);
        let mut shared = owner.shared();
        let error = if round == 1 {
            shared.call(cmd("SET").arg("test:a").arg(1)).await.unwrap_err()
        } else {
            let mut transaction = pipe();
            transaction.atomic().set("test:a", 1);
            transaction.query_async::<Value>(&mut shared).await.map_err(Error::from).unwrap_err()
        };
        assert!(matches!(error, Error::Server { code: Code::Readonly, .. }), "{error}");
        fails(&owner, Role::Shared, "not_master").await;
        assert_eq!(owner.outages()[0].reason, "readonly");
        redis.cli(&["REPLICAOF", "NO", "ONE"]);
        is_ready_after(&owner, Role::Shared, before).await;
    }
}

/// An owner whose waits are short, so that a test sees many dials.
async fn impatient(mut options: Options) -> Owner {
    options.backoff.max = options.backoff.min;
    let owner = owner(options);
    owner.connect().await;
    owner
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_is_loading_is_not_ready_until_it_has_loaded() {
    let slow = [("key-load-delay", "300"), ("loading-process-events-interval-bytes", "1024")];
    let plan = slow.iter().fold(Redis::plan(), |plan, (name, value)| plan.argument(name, value));
    let redis = Arc::new(plan.start());
    let fill = "for i = 1, 3000 do redis.call('SET', 'test:' .. i, i) end";
    redis.cli(&["EVAL", fill, "0"]);
    redis.cli(&["SAVE"]);
    let owner = impatient(options(redis.port())).await;
    is_ready(&owner, Role::Shared).await;
    let restarting = {
        let redis = Arc::clone(&redis);
        tokio::task::spawn_blocking(move || redis.restart())
    };
    fails(&owner, Role::Shared, "loading").await;
    assert!(!restarting.is_finished(), "it loads for about a second");
    restarting.await.unwrap();
    is_ready(&owner, Role::Shared).await;
    assert_eq!(owner.outages().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_retried_until_it_is_right() {
    let redis = Redis::plan().password("right").start();
    let mut options = options(redis.port());
    options.password = Some(trunkline::model::Secret::new("wrong"));
    options.backoff.max = Duration::from_millis(100);
    let owner = owner(options);
    owner.connect().await;
    let status = fails(&owner, Role::Shared, "auth").await;
    let later = |s: &trunkline::conn::Status| s.generation >= status.generation + 3;
    becomes(&owner, Role::Shared, "tries again", later).await;
    let error = owner.shared().call(&cmd("PING")).await.unwrap_err();
    assert!(matches!(error, Error::NotReady { .. }), "{error}");
    redis.cli(&["ACL", "SETUSER", "default", ">wrong"]);
    is_ready(&owner, Role::Shared).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_without_room_is_retried_until_there_is_some() {
    let redis = Redis::plan().argument("maxclients", "3").start();
    let dial = || std::net::TcpStream::connect(("127.0.0.1", redis.port())).unwrap();
    let others = [dial(), dial()];
    redis.has_connections(2).await;
    let owner = impatient(options(redis.port())).await;
    fails(&owner, Role::Shared, "maxclients").await;
    drop(others);
    is_ready(&owner, Role::Shared).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_is_away_for_long_is_dialled_at_most_twelve_times_a_second_and_found() {
    let redis = Redis::start();
    let owner = ready_server(options(redis.port())).await;
    let dials = |owner: &Owner| {
        let roles = [Role::Shared, Role::Subscriber];
        roles.map(|role| status(owner, role).generation).iter().sum::<u64>()
    };
    tokio::task::block_in_place(|| redis.kill9());
    let (gone, before) = (Instant::now(), dials(&owner));
    let away = Duration::from_secs(8);
    let (mut last, mut looked) = (before, gone);
    while gone.elapsed() < away {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now = dials(&owner);
        let most = 12.0 * looked.elapsed().as_secs_f64() + 1.0;
        assert!((now - last) as f64 <= most, "{} dials, {most} at most", now - last);
        (last, looked) = (now, Instant::now());
    }
    let made = dials(&owner) - before;
    assert!(made >= 30, "{made} dials in {:?}: it must not give up", gone.elapsed());
    assert_ne!(status(&owner, Role::Shared).state, ConnectionState::Ready);
    assert!(owner.outages().iter().all(|outage| outage.ongoing && outage.duration > away / 2));

    tokio::task::block_in_place(|| redis.restart());
    let back = Stalls::watch();
    for role in [Role::Shared, Role::Subscriber] {
        is_ready(&owner, role).await;
        back.less_than(Duration::from_secs(1), role.as_ref());
    }
}
