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
fn the_first_partition_counts_that_is_one() {
    let partition = |key| Partition::of(key).to_string();
    let (a, b) = (partition("a"), partition("b"));
    let read = |values: &[&str]| {
        let ours = ["job", "7 event 1000 2 3", "body", "{}"].map(bulk);
        let added = values.iter().flat_map(|value| [bulk("partition"), bulk(value)]);
        let fields = Value::Array(ours.into_iter().chain(added).collect());
        let entry = Entry::first(Value::Array(vec![bulk("5-1"), fields])).unwrap();
        entry.into_job().unwrap().partition
    };
    assert_eq!(read(&[]), None);
    assert_eq!(read(&["nonsense"]), None);
    assert_eq!(read(&["nonsense", &a, &b]), Some(Partition::of("a")));
}

#[test]
fn a_head_that_is_cut_off_is_no_job() {
    for head in [
        "",
        "7",
        "7 event",
        "7 event 1000",
        "7 event 1000 2",
        "7 event 1000 2 3 4",
        "7 event +1000 2 3",
        "7\t8 event 1000 2 3",
        " event 1000 2 3",
        "7 nonsense 1000 2 3",
        "7  event 1 2 3",
    ] {
        let fields = ["job", head, "body", "{}"].map(bulk).to_vec();
        let entry = Entry::first(Value::Array(vec![bulk("5-1"), Value::Array(fields)])).unwrap();
        assert_eq!(entry.into_job(), None, "{head}");
    }
}

#[test]
fn an_id_of_several_words_is_no_jobs() {
    for id in ["", "7 8", "7\n8"] {
        let fields =
            ["id", id, "type", "event", "at", "1", "attempt", "1", "deliveries", "0", "body", ""];
        let fields = Value::Array(fields.map(bulk).to_vec());
        let entry = Entry::first(Value::Array(vec![bulk("5-1"), fields])).unwrap();
        assert_eq!(entry.into_job(), None, "{id:?}");
    }
}

#[test]
fn the_first_head_counts_and_nothing_beside_it() {
    let fields = [
        ["job", "nonsense"],
        ["job", "7 event 1000 2 3"],
        ["attempt", "9"],
        ["job", "8 event 1 1 1"],
        ["body", "{}"],
    ];
    let fields = Value::Array(fields.concat().into_iter().map(bulk).collect());
    let entry = Entry::first(Value::Array(vec![bulk("5-1"), fields])).unwrap();
    let job = entry.into_job().unwrap();
    assert_eq!((job.id.as_str(), job.attempt, job.deliveries), ("7", 2, 4));
}

#[test]
fn a_head_of_no_type_of_ours_hides_those_after_it() {
    // The scripts put the first back, and would leave the second as it is.
    for head in ["7 nonsense 1000 1 0", "7 event 99999999999999999999 1 0"] {
        let fields = ["job", head, "job", "8 event 1 1 1", "body", "{}"].map(bulk).to_vec();
        let entry = Entry::first(Value::Array(vec![bulk("5-1"), Value::Array(fields)])).unwrap();
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
    fn a_job_is_read_as_it_was_written(id in "[^ \\t\\n\\x0b\\x0c\\r]{1,20}", body: Vec<u8>, attempt: u32,
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
        prop_assert_eq!(job, Some(Job { id, job_type, attempt, deliveries, enqueued_ms: at, body, traceparent: None, trace: None, partition: None }));
    }
}
