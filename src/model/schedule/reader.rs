//! From a document to a schedule, or to everything that is wrong with it.

use chrono::DateTime;
use chrono_tz::Tz;
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use serde_json::{Map, Value};

use super::{MAX_SCHEDULE_ID_BYTES, Schedule, event_at};
use crate::model::{Fault, Label, MissedPolicy};

/// The longest cron line, in bytes.
const MAX_LINE_BYTES: usize = 256;

/// What a document may have. `next` is what an answer had, and is worked out anew.
const KNOWN: [&str; 6] = ["id", "cron", "timezone", "event", "missed", "next"];

/// What every tick gives its event by itself, and `notbefore`, which is what a schedule is for.
const GIVEN: [&str; 5] = ["id", "time", "notbefore", "traceparent", "tracestate"];

pub(super) fn read(id: &str, document: Value) -> Result<Schedule, Vec<Fault>> {
    let Value::Object(members) = document else {
        return Err(vec![fault("$", "a schedule is a JSON object with `cron` and `event`")]);
    };
    let mut faults = Vec::new();
    faults.extend(check_id(id, members.get("id")).err());
    for name in members.keys().filter(|name| !KNOWN.contains(&name.as_str())) {
        let name = Value::from(name.chars().take(64).collect::<String>());
        let message = format!("is not known here; known are `{}`", KNOWN.join("`, `"));
        faults.push(fault(&format!("$[{name}]"), message));
    }
    let mut keep = |fault: Fault| faults.push(fault);
    let cron = cron(members.get("cron")).map_err(&mut keep).ok();
    let zone = zone(members.get("timezone")).map_err(&mut keep).ok();
    let missed = missed(members.get("missed")).map_err(&mut keep).ok();
    let event = match event(id, members.get("event")) {
        Ok(event) => Some(event),
        Err(found) => {
            faults.extend(found);
            None
        }
    };
    match (cron, zone, missed, event) {
        (Some((line, cron)), Some(zone), Some(missed), Some(event)) if faults.is_empty() => {
            Ok(Schedule { id: id.to_owned(), line, cron, zone, event, missed })
        }
        _ => Err(faults),
    }
}

fn fault(path: &str, message: impl Into<String>) -> Fault {
    Fault { path: path.to_owned(), message: message.into() }
}

fn check_id(id: &str, own: Option<&Value>) -> Result<(), Fault> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    if !(1..=MAX_SCHEDULE_ID_BYTES).contains(&id.len()) || !id.bytes().all(allowed) {
        let most = MAX_SCHEDULE_ID_BYTES;
        let message = format!("must be 1 to {most} letters, digits, `_` or `-`");
        return Err(fault("$.id", message));
    }
    match own {
        Some(own) if own != id => {
            Err(fault("$.id", format!("differs from `{id}`, under which it is stored")))
        }
        _ => Ok(()),
    }
}

fn cron(value: Option<&Value>) -> Result<(String, Cron), Fault> {
    let wrong = |message: String| fault("$.cron", message);
    let text = value.and_then(Value::as_str);
    let text = text.ok_or_else(|| wrong("must be a text such as `*/5 * * * *`".to_owned()))?;
    if text.len() > MAX_LINE_BYTES {
        let most = MAX_LINE_BYTES;
        return Err(wrong(format!("is {} bytes long; at most {most} are allowed", text.len())));
    }
    let fields = text.split_whitespace().count();
    if fields != 5 {
        let message = "has not five fields but {}: minute, hour, day, month, day of the week";
        return Err(wrong(message.replace("{}", &fields.to_string())));
    }
    let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
    let cron = parser.parse(text).map_err(|error| wrong(format!("cannot be read: {error}")))?;
    // Five fields name no year: a line without a tick in the next is one without any.
    match cron.find_next_occurrence(&DateTime::UNIX_EPOCH, false) {
        Ok(_) => Ok((text.to_owned(), cron)),
        Err(_) => Err(wrong("no day is ever like this; give one that its month has".to_owned())),
    }
}

fn zone(value: Option<&Value>) -> Result<Tz, Fault> {
    let Some(value) = value else { return Ok(Tz::UTC) };
    let zone = value.as_str().and_then(|name| name.parse().ok());
    zone.ok_or_else(|| {
        fault("$.timezone", "must be a zone of the IANA database such as `Europe/Berlin` or `UTC`")
    })
}

fn missed(value: Option<&Value>) -> Result<MissedPolicy, Fault> {
    let Some(value) = value else { return Ok(MissedPolicy::Skip) };
    let policy = MissedPolicy::ALL.iter().copied().find(|policy| *value == policy.label());
    policy.ok_or_else(|| fault("$.missed", "must be `skip` or `once`"))
}

/// The members of the event, if every tick can make an event of them.
fn event(id: &str, value: Option<&Value>) -> Result<Map<String, Value>, Vec<Fault>> {
    let Some(Value::Object(members)) = value else {
        return Err(vec![fault(
            "$.event",
            "must be an object such as `{\"type\":\"report.due\"}`",
        )]);
    };
    let given = GIVEN.iter().filter(|name| members.contains_key(**name));
    let mut faults: Vec<_> = given
        .map(|name| {
            let path = format!("$.event.{name}");
            fault(&path, "cannot be the same at every tick; leave it out")
        })
        .collect();
    let inside = |fault: Fault| Fault { path: fault.path.replacen('$', "$.event", 1), ..fault };
    match event_at(id, members.clone(), 0) {
        Ok(event) => faults.extend(event.check_partition_key().err().map(inside)),
        Err(found) => faults.extend(found.into_iter().map(inside)),
    }
    if faults.is_empty() { Ok(members.clone()) } else { Err(faults) }
}
