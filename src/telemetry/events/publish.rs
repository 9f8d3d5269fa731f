//! Notifications on their way into Redis.
//!
//! Each attempt emits exactly one of [`NotificationPublished`] and [`PublishFailed`], so
//! attempts = answered + failed.

use tracing::{debug, warn};

use crate::model::PublishFailure;
use crate::telemetry::catalogue::*;
use crate::telemetry::limit::LogLimit;

/// Redis accepted a notification.
pub struct NotificationPublished {
    /// Connections Redis handed it to: subscribed connections, not clients. 0 is counted apart.
    pub receivers: u64,
    /// Size on the wire, envelope included.
    pub bytes: usize,
}

impl NotificationPublished {
    /// Counts the attempt and measures what came of it.
    #[inline]
    pub fn emit(self) {
        let Self { receivers, bytes } = self;
        PUBLISH_ATTEMPTS.at(()).increment(1);
        PUBLISH_RECEIVERS.at(()).record(receivers as f64);
        PUBLISH_PAYLOAD.at(()).record(bytes as f64);
        if receivers == 0 {
            PUBLISH_NO_RECEIVERS.at(()).increment(1);
        }
    }
}

/// Redis did not accept a notification, or did not say so.
pub struct PublishFailed {
    /// Why.
    pub reason: PublishFailure,
}

impl PublishFailed {
    /// Counts the attempt and its failure.
    pub fn emit(self) {
        static LIMIT: LogLimit<()> = LogLimit::new();
        let reason = self.reason;
        PUBLISH_ATTEMPTS.at(()).increment(1);
        PUBLISH_FAILURES.at(reason).increment(1);
        // Every other reason was already told by its command or by the outage.
        if reason == PublishFailure::TooLarge {
            if let Some(suppressed) = LIMIT.admit(()) {
                warn!(reason = reason.label(), suppressed, "notification not published");
            }
        } else {
            debug!(reason = reason.label(), "notification not published");
        }
    }
}

/// Redis accepted a probe of the fleet's control channel. A probe is no notification.
pub struct FleetProbed {
    /// Whether any server was subscribed.
    pub heard: bool,
    /// Whether this process' last one was unheard too.
    pub again: bool,
}

impl FleetProbed {
    /// Counts it. A worker may start a moment before the servers do, so only the second one
    /// unheard in a row is worth a line.
    pub fn emit(self) {
        // As long as no server runs every probe is unheard, and the alert watches the counter.
        static LIMIT: LogLimit<()> = LogLimit::every(std::time::Duration::from_secs(300));
        FLEET_PROBES.at(()).increment(1);
        if !self.heard {
            FLEET_PROBES_UNHEARD.at(()).increment(1);
            if self.again
                && let Some(suppressed) = LIMIT.admit(())
            {
                warn!(suppressed, "no server is subscribed to the fleet's control channel");
            }
        }
    }
}
