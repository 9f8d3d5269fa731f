//! Commands on the shared connection. Hot: cached handles, and no log line when all is well.

use std::time::Duration;

use tracing::{debug, warn};

use crate::model::{Command, CommandFailure};
use crate::telemetry::catalogue::*;
use crate::telemetry::limit::LogLimit;

/// A command was sent, and then answered or given up.
pub struct CommandFinished {
    /// Which.
    pub command: Command,
    /// From handing it to the connection until the answer, or until it was given up.
    pub elapsed: Duration,
    /// Why it failed, if it did.
    pub failure: Option<CommandFailure>,
}

impl CommandFinished {
    /// Measures it, and counts its failure.
    #[inline]
    pub fn emit(self) {
        let Self { command, elapsed, failure } = self;
        REDIS_COMMAND_DURATION.at(command).record(elapsed.as_secs_f64());
        if let Some(failure) = failure {
            count_failure(command, failure);
        }
    }
}

/// A command was refused before anything was sent.
pub struct CommandRefused {
    /// Which.
    pub command: Command,
    /// Why.
    pub failure: CommandFailure,
}

impl CommandRefused {
    /// Counts it; there is nothing to measure.
    #[inline]
    pub fn emit(self) {
        count_failure(self.command, self.failure);
    }
}

#[cold]
fn count_failure(command: Command, failure: CommandFailure) {
    static LIMIT: LogLimit<CommandFailure> = LogLimit::new();
    REDIS_COMMAND_ERRORS.at((command, failure)).increment(1);
    let (command, reason) = (command.label(), failure.label());
    match failure {
        // The outage speaks for these, once.
        CommandFailure::NotReady
        | CommandFailure::Closed
        | CommandFailure::Disconnected
        | CommandFailure::Loading
        | CommandFailure::Readonly => debug!(command, reason, "redis command failed"),
        CommandFailure::Overloaded
        | CommandFailure::Denied
        | CommandFailure::Timeout
        | CommandFailure::Noperm
        | CommandFailure::Oom
        | CommandFailure::Server
        | CommandFailure::Other => {
            if let Some(suppressed) = LIMIT.admit(failure) {
                warn!(command, reason, suppressed, "redis command failed");
            }
        }
    }
}

/// A command that was sent and is not yet answered; it leaves the gauge when dropped, however
/// its future ended.
#[must_use = "the command leaves the gauge when this is dropped"]
pub struct InFlight(());

impl InFlight {
    /// Counts a command as sent.
    #[inline]
    pub fn enter() -> Self {
        REDIS_COMMANDS_IN_FLIGHT.at(()).increment(1.0);
        Self(())
    }
}

impl Drop for InFlight {
    #[inline]
    fn drop(&mut self) {
        REDIS_COMMANDS_IN_FLIGHT.at(()).decrement(1.0);
    }
}
