//! The life of a connection, told by its supervisor and by the guard in its socket.

use std::time::Duration;

use tracing::{debug, error, info, warn};

use super::unix_seconds;
use crate::model::{ConnectFailure, ConnectionState, Edge, Label, Role, SocketClose};
use crate::telemetry::catalogue::*;
use crate::telemetry::limit::LogLimit;

/// Makes `state` the one state of a role that reads 1.
fn show_state(role: Role, state: ConnectionState) {
    for other in ConnectionState::ALL {
        let value = if *other == state { 1.0 } else { 0.0 };
        REDIS_CONNECTION_STATE.at((role, *other)).set(value);
    }
    REDIS_CONNECTION_STATE_TIMESTAMP.at(role).set(unix_seconds());
}

/// A supervisor exists and has dialled nothing yet.
pub struct InitialState {
    /// The connection.
    pub role: Role,
}

impl InitialState {
    /// Shows the role as idle.
    pub fn emit(self) {
        show_state(self.role, ConnectionState::Idle);
    }
}

/// The budget of this process was settled.
pub struct ExpectedConnections {
    /// The connection.
    pub role: Role,
    /// Sockets the budget calls for.
    pub count: usize,
}

impl ExpectedConnections {
    /// Sets the gauge.
    pub fn emit(self) {
        REDIS_CONNECTIONS_EXPECTED.at(self.role).set(self.count as f64);
    }
}

/// A connection went from one state to another, along an edge of the state diagram.
pub struct ConnectionChanged {
    /// The connection.
    pub role: Role,
    /// The state that was left.
    pub from: ConnectionState,
    /// The state that was entered.
    pub to: ConnectionState,
    /// Dials of this role so far.
    pub generation: u64,
    /// Why, where there is a why.
    pub reason: Option<&'static str>,
}

impl ConnectionChanged {
    /// Counts the edge and shows the new state.
    ///
    /// # Panics
    /// When the state diagram has no such edge.
    pub fn emit(self) {
        let Self { role, from, to, generation, reason } = self;
        REDIS_CONNECTION_TRANSITIONS.at((role, Edge { from, to })).increment(1);
        show_state(role, to);
        debug!(
            role = role.label(),
            from = from.label(),
            to = to.label(),
            generation,
            reason,
            "redis connection changed state"
        );
    }
}

/// A dial began.
pub struct DialStarted {
    /// The connection.
    pub role: Role,
    /// Dials of this role so far, this one included.
    pub generation: u64,
}

impl DialStarted {
    /// Counts it.
    pub fn emit(self) {
        let Self { role, generation } = self;
        REDIS_CONNECT_ATTEMPTS.at(role).increment(1);
        debug!(role = role.label(), generation, "dialling redis");
    }
}

/// A dial did not become ready.
pub struct DialFailed<'a> {
    /// The connection.
    pub role: Role,
    /// The dial.
    pub generation: u64,
    /// Why.
    pub failure: ConnectFailure,
    /// What was heard, scrubbed of credentials.
    pub detail: &'a str,
    /// From the start of the dial.
    pub elapsed: Duration,
    /// Whether the supervisor wants it said aloud: the first of an outage, a new reason, or
    /// half a minute after the last line.
    pub log: bool,
}

impl DialFailed<'_> {
    /// Counts it, and logs it where wanted.
    pub fn emit(self) {
        let Self { role, generation, failure, detail, elapsed, log } = self;
        REDIS_CONNECT_FAILURES.at((role, failure)).increment(1);
        let (role, reason, elapsed_seconds) =
            (role.label(), failure.label(), elapsed.as_secs_f64());
        if log {
            warn!(role, generation, reason, detail, elapsed_seconds, "redis cannot be reached");
        } else {
            debug!(role, generation, reason, detail, elapsed_seconds, "redis cannot be reached");
        }
    }
}

/// A dial became ready.
pub struct ConnectionReady {
    /// The connection.
    pub role: Role,
    /// The dial.
    pub generation: u64,
    /// From the start of the dial.
    pub elapsed: Duration,
}

