//! What one look comes to: findings in their order, a verdict, an exit code, and a document.

use serde_json::{Value, json};

use super::facts::Facts;
use super::finding::{Check, Finding, Severity, count, sorted};
use super::place::Place;
use super::{fleet, queue, reach, rights, server, status};
use crate::config::Doctor;
use crate::model::{Build, rfc3339_now};

/// It looked, and nothing is worse than it may be.
const HEALTHY: u8 = 0;
/// It could not look.
pub(super) const NOT_LOOKED: u8 = 1;
/// It found something.
const UNHEALTHY: u8 = 2;

/// The version of the document: a field that changes its meaning or goes away raises it.
const SCHEMA: u32 = 1;

/// One look.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) at: String,
    pub(super) redis: String,
    pub(super) namespace: String,
    pub(super) queue: String,
    pub(super) findings: Vec<Finding>,
    looked: bool,
    strict: bool,
}

impl Report {
    pub(super) fn new(facts: &Facts, told: &Doctor, place: &Place) -> Self {
        let mut findings = vec![reach::check(facts.seen.as_ref().err().copied(), place)];
        if let Ok(seen) = &facts.seen {
            findings.extend(server::check(&seen.survey, place));
            findings.extend(fleet::check(seen, told, place));
            findings.extend(rights::check(&seen.survey, &seen.rights, place));
            findings.extend(queue::check(seen, told, place));
        }
        findings.extend(status::check(&facts.daemons));
        findings.push(status::open_files(facts.open_files));
        Self {
            at: rfc3339_now(),
            redis: place.shown.clone(),
            namespace: told.namespace.to_string(),
            queue: told.queue.name.to_string(),
            findings: sorted(findings),
            looked: facts.seen.is_ok(),
            strict: told.strict,
        }
    }

    fn number(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }

    fn unknown(&self) -> usize {
        self.findings.iter().filter(|finding| !finding.known).count()
    }

    pub(super) fn exit(&self) -> u8 {
        let worst = self.findings.iter().map(|finding| finding.severity).max();
        let least = if self.strict { Severity::Warn } else { Severity::Bad };
        match self.looked {
            false => NOT_LOOKED,
            true if worst >= Some(least) => UNHEALTHY,
            true => HEALTHY,
        }
    }

    /// One word.
    fn word(&self) -> &'static str {
        match self.exit() {
            NOT_LOOKED => "unreachable",
            UNHEALTHY => "unhealthy",
            _ => "healthy",
        }
    }

    /// The last line.
    pub(super) fn verdict(&self) -> String {
        let said = [
            format!("{} bad", self.number(Severity::Bad)),
            count(self.number(Severity::Warn), "warning", "warnings"),
            count(self.number(Severity::Note), "note", "notes"),
            format!("{} ok", self.number(Severity::Ok)),
        ];
        let unknown = match self.unknown() {
            0 => String::new(),
            unknown => format!(" of which {unknown} unknown"),
        };
        let [bad, warnings, notes, ok] = said;
        format!("verdict: {} ({bad}, {warnings}, {notes}{unknown}, {ok})", self.word())
    }

    /// The document of `--json`; `docs/doctor.md` describes it.
    pub(super) fn document(&self) -> Value {
        let finding = |it: &Finding| {
            json!({
                "check": it.check.word(),
                "severity": it.severity.word(),
                "known": it.known,
                "is": it.is,
                "means": it.means,
                "about": it.about,
                "fix": it.fix,
            })
        };
        let counts = Severity::ALL.map(|it| (it.word().to_owned(), self.number(it).into()));
        json!({
            "schema": SCHEMA,
            "version": Build::VERSION,
            "at": self.at,
            "redis": self.redis,
            "namespace": self.namespace,
            "queue": self.queue,
            "verdict": self.word(),
            "exit": self.exit(),
            "counts": serde_json::Map::from_iter(counts),
            "findings": self.findings.iter().map(finding).collect::<Vec<_>>(),
        })
    }

    /// The longest word of a check, for one column.
    pub(super) fn widest(&self) -> usize {
        self.findings.iter().map(|it| Check::word(it.check).len()).max().unwrap_or(0)
    }
}
