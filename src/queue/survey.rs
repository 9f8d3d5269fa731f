//! A queue as somebody finds it who only looks. Nothing here changes it, not even the end of a
//! fullness that [`Inspector`](super::Inspector) would tell.

use std::collections::HashMap;
use std::time::Duration;

use redis::{FromRedisValue, Value};

use super::keys::{GROUP, Keys};
use crate::conn::survey::{Answer, ask_words};
use crate::conn::{Error, Shared};

/// What was found. Each question has its own answer, since each may be refused.
#[derive(Clone, Debug)]
pub(crate) struct QueueSurvey {
    /// Jobs in the stream: those that wait, and those in workers' hands.
    pub(crate) entries: Answer<u64>,
    /// Jobs that wait for their time.
    pub(crate) delayed: Answer<u64>,
    /// Jobs that wait behind another of their partition.
    pub(crate) blocked: Answer<u64>,
    /// Whether the queue refuses jobs.
    pub(crate) full: Answer<bool>,
    /// What is in workers' hands; `None` if the group of the workers is not there.
    pub(crate) pending: Answer<Option<Pending>>,
    /// The workers that the group knows; none if it is not there.
    pub(crate) consumers: Answer<Vec<Consumer>>,
    /// Jobs that were given up.
    pub(crate) dead: Answer<u64>,
    /// Why the last of them was; `None` if there is none.
    pub(crate) last_dead: Answer<Option<String>>,
}

/// Jobs that were taken and are not settled.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pending {
    /// How many.
    pub(crate) count: u64,
    /// The first of them, if there is one.
    pub(crate) oldest: Option<Held>,
}

/// A job in a worker's hands.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) entry: String,
    pub(crate) consumer: String,
    /// How long the worker has been silent about it.
    pub(crate) silent: Duration,
}

/// A worker as the group knows it.
#[derive(Clone, Debug)]
pub(crate) struct Consumer {
    /// Its instance.
    pub(crate) name: String,
    /// Jobs in its hands.
    pub(crate) pending: u64,
}

impl QueueSurvey {
    /// Asks everything, one question after the other.
    pub(crate) async fn take(shared: &Shared, keys: &Keys) -> Self {
        let (stream, dead) = (keys.stream(), keys.dead());
        Self {
            entries: ask_words(shared, "XLEN", &[&stream]).await,
            delayed: ask_words(shared, "ZCARD", &[&keys.delayed()]).await,
            blocked: ask_words(shared, "ZCARD", &[&keys.blocked()]).await,
            full: ask_words(shared, "EXISTS", &[&keys.full()]).await,
            pending: pending(shared, &stream).await,
            consumers: consumers(shared, &stream).await,
            dead: ask_words(shared, "XLEN", &[&dead]).await,
            last_dead: last_dead(shared, &dead).await,
        }
    }
}

async fn pending(shared: &Shared, stream: &str) -> Answer<Option<Pending>> {
    let held = ask_words(shared, "XPENDING", &[stream, GROUP, "-", "+", "1"]).await;
    let Some(held) = unless_missing::<Vec<(String, String, u64, u64)>>(held)? else {
        return Ok(None);
    };
    let summary: (u64, Value, Value, Value) =
        ask_words(shared, "XPENDING", &[stream, GROUP]).await?;
    let oldest = held.into_iter().next().map(|(entry, consumer, silent, _)| Held {
        entry,
        consumer,
        silent: Duration::from_millis(silent),
    });
    Ok(Some(Pending { count: summary.0, oldest }))
}

async fn consumers(shared: &Shared, stream: &str) -> Answer<Vec<Consumer>> {
    let answer = ask_words(shared, "XINFO CONSUMERS", &[stream, GROUP]).await;
    let found: Vec<HashMap<String, Value>> = unless_missing(answer)?.unwrap_or_default();
    let read = |fields: HashMap<String, Value>| {
        let name = String::from_redis_value_ref(fields.get("name")?).ok()?;
        let pending = u64::from_redis_value_ref(fields.get("pending")?).ok()?;
        Some(Consumer { name, pending })
    };
    Ok(found.into_iter().filter_map(read).collect())
}

/// The fields of a stream's entry. A job's own need not be text.
type Fields = Vec<(String, Vec<u8>)>;

async fn last_dead(shared: &Shared, dead: &str) -> Answer<Option<String>> {
    let range = ask_words(shared, "XREVRANGE", &[dead, "+", "-", "COUNT", "1"]).await;
    let letters: Vec<(String, Fields)> = range?;
    let Some((_, fields)) = letters.into_iter().next() else { return Ok(None) };
    let field = |name: &str| {
        let value = fields.iter().find(|(field, _)| field == name).map(|(_, value)| value);
        value.map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    };
    let reason = field("reason").unwrap_or_else(|| "no reason".to_owned());
    Ok(Some(match field("detail") {
        Some(detail) if !detail.is_empty() => format!("{reason}: {detail}"),
        _ => reason,
    }))
}

/// A stream or group that nobody has made yet is no refusal.
fn unless_missing<T>(answer: Answer<T>) -> Answer<Option<T>> {
    let missing = |error: &Error| match error {
        Error::Server { text, .. } => {
            text.starts_with("NOGROUP") || text.starts_with("ERR no such key")
        }
        _ => false,
    };
    match answer {
        Err(refusal) if missing(&refusal.error) => Ok(None),
        other => other.map(Some),
    }
}
