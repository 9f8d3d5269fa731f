//! Ways to Redis, and peers that are none.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use redis::cmd;
use trunkline::conn::{Target, Tls};
use trunkline::model::{Role, Secret, WakeupMode};

use crate::fixture::*;
use crate::support::DEADLINE;
use crate::support::certificates::Certificates;
use crate::support::eventually::eventually;
use crate::support::redis::Redis;

/// A peer that says one thing to whoever connects, after it has heard something, and closes.
struct Stub {
    port: u16,
    accepted: Arc<AtomicUsize>,
}

impl Stub {
    fn saying(answer: Option<&'static str>) -> Stub {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let accepted = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&accepted);
        // Ends with the test process: it waits for a connection that never comes.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                count.fetch_add(1, Ordering::Relaxed);
                let (Some(answer), Ok(mut stream)) = (answer, stream) else { continue };
                // A client that went away is not our concern.
                let _ = stream.read(&mut [0; 1024]);
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        Stub { port, accepted }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_a_redis_of_today_is_refused_and_tried_again() {
    let peers = [
        "HTTP/1.1 400 Bad Request\r\n\r\n",
        "+OK\r\n",
        "-ERR unknown command 'HELLO'\r\n",
        "-NOPROTO unsupported protocol version\r\n",
        "%2\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$6\r\n6.2.14\r\n",
    ];
    for answer in peers {
        let stub = Stub::saying(Some(answer));
        let owner = owner(options(stub.port));
        owner.connect().await;
        let status = fails(&owner, Role::Shared, "protocol").await;
        let again = |s: &trunkline::conn::Status| s.generation > status.generation;
        becomes(&owner, Role::Shared, "tries again", again).await;
        assert!(owner.budget().open(Role::Shared) <= 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_accepts_and_closes_is_dialled_ever_more_slowly() {
    let stub = Stub::saying(None);
    let mut options = options(stub.port);
    options.backoff.min = Duration::from_millis(100);
    let owner = owner(options);
    owner.connect().await;
    fails(&owner, Role::Shared, "protocol").await;
    // Time is what is looked at: how many dials fit into it.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let accepted = stub.accepted.load(Ordering::Relaxed);
    // 30 if the wait did not grow; 7 are the mean if it doubles.
    assert!((3..=15).contains(&accepted), "{accepted} dials in 3 s");
    eventually("every dial is one attempt", async || {
        let attempts = status(&owner, Role::Shared).attempts as usize;
        let accepted = stub.accepted.load(Ordering::Relaxed);
        if attempts == accepted { Ok(()) } else { Err(format!("{attempts} and {accepted}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_works_with_an_authority_of_ones_own_and_refuses_any_other() {
    let redis = Redis::plan().tls().start();
    let elsewhere = tempfile::tempdir().unwrap();
    let stranger = Certificates::write(elsewhere.path());
    let ours_is = redis.certificates().join("authority.pem");
    let tls_options = |authority: &std::path::Path, host: &str| {
        let target = Target::Tcp { host: host.to_owned(), port: redis.port() };
        let mut options = options_for(target);
        options.tls = Some(Tls::new(Some(authority), None).unwrap());
        options
    };
    for host in ["localhost", "127.0.0.1"] {
        let owner = ready_server(tls_options(&ours_is, host)).await;
        has_of_ours(&redis, 2).await;
        owner.close(Duration::ZERO).await;
    }
    let owner = owner(tls_options(&stranger.authority, "localhost"));
    owner.connect().await;
    fails(&owner, Role::Shared, "tls").await;
    has_of_ours(&redis, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_asks_for_a_certificate_gets_one() {
    let redis = Redis::plan().tls().argument("tls-auth-clients", "yes").start();
    let files = redis.certificates();
    let (authority, certificate, key) =
        (files.join("authority.pem"), files.join("client.pem"), files.join("client.key"));
    let target = Target::Tcp { host: "localhost".to_owned(), port: redis.port() };
    let mut options = options_for(target);
    options.tls = Some(Tls::new(Some(&authority), Some((&certificate, &key))).unwrap());
    drop(ready_owner(options.clone()).await);

    options.tls = Some(Tls::new(Some(&authority), None).unwrap());
    let owner = owner(options);
    owner.connect().await;
    let refused = |s: &trunkline::conn::Status| s.last_reason.is_some();
    let status = becomes(&owner, Role::Shared, "is refused", refused).await;
    // TLS 1.3 lets the client speak before it hears that it is not wanted.
    assert!(["tls", "protocol"].contains(&status.last_reason.unwrap()), "{status:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unix_socket_works_and_its_absence_is_a_refusal() {
    let redis = Redis::plan().unix().start();
    let owner = ready_server(options_for(Target::Unix(redis.socket()))).await;
    let subscriber = owner.subscriber().unwrap();
    subscriber.subscribe(&channel("a"), DEADLINE).await.unwrap();
    assert_eq!(owner.publisher().publish("test:notify:a", b"x").await.unwrap(), 1);
    std::fs::remove_file(redis.socket()).unwrap();
    tokio::task::block_in_place(|| redis.kill9());
    fails(&owner, Role::Shared, "refused").await;
    tokio::task::block_in_place(|| redis.restart());
    is_ready_after(&owner, Role::Shared, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_without_an_address_is_told_as_such() {
    let target = Target::Tcp { host: "no-such-host.invalid".to_owned(), port: 1 };
    let mut options = options_for(target);
    options.connect_timeout = Duration::from_secs(5);
    let owner = owner(options);
    owner.connect().await;
    fails(&owner, Role::Shared, "dns").await;
}

/// What the connection itself needs, with nothing for any command of a caller. Redis compares
/// the pattern of a PSUBSCRIBE with those of the user literally: `&test:notify:*` allows every
/// channel and no prefix, so each prefix has to be named, or all channels granted by `&*`.
const LEAST: &str = "user app on >pw ~test:* \
    resetchannels &test:ctl &test:probe:* &test:notify:* &test:notify:b.* \
    -@all +hello +ping +role +client|tracking \
    +publish +subscribe +unsubscribe +psubscribe +punsubscribe";

#[tokio::test(flavor = "multi_thread")]
async fn a_user_with_the_least_rights_can_do_it_all() {
    let redis = Redis::plan().users(&["user default off", LEAST]).start();
    let mut options = options(redis.port());
    (options.username, options.password) = (Some("app".to_owned()), Some(Secret::new("pw")));
    options.signals = vec!["test:{a}:key".to_owned()];
    options.probe_interval = Some(Duration::from_millis(100));
    let owner = ready_server(options).await;
    assert_eq!(owner.shared().signal("test:{a}:key").mode(), WakeupMode::Tracking);
    let subscriber = owner.subscriber().unwrap();
    for name in ["a", "b.*"] {
        subscriber.subscribe(&channel(name), DEADLINE).await.unwrap();
    }
    assert_eq!(owner.publisher().publish("test:notify:b.c", b"x").await.unwrap(), 1);
    eventually("a probe comes back", async || owner.probed().map(drop).ok_or("none")).await;
    let denied = redis.cli(&["ACL", "LOG"]);
    assert!(denied.list().is_empty(), "{denied:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_without_a_password_is_not_taken_for_the_default_one() {
    let redis = Redis::plan().users(&["user app on nopass ~* &* +@all"]).start();
    let mut options = options(redis.port());
    options.username = Some("app".to_owned());
    let owner = ready_owner(options).await;
    owner.shared().call(&cmd("PING")).await.unwrap();
    assert_eq!(connection(&redis, "shared").user, "app");
}
