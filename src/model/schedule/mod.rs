//! A schedule: an event that comes again and again, at the ticks of a cron line in a time zone.
//! Pure: the clock is an argument.

mod reader;

use chrono::{DateTime, SecondsFormat, Utc};
use chrono_tz::Tz;
use croner::Cron;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{Event, Fault, MissedPolicy};

/// A tick that fires this late is still on time: the only worker that had just looked may have
/// died, and the others look every five seconds. Ticks are a minute apart at least.
const LATE_MS: u64 = 10_000;

/// So many ticks of one schedule are counted as missed at one time, at most.
pub const MAX_MISSED: u64 = 2_000;

/// The longest id, in bytes.
const MAX_SCHEDULE_ID_BYTES: usize = 64;

/// A valid schedule.
#[derive(Clone, Debug)]
pub struct Schedule {
    id: String,
    line: String,
    cron: Cron,
    zone: Tz,
    /// The event's members but for those that each tick gives it.
    event: Map<String, Value>,
    missed: MissedPolicy,
}

/// What is to be done about a schedule whose tick is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// The tick whose event is to be enqueued, as Unix milliseconds.
    pub fire: Option<u64>,
    /// Ticks that were missed, at most [`MAX_MISSED`].
    pub missed: u64,
    /// The next tick; `None` if there never is one.
    pub next: Option<u64>,
}

impl Schedule {
    /// Reads the schedule that is to be stored under `id`. Answers with every fault at once, each
    /// with its JSON path.
    pub fn parse(id: &str, document: Value) -> Result<Self, Vec<Fault>> {
        reader::read(id, document)
    }

    /// Reads what [`Schedule::document`] made; `None` if another hand, or a later version, did.
    pub fn from_json(id: &str, json: &[u8]) -> Option<Self> {
        Self::parse(id, serde_json::from_slice(json).ok()?).ok()
    }

    /// The schedule with every default filled in.
    pub fn document(&self) -> Value {
        json!({
            "id": self.id,
            "cron": self.line,
            "timezone": self.zone.name(),
            "event": self.event,
            "missed": self.missed.label(),
        })
    }

    /// What becomes of ticks that nobody was there for.
    pub fn missed(&self) -> MissedPolicy {
        self.missed
    }

    /// How long its event is as JSON, not counting what a tick fills in.
    pub fn event_bytes(&self) -> usize {
        Value::from(self.event.clone()).to_string().len()
    }

    /// The first tick after a moment, both in Unix milliseconds.
    pub fn next_after(&self, ms: u64) -> Option<u64> {
        let from = moment(ms)?.with_timezone(&self.zone);
        let next = self.cron.find_next_occurrence(&from, false).ok()?;
        u64::try_from(next.timestamp_millis()).ok().filter(|next| *next > ms)
    }

    /// Decides when the clock shows `now_ms` and `tick_ms` is due.
    ///
    /// What is late by more than ten seconds is missed. A tick that is on time stands for all that
    /// were missed before it; without one the policy decides whether the last missed fires.
    pub fn turn(&self, tick_ms: u64, now_ms: u64) -> Turn {
        let (mut last, mut due) = (tick_ms, 1);
        while let Some(later) = self.next_after(last).filter(|later| *later <= now_ms) {
            (last, due) = (later, due + 1);
            if due > MAX_MISSED {
                last = self.last_until(now_ms).unwrap_or(last);
                break;
            }
        }
        let on_time = now_ms.saturating_sub(last) <= LATE_MS;
        let fires = on_time || self.missed == MissedPolicy::Once;
        let missed = (due - u64::from(on_time)).min(MAX_MISSED);
        Turn { fire: fires.then_some(last), missed, next: self.next_after(now_ms.max(last)) }
    }

    fn last_until(&self, ms: u64) -> Option<u64> {
        let from = moment(ms)?.with_timezone(&self.zone);
        let last = self.cron.find_previous_occurrence(&from, true).ok()?;
        u64::try_from(last.timestamp_millis()).ok()
    }

    /// The event of a tick. Its id is the same whoever makes it, and however often.
    pub fn event(&self, tick_ms: u64) -> Result<Event, Vec<Fault>> {
        event_at(&self.id, self.event.clone(), tick_ms)
    }
}

/// What a schedule of this id makes of the members of its event at a tick.
fn event_at(id: &str, mut members: Map<String, Value>, tick_ms: u64) -> Result<Event, Vec<Fault>> {
    let source = format!("/v1/schedules/{id}");
    let id = Uuid::new_v5(&Uuid::NAMESPACE_URL, format!("{source}#{tick_ms}").as_bytes());
    members.insert("specversion".to_owned(), "1.0".into());
    members.insert("id".to_owned(), id.to_string().into());
    members.insert("time".to_owned(), tick_time(tick_ms).into());
    members.entry("source").or_insert_with(|| source.into());
    Event::structured(Value::Object(members))
}

/// A tick as RFC 3339 in UTC.
pub fn tick_time(ms: u64) -> Option<String> {
    Some(moment(ms)?.to_rfc3339_opts(SecondsFormat::Millis, true))
}

fn moment(ms: u64) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp_millis(i64::try_from(ms).ok()?)
}

#[cfg(test)]
mod tests;
