//! What `/status` shows: this process and its connections at one moment.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::audit::{AuditReport, OffenderReport};
use super::verdict::{Facts, ProbeFacts, SubscriptionFacts};
use crate::conn::{Outage, Owner, Status, Subscriber};
use crate::model::{Build, Component, Label, Role, rfc3339};

/// A self-probe that came back within this many intervals is fresh: two in a row may be lost, which
/// replaces the connection, and the one after that may be late.
const FRESH_PROBES: u32 = 4;

/// Everything about the process' connections.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    instance: String,
    component: &'static str,
    build: BuildReport,
    /// How many connections the process may have.
    budget: usize,
    connections: Vec<ConnectionReport>,
    outages: Vec<OutageReport>,
    audit: AuditReport,
}

#[derive(Clone, Debug, Serialize)]
struct BuildReport {
    version: &'static str,
    revision: &'static str,
    rustc: &'static str,
}

#[derive(Clone, Debug, Serialize)]
struct ConnectionReport {
    role: &'static str,
    state: &'static str,
    since: String,
    generation: u64,
    attempts: u64,
    last_reason: Option<&'static str>,
    expected: usize,
    open: usize,
    offenders: Vec<OffenderReport>,
}

#[derive(Clone, Debug, Serialize)]
struct OutageReport {
    role: &'static str,
    since: String,
    seconds: f64,
    ongoing: bool,
    reason: &'static str,
    attempts: u64,
    refused: u64,
}

impl Report {
    /// Looks at the connections of `owner`.
    pub fn new(component: Component, instance: &str, owner: &Owner) -> Self {
        let budget = owner.budget();
        let sockets = budget.sockets();
        let given_up = |status: &Status| {
            let of_role = sockets.iter().filter(|socket| socket.role == status.role);
            of_role.filter(|socket| !socket.is_of(status)).map(OffenderReport::of_ours).collect()
        };
        let connection = |status: Status| ConnectionReport {
            offenders: given_up(&status),
            role: status.role.label(),
            state: status.state.label(),
            since: rfc3339(status.since),
            generation: status.generation,
            attempts: status.attempts,
            last_reason: status.last_reason,
            expected: budget.expected(status.role),
            open: budget.open(status.role),
        };
        Self {
            instance: instance.to_owned(),
            component: component.label(),
            build: BuildReport {
                version: Build::VERSION,
                revision: Build::REVISION,
                rustc: Build::RUSTC,
            },
            budget: Role::ALL.iter().map(|role| budget.expected(*role)).sum(),
            connections: statuses(owner).into_iter().map(connection).collect(),
            outages: owner.outages().into_iter().map(outage).collect(),
            audit: AuditReport::new(owner),
        }
    }
}

impl Facts {
    /// Looks at the connections of `owner`.
    pub fn new(
        component: Component,
        owner: &Owner,
        subscriber: Option<&Subscriber>,
        probe_interval: Duration,
        draining: bool,
    ) -> Self {
        let (desired, confirmed) = subscriber.map(Subscriber::subscriptions).unwrap_or_default();
        let now = Instant::now();
        Self {
            component,
            connections: statuses(owner).iter().map(|status| (status.role, status.state)).collect(),
            subscriptions: SubscriptionFacts { desired, confirmed },
            probe: ProbeFacts {
                age: owner.probed().map(|at| now.saturating_duration_since(at)),
                limit: probe_interval * FRESH_PROBES,
            },
            draining,
        }
    }
}

/// Whether every connection has come to the end of its first dial, one way or the other.
pub fn started(owner: &Owner) -> bool {
    let statuses = statuses(owner);
    let dialled = |status: &Status| status.is_ready() || status.last_reason.is_some();
    !statuses.is_empty() && statuses.iter().all(dialled)
}

fn statuses(owner: &Owner) -> Vec<Status> {
    let watched = Role::ALL.iter().filter_map(|role| owner.watch(*role));
    watched.map(|status| status.borrow().clone()).collect()
}

fn outage(outage: Outage) -> OutageReport {
    OutageReport {
        role: outage.role.label(),
        since: rfc3339(outage.since),
        seconds: outage.duration.as_secs_f64(),
        ongoing: outage.ongoing,
        reason: outage.reason,
        attempts: outage.attempts,
        refused: outage.refused,
    }
}
