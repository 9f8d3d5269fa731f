//! Outages as things: since when, until when, why, and what they cost.

use std::collections::VecDeque;
use std::time::{Instant, SystemTime};

use super::status::Outage;
use crate::model::{Label, Role};

/// How many past outages are kept for whoever asks.
const KEPT: usize = 16;

#[derive(Clone, Copy)]
struct Ongoing {
    since: SystemTime,
    began: Instant,
    reason: &'static str,
    attempts: u64,
    refused_before: u64,
    refused: u64,
}

/// The outages of this process: at most one going on per role, and the last few that ended.
#[derive(Default)]
pub(super) struct Outages {
    ongoing: [Option<Ongoing>; Role::ALL.len()],
    ended: VecDeque<Outage>,
    /// What had been refused when each connection became ready. What is refused from then on
    /// belongs to the next outage: callers learn of a loss before its supervisor does.
    refused_at_ready: [u64; Role::ALL.len()],
}

impl Outages {
    /// A ready connection was lost.
    pub(super) fn begin(&mut self, role: Role, reason: &'static str) {
        self.ongoing[role.index()] = Some(Ongoing {
            since: SystemTime::now(),
            began: Instant::now(),
            reason,
            attempts: 0,
            refused_before: self.refused_at_ready[role.index()],
            refused: 0,
        });
    }

    /// Keeps an outage that goes on up to date. `refused` counts since the process started.
    pub(super) fn going_on(&mut self, role: Role, attempts: u64, refused: u64) {
        if let Some(ongoing) = &mut self.ongoing[role.index()] {
            ongoing.attempts = attempts;
            ongoing.refused = refused - ongoing.refused_before;
        }
    }

    /// The connection is ready; gives the outage that this ended, if there was one.
    pub(super) fn end(&mut self, role: Role, attempts: u64, refused: u64) -> Option<Outage> {
        self.going_on(role, attempts, refused);
        self.refused_at_ready[role.index()] = refused;
        let outage = self.ongoing[role.index()].take()?.told(role, false);
        if self.ended.len() == KEPT {
            self.ended.pop_front();
        }
        self.ended.push_back(outage.clone());
        Some(outage)
    }

    /// The owner closed the connection: that is no outage.
    pub(super) fn forget(&mut self, role: Role) {
        self.ongoing[role.index()] = None;
    }

    /// Those going on, then those that ended, the latest first.
    pub(super) fn recent(&self) -> Vec<Outage> {
        let ongoing = Role::ALL
            .iter()
            .filter_map(|role| self.ongoing[role.index()].map(|outage| outage.told(*role, true)));
        ongoing.chain(self.ended.iter().rev().cloned()).collect()
    }
}

impl Ongoing {
    fn told(self, role: Role, ongoing: bool) -> Outage {
        let Self { since, began, reason, attempts, refused, .. } = self;
        Outage { role, since, duration: began.elapsed(), ongoing, reason, attempts, refused }
    }
}
