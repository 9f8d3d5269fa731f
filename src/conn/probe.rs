//! Proof that what is published is also heard.
//!
//! A connection can answer every PING and still be deaf. So a server publishes to a channel of
//! its own and waits for it to come back on its subscriber. Only a probe that Redis accepted
//! says anything about the receive path; two of them in a row that do not come back replace
//! the subscriber connection. Every process also probes the fleet's control channel, which
//! every server listens to: zero receivers there means that nobody hears anything.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::OptionFuture;
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
/// `ear` finds the subscriber's side, once there is one.
pub(super) async fn run(shared: Shared, ear: impl Fn() -> Option<Ear>, interval: Duration) {
    // Misses in a row, all of them of this generation of the subscriber.
    let (mut misses, mut of) = (0, 0);
    let mut deaf = false;
    loop {
        ready(shared.watch()).await;
        let mut listening = None;
        if let Some(ear) = ear() {
            let mut status = ear.line.status.subscribe();
            let generation = ready(status.clone()).await;
            if of != generation {
                (misses, of) = (0, generation);
            }
            match ear.probe(&shared).await {
                Probe::Missed if misses + 1 < MISSES => {
                    misses += 1;
                    continue;
                }
                Probe::Missed => {
                    misses = 0;
                    let reason = SocketClose::ProbeTimeout;
                    ear.line.hint(Request::Lost { epoch: generation, reason });
                }
                Probe::Returned | Probe::NotAccepted => misses = 0,
            }
            listening = Some(async move { reconnected(&mut status, generation).await });
        }
        probe_fleet(&shared, &mut deaf).await;
        let rest = interval.mul_f64(0.9 + fastrand::f64() / 5.0);
        let reconnected = OptionFuture::from(listening);
        tokio::select! {
            () = tokio::time::sleep(rest) => {}
            Some(()) = reconnected => {}
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

/// `deaf` says whether nobody heard the last one.
async fn probe_fleet(shared: &Shared, deaf: &mut bool) {
    let mut publish = cmd("PUBLISH");
    publish.arg(shared.control_channel()).arg("probe");
    // A probe that Redis did not accept says nothing about who listens; its command was counted.
    if let Ok(reply) = shared.call(&publish).await
        && let Ok(receivers) = u64::from_redis_value(reply)
    {
        let heard = receivers > 0;
        FleetProbed { heard, again: std::mem::replace(deaf, !heard) }.emit();
    }
}

/// Waits until ready and gives the generation.
async fn ready(mut status: watch::Receiver<Status>) -> u64 {
    let ready = status.wait_for(Status::is_ready).await.map(|status| status.generation);
    match ready {
        Ok(generation) => generation,
        Err(_) => std::future::pending().await,
    }
}

/// Resolves when the subscriber becomes ready with another connection than this.
async fn reconnected(status: &mut watch::Receiver<Status>, generation: u64) {
    let another = |status: &Status| status.is_ready() && status.generation != generation;
    if status.wait_for(another).await.is_err() {
        std::future::pending().await
    }
}
