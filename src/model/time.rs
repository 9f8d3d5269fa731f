//! The wall clock, in the two forms that leave the process.

use std::time::{SystemTime, UNIX_EPOCH};

use chrono::{DateTime, SecondsFormat, Utc};

/// Milliseconds since the Unix epoch; 0 for a clock set before it.
pub fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The time now as RFC 3339 in UTC with milliseconds, such as `2025-01-31T08:00:00.000Z`.
pub fn rfc3339_now() -> String {
    rfc3339(SystemTime::now())
}

/// A moment in the same form.
pub fn rfc3339(moment: SystemTime) -> String {
    DateTime::<Utc>::from(moment).to_rfc3339_opts(SecondsFormat::Millis, true)
}
