//! When a connection is dialled and when it is closed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redis::cmd;
use trunkline::conn::{Error, Sent};
use trunkline::model::{ConnectionState, Role};

use crate::fixture::*;
use crate::support::eventually::eventually;
use crate::support::proxy::Proxy;
use crate::support::redis::Redis;

const NO_DRAIN: Duration = Duration::ZERO;

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_calls_of_connect_make_one_dial() {
    let redis = Redis::start();
    let proxy = Proxy::to(redis.port());
    let owner = owner(options(proxy.port()));
    futures_util::future::join_all((0..100).map(|_| owner.connect())).await;
    let status = is_ready(&owner, Role::Shared).await;
    assert_eq!((status.generation, proxy.accepted()), (1, 1));

    owner.connect().await;
    assert_eq!((super::fixture::status(&owner, Role::Shared).generation, proxy.accepted()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_dialled_before_the_first_command_which_itself_is_not_sent() {
    let redis = Redis::start();
    let owner = owner(options(redis.port()));
    let shared = owner.shared();
    tokio::time::sleep(MOMENT).await;
    assert!(ours(&redis).is_empty());

    let error = shared.call(cmd("INCR").arg("test:count")).await.unwrap_err();
    assert!(matches!(error, Error::NotReady { state: ConnectionState::Idle, .. }), "{error}");
    assert_eq!(error.sent(), Sent::No);
    is_ready(&owner, Role::Shared).await;
    assert_eq!(redis.cli(&["GET", "test:count"]).text(), "");
    assert_eq!(ours(&redis).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_connect_leaves_closed_and_with_a_higher_generation() {
    let redis = Redis::start();
    let owner = ready_server(options(redis.port())).await;
    owner.close(NO_DRAIN).await;
    let open = [Role::Shared, Role::Subscriber].map(|role| owner.budget().open(role));
    assert_eq!(open, [0, 0], "close returns when the sockets are gone");
    has_of_ours(&redis, 0).await;

    let shared = owner.shared();
    let error = shared.call(&cmd("PING")).await.unwrap_err();
    assert!(matches!(error, Error::Closed), "{error}");
    let error = shared.ready(crate::support::DEADLINE).await.unwrap_err();
    assert!(matches!(error, Error::Closed), "{error}");
    let subscriber = owner.subscriber().unwrap();
    let error = subscriber.subscribe(&channel("a"), crate::support::DEADLINE).await.unwrap_err();
    assert!(matches!(error, Error::Closed), "{error}");
    tokio::time::sleep(MOMENT).await;
    assert!(ours(&redis).is_empty());

    owner.connect().await;
    for role in [Role::Shared, Role::Subscriber] {
        assert_eq!(is_ready(&owner, role).await.generation, 2);
    }
    shared.call(&cmd("PING")).await.unwrap();
    assert_eq!(subscriber.subscriptions(), (1, 1), "what was desired while closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_at_any_moment_of_a_dial_leaves_no_socket() {
    let redis = Redis::start();
    let owner = owner(options(redis.port()));
    let subscriber = owner.subscriber().unwrap();
    for number in 0..200 {
        // Not confirmed in no time, but desired: it makes the handshake longer.
        let _ = subscriber.subscribe(&channel(&format!("c{number}")), NO_DRAIN).await;
    }
    let mut seen = std::collections::HashSet::new();
    for round in 0..80_u32 {
        owner.connect().await;
        // Any moment: that is what is tried.
        tokio::time::sleep(Duration::from_micros(u64::from(fastrand::u32(0..=40 * round)))).await;
        seen.insert(status(&owner, Role::Subscriber).state);
        owner.close(NO_DRAIN).await;
        let budget = owner.budget();
        assert_eq!((budget.open(Role::Shared), budget.open(Role::Subscriber)), (0, 0));
    }
    assert!(seen.len() > 1, "always closed in the same state: {seen:?}");
    eventually("our connections are gone", async || match ours(&redis).len() {
        0 => Ok(()),
        more => Err(more),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_while_redis_is_silent_leaves_no_socket() {
    let redis = Redis::start();
    let proxy = Proxy::to(redis.port());
    proxy.silence();
    let owner = owner(options(proxy.port()));
    owner.connect().await;
    let shaking_hands = |s: &trunkline::conn::Status| s.state == ConnectionState::Handshaking;
    becomes(&owner, Role::Shared, "shakes hands", shaking_hands).await;
    assert_eq!(owner.budget().open(Role::Shared), 1);
    owner.close(NO_DRAIN).await;
    assert_eq!(owner.budget().open(Role::Shared), 0);
    assert_eq!(status(&owner, Role::Shared).state, ConnectionState::Closed);
}

#[tokio::test(flavor = "multi_thread")]
async fn close_lets_commands_in_flight_finish() {
    let redis = Redis::start();
    let proxy = Proxy::to(redis.port());
    let owner = ready_owner(options(proxy.port())).await;
    let shared = owner.shared();
    redis.stop();
    let sent = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&sent);
    proxy.filter(Arc::new(move |_, piece| {
        seen.fetch_or(piece.windows(4).any(|it| it == b"INCR"), Ordering::Relaxed);
        piece
    }));
    let mut increment = cmd("INCR");
    increment.arg("test:count");
    let in_flight = tokio::spawn(async move { shared.call(&increment).await });
    eventually("it is sent", async || sent.load(Ordering::Relaxed).then_some(()).ok_or("not yet"))
        .await;
    let (_, ()) = tokio::join!(owner.close(Duration::from_secs(5)), async {
        tokio::time::sleep(MOMENT).await;
        redis.cont();
    });
    in_flight.await.unwrap().expect("answered before the socket was closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_every_handle_leaves_it_open_and_dropping_the_owner_closes_it() {
    let redis = Redis::start();
    let owner = ready_server(options(redis.port())).await;
    let before: Vec<u64> = ours(&redis).iter().map(|client| client.id).collect();
    drop((owner.shared(), owner.publisher(), owner.publisher(), owner.subscriber()));
    tokio::time::sleep(MOMENT).await;
    assert_eq!(ours(&redis).iter().map(|client| client.id).collect::<Vec<_>>(), before);

    let (shared, budget) = (owner.shared(), owner.budget().clone());
    drop(owner);
    eventually("our connections are gone", async || match ours(&redis).len() {
        0 => Ok(()),
        more => Err(more),
    })
    .await;
    let error = shared.call(&cmd("PING")).await.unwrap_err();
    assert!(matches!(error, Error::Closed), "{error}");
    eventually("the permits are free again", async || {
        trunkline::conn::Owner::new(options(redis.port()), &budget).map(drop)
    })
    .await;
}
