//! What is in the queue: a job on its way in, a job in hand, and the entry that carries it.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use redis::Value;
use uuid::Uuid;

use super::partition::Partition;
use crate::model::{JobType, Label};
use crate::telemetry::trace::TraceContext;

/// A job to be put into the queue.
#[derive(Clone, Debug)]
pub struct NewJob {
    /// What made it.
    pub job_type: JobType,
    /// What the handler gets: for an event, its JSON.
    pub body: Vec<u8>,
    /// W3C trace context of whoever made it.
    pub traceparent: Option<String>,
    /// How repeats are known; `None` makes a job every time.
    pub dedup: Option<Dedup>,
    /// The Unix millisecond, by the clock of Redis, before which it is not to be done; `None`, or
    /// one that has passed, puts it in front of the workers at once.
    pub not_before_ms: Option<u64>,
    /// The jobs among which it has an order: it is begun when all of them that were put in before
    /// it are settled or given up. One for later takes its place when it is due.
    pub partition: Option<Partition>,
}

/// By what a repeat of a job is known, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dedup {
    /// The caller chose the event's id: for the whole dedup window.
    Given(DedupKey),
    /// We made the id. Only a caller that was told it with an unknown outcome can repeat it, so
    /// it is known for a few minutes.
    Assigned(DedupKey),
}

/// Names an event for the dedup window: a hash of its source and id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DedupKey(Uuid);

impl DedupKey {
    /// The key of the event with this source and id.
    pub fn new(source: &str, id: &str) -> Self {
        // The length keeps ("a", "bc") and ("ab", "c") apart.
        let name = format!("{}:{source}{id}", source.len());
        Self(Uuid::new_v5(&Uuid::NAMESPACE_URL, name.as_bytes()))
    }
}

impl fmt::Display for DedupKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.simple().fmt(f)
    }
}

/// A job in a worker's hands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Stays the same through every retry.
    pub id: String,
    /// What made it.
    pub job_type: JobType,
    /// 1 at first; faults of Redis do not raise it.
    pub attempt: u32,
    /// How often any worker was given it, this time included.
    pub deliveries: u32,
    /// When it was put into the queue, or was first to be done if that is later, in Unix
    /// milliseconds by the clock of Redis.
    pub enqueued_ms: u64,
    /// What was put in.
    pub body: Vec<u8>,
    /// W3C trace context of whoever made it, as it came.
    pub traceparent: Option<String>,
    /// What it says; `None` if it is none.
    pub trace: Option<TraceContext>,
    /// The jobs among which it has an order.
    pub partition: Option<Partition>,
}

/// The id of a stream entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct EntryId(u64, u64);

impl EntryId {
    /// How long ago the entry was made when the clock of Redis shows `now_ms`: a new job was
    /// put in, or a delayed one was due.
    pub(super) fn age(self, now_ms: u64) -> Duration {
        Duration::from_millis(now_ms.saturating_sub(self.0))
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.0, self.1)
    }
}

impl FromStr for EntryId {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        let (ms, sequence) = text.split_once('-').ok_or(())?;
        Ok(Self(ms.parse().map_err(drop)?, sequence.parse().map_err(drop)?))
    }
}

/// Names and values of an entry of ours, with room for those of later versions. The scripts
/// pass no more on: Lua's stack is finite.
const MAX_FIELDS: usize = 64;

/// A stream entry as a script answers it.
#[derive(Debug)]
pub(super) struct Entry {
    /// Its id.
    pub(super) id: EntryId,
    /// How often this very entry was delivered; together with the consumer it is the lease.
    pub(super) deliveries: u32,
    /// Its fields and their values.
    fields: Vec<Value>,
}

impl Entry {
    /// Reads `[id, fields]`, which was just delivered for the first time.
    pub(super) fn first(value: Value) -> Option<Self> {
        let [id, fields] = array(value)?;
        Self::new(id, 1, fields)
    }

    /// Reads `[id, deliveries, fields]`.
    pub(super) fn again(value: Value) -> Option<Self> {
        let [id, deliveries, fields] = array(value)?;
        let Value::Int(deliveries) = deliveries else { return None };
        Self::new(id, u32::try_from(deliveries).ok()?, fields)
    }

