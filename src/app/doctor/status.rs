//! What daemons say of themselves in `/status`, and what this host lets a process do.

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde_json::Value;

use super::finding::Severity::{Bad, Note, Warn};
use super::finding::{Check, Finding, count};
use super::place::quoted;

/// Files a server needs at least: a thousand clients, and itself.
const FEWEST_FILES: u64 = 1024;
/// Files from which on nobody thinks of it.
const ENOUGH_FILES: u64 = 4096;

/// A daemon's admin listener, and its status or why there is none.
pub(super) type Asked = (String, Result<Value, String>);

/// All findings about the daemons that were asked.
pub(super) fn check(asked: &[Asked]) -> Vec<Finding> {
    let mut findings = vec![];
    for (url, answer) in asked {
        match answer {
            Ok(status) => {
                findings.push(connections(url, status));
                findings.push(outages(url, status));
            }
            Err(problem) => {
                let is = format!("{url} does not tell its status: {problem}.");
                let means = "That daemon is down, or its admin listener is elsewhere.";
                let finding = Finding::new(Check::Status, Warn, is, means);
                findings.push(finding.fix(curl(url, "/livez?verbose")));
            }
        }
    }
    findings
}

fn curl(url: &str, path: &str) -> String {
    format!("curl -sS {}", quoted(&format!("{}{path}", url.trim_end_matches('/'))))
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or("?")
}

fn list<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value[field].as_array().map_or(&[], Vec::as_slice)
}

/// Who a daemon says it is.
fn name(status: &Value) -> String {
    format!("{} {}", text(status, "component"), text(status, "instance"))
}

fn connections(url: &str, status: &Value) -> Finding {
    let name = name(status);
    let number = |it: &Value, field: &str| it[field].as_u64().unwrap_or(0);
    let all = list(status, "connections");
    let leaked: Vec<_> =
        all.iter().filter(|it| number(it, "open") > number(it, "expected")).collect();
    let sides = status["audit"].as_object().into_iter().flatten();
    let leaks: Vec<_> = sides.filter(|(_, side)| side["state"] == "leak").collect();
    if !leaked.is_empty() || !leaks.is_empty() {
        let counts = leaked.iter().map(|it| {
            let (open, expected) = (number(it, "open"), number(it, "expected"));
            format!("{} {open} open, {expected} expected", text(it, "role"))
        });
        let audits = leaks.iter().map(|(side, found)| {
            let (there, expected) = (number(found, "found"), number(found, "expected"));
            format!("{side} {there} found, {expected} expected")
        });
        let is = format!("{name} leaks: {}.", counts.chain(audits).collect::<Vec<_>>().join("; "));
        let means = "It gave up on sockets and did not close them: a bug, by definition; at 16 it dials no more.";
        let offenders = leaked.iter().copied().chain(leaks.iter().map(|(_, side)| *side));
        let mut about: Vec<_> =
            offenders.flat_map(|it| list(it, "offenders")).map(offender).collect();
        about.dedup();
        return Finding::new(Check::Status, Bad, is, means)
            .about(about)
            .fix(format!("{} > leak.json", curl(url, "/status")))
            .fix("# then restart that process, and report it with leak.json and its log");
    }
    let cut_off: Vec<_> = all.iter().filter(|it| text(it, "state") != "ready").collect();
    if !cut_off.is_empty() {
        let is = format!("{name} has no ready connection for {}.", roles(&cut_off));
        let means = "It goes on dialling by itself; the reason says what stands in its way.";
        let about = cut_off.iter().map(|it| {
            let (role, state, since) = (text(it, "role"), text(it, "state"), text(it, "since"));
            let (attempts, reason) = (number(it, "attempts"), text(it, "last_reason"));
            format!("{role}  {state} since {since}, {attempts} dials, last reason {reason}")
        });
        return Finding::new(Check::Status, Bad, is, means)
            .about(about.collect::<Vec<_>>())
            .fix(curl(url, "/status"))
            .fix("# by reason: docs/runbook.md, TrunklineRedisConnectionDown");
    }
    let open: u64 = all.iter().map(|it| number(it, "open")).sum();
    let is = format!(
        "{name}: {} ready, as expected.",
        count(open as usize, "connection", "connections")
    );
    Finding::ok(Check::Status, is)
}

fn roles(connections: &[&Value]) -> String {
    connections.iter().map(|it| text(it, "role")).collect::<Vec<_>>().join(" and ")
}

/// A connection that should not be there, with all that is known of it.
fn offender(it: &Value) -> String {
    let fields = it.as_object().into_iter().flatten();
    let word = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let known = fields.filter(|(_, value)| !value.is_null());
    known.map(|(field, value)| format!("{field}={}", word(value))).collect::<Vec<_>>().join(" ")
}

fn outages(url: &str, status: &Value) -> Finding {
    let name = name(status);
    let all = list(status, "outages");
    if all.is_empty() {
        return Finding::ok(Check::Outages, format!("{name} remembers no outage."));
    }
    let ongoing = all.iter().any(|it| it["ongoing"] == true);
    let is = format!("{name} remembers {}.", count(all.len(), "outage", "outages"));
    let (severity, means) = match ongoing {
        true => (
            Warn,
            "One goes on: what needs that connection fails at once, and nothing is kept for later.",
        ),
        false => (
            Note,
            "They are over; what was refused meanwhile was told so, and nothing was kept for later.",
        ),
    };
    Finding::new(Check::Outages, severity, is, means)
        .about(all.iter().map(outage))
        .fix(curl(url, "/status"))
}

