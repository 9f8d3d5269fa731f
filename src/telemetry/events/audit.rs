//! What the audits of connections counted, and the leaks they found.

use std::time::Duration;

use tracing::{info, warn};

use super::unix_seconds;
use crate::model::{AuditSide, FleetConnection, Label, Role};
use crate::telemetry::catalogue::*;

/// The kernel was asked for this process' sockets to Redis.
pub struct SocketsCounted {
    /// How many there are.
    pub count: usize,
}

impl SocketsCounted {
    /// Shows it.
    pub fn emit(self) {
        REDIS_SOCKETS_OPEN.at(()).set(self.count as f64);
    }
}

/// Redis was asked how many clients it has.
pub struct ServerClientsCounted {
    /// Clients of whatever kind.
    pub clients: u64,
    /// Clients it would take; nothing where it does not say.
    pub maxclients: Option<u64>,
}

impl ServerClientsCounted {
    /// Shows it.
    pub fn emit(self) {
        REDIS_SERVER_CLIENTS.at(()).set(self.clients as f64);
        if let Some(maxclients) = self.maxclients {
            REDIS_SERVER_MAXCLIENTS.at(()).set(maxclients as f64);
        }
    }
}

/// Redis listed its clients, and those of this process were counted.
pub struct ServerConnectionsCounted<'a> {
    /// How many of each role that this process may have.
    pub counts: &'a [(Role, usize)],
}

impl ServerConnectionsCounted<'_> {
    /// Shows it, and when it was.
    pub fn emit(self) {
        for (role, count) in self.counts {
            REDIS_SERVER_CONNECTIONS.at(*role).set(*count as f64);
        }
        REDIS_AUDIT_LAST_SUCCESS_TIMESTAMP.at(()).set(unix_seconds());
    }
}

/// What Redis listed before is no longer known to be so.
pub struct ServerConnectionsUnknown<'a> {
    /// The roles that were counted.
    pub roles: &'a [Role],
    /// Whether another process counts for all of the fleet now: then nobody waits for this one.
    pub elsewhere: bool,
}

impl ServerConnectionsUnknown<'_> {
    /// Shows that there is no number.
    pub fn emit(self) {
        for role in self.roles {
            REDIS_SERVER_CONNECTIONS.at(*role).set(f64::NAN);
        }
        if self.elsewhere {
            REDIS_AUDIT_LAST_SUCCESS_TIMESTAMP.at(()).set(f64::NAN);
        }
    }
}

/// This process counted the connections of the whole fleet.
pub struct FleetConnectionsCounted<'a> {
    /// How many of each kind; none of those left out.
    pub counts: &'a [(FleetConnection, usize)],
}

impl FleetConnectionsCounted<'_> {
    /// Shows it, and when it was.
    pub fn emit(self) {
        for kind in FleetConnection::ALL {
            let counted = self.counts.iter().find(|(it, _)| it == kind);
            REDIS_FLEET_CONNECTIONS.at(*kind).set(counted.map_or(0, |(_, count)| *count) as f64);
        }
        REDIS_FLEET_AUDIT_TIMESTAMP.at(()).set(unix_seconds());
    }
}

/// This process counted the fleet's connections before, and does not now.
pub struct FleetConnectionsUnknown;

impl FleetConnectionsUnknown {
    /// Shows that there is no number.
    pub fn emit(self) {
        for kind in FleetConnection::ALL {
            REDIS_FLEET_CONNECTIONS.at(*kind).set(f64::NAN);
        }
        REDIS_FLEET_AUDIT_TIMESTAMP.at(()).set(f64::NAN);
    }
}

/// The same connections were too many in two audits in a row. Told again when another joins them.
pub struct LeakFound<'a> {
    /// Who counted them.
    pub side: AuditSide,
    /// How many there should be.
    pub expected: usize,
    /// How many there are.
    pub found: usize,
    /// Which ones are too many, as far as this side knows them.
    pub offenders: &'a str,
}

impl LeakFound<'_> {
    /// Logs it.
    pub fn emit(self) {
        let Self { side, expected, found, offenders } = self;
        warn!(side = side.label(), expected, found, offenders, "redis connections leaked");
    }
}

/// None of those that were too many is there any more.
pub struct LeakEnded {
    /// Who counted them.
    pub side: AuditSide,
    /// Since they were found.
    pub duration: Duration,
}

impl LeakEnded {
    /// Logs it.
    pub fn emit(self) {
        let (side, duration_seconds) = (self.side.label(), self.duration.as_secs_f64());
        info!(side, duration_seconds, "redis connection leak ended");
    }
}

/// A side of the audit cannot be asked here. Told once for each reason.
pub struct AuditUnsupported<'a> {
    /// Which one.
    pub side: AuditSide,
    /// Why, and what to do about it where there is something to do.
    pub reason: &'a str,
}

impl AuditUnsupported<'_> {
    /// Logs it: a choice of whoever runs this, not a fault.
    pub fn emit(self) {
        info!(side = self.side.label(), reason = self.reason, "connections are not audited");
    }
}