impl ConnectionReady {
    /// Measures the dial.
    pub fn emit(self) {
        let Self { role, generation, elapsed } = self;
        REDIS_CONNECT_DURATION.at(role).record(elapsed.as_secs_f64());
        info!(
            role = role.label(),
            generation,
            elapsed_seconds = elapsed.as_secs_f64(),
            "redis connection ready"
        );
    }
}

/// A socket was opened; its guard exists.
pub struct SocketOpened {
    /// The connection.
    pub role: Role,
}

impl SocketOpened {
    /// Raises the gauge that [`SocketClosed`] lowers.
    pub fn emit(self) {
        REDIS_CONNECTIONS_OPENED.at(self.role).increment(1);
        REDIS_CONNECTIONS_OPEN.at(self.role).increment(1.0);
    }
}

/// A socket was closed; its guard is gone.
pub struct SocketClosed {
    /// The connection.
    pub role: Role,
    /// Why.
    pub reason: SocketClose,
}

impl SocketClosed {
    /// Lowers the gauge that [`SocketOpened`] raised.
    pub fn emit(self) {
        let Self { role, reason } = self;
        REDIS_CONNECTIONS_CLOSED.at((role, reason)).increment(1);
        REDIS_CONNECTIONS_OPEN.at(role).decrement(1.0);
        debug!(role = role.label(), reason = reason.label(), "redis socket closed");
    }
}

/// A ready connection was lost: an outage begins. The supervisor redials, so this is a warning.
pub struct ConnectionLost<'a> {
    /// The connection.
    pub role: Role,
    /// The dial that was ready.
    pub generation: u64,
    /// Why.
    pub reason: SocketClose,
    /// What was heard, scrubbed of credentials.
    pub detail: &'a str,
}

impl ConnectionLost<'_> {
    /// Logs it; the guard in the socket counts.
    pub fn emit(self) {
        let Self { role, generation, reason, detail } = self;
        warn!(
            role = role.label(),
            generation,
            reason = reason.label(),
            detail,
            "redis connection lost"
        );
    }
}

/// A connection that was lost is ready again.
pub struct OutageEnded {
    /// The connection.
    pub role: Role,
    /// From leaving ready.
    pub duration: Duration,
    /// What began it.
    pub reason: &'static str,
    /// Dials it took.
    pub attempts: u64,
    /// Commands refused meanwhile, publishes included.
    pub refused: u64,
}

impl OutageEnded {
    /// Measures and logs it.
    pub fn emit(self) {
        let Self { role, duration, reason, attempts, refused } = self;
        REDIS_OUTAGE_DURATION.at(role).record(duration.as_secs_f64());
        info!(
            role = role.label(),
            reason,
            duration_seconds = duration.as_secs_f64(),
            attempts,
            refused,
            "redis outage ended"
        );
    }
}

/// A connection was refused because the budget has no place for it.
pub struct BudgetRefused<'a> {
    /// The connection.
    pub role: Role,
    /// What was asked for.
    pub detail: &'a str,
}

impl BudgetRefused<'_> {
    /// Counts it, and logs it as the bug that it is.
    pub fn emit(self) {
        static LIMIT: LogLimit<Role> = LogLimit::new();
        let Self { role, detail } = self;
        REDIS_BUDGET_REFUSALS.at(role).increment(1);
        if let Some(suppressed) = LIMIT.admit(role) {
            error!(role = role.label(), detail, suppressed, "redis connection over budget refused");
        }
    }
}

/// Bytes came in from Redis.
pub struct BytesRead {
    /// The connection.
    pub role: Role,
    /// How many.
    pub bytes: usize,
}

impl BytesRead {
    /// Counts them.
    #[inline]
    pub fn emit(self) {
        REDIS_READ_BYTES.at(self.role).increment(self.bytes as u64);
    }
}

/// Bytes went out to Redis.
pub struct BytesWritten {
    /// The connection.
    pub role: Role,
    /// How many.
    pub bytes: usize,
}

impl BytesWritten {
    /// Counts them.
    #[inline]
    pub fn emit(self) {
        REDIS_WRITTEN_BYTES.at(self.role).increment(self.bytes as u64);
    }
}
