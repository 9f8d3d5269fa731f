//! Connections that are down, that flap, and that storm.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::support::eventually::eventually;
use crate::support::process::Daemon;
use crate::support::proxy::Proxy;
use crate::support::redis::Redis;
use crate::table::Row;
use crate::watch::alarm;
use crate::{Script, hurried, target};

/// One of two servers is cut off, then both.
pub async fn down(redis: &Arc<Redis>) -> Script {
    let proxies = [Proxy::to(redis.port()), Proxy::to(redis.port())];
    let servers = [0, 1].map(|it| hurried(Daemon::server(&proxies[it].url()), "down").start());
    let mut targets = vec![];
    for server in &servers {
        targets.push(target("trunkline-down", server).await);
    }
    let instance = targets[0].address.to_string();
    Script::new(targets, async move |watch| {
        let cut = |proxy: &Proxy| {
            proxy.refuse();
            proxy.reset();
        };
        let began = Instant::now();
        cut(&proxies[0]);
        let labels = [("job", "trunkline-down"), ("instance", &instance)];
        let [shared, subscriber] = ["shared", "subscriber"].map(|role| {
            alarm("TrunklineRedisConnectionDown", &[&labels[..], &[("role", role)]].concat())
        });
        let fires = watch.fires(&shared, began).await;
        watch.fires(&subscriber, began).await;
        let ended = Instant::now();
        proxies[0].forward();
        let resolves = watch.resolves(&shared, ended).await;
        let one = Row::new(shared, "a server's port to Redis refuses", fires, resolves);

        let began = Instant::now();
        proxies.iter().for_each(cut);
        let labels = [("job", "trunkline-down"), ("role", "shared")];
        let fleet = alarm("TrunklineRedisConnectionDownFleet", &labels);
        let fires = watch.fires(&fleet, began).await;
        let ended = Instant::now();
        proxies.iter().for_each(Proxy::forward);
        let resolves = watch.resolves(&fleet, ended).await;
        drop(servers);
        vec![one, Row::new(fleet, "the port refuses every server", fires, resolves)]
    })
}

/// A connection is lost time and again.
pub async fn flapping(redis: &Arc<Redis>) -> Script {
    let proxy = Proxy::to(redis.port());
    let server = hurried(Daemon::server(&proxy.url()), "flapping").start();
    Script::new(vec![target("trunkline-flapping", &server).await], async move |watch| {
        let began = Instant::now();
        for _ in 0..6 {
            let before = server.connection("subscriber").await["generation"].as_u64();
            proxy.close();
            eventually("another connection", async || {
                let now = server.connection("subscriber").await;
                let newer = now["generation"].as_u64() > before && now["state"] == "ready";
                if newer { Ok(()) } else { Err(now) }
            })
            .await;
        }
        let ended = Instant::now();
        let labels = [("job", "trunkline-flapping"), ("role", "subscriber")];
        let flapping = alarm("TrunklineRedisConnectionFlapping", &labels);
        let fires = watch.fires(&flapping, began).await;
        let resolves = watch.resolves(&flapping, ended).await;
        vec![Row::new(flapping, "a proxy closes all connections six times", fires, resolves)]
    })
}

/// Dials are accepted and fail, and the back-off is set to nearly nothing.
pub async fn storm(redis: &Arc<Redis>) -> Script {
    let proxy = Proxy::to(redis.port());
    let backoff = ["--redis-backoff-min", "1ms", "--redis-backoff-max", "20ms"];
    let worker = hurried(Daemon::worker(&proxy.url()), "storm").args(backoff).start();
    // It stays ready: were the whole job down, that alert would speak and silence this one.
    let calm = hurried(Daemon::worker(&redis.url()), "storm").start();
    let targets =
        vec![target("trunkline-storm", &worker).await, target("trunkline-storm", &calm).await];
    Script::new(targets, async move |watch| {
        let _calm = calm;
        let storm = alarm("TrunklineReconnectStorm", &[("job", "trunkline-storm")]);
        let began = Instant::now();
        let resets = async {
            loop {
                proxy.reset();
                // The pace of the fault, shorter than the back-off.
                sleep(Duration::from_millis(5)).await;
            }
        };
        let fires = tokio::select! {
            fires = watch.fires(&storm, began) => fires,
            () = resets => unreachable!("it resets until the alert is there"),
        };
        let ended = Instant::now();
        worker.wait_nothing_missing().await;
        let resolves = watch.resolves(&storm, ended).await;
        vec![Row::new(
            storm,
            "every connection is reset, and --redis-backoff-max is 20 ms",
            fires,
            resolves,
        )]
    })
}
