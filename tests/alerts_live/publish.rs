//! Publishes that Redis refuses, and its list of clients.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::time::sleep;

use crate::support::process::Daemon;
use crate::support::redis::Redis;
use crate::table::Row;
use crate::watch::{Watch, alarm};
use crate::{Script, hurried, target};

/// The user of Redis loses the right to publish.
pub async fn burn() -> Script {
    let redis = Redis::plan().users(&["user default on nopass ~* &* +@all"]).start();
    let server = hurried(Daemon::server(&redis.url()), "burn").start();
    let public = server.public().await;
    Script::new(vec![target("trunkline-burn", &server).await], async move |watch: Arc<Watch>| {
        let publishing = async {
            loop {
                public.post("/v1/notifications", &json!({ "channel": "a", "data": 1 })).await;
                // The pace of the traffic: the rules are about rates.
                sleep(Duration::from_millis(50)).await;
            }
        };
        let burns = async {
            let burning = ["1h", "6h"].map(|long| {
                let labels = [("job", "trunkline-burn"), ("long", long)];
                alarm("TrunklinePublishBudgetBurn", &labels)
            });
            let began = Instant::now();
            redis.cli(&["ACL", "SETUSER", "default", "-publish"]);
            let fires =
                [watch.fires(&burning[0], began).await, watch.fires(&burning[1], began).await];
            let ended = Instant::now();
            redis.cli(&["ACL", "SETUSER", "default", "+publish"]);
            let mut rows = vec![];
            for (burning, fires) in burning.into_iter().zip(fires) {
                let resolves = watch.resolves(&burning, ended).await;
                let fault = "the user of Redis may not publish";
                rows.push(Row::new(burning, fault, fires, resolves));
            }
            rows
        };
        let (rows, stale) = tokio::select! {
            both = async { tokio::join!(burns, stale(&watch, &redis)) } => both,
            () = publishing => unreachable!("it publishes until the alerts are gone"),
        };
        drop(server);
        rows.into_iter().chain([stale]).collect()
    })
}

/// It loses the right to list clients, too.
async fn stale(watch: &Watch, redis: &Redis) -> Row {
    let stale = alarm("TrunklineConnectionAuditStale", &[("job", "trunkline-burn")]);
    let began = Instant::now();
    redis.cli(&["ACL", "SETUSER", "default", "-client|list"]);
    let fires = watch.fires(&stale, began).await;
    let ended = Instant::now();
    redis.cli(&["ACL", "SETUSER", "default", "+client|list"]);
    let resolves = watch.resolves(&stale, ended).await;
    Row::new(stale, "the user of Redis may not list clients any more", fires, resolves)
}
