//! The connection budget of a whole fleet, counted by Redis.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::task::block_in_place;

use crate::ALONE;
use crate::support::eventually::eventually;
use crate::support::fleet::Fleet;
use crate::support::laws::laws_hold;
use crate::support::redis::Redis;

const SERVERS: usize = 5;
const WORKERS: usize = 20;
/// Two for a server, one for a worker.
const BUDGET: usize = 2 * SERVERS + WORKERS;
/// Dials of each process while Redis is away. At about ten in a second they take longer than the
/// 2.75 s after which the system that this one replaces gave up for good.
const IN_VAIN: f64 = 40.0;

/// Waits until Redis knows exactly the connections that the processes say they have, by their
/// whole names, and none besides.
async fn has_exactly_its_budget(redis: &Redis, fleet: &Fleet) {
    let names = eventually("CLIENT LIST is the budget", async || {
        let listed: Vec<_> = redis.client_list().into_iter().map(|client| client.name).collect();
        let told = fleet.names("trunkline").await;
        let named: BTreeSet<_> = listed.iter().cloned().collect();
        match listed.len() == BUDGET && named == told {
            true => Ok(named),
            false => Err(format!("{} listed: {listed:#?}\n  told: {told:#?}", listed.len())),
        }
    })
    .await;
    let count = |component: &str, role: &str| {
        let bears = |name: &&String| {
            let parts: Vec<_> = name.split(':').collect();
            let [namespace, of, instance, as_role, generation] = parts[..] else { return false };
            let instance_is_plain = instance.split('-').all(|part| {
                !part.is_empty()
                    && part.chars().all(|it| it.is_ascii_digit() || it.is_ascii_lowercase())
            });
            (namespace, of, as_role) == ("trunkline", component, role)
                && instance_is_plain
                && generation.parse::<u64>().is_ok_and(|it| it > 0)
        };
        names.iter().filter(bears).count()
    };
    assert_eq!(count("worker", "shared"), WORKERS);
    assert_eq!(count("server", "shared"), SERVERS);
    assert_eq!(count("server", "subscriber"), SERVERS);
}

/// Waits until the pages of all processes add up to the budget, after it was dialled so many
/// times.
async fn counts_its_budget(fleet: &Fleet, times: usize) {
    // A page may be a second old, and what it said of the connections before would add up too.
    let opened = "trunkline_redis_connections_opened_total";
    eventually("the pages tell of the present connections", async || {
        let sum = fleet.sum(opened).await;
        if sum >= (times * BUDGET) as f64 { Ok(()) } else { Err(sum) }
    })
    .await;
    for metric in ["trunkline_redis_connections_open", "trunkline_redis_connections_expected"] {
        eventually(&format!("{metric} is the budget"), async || match fleet.sum(metric).await {
            sum if sum == BUDGET as f64 => Ok(()),
            sum => Err(sum),
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_servers_and_twenty_workers_have_thirty_connections_whatever_redis_does() {
    let _alone = ALONE.lock().await;
    let redis = Redis::start();
    let fleet = Fleet::start(&redis.url(), SERVERS, WORKERS).await;
    has_exactly_its_budget(&redis, &fleet).await;
    counts_its_budget(&fleet, 1).await;
    let before = (fleet.names("trunkline").await, accepted(&redis));
    // Deliberately not a wait for anything: a fleet that loses connections and makes new ones
    // reads thirty at any one moment. Nothing may have changed over this time.
    tokio::time::sleep(Duration::from_secs(5)).await;
    has_exactly_its_budget(&redis, &fleet).await;
    counts_its_budget(&fleet, 1).await;
    assert_eq!((fleet.names("trunkline").await, accepted(&redis)), before);

    block_in_place(|| redis.kill9());
    for daemon in fleet.all() {
        daemon.metric("trunkline_redis_connect_failures_total").await.reaches(IN_VAIN).await;
    }
    block_in_place(|| redis.restart());
    has_exactly_its_budget(&redis, &fleet).await;
    fleet.wait_ready().await;
    counts_its_budget(&fleet, 2).await;
    for daemon in fleet.all() {
        laws_hold(daemon).await;
    }

    for daemon in fleet.all() {
        daemon.sigterm();
    }
    for daemon in fleet.all() {
        let status = daemon.exit().await;
        assert!(status.success(), "{status}");
    }
    redis.is_left().await;
}

/// How many connections this Redis ever accepted.
fn accepted(redis: &Redis) -> String {
    redis.info("stats", "total_connections_received")
}
