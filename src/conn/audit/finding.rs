//! What the audits found, for whoever asks: `/status` and the log.

use std::collections::BTreeSet;
use std::fmt;
use std::panic::Location;
use std::time::{Duration, Instant, SystemTime};

use super::verdict::{Change, Verdict};
use crate::model::{AuditSide, AuditState, FleetConnection, Label, Role};
use crate::telemetry::events::audit::{AuditUnsupported, LeakEnded, LeakFound};

/// Offenders beyond this many are counted and not described.
const DESCRIBED: usize = 16;

/// What the audits of one side have found.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Finding {
    /// Who was asked.
    pub side: AuditSide,
    /// What it came to.
    pub state: AuditState,
    /// Since when.
    pub since: SystemTime,
    /// Why it is unsupported.
    pub reason: Option<String>,
    /// When there was last an answer.
    pub audited: Option<SystemTime>,
    /// Connections there should have been then, by what the side before says: the budget, else
    /// our guards. For the fleet, those whose process lives.
    pub expected: usize,
    /// Connections there were.
    pub found: usize,
    /// For the fleet: how many of each kind.
    pub fleet: Vec<(FleetConnection, usize)>,
    /// Those that were too many, at most 16 of them; those not in [`Finding::state`] *leak* were
    /// seen once so far.
    pub offenders: Vec<Offender>,
}

/// A connection that should not be, as far as the side that saw it knows.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Offender {
    /// What it is for, by its name.
    pub role: Option<Role>,
    /// Which dial of that role it is, by its name.
    pub generation: Option<u64>,
    /// The process it is named for, where that may be another one.
    pub instance: Option<String>,
    /// Its `id` in CLIENT LIST.
    pub id: Option<u64>,
    /// Our end of it.
    pub addr: Option<String>,
    /// How long it is there.
    pub age: Option<Duration>,
    /// How long it has said nothing.
    pub idle: Option<Duration>,
    /// Its last command.
    pub cmd: Option<String>,
    /// The line of code that opened it.
    pub place: Option<&'static Location<'static>>,
    /// What tells it apart on its side.
    pub(super) key: u64,
}

impl fmt::Display for Offender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |it: Option<Duration>| it.map(|it| format!("{}s", it.as_secs()));
        let words = [
            ("role", self.role.map(|it| it.to_string())),
            ("generation", self.generation.map(|it| it.to_string())),
            ("instance", self.instance.clone()),
            ("id", self.id.map(|it| it.to_string())),
            ("addr", self.addr.clone()),
            ("age", seconds(self.age)),
            ("idle", seconds(self.idle)),
            ("cmd", self.cmd.clone()),
            ("place", self.place.map(|it| it.to_string())),
        ];
        let known = words.into_iter().filter_map(|(word, value)| Some((word, value?)));
        for (at, (word, value)) in known.enumerate() {
            write!(f, "{}{word}={value}", if at == 0 { "" } else { " " })?;
        }
        Ok(())
    }
}

/// What one audit of one side counted.
#[derive(Default)]
pub(super) struct Count {
    pub(super) expected: usize,
    pub(super) found: usize,
    pub(super) fleet: Vec<(FleetConnection, usize)>,
    pub(super) excess: Vec<Offender>,
}

/// The findings of all sides.
pub(in crate::conn) struct Findings([Watched; AuditSide::ALL.len()]);

struct Watched {
    finding: Finding,
    verdict: Verdict,
    leaking: Option<Instant>,
}

impl Default for Findings {
    fn default() -> Self {
        let now = SystemTime::now();
        let side = |side| Watched {
            finding: Finding {
                side,
                state: AuditState::Pending,
                since: now,
                reason: None,
                audited: None,
                expected: 0,
                found: 0,
                fleet: Vec::new(),
                offenders: Vec::new(),
            },
            verdict: Verdict::default(),
            leaking: None,
        };
        Self([AuditSide::Guards, AuditSide::Kernel, AuditSide::Redis, AuditSide::Fleet].map(side))
    }
}

impl Findings {
    pub(in crate::conn) fn all(&self) -> Vec<Finding> {
        self.0.iter().map(|watched| watched.finding.clone()).collect()
    }

