//! Proof that what is published is also heard.
//!
//! A connection can answer every PING and still be deaf. So a server publishes to a channel of
//! its own and waits for it to come back on its subscriber. Only a probe that Redis accepted
//! says anything about the receive path; two of them in a row that do not come back replace
//! the subscriber connection. Every process also probes the fleet's control channel, which
//! every server listens to: zero receivers there means that nobody hears anything.

use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::{FromRedisValue, cmd};
use tokio::sync::watch;

use super::line::{Line, Request};
use super::shared::Shared;
use super::status::Status;
use super::subscriptions::Subscriptions;
use crate::model::{ProbeFailure, SocketClose};
use crate::telemetry::events::publish::FleetProbed;
use crate::telemetry::events::subscriber::{ProbeFailed, ProbeReturned};

/// How long an accepted probe may take to come back; a healthy one takes well under 10 ms.
const RETURN: Duration = Duration::from_secs(2);
/// Accepted probes in a row that may be missed before the subscriber is replaced.
const MISSES: u32 = 2;

/// The subscriber's side of a probe.
#[derive(Clone)]
pub(super) struct Ear {
    pub(super) line: Arc<Line>,
    pub(super) subscriptions: Arc<Subscriptions>,
    /// When the last probe came back.
    pub(super) heard: watch::Sender<Option<Instant>>,
}

enum Probe {
    Returned,
    NotAccepted,
    Missed,
}

/// Probes for ever, every `interval` give or take a tenth, and at once after a reconnect.
pub(super) async fn run(shared: Shared, ear: Option<Ear>, interval: Duration) {
    let mut misses = 0;
    loop {
        ready(shared.watch()).await;
        let mut listening = ear.as_ref().map(|ear| ear.line.status.subscribe());
        if let (Some(ear), Some(listening)) = (&ear, &listening) {
            ready(listening.clone()).await;
            let epoch = listening.borrow().generation;
            match ear.probe(&shared).await {
                Probe::Missed if misses + 1 < MISSES => {
                    misses += 1;
                    continue;
                }
                Probe::Missed => {
                    misses = 0;
                    ear.line.hint(Request::Lost { epoch, reason: SocketClose::ProbeTimeout });
                }
                Probe::Returned | Probe::NotAccepted => misses = 0,
            }
        }
        probe_fleet(&shared).await;
        let rest = interval.mul_f64(0.9 + fastrand::f64() / 5.0);
        tokio::select! {
            () = tokio::time::sleep(rest) => {}
            () = reconnected(&mut listening) => {}
        }
    }
}

impl Ear {
    async fn probe(&self, shared: &Shared) -> Probe {
        let nonce = fastrand::u64(1..);
        let mut returned = self.subscriptions.probes.subscribe();
        let mut publish = cmd("PUBLISH");
        publish.arg(shared.probe_channel()).arg(nonce);
        let started = Instant::now();
        if shared.call(&publish).await.is_err() {
            ProbeFailed { reason: ProbeFailure::Publish }.emit();
            return Probe::NotAccepted;
        }
        let came_back = returned.wait_for(|heard| *heard == nonce);
        if tokio::time::timeout(RETURN, came_back).await.is_ok_and(|heard| heard.is_ok()) {
            ProbeReturned { elapsed: started.elapsed() }.emit();
            self.heard.send_replace(Some(Instant::now()));
            return Probe::Returned;
        }
        ProbeFailed { reason: ProbeFailure::Timeout }.emit();
        Probe::Missed
    }
}

async fn probe_fleet(shared: &Shared) {
    let mut publish = cmd("PUBLISH");
    publish.arg(shared.control_channel()).arg("probe");
    // A probe that Redis did not accept says nothing about who listens; its command was counted.
    if let Ok(reply) = shared.call(&publish).await
        && let Ok(receivers) = u64::from_redis_value(reply)
    {
        FleetProbed { heard: receivers > 0 }.emit();
    }
}

async fn ready(mut status: watch::Receiver<Status>) {
    if status.wait_for(Status::is_ready).await.is_err() {
        std::future::pending().await
    }
}

/// Resolves when the subscriber becomes ready with another connection than it has now.
async fn reconnected(status: &mut Option<watch::Receiver<Status>>) {
    let Some(status) = status else { return std::future::pending().await };
    let generation = status.borrow().generation;
    let another = status.wait_for(|status| status.is_ready() && status.generation != generation);
    if another.await.is_err() {
        std::future::pending().await
    }
}
