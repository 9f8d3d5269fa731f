//! A queue that stands still, and jobs that are given up.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::time::sleep;

use crate::support::chain::{store, telling};
use crate::support::eventually::eventually;
use crate::support::http::Http;
use crate::support::process::Daemon;
use crate::support::redis::Redis;
use crate::table::Row;
use crate::watch::{Watch, alarm};
use crate::{Script, hurried, target};

/// Posts an event until it is accepted: on a machine with much to do a command may time out.
async fn event(public: &Http, event: &Value) {
    eventually("the event is accepted", async || {
        let answer = public.post("/v1/events", event).await;
        if answer.status == 202 { Ok(()) } else { Err(answer.text().to_owned()) }
    })
    .await;
}

/// The only worker stands still while events come in.
pub async fn stuck(redis: &Arc<Redis>) -> Script {
    let server = hurried(Daemon::server(&redis.url()), "stuck").start();
    let worker = hurried(Daemon::worker(&redis.url()), "stuck").start();
    let targets =
        vec![target("trunkline-stuck", &server).await, target("trunkline-stuck", &worker).await];
    let public = server.public().await;
    Script::new(targets, async move |watch: Arc<Watch>| {
        store(&public, &telling("door", "door.opened")).await;
        let stuck = alarm("TrunklineQueueStuck", &[("queue", "stuck")]);
        let old = alarm("TrunklineQueueOld", &[("queue", "stuck")]);
        // Redis has its connection still, and it gives no sign of life.
        let dead = alarm("TrunklineDeadInstanceConnections", &[("role", "shared")]);
        let began = Instant::now();
        worker.sigstop();
        for number in 0..10 {
            event(&public, &json!({ "type": "door", "data": number })).await;
        }
        let old_fires = watch.fires(&old, began).await;
        let stuck_fires = watch.fires(&stuck, began).await;
        let dead_fires = watch.fires(&dead, began).await;
        let ended = Instant::now();
        worker.sigcont();
        let old_resolves = watch.resolves(&old, ended).await;
        let stuck_resolves = watch.resolves(&stuck, ended).await;
        let dead_resolves = watch.resolves(&dead, ended).await;
        drop((server, worker));
        let fault = "the only worker is stopped (SIGSTOP)";
        vec![
            Row::new(stuck, fault, stuck_fires, stuck_resolves),
            Row::new(old, fault, old_fires, old_resolves),
            Row::new(dead, fault, dead_fires, dead_resolves),
        ]
    })
}

/// A rule chain fails for the events that come.
pub async fn dead(redis: &Arc<Redis>) -> Script {
    let server = hurried(Daemon::server(&redis.url()), "dead").start();
    let worker = hurried(Daemon::worker(&redis.url()), "dead").start();
    let targets =
        vec![target("trunkline-dead", &server).await, target("trunkline-dead", &worker).await];
    let public = server.public().await;
    Script::new(targets, async move |watch: Arc<Watch>| {
        let chain = json!({
            "id": "hot", "name": "hot", "enabled": true, "on": { "type": "hot", "subject": "*" },
            "nodes": [
                { "id": "is", "kind": "filter", "when": "event.data.celsius > 80.0", "then": "tell" },
                { "id": "tell", "kind": "action", "notify": { "channel": "'hot'", "type": "hot" } },
            ],
        });
        store(&public, &chain).await;
        let given_up = alarm("TrunklineJobsDead", &[("queue", "dead"), ("reason", "rule_error")]);
        let errors = alarm("TrunklineRuleEvaluationErrors", &[("job", "trunkline-dead")]);
        let began = Instant::now();
        let events = async {
            loop {
                event(&public, &json!({ "type": "hot", "data": { "fahrenheit": 180 } })).await;
                // The pace of the traffic: the rules are about rates.
                sleep(Duration::from_millis(200)).await;
            }
        };
        let both =
            async { (watch.fires(&given_up, began).await, watch.fires(&errors, began).await) };
        let (dead_fires, error_fires) = tokio::select! {
            both = both => both,
            () = events => unreachable!("they come until the alerts are there"),
        };
        let ended = Instant::now();
        let error_resolves = watch.resolves(&errors, ended).await;
        let dead_resolves = watch.resolves(&given_up, ended).await;
        drop((server, worker));
        let fault = "events without the attribute that a rule asks for";
        vec![
            Row::new(given_up, fault, dead_fires, dead_resolves),
            Row::new(errors, fault, error_fires, error_resolves),
        ]
    })
}