    /// A side was counted. Logs a leak that is new, and one that is over.
    pub(super) fn counted(&mut self, side: AuditSide, count: Count) {
        let Watched { finding, verdict, leaking } = &mut self.0[side.index()];
        let Count { expected, found, fleet, mut excess } = count;
        let keys: BTreeSet<u64> = excess.iter().map(|offender| offender.key).collect();
        let change = verdict.judge(keys);
        // Those that are known to have leaked are described first.
        excess.sort_by_key(|offender| !verdict.has(offender.key));
        let leaked = excess.iter().filter(|offender| verdict.has(offender.key));
        let words: Vec<_> = leaked.take(DESCRIBED).map(Offender::to_string).collect();
        match change {
            Change::Found => {
                leaking.get_or_insert_with(Instant::now);
                LeakFound { side, expected, found, offenders: &words.join("; ") }.emit();
            }
            Change::Ended => {
                let duration = leaking.take().map(|since| since.elapsed()).unwrap_or_default();
                LeakEnded { side, duration }.emit();
            }
            Change::None => {}
        }
        excess.truncate(DESCRIBED);
        let state = if verdict.is_leak() { AuditState::Leak } else { AuditState::Ok };
        finding.enter(state, None);
        finding.audited = Some(SystemTime::now());
        (finding.expected, finding.found, finding.fleet) = (expected, found, fleet);
        finding.offenders = excess;
    }

    /// A side cannot be asked. Says so in the log, once for each reason.
    pub(super) fn unsupported(&mut self, side: AuditSide, reason: String) {
        let finding = &mut self.0[side.index()].finding;
        if finding.reason.as_ref() != Some(&reason) {
            AuditUnsupported { side, reason: &reason }.emit();
        }
        self.leave(side, AuditState::Unsupported, Some(reason));
    }

    /// Another process asks this side for all.
    pub(super) fn elsewhere(&mut self, side: AuditSide) {
        self.leave(side, AuditState::Elsewhere, None);
    }

    /// A side that is not counted any more knows of no leak.
    fn leave(&mut self, side: AuditSide, state: AuditState, reason: Option<String>) {
        let watched = &mut self.0[side.index()];
        (watched.verdict, watched.leaking) = (Verdict::default(), None);
        watched.finding.offenders.clear();
        watched.finding.enter(state, reason);
    }
}

impl Finding {
    fn enter(&mut self, state: AuditState, reason: Option<String>) {
        if self.state != state {
            self.since = SystemTime::now();
        }
        (self.state, self.reason) = (state, reason);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excess(keys: &[u64]) -> Count {
        let offender = |key: &u64| Offender { key: *key, id: Some(*key), ..Offender::default() };
        let excess: Vec<_> = keys.iter().map(offender).collect();
        Count { expected: 1, found: 1 + keys.len(), excess, ..Count::default() }
    }

    fn redis(findings: &Findings) -> Finding {
        findings.all().into_iter().find(|finding| finding.side == AuditSide::Redis).unwrap()
    }

    #[test]
    fn what_is_too_many_shows_at_once_and_is_a_leak_the_second_time() {
        let mut findings = Findings::default();
        assert_eq!(redis(&findings).state, AuditState::Pending);
        findings.counted(AuditSide::Redis, excess(&[7]));
        let seen = redis(&findings);
        assert_eq!((seen.state, seen.expected, seen.found), (AuditState::Ok, 1, 2));
        assert_eq!(seen.offenders[0].id, Some(7));
        findings.counted(AuditSide::Redis, excess(&[7]));
        assert_eq!(redis(&findings).state, AuditState::Leak);
        assert!(findings.all().iter().filter(|it| it.state == AuditState::Pending).count() == 3);
        findings.unsupported(AuditSide::Redis, "gone".to_owned());
        let refused = redis(&findings);
        assert_eq!((refused.state, refused.offenders.len()), (AuditState::Unsupported, 0));
        assert_eq!(refused.reason.as_deref(), Some("gone"));
    }

    #[test]
    fn of_many_offenders_those_that_stayed_are_described() {
        let mut findings = Findings::default();
        let all: Vec<u64> = (0..100).collect();
        findings.counted(AuditSide::Redis, excess(&[99]));
        findings.counted(AuditSide::Redis, excess(&all));
        let offenders = redis(&findings).offenders;
        assert_eq!((offenders.len(), offenders[0].key), (DESCRIBED, 99));
    }

    #[test]
    fn an_offender_is_described_by_what_is_known_of_it() {
        let offender = Offender {
            role: Some(Role::Shared),
            id: Some(12),
            age: Some(Duration::from_millis(61_500)),
            ..Offender::default()
        };
        assert_eq!(offender.to_string(), "role=shared id=12 age=61s");
    }
}
