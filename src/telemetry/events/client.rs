//! Clients that listen, and what waits for them.
//!
//! Both counts are guards, so the laws hold however a task ends: opened = closed + connected,
//! and enqueued = delivered + dropped + waiting.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tracing::{debug, info};

use crate::model::{ClientClose, Label, Transport};
use crate::telemetry::catalogue::*;
use crate::telemetry::limit::LogLimit;

struct Presence {
    transport: Transport,
    /// The place in [`ClientClose::ALL`] of the reason last given.
    reason: AtomicUsize,
}

impl Presence {
    fn reason(&self) -> ClientClose {
        ClientClose::ALL[self.reason.load(Ordering::Relaxed)]
    }
}

/// A client listens, for as long as this lives. Dropped, it counts the client as closed.
#[must_use = "the client counts as closed when this is dropped"]
pub struct ClientJoined(Arc<Presence>);

impl ClientJoined {
    /// Counts a client that listens from now on.
    pub fn emit(transport: Transport) -> Self {
        CLIENTS_OPENED.at(transport).increment(1);
        CLIENTS_CONNECTED.at(transport).increment(1.0);
        debug!(transport = transport.label(), "client joined");
        // A client that leaves gives no reason: that is the default.
        let reason = AtomicUsize::new(Label::index(ClientClose::Client));
        Self(Arc::new(Presence { transport, reason }))
    }

    /// Says why the client will be closed. The last reason given counts.
    pub fn closing(&self, reason: ClientClose) {
        self.0.reason.store(Label::index(reason), Ordering::Relaxed);
    }

    /// Counts a notification as waiting for this client. The answer travels with it through the
    /// client's queue; one that finds no place there is dropped and so counts as dropped.
    #[inline]
    pub fn enqueued(&self) -> Enqueued {
        let transport = self.0.transport;
        CLIENT_ENQUEUED.at(transport).increment(1);
        CLIENT_WAITING.at(transport).increment(1.0);
        Enqueued { client: self.0.clone(), delivered: false }
    }
}

impl Drop for ClientJoined {
    fn drop(&mut self) {
        static LIMIT: LogLimit<(Transport, ClientClose)> = LogLimit::new();
        let (transport, reason) = (self.0.transport, self.0.reason());
        CLIENTS_CONNECTED.at(transport).decrement(1.0);
        CLIENTS_CLOSED.at((transport, reason)).increment(1);
        match reason {
            ClientClose::Client | ClientClose::Shutdown => {
                debug!(transport = transport.label(), reason = reason.label(), "client left");
            }
            ClientClose::Slow
            | ClientClose::PingTimeout
            | ClientClose::Auth
            | ClientClose::TooLarge
            | ClientClose::Error => {
                if let Some(suppressed) = LIMIT.admit((transport, reason)) {
                    let (transport, reason) = (transport.label(), reason.label());
                    info!(transport, reason, suppressed, "client closed");
                }
            }
        }
    }
}

/// A notification in a client's queue. Dropped before [`Enqueued::delivered`], it counts as
/// dropped, for the reason the client was closed.
#[must_use = "the notification counts as dropped when this is dropped"]
pub struct Enqueued {
    client: Arc<Presence>,
    delivered: bool,
}

impl Enqueued {
    /// The notification was written to the client's socket. `accepted_ms` is when Trunkline
    /// accepted it, in Unix milliseconds; a foreign one has no such time and no latency.
    #[inline]
    pub fn delivered(mut self, accepted_ms: Option<u64>) {
        self.delivered = true;
        let transport = self.client.transport;
        DELIVERIES.at(transport).increment(1);
        if let Some(accepted_ms) = accepted_ms {
            let latency = super::unix_seconds() - accepted_ms as f64 / 1_000.0;
            // Accepted on a host whose clock is ahead of ours: the lag metric tells of the skew.
            DELIVERY_LATENCY.at(transport).record(latency.max(0.0));
        }
    }
}

impl Drop for Enqueued {
    #[inline]
    fn drop(&mut self) {
        let transport = self.client.transport;
        CLIENT_WAITING.at(transport).decrement(1.0);
        if !self.delivered {
            CLIENT_DROPPED.at((transport, self.client.reason())).increment(1);
        }
    }
}
