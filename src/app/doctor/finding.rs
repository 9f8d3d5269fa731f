//! What the doctor says: one finding for each thing it looked at, or several.

use super::place::Place;
use crate::conn::survey::Refusal;

/// How bad a finding is, the least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Severity {
    /// As it should be.
    Ok,
    /// Worth knowing; nothing is to be done, or nothing is known.
    Note,
    /// It works, and will hurt some day.
    Warn,
    /// It hurts now, or will with the next fault.
    Bad,
}

impl Severity {
    pub(super) const ALL: [Severity; 4] =
        [Severity::Ok, Severity::Note, Severity::Warn, Severity::Bad];

    pub(super) fn word(self) -> &'static str {
        match self {
            Severity::Ok => "ok",
            Severity::Note => "note",
            Severity::Warn => "warn",
            Severity::Bad => "bad",
        }
    }
}

/// Makes the enum of checks and their words, which JSON and `docs/doctor.md` rely on.
macro_rules! checks {
    ($($(#[$doc:meta])* $check:ident = $word:literal,)+) => {
        /// What is looked at. The order is that of the findings of one severity.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(super) enum Check { $($(#[$doc])* $check,)+ }

        impl Check {
            #[cfg(test)]
            pub(super) const ALL: &[Check] = &[$(Check::$check,)+];

            pub(super) fn word(self) -> &'static str {
                match self { $(Check::$check => $word,)+ }
            }
        }
    };
}

checks! {
    /// Redis can be reached and lets us in.
    Reach = "reach",
    /// It is a version that has all that is used.
    Version = "version",
    /// It is a master.
    Role = "role",
    /// It evicts nothing.
    Eviction = "eviction",
    /// It has memory left.
    Memory = "memory",
    /// What a 202 is worth when it ends.
    Persistence = "persistence",
    /// It has room for clients.
    Maxclients = "maxclients",
    /// A slow subscriber is not cut off at once.
    OutputBuffers = "output-buffers",
    /// Clients whose host is gone are found.
    Keepalive = "tcp-keepalive",
    /// Clients that are quiet are left alone.
    Timeout = "timeout",
    /// Every process holds exactly the connections of its budget.
    Connections = "connections",
    /// No client from our hosts is nameless.
    Unnamed = "unnamed",
    /// Every connection belongs to a process that lives.
    Owners = "owners",
    /// There are servers and workers.
    Fleet = "fleet",
    /// Every server listens.
    Subscriptions = "subscriptions",
    /// The users of Redis may do what they have to.
    Rights = "rights",
    /// Jobs in the queue.
    Queue = "queue",
    /// Jobs in workers' hands.
    Pending = "pending",
    /// Workers that the queue knows.
    Consumers = "consumers",
    /// Jobs that were given up.
    DeadLetters = "dead-letters",
    /// What daemons say of their connections now.
    Status = "status",
    /// What daemons say of past outages.
    Outages = "outages",
    /// Files that this host lets a process open.
    OpenFiles = "open-files",
}

/// One thing the doctor has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) check: Check,
    pub(super) severity: Severity,
    /// Whether it could be looked at.
    pub(super) known: bool,
    /// What is, in a sentence.
    pub(super) is: String,
    /// What that means, in a sentence; empty for what is as it should be.
    pub(super) means: String,
    /// What it is about, such as connections, one in a line.
    pub(super) about: Vec<String>,
    /// What to type.
    pub(super) fix: Vec<String>,
}

impl Finding {
    pub(super) fn ok(check: Check, is: impl Into<String>) -> Self {
        Self::new(check, Severity::Ok, is, "")
    }

    pub(super) fn new(
        check: Check,
        severity: Severity,
        is: impl Into<String>,
        means: impl Into<String>,
    ) -> Self {
        let (about, fix) = (vec![], vec![]);
        Self { check, severity, known: true, is: is.into(), means: means.into(), about, fix }
    }

    /// What could not be looked at is no fault: it may be so on purpose.
    pub(super) fn unknown(check: Check, refusal: &Refusal, place: &Place) -> Self {
        let command = refusal.command;
        let (is, means) = match refusal.right() {
            Some(_) => (
                format!("Unknown, because user {} may not run {command}.", place.user),
                "The doctor has not looked; let its user see, or run it as another (--redis-url).",
            ),
            None => (
                format!("Unknown, because of {command}: {}.", refusal.error),
                "The doctor has not looked; a hosted Redis shows this in its console.",
            ),
        };
        let mut finding = Self::new(check, Severity::Note, is, means);
        finding.known = false;
        finding.fix.extend(refusal.right().map(|right| place.grant(&place.user, &[right])));
        finding
    }

    /// Adds a line to type.
    pub(super) fn fix(mut self, line: impl Into<String>) -> Self {
        self.fix.push(line.into());
        self
    }

    /// Adds what it is about.
    pub(super) fn about(mut self, lines: impl IntoIterator<Item = String>) -> Self {
        self.about.extend(lines);
        self
    }
}

/// Brings findings into their order: by severity, the worst last, where one looks first.
pub(super) fn sorted(mut findings: Vec<Finding>) -> Vec<Finding> {
    findings.sort_by_key(|finding| (finding.severity, finding.check));
    findings
}

/// What `1 warning` and `2 warnings` have in common.
pub(super) fn count(number: usize, one: &str, many: &str) -> String {
    match number {
        1 => format!("1 {one}"),
        _ => format!("{number} {many}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_check_is_documented_and_no_other() {
        let page = include_str!("../../../docs/doctor.md");
        let table = page.split("## Checks").nth(1).and_then(|rest| rest.split("\n## ").next());
        let rows = table.unwrap_or_default().lines().filter_map(|line| line.strip_prefix("| `"));
        let documented: Vec<_> = rows.filter_map(|row| row.split('`').next()).collect();
        let checks: Vec<_> = Check::ALL.iter().map(|check| check.word()).collect();
        assert_eq!(documented, checks);
    }

    #[test]
    fn the_worst_comes_last() {
        let of = |check, severity| Finding::new(check, severity, "", "");
        let all = sorted(vec![
            of(Check::Role, Severity::Bad),
            of(Check::Queue, Severity::Ok),
            of(Check::Memory, Severity::Warn),
            of(Check::Reach, Severity::Ok),
        ]);
        let order: Vec<_> = all.iter().map(|finding| finding.check).collect();
        assert_eq!(order, [Check::Reach, Check::Queue, Check::Memory, Check::Role]);
    }
}
