//! Clients that listen, and what waits for them.
//!
//! Both counts are guards, so the laws hold however a task ends: opened = closed + connected,
//! and enqueued = delivered + dropped + waiting.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tracing::{debug, info};

use crate::model::{ClientClose, ClientDrop, Label, Transport};
use crate::telemetry::catalogue::*;
use crate::telemetry::exemplar::{self, TraceId};
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

    /// An account of what waits for this client: nothing yet.
    pub fn account(&self) -> Waiting {
        Waiting { client: self.0.clone(), count: 0 }
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

/// How many notifications wait for one client. Dropped, those it still holds count as dropped, for
/// the reason the client was closed.
#[must_use = "the notifications count as dropped when this is dropped"]
pub struct Waiting {
    client: Arc<Presence>,
    count: u64,
}

impl Waiting {
    /// One more waits.
    #[inline]
    pub fn enqueue(&mut self, enqueued: &mut Enqueued) {
        self.count += 1;
        enqueued.0[Label::index(self.client.transport)] += 1;
    }

    /// One less waits: the client's socket has it. A foreign one was never accepted and has no
    /// latency.
    #[inline]
    pub fn deliver(&mut self, delivered: &mut Delivered, accepted: Option<Accepted>) {
        debug_assert!(self.count > 0, "only what was enqueued is delivered");
        self.count -= 1;
        delivered.add(self.client.transport, accepted);
    }

    /// So many are given up, and the client stays.
    pub fn give_up(&mut self, count: u64, reason: ClientDrop) {
        debug_assert!(self.count >= count, "only what waits can be given up");
        if count > 0 {
            self.count -= count;
            let transport = self.client.transport;
            CLIENT_WAITING.at(transport).decrement(count as f64);
            CLIENT_DROPPED.at((transport, reason)).increment(count);
        }
    }

    /// Hands so many of them to an account of their own.
    pub fn split(&mut self, count: u64) -> Self {
        debug_assert!(self.count >= count, "only what waits can go elsewhere");
        self.count -= count;
        Self { client: self.client.clone(), count }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.count > 0 {
            let transport = self.client.transport;
            CLIENT_WAITING.at(transport).decrement(self.count as f64);
            CLIENT_DROPPED.at((transport, self.client.reason().into())).increment(self.count);
        }
    }
}

/// Notifications that entered clients' queues, for each transport. They are counted together when
/// this is dropped: one notification has a thousand clients.
#[derive(Default)]
#[must_use = "the notifications count as enqueued when this is dropped"]
pub struct Enqueued([u64; Transport::ALL.len()]);

impl Drop for Enqueued {
    fn drop(&mut self) {
        for (transport, count) in Transport::ALL.iter().zip(self.0).filter(|(_, count)| *count > 0)
        {
            CLIENT_ENQUEUED.at(*transport).increment(count);
            CLIENT_WAITING.at(*transport).increment(count as f64);
        }
    }
}

/// When Trunkline accepted a notification, and as part of which trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Unix milliseconds.
    pub at_ms: u64,
    /// For the exemplar; `None` when exemplars are off.
    pub trace: Option<TraceId>,
}

/// Notifications that clients' sockets took, for each transport. They are counted together when
/// this is dropped, which has to be within a fraction of a millisecond: that is when their latency
/// ends, and the time they were accepted at is in whole ones.
#[derive(Default)]
#[must_use = "the notifications count as delivered when this is dropped"]
pub struct Delivered {
    counts: [u64; Transport::ALL.len()],
    /// How many were accepted at the same time; few times are among them.
    accepted: Vec<(Transport, Accepted, usize)>,
}

impl Delivered {
    #[inline]
    fn add(&mut self, transport: Transport, accepted: Option<Accepted>) {
        self.counts[Label::index(transport)] += 1;
        let Some(accepted) = accepted else { return };
        let same = |it: &&mut (Transport, Accepted, usize)| (it.0, it.1) == (transport, accepted);
        match self.accepted.iter_mut().rev().find(same) {
            Some((_, _, count)) => *count += 1,
            None => self.accepted.push((transport, accepted, 1)),
        }
    }
}

impl Drop for Delivered {
    fn drop(&mut self) {
        for (transport, count) in
            Transport::ALL.iter().zip(self.counts).filter(|(_, count)| *count > 0)
        {
            DELIVERIES.at(*transport).increment(count);
            CLIENT_WAITING.at(*transport).decrement(count as f64);
        }
        if self.accepted.is_empty() {
            return;
        }
        let now = super::unix_seconds();
        for (transport, Accepted { at_ms, trace }, count) in self.accepted.drain(..) {
            // Accepted on a host whose clock is ahead of ours: the lag metric tells of the skew.
            let latency = (now - at_ms as f64 / 1_000.0).max(0.0);
            let measured = DELIVERY_LATENCY.at(transport);
            exemplar::during(trace, || measured.record_many(latency, count));
        }
    }
}