    fn new(id: Value, deliveries: u32, fields: Value) -> Option<Self> {
        let Value::Array(fields) = fields else { return None };
        Some(Self { id: word(&bytes(id)?)?, deliveries, fields })
    }

    /// The job it carries; `None` when something else put the entry there.
    pub(super) fn into_job(self) -> Option<Job> {
        if self.fields.len() > MAX_FIELDS {
            return None;
        }
        let (mut head, mut older) = (None, Head::default());
        let (mut body, mut traceparent, mut partition) = (None, None, None);
        let mut fields = self.fields.into_iter();
        while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
            let (name, value) = (bytes(name)?, bytes(value)?);
            match name.as_slice() {
                b"job" => head = head.or_else(|| Head::read(&value)),
                b"traceparent" => traceparent = String::from_utf8(value).ok(),
                b"body" => body = Some(value),
                b"partition" => partition = partition.or_else(|| Partition::read(&value)),
                // Entries of the older form have a field for each part of the head.
                b"id" => older.id = job_id(&value),
                b"type" => older.job_type = job_type(&value),
                b"at" => older.enqueued_ms = word(&value),
                b"attempt" => older.attempt = word(&value),
                b"deliveries" => older.deliveries = word(&value),
                _ => {}
            }
        }
        let head = head.unwrap_or(older);
        Some(Job {
            id: head.id?,
            job_type: head.job_type?,
            attempt: head.attempt?,
            deliveries: head.deliveries.unwrap_or(0).saturating_add(self.deliveries),
            enqueued_ms: head.enqueued_ms?,
            body: body?,
            trace: traceparent.as_deref().and_then(TraceContext::parse),
            traceparent,
            partition,
        })
    }
}

/// What an entry says of its job beside the body.
#[derive(Default)]
struct Head {
    id: Option<String>,
    job_type: Option<JobType>,
    enqueued_ms: Option<u64>,
    attempt: Option<u32>,
    /// Those behind it in earlier entries.
    deliveries: Option<u32>,
}

impl Head {
    /// Reads the one value that has all of it, in this order, between single spaces. It takes for
    /// one what `head_of` of the scripts does: what only one of the two could read would be put
    /// back at the same attempt for ever. A part that means nothing here is missing then.
    fn read(value: &[u8]) -> Option<Self> {
        let words: Vec<_> = value.split(|byte| *byte == b' ').collect();
        let [id, kind, at, attempt, deliveries] = words[..] else { return None };
        let digits = |word: &[u8]| !word.is_empty() && word.iter().all(u8::is_ascii_digit);
        let sound =
            is_word(id) && is_word(kind) && [at, attempt, deliveries].into_iter().all(digits);
        sound.then(|| Self {
            id: word(id),
            job_type: job_type(kind),
            enqueued_ms: word(at),
            attempt: word(attempt),
            // A number too large is large.
            deliveries: Some(word(deliveries).unwrap_or(u32::MAX)),
        })
    }
}

/// An id is one word: the scripts write it between spaces.
fn job_id(bytes: &[u8]) -> Option<String> {
    is_word(bytes).then(|| word(bytes))?
}

/// Whether Lua's `%S+` matches all of it.
fn is_word(bytes: &[u8]) -> bool {
    let inside = |byte: &u8| !byte.is_ascii_whitespace() && *byte != 0x0b;
    !bytes.is_empty() && bytes.iter().all(inside)
}

/// The job type of this name.
pub(super) fn job_type_of(word: &str) -> Option<JobType> {
    JobType::ALL.iter().copied().find(|job_type| job_type.label() == word)
}

fn array<const N: usize>(value: Value) -> Option<[Value; N]> {
    match value {
        Value::Array(values) => values.try_into().ok(),
        _ => None,
    }
}

fn bytes(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        _ => None,
    }
}

fn word<T: FromStr>(bytes: &[u8]) -> Option<T> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

fn job_type(bytes: &[u8]) -> Option<JobType> {
    job_type_of(std::str::from_utf8(bytes).ok()?)
}

#[cfg(test)]
#[path = "job_tests.rs"]
mod tests;
