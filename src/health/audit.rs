//! The part of `/status` that tells what the audits of connections found.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::Serialize;

use crate::conn::{Finding, Offender, OpenSocket, Owner};
use crate::model::{FleetConnection, rfc3339};

/// What was found, by the side that was asked.
#[derive(Clone, Debug, Serialize)]
pub(super) struct AuditReport(BTreeMap<&'static str, FindingReport>);

#[derive(Clone, Debug, Serialize)]
struct FindingReport {
    state: &'static str,
    since: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    audited: Option<String>,
    expected: usize,
    found: usize,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    connections: Vec<FleetReport>,
    offenders: Vec<OffenderReport>,
}

#[derive(Clone, Debug, Serialize)]
struct FleetReport {
    role: &'static str,
    owner: &'static str,
    count: usize,
}

/// A connection that should not be there. What the side that saw it does not know is left out.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct OffenderReport {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    generation: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    addr: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    age_seconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    idle_seconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cmd: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    place: Option<String>,
}

impl AuditReport {
    pub(super) fn new(owner: &Owner) -> Self {
        let findings = owner.findings().into_iter();
        Self(findings.map(|finding| (finding.side.label(), FindingReport::new(finding))).collect())
    }
}

impl FindingReport {
    fn new(finding: Finding) -> Self {
        let moment = |at: Option<SystemTime>| at.map(rfc3339);
        let connections = finding.fleet.iter().map(|(FleetConnection { role, owner }, count)| {
            FleetReport { role: role.label(), owner: owner.label(), count: *count }
        });
        Self {
            state: finding.state.label(),
            since: rfc3339(finding.since),
            audited: moment(finding.audited),
            expected: finding.expected,
            found: finding.found,
            connections: connections.collect(),
            offenders: finding.offenders.into_iter().map(OffenderReport::new).collect(),
            reason: finding.reason,
        }
    }
}

impl OffenderReport {
    fn new(offender: Offender) -> Self {
        Self {
            role: offender.role.map(|role| role.label()),
            generation: offender.generation,
            instance: offender.instance,
            id: offender.id,
            addr: offender.addr,
            age_seconds: offender.age.map(|age| age.as_secs()),
            idle_seconds: offender.idle.map(|idle| idle.as_secs()),
            cmd: offender.cmd,
            place: offender.place.map(|place| place.to_string()),
        }
    }

    /// A socket of ours that was given up and is still open.
    pub(super) fn of_ours(socket: &OpenSocket) -> Self {
        Self::new(socket.offender())
    }
}
