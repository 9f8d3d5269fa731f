//! What is in the queue: a job on its way in, a job in hand, and the entry that carries it.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use redis::Value;
use uuid::Uuid;

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
    /// W3C trace context of whoever made it.
    pub traceparent: Option<String>,
}

impl Job {
    /// The trace of whoever made it.
    pub(super) fn trace(&self) -> Option<TraceContext> {
        self.traceparent.as_deref().and_then(TraceContext::parse)
    }
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
        let (mut head, mut body, mut traceparent) = (Head::default(), None, None);
        let mut fields = self.fields.into_iter();
        while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
            let (name, value) = (bytes(name)?, bytes(value)?);
            match name.as_slice() {
                b"job" => head = Head::read(&value),
                b"traceparent" => traceparent = String::from_utf8(value).ok(),
                b"body" => body = Some(value),
                // Entries of the older form have a field for each part of the head.
                b"id" => head.id = word(&value),
                b"type" => head.job_type = job_type(&value),
                b"at" => head.enqueued_ms = word(&value),
                b"attempt" => head.attempt = word(&value),
                b"deliveries" => head.deliveries = word(&value),
                _ => {}
            }
        }
        Some(Job {
            id: head.id?,
            job_type: head.job_type?,
            attempt: head.attempt?,
            deliveries: head.deliveries.unwrap_or(0).saturating_add(self.deliveries),
            enqueued_ms: head.enqueued_ms?,
            body: body?,
            traceparent,
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
    /// Reads the one value that has all of it, in this order, between single spaces.
    fn read(value: &[u8]) -> Self {
        let mut words = value.split(|byte| *byte == b' ');
        Self {
            id: words.next().and_then(word),
            job_type: words.next().and_then(job_type),
            enqueued_ms: words.next().and_then(word),
            attempt: words.next().and_then(word),
            deliveries: words.next().and_then(word),
        }
    }
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
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    fn fields(text: &str) -> Value {
        Value::Array(text.split(' ').map(bulk).collect())
    }

    #[test]
    fn a_job_is_read_from_its_entry_and_counts_the_deliveries_it_brings_along() {
        let all = "id 7 type event at 1000 attempt 2 deliveries 3 body {} traceparent 00-1";
        let value = Value::Array(vec![bulk("5-1"), Value::Int(2), fields(all)]);
        let entry = Entry::again(value).unwrap();
        assert_eq!((entry.id, entry.deliveries), (EntryId(5, 1), 2));
        assert_eq!(entry.id.age(12), Duration::from_millis(7));
        let job = entry.into_job().unwrap();
        assert_eq!((job.attempt, job.deliveries, job.enqueued_ms), (2, 5, 1000));
        assert_eq!((job.body.as_slice(), job.traceparent.as_deref()), (&b"{}"[..], Some("00-1")));
    }

    #[test]
    fn a_job_is_read_from_the_four_values_of_an_entry() {
        let fields = ["job", "7 event 1000 2 3", "body", "{}"].map(bulk).to_vec();
        let value = Value::Array(vec![bulk("5-1"), Value::Int(2), Value::Array(fields)]);
        let job = Entry::again(value).and_then(Entry::into_job).unwrap();
        assert_eq!((job.id.as_str(), job.job_type), ("7", JobType::Event));
        assert_eq!((job.attempt, job.deliveries, job.enqueued_ms), (2, 5, 1000));
        assert_eq!((job.body.as_slice(), job.traceparent), (&b"{}"[..], None));
    }

    #[test]
    fn a_head_that_is_cut_off_is_no_job() {
        for head in ["", "7", "7 event", "7 event 1000", "7 nonsense 1000 2 3", "7  event 1 2 3"] {
            let fields = ["job", head, "body", "{}"].map(bulk).to_vec();
            let entry =
                Entry::first(Value::Array(vec![bulk("5-1"), Value::Array(fields)])).unwrap();
            assert_eq!(entry.into_job(), None, "{head}");
        }
    }

    #[test]
    fn an_entry_somebody_else_put_there_is_no_job() {
        let nonsense = "id 7 type nonsense at 1 attempt 1 deliveries 0 body {}";
        let endless = nonsense.replace("nonsense", "event") + &" a b".repeat(MAX_FIELDS / 2);
        for foreign in ["a b", nonsense, &endless] {
            let entry = Entry::first(Value::Array(vec![bulk("5-1"), fields(foreign)])).unwrap();
            assert_eq!(entry.into_job(), None, "{foreign}");
        }
    }

    #[test]
    fn source_and_id_are_not_run_together() {
        assert_ne!(DedupKey::new("a", "bc"), DedupKey::new("ab", "c"));
        assert_eq!(DedupKey::new("a", "bc").to_string().len(), 32);
    }

    fn replies() -> impl Strategy<Value = Value> {
        let word = prop::sample::select(vec![
            "id",
            "job",
            "7 event 1 2 3",
            "type",
            "event",
            "at",
            "attempt",
            "deliveries",
            "body",
            "traceparent",
            "7",
            "-1",
            "99999999999999999999",
            "5-1",
            "5",
            "-",
            "",
        ]);
        let leaf = prop_oneof![
            6 => word.prop_map(bulk),
            1 => any::<Vec<u8>>().prop_map(Value::BulkString),
            1 => any::<i64>().prop_map(Value::Int),
            1 => Just(Value::Nil),
        ];
        leaf.prop_recursive(3, 60, 20, |inner| {
            prop::collection::vec(inner, 0..20).prop_map(Value::Array)
        })
    }

    proptest! {
        #[test]
        fn no_reply_panics(reply in replies(), fields in prop::collection::vec(replies(), 0..20)) {
            let around = Value::Array(vec![bulk("5-1"), Value::Int(1), Value::Array(fields.clone())]);
            let first = Value::Array(vec![bulk("5-1"), Value::Array(fields)]);
            for entry in [Entry::again(reply.clone()), Entry::first(reply), Entry::again(around), Entry::first(first)] {
                // Either verdict will do.
                let _ = entry.and_then(Entry::into_job);
            }
        }

        #[test]
        fn a_job_is_read_as_it_was_written(id in "[^ ]{1,20}", body: Vec<u8>, attempt: u32,
            earlier: u32, deliveries: u32, at: u64, ms: u64, sequence: u64, shift in 0usize..12) {
            let pairs = [("id", id.clone().into_bytes()), ("type", b"event".to_vec()),
                ("at", at.to_string().into_bytes()), ("attempt", attempt.to_string().into_bytes()),
                ("deliveries", earlier.to_string().into_bytes()), ("body", body.clone())];
            let mut pairs = pairs.map(|(name, value)| [bulk(name), Value::BulkString(value)]);
            pairs.rotate_left(shift % 6);
            let fields = Value::Array(pairs.concat());
            let entry = EntryId(ms, sequence);
            prop_assert_eq!(entry.to_string().parse(), Ok(entry));
            let reply = vec![bulk(&entry.to_string()), Value::Int(deliveries.into()), fields];
            let job = Entry::again(Value::Array(reply)).and_then(Entry::into_job);
            let deliveries = earlier.saturating_add(deliveries);
            let job_type = JobType::Event;
            prop_assert_eq!(job, Some(Job { id, job_type, attempt, deliveries, enqueued_ms: at, body, traceparent: None }));
        }
    }
}