fn outage(it: &Value) -> String {
    let (role, since, reason) = (text(it, "role"), text(it, "since"), text(it, "reason"));
    let until = match it["ongoing"] == true {
        true => "now".to_owned(),
        false => end(since, it["seconds"].as_f64().unwrap_or(0.0)).unwrap_or_default(),
    };
    let (attempts, refused) = (&it["attempts"], &it["refused"]);
    format!("{role}  {since} to {until}, {reason}, {attempts} dials, {refused} commands refused")
}

fn end(since: &str, seconds: f64) -> Option<String> {
    let since = DateTime::parse_from_rfc3339(since).ok()?.with_timezone(&Utc);
    let until = since.checked_add_signed(TimeDelta::milliseconds((seconds * 1000.0) as i64))?;
    Some(until.to_rfc3339_opts(SecondsFormat::Millis, true))
}

/// The limit of open files; `None` is no limit.
pub(super) fn open_files(limit: Option<u64>) -> Finding {
    let Some(limit) = limit else {
        return Finding::ok(Check::OpenFiles, "No limit of open files on this host.");
    };
    let is = format!("A process started here may open {limit} files.");
    let means = "Each client of a server takes one; one more is turned away.";
    match limit {
        ENOUGH_FILES.. => Finding::ok(Check::OpenFiles, is),
        FEWEST_FILES.. => Finding::new(Check::OpenFiles, Note, is, means).fix("ulimit -n 65536"),
        _ => Finding::new(Check::OpenFiles, Warn, is, means).fix("ulimit -n 65536"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::doctor::finding::Severity;
    use serde_json::json;

    fn daemon(connection: Value, audit: Value) -> Finding {
        let status = json!({
            "component": "worker", "instance": "9f2c", "connections": [connection], "audit": audit,
        });
        connections("http://10.0.0.7:9465/", &status)
    }

    #[test]
    fn a_leak_is_told_with_the_line_that_opened_it() {
        let offender = json!({ "id": 7, "addr": "10.0.0.7:50000", "place": "src/conn/dial.rs:141:5", "cmd": null });
        let connection = json!({
            "role": "shared", "state": "ready", "expected": 1, "open": 2, "offenders": [offender.clone()],
        });
        let audit = json!({ "guards": { "state": "leak", "expected": 1, "found": 2, "offenders": [offender] } });
        let finding = daemon(connection, audit);
        assert_eq!(finding.severity, Severity::Bad);
        let is = "worker 9f2c leaks: shared 2 open, 1 expected; guards 2 found, 1 expected.";
        assert_eq!(finding.is, is);
        assert_eq!(finding.about, ["addr=10.0.0.7:50000 id=7 place=src/conn/dial.rs:141:5"]);
        assert_eq!(finding.fix[0], "curl -sS http://10.0.0.7:9465/status > leak.json");
    }

    #[test]
    fn a_connection_that_is_down_is_told_with_its_reason() {
        let connection = json!({
            "role": "shared", "state": "backoff", "since": "2026-11-27T10:00:00.000Z", "expected": 1, "open": 0,
            "attempts": 12, "last_reason": "auth",
        });
        let finding = daemon(connection, json!({}));
        assert_eq!(finding.severity, Severity::Bad);
        let about = "shared  backoff since 2026-11-27T10:00:00.000Z, 12 dials, last reason auth";
        assert_eq!(finding.about, [about]);
    }

    #[test]
    fn an_outage_has_a_beginning_and_an_end() {
        let past = json!({
            "role": "subscriber", "since": "2026-11-27T10:00:00.000Z", "seconds": 61.5, "ongoing": false,
            "reason": "eof", "attempts": 3, "refused": 0,
        });
        let said = "subscriber  2026-11-27T10:00:00.000Z to 2026-11-27T10:01:01.500Z, eof, 3 dials, 0 commands refused";
        assert_eq!(outage(&past), said);
        let mut ongoing = past.clone();
        ongoing["ongoing"] = true.into();
        assert!(outage(&ongoing).contains(" to now, "));
        let of =
            |outages: Value| super::outages("http://a", &json!({ "outages": outages })).severity;
        assert_eq!(of(json!([past])), Severity::Note);
        assert_eq!(of(json!([ongoing])), Severity::Warn);
        assert_eq!(of(json!([])), Severity::Ok);
    }

    #[test]
    fn a_status_that_is_none_of_ours_is_no_panic() {
        for strange in
            [json!(null), json!([1]), json!({ "connections": 7, "audit": [], "outages": [{}] })]
        {
            check(&[("http://a".to_owned(), Ok(strange))]);
        }
    }

    #[test]
    fn few_files_are_a_fault() {
        let severity = |limit| open_files(limit).severity;
        assert_eq!(severity(Some(256)), Severity::Warn);
        assert_eq!(severity(Some(1024)), Severity::Note);
        assert_eq!(severity(Some(4096)), Severity::Ok);
        assert_eq!(severity(None), Severity::Ok);
    }
}
