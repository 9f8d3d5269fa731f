//! What was missed, and what came of it.

use tracing::{debug, info, warn};

use crate::model::{GapOutcome, LostReason, Replay, ResumeOutcome};
use crate::telemetry::catalogue::*;
use crate::telemetry::limit::LogLimit;

/// A client came back with a cursor, and that is over.
pub struct ResumeEnded {
    /// How.
    pub outcome: ResumeOutcome,
    /// Notifications it got from the history.
    pub replayed: u64,
}

impl ResumeEnded {
    /// Counts it, and what was read for it.
    pub fn emit(self) {
        let Self { outcome, replayed } = self;
        RESUMES.at(outcome).increment(1);
        REPLAYED.at(Replay::Client).increment(replayed);
        debug!(outcome = outcome.label(), replayed, "client resumed");
    }
}

/// Clients are told that notifications are lost.
pub struct LossTold {
    /// Why.
    pub reason: LostReason,
    /// To how many clients.
    pub clients: u64,
}

impl LossTold {
    /// Counts it once for each client.
    pub fn emit(self) {
        static LIMIT: LogLimit<LostReason> = LogLimit::new();
        let Self { reason, clients } = self;
        LOSSES_TOLD.at(reason).increment(clients);
        // What is off is off on purpose.
        if clients > 0
            && reason != LostReason::Off
            && let Some(suppressed) = LIMIT.admit(reason)
        {
            warn!(
                reason = reason.label(),
                clients, suppressed, "clients are told that notifications are lost"
            );
        }
    }
}

/// This server looked for what it had not heard.
pub struct GapSearched {
    /// How that ended.
    pub outcome: GapOutcome,
    /// Notifications that were handed on late.
    pub filled: u64,
}

impl GapSearched {
    /// Counts it, and logs it where there was something.
    pub fn emit(self) {
        let Self { outcome, filled } = self;
        GAPS.at(outcome).increment(1);
        REPLAYED.at(Replay::Server).increment(filled);
        if filled > 0 {
            info!(filled, "notifications that were missed are handed on");
        }
    }
}
