//! Deliveries that are late, and clients that are slow.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::json;
use tokio::time::sleep;

use crate::support::http::{Http, Sse};
use crate::support::process::Daemon;
use crate::support::proxy::Proxy;
use crate::support::redis::Redis;
use crate::support::traffic::Ears;
use crate::table::Row;
use crate::watch::{Watch, alarm};
use crate::{Script, hurried, target};

async fn notify(public: &Http, data: &str) {
    public.post("/v1/notifications", &json!({ "channel": "a", "data": data })).await;
}

/// The network to Redis delays every piece by less than a heartbeat takes notice of.
pub async fn late(redis: &Arc<Redis>) -> Script {
    let proxy = Proxy::to(redis.port());
    // Waits for an answer longer than the delay there and back.
    let patient = ["--redis-command-timeout", "5s", "--redis-connect-timeout", "5s"];
    let server = hurried(Daemon::server(&proxy.url()), "late").args(patient).start();
    let public = server.public().await;
    Script::new(vec![target("trunkline-late", &server).await], async move |watch: Arc<Watch>| {
        let ears = Ears::open(&server, "a").await;
        let publishing = join_all((0..4).map(async |_| {
            loop {
                notify(&public, "x").await;
                // The pace of the traffic: the rules are about rates.
                sleep(Duration::from_millis(100)).await;
            }
        }));
        let burns = async {
            let burning = ["1h", "6h"].map(|long| {
                let labels = [("job", "trunkline-late"), ("long", long)];
                alarm("TrunklineDeliveryLatencyBudgetBurn", &labels)
            });
            let began = Instant::now();
            proxy.delay(Duration::from_millis(300));
            let fires =
                [watch.fires(&burning[0], began).await, watch.fires(&burning[1], began).await];
            let ended = Instant::now();
            proxy.forward();
            let mut rows = vec![];
            for (burning, fires) in burning.into_iter().zip(fires) {
                let resolves = watch.resolves(&burning, ended).await;
                let fault = "the network to Redis takes 300 ms each way";
                rows.push(Row::new(burning, fault, fires, resolves));
            }
            rows
        };
        let rows = tokio::select! {
            rows = burns => rows,
            _ = publishing => unreachable!("it publishes until the alerts are gone"),
        };
        drop((ears, server));
        rows
    })
}

/// Clients that connect, never read, and are closed for it.
pub async fn slow_clients(redis: &Arc<Redis>) -> Script {
    let server = hurried(Daemon::server(&redis.url()), "slow");
    let server = server.args(["--client-queue", "8"]).start();
    let public = server.public().await;
    Script::new(vec![target("trunkline-slow", &server).await], async move |watch: Arc<Watch>| {
        let slow = alarm("TrunklineSlowConsumersDropped", &[("job", "trunkline-slow")]);
        let closed = server.metric("trunkline_clients_closed_total").await.label("reason", "slow");
        let large = "x".repeat(60_000);
        let began = Instant::now();
        let sleepers = async {
            loop {
                let before = closed.value().await.unwrap_or(0.0);
                let asleep = Sse::open(&public, "/v1/stream?channel=a").await;
                while closed.value().await.unwrap_or(0.0) <= before {
                    join_all((0..16).map(|_| notify(&public, &large))).await;
                }
                drop(asleep);
                // One after the other and not all at once: the rule is about a rate.
                sleep(Duration::from_secs(2)).await;
            }
        };
        // Clients that read stay, so that there are clients when the page is read.
        let awake = Ears::open(&server, "b").await;
        let fires = tokio::select! {
            fires = watch.fires(&slow, began) => fires,
            () = sleepers => unreachable!("they come until the alert is there"),
        };
        let ended = Instant::now();
        let resolves = watch.resolves(&slow, ended).await;
        drop(awake);
        vec![Row::new(slow, "clients that listen and never read", fires, resolves)]
    })
}
