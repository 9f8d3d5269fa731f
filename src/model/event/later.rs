//! `notbefore`: the extension attribute by which an event asks to be done later.

use chrono::DateTime;

use super::Event;
use crate::model::Fault;

/// The name of the attribute.
const NOT_BEFORE: &str = "notbefore";

/// So far in the past it may be: clocks differ, and a request takes its time.
const PAST_MS: i64 = 60_000;

/// So far in the future it may be: 366 days. A job keeps its place in Redis until then.
const FUTURE_MS: i64 = 366 * 86_400_000;

impl Event {
    /// The Unix millisecond before which the event is not to be done; `None` if it may be at once,
    /// or asks for what [`Event::check_not_before`] refuses.
    pub fn not_before_ms(&self) -> Option<u64> {
        let moment = DateTime::parse_from_rfc3339(self.text(NOT_BEFORE)?).ok()?;
        u64::try_from(moment.timestamp_millis()).ok()
    }

    /// Whether an event that comes in when the clock shows `now_ms` may ask for its `notbefore`.
    /// One that is in the queue already is not asked again: by then its time has come.
    pub fn check_not_before(&self, now_ms: u64) -> Result<(), Fault> {
        let Some(value) = self.members.get(NOT_BEFORE) else { return Ok(()) };
        let moment = value.as_str().and_then(|text| DateTime::parse_from_rfc3339(text).ok());
        let ahead = moment.map(|moment| moment.timestamp_millis() - now_ms as i64);
        let message = match ahead {
            None => "must be a time in RFC 3339 such as `2025-01-31T08:00:00Z`",
            Some(ahead) if ahead < -PAST_MS => "is in the past by more than a minute; leave it out",
            Some(ahead) if ahead > FUTURE_MS => "is more than 366 days ahead; give an earlier time",
            Some(_) => return Ok(()),
        };
        Err(Fault { path: format!("$.{NOT_BEFORE}"), message: message.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// 2025-01-31T08:00:00Z.
    const NOW: u64 = 1_738_310_400_000;

    fn event(not_before: Value) -> Event {
        Event::shorthand(json!({ "type": "t", "notbefore": not_before })).unwrap()
    }

    #[test]
    fn a_time_within_a_minute_ago_and_a_year_ahead_is_taken() {
        for (text, millis) in [
            ("2025-01-31T08:00:00Z", NOW),
            ("2025-01-31T07:59:00Z", NOW - 60_000),
            ("2025-01-31T10:00:00.250+01:00", NOW + 3_600_250),
            ("2026-02-01T08:00:00Z", NOW + 366 * 86_400_000),
        ] {
            let event = event(json!(text));
            assert_eq!(event.check_not_before(NOW), Ok(()), "{text}");
            assert_eq!(event.not_before_ms(), Some(millis), "{text}");
        }
        let at_once = Event::shorthand(json!({ "type": "t" })).unwrap();
        assert_eq!((at_once.check_not_before(NOW), at_once.not_before_ms()), (Ok(()), None));
    }

    #[test]
    fn any_other_is_refused_in_words() {
        for (value, says) in [
            (json!("2025-01-31T07:58:59.999Z"), "in the past by more than a minute"),
            (json!("2026-02-01T08:00:00.001Z"), "more than 366 days ahead"),
            (json!("0000-01-01T00:00:00Z"), "in the past"),
            (json!("tomorrow"), "RFC 3339"),
            (json!(""), "RFC 3339"),
            (json!(5), "RFC 3339"),
            (json!(true), "RFC 3339"),
        ] {
            let fault = event(value.clone()).check_not_before(NOW).unwrap_err();
            assert!(
                fault.path == "$.notbefore" && fault.message.contains(says),
                "{value}: {fault}"
            );
        }
    }
}
