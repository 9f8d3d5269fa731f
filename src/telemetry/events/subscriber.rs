//! What comes in on the subscriber connection.
//!
//! Each message emits [`MessageReceived`] once, and then is part of exactly one
//! [`MessageRouted`] or [`MessageDropped`], so received = routed + dropped.

use std::time::Duration;

use tracing::{debug, info, warn};

use super::unix_seconds;
use crate::model::{MessageKind, ProbeFailure, SubscriberDrop};
use crate::telemetry::catalogue::*;
use crate::telemetry::limit::LogLimit;

/// A message arrived.
pub struct MessageReceived {
    /// Notification, own probe, or the fleet's control channel.
    pub kind: MessageKind,
}

impl MessageReceived {
    /// Counts it.
    #[inline]
    pub fn emit(self) {
        SUBSCRIBER_RECEIVED.at(self.kind).increment(1);
        SUBSCRIBER_LAST_MESSAGE_TIMESTAMP.at(()).set(unix_seconds());
    }
}

/// Messages were handed to those they are for: clients, the probe that waits, or the watch
/// over the fleet.
pub struct MessageRouted {
    /// How many messages, each counted once however many clients hear it.
    pub count: u64,
}

impl MessageRouted {
    /// Counts them.
    #[inline]
    pub fn emit(self) {
        SUBSCRIBER_ROUTED.at(()).increment(self.count);
    }
}

/// A message reached nobody.
pub struct MessageDropped {
    /// Why.
    pub reason: SubscriberDrop,
}

impl MessageDropped {
    /// Counts it, and logs what somebody should look into.
    pub fn emit(self) {
        static LIMIT: LogLimit<SubscriberDrop> = LogLimit::new();
        let reason = self.reason;
        SUBSCRIBER_DROPPED.at(reason).increment(1);
        match reason {
            // The last client left while the message was on its way: nothing is wrong.
            SubscriberDrop::NoRoute => debug!(reason = reason.label(), "message dropped"),
            SubscriberDrop::Decode | SubscriberDrop::TooLarge | SubscriberDrop::QueueFull => {
                if let Some(suppressed) = LIMIT.admit(reason) {
                    warn!(reason = reason.label(), suppressed, "message dropped");
                }
            }
        }
    }
}

/// A notification told when it was published.
pub struct LagMeasured {
    /// By the publisher's clock, in Unix milliseconds.
    pub published_ms: u64,
    /// By ours.
    pub received_ms: u64,
}

impl LagMeasured {
    /// Measures it; a publisher whose clock is ahead counts as no lag and as skew.
    #[inline]
    pub fn emit(self) {
        let Self { published_ms, received_ms } = self;
        if received_ms < published_ms {
            SUBSCRIBER_CLOCK_SKEW.at(()).increment(1);
        }
        let lag = Duration::from_millis(received_ms.saturating_sub(published_ms));
        SUBSCRIBER_LAG.at(()).record(lag.as_secs_f64());
    }
}

/// What clients want, or what Redis confirmed of it, changed.
pub struct SubscriptionsChanged {
    /// Channels and prefixes wanted.
    pub desired: usize,
    /// Those Redis confirmed.
    pub confirmed: usize,
}

impl SubscriptionsChanged {
    /// Sets both gauges.
    pub fn emit(self) {
        let Self { desired, confirmed } = self;
        SUBSCRIPTIONS_DESIRED.at(()).set(desired as f64);
        SUBSCRIPTIONS_CONFIRMED.at(()).set(confirmed as f64);
        debug!(desired, confirmed, "subscriptions changed");
    }
}

/// The ACL of Redis refused a subscription; it leaves the desired set.
pub struct SubscriptionRefused;

impl SubscriptionRefused {
    /// Counts it, and logs it without the channel's name.
    pub fn emit(self) {
        static LIMIT: LogLimit<()> = LogLimit::new();
        SUBSCRIPTIONS_REFUSED.at(()).increment(1);
        if let Some(suppressed) = LIMIT.admit(()) {
            warn!(suppressed, "redis refuses a subscription: grant the channel in its ACL");
        }
    }
}

/// After a reconnect everything desired was asked for again.
pub struct Resubscribed {
    /// Channels and prefixes confirmed.
    pub channels: usize,
    /// Those refused.
    pub refused: usize,
    /// From the loss of the connection: what was published meanwhile was not heard.
    pub gap: Duration,
}

impl Resubscribed {
    /// Logs it.
    pub fn emit(self) {
        let Self { channels, refused, gap } = self;
        info!(channels, refused, gap_seconds = gap.as_secs_f64(), "resubscribed");
    }
}

/// The self-probe came back.
pub struct ProbeReturned {
    /// From PUBLISH to receipt.
    pub elapsed: Duration,
}

impl ProbeReturned {
    /// Measures it.
    pub fn emit(self) {
        PROBE_DURATION.at(()).record(self.elapsed.as_secs_f64());
        PROBE_LAST_SUCCESS_TIMESTAMP.at(()).set(unix_seconds());
    }
}

/// The self-probe failed.
pub struct ProbeFailed {
    /// Whether Redis accepted it at all.
    pub reason: ProbeFailure,
}

impl ProbeFailed {
    /// Counts it; one that Redis accepted and that did not come back is a warning.
    pub fn emit(self) {
        let reason = self.reason;
        PROBE_FAILURES.at(reason).increment(1);
        match reason {
            // Says nothing about the receive path, and its command or the outage told it.
            ProbeFailure::Publish => debug!(reason = reason.label(), "self-probe failed"),
            ProbeFailure::Timeout => warn!(
                reason = reason.label(),
                "redis accepted the self-probe and it did not come back"
            ),
        }
    }
}
