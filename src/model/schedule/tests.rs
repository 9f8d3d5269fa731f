use super::*;

/// 2025-01-31T08:00:00Z, a Friday.
const EIGHT: u64 = 1_738_310_400_000;
const MINUTE: u64 = 60_000;

fn schedule(document: Value) -> Schedule {
    Schedule::parse("nightly", document).unwrap()
}

fn cron(line: &str, zone: &str) -> Schedule {
    schedule(json!({ "cron": line, "timezone": zone, "event": { "type": "t" } }))
}

fn every_five(missed: &str) -> Schedule {
    let event = json!({ "type": "t" });
    schedule(json!({ "cron": "*/5 * * * *", "event": event, "missed": missed }))
}

fn at(text: &str) -> u64 {
    DateTime::parse_from_rfc3339(text).unwrap().timestamp_millis() as u64
}

#[test]
fn a_tick_is_later_than_the_moment_and_never_the_same() {
    let five = every_five("skip");
    assert_eq!(five.next_after(EIGHT - 1), Some(EIGHT));
    assert_eq!(five.next_after(EIGHT), Some(EIGHT + 5 * MINUTE));
    assert_eq!(five.next_after(EIGHT + 1), Some(EIGHT + 5 * MINUTE));
    let weekdays = cron("30 9 * * MON-FRI", "UTC");
    assert_eq!(weekdays.next_after(at("2025-01-31T09:30:00Z")), Some(at("2025-02-03T09:30:00Z")));
}

#[test]
fn the_clock_on_the_wall_of_the_zone_counts_in_summer_and_in_winter() {
    let berlin = cron("30 2 * * *", "Europe/Berlin");
    assert_eq!(berlin.next_after(at("2025-03-29T02:00:00Z")), Some(at("2025-03-30T01:00:00Z")));
    assert_eq!(berlin.next_after(at("2025-03-30T01:00:00Z")), Some(at("2025-03-31T00:30:00Z")));
    // The hour that comes twice has one tick of a fixed time.
    assert_eq!(berlin.next_after(at("2025-10-25T12:00:00Z")), Some(at("2025-10-26T00:30:00Z")));
    assert_eq!(berlin.next_after(at("2025-10-26T00:30:00Z")), Some(at("2025-10-27T01:30:00Z")));
}

#[test]
fn a_tick_that_is_hardly_late_fires_whatever_the_policy() {
    for policy in ["skip", "once"] {
        for late in [0, LATE_MS] {
            let turn = every_five(policy).turn(EIGHT, EIGHT + late);
            let next = Some(EIGHT + 5 * MINUTE);
            assert_eq!(turn, Turn { fire: Some(EIGHT), missed: 0, next }, "{policy} {late}");
        }
    }
}

#[test]
fn what_was_missed_is_skipped_or_fires_once_and_is_counted() {
    // 8:00, 8:05 and 8:10 are missed, and 8:15 is to come.
    let now = EIGHT + 12 * MINUTE;
    let next = Some(EIGHT + 15 * MINUTE);
    let skipped = every_five("skip").turn(EIGHT, now);
    assert_eq!(skipped, Turn { fire: None, missed: 3, next });
    let once = every_five("once").turn(EIGHT, now);
    assert_eq!(once, Turn { fire: Some(EIGHT + 10 * MINUTE), missed: 3, next });
    // 8:10 is there in time, and stands for the others too.
    for policy in ["skip", "once"] {
        let turn = every_five(policy).turn(EIGHT, EIGHT + 10 * MINUTE + 5_000);
        assert_eq!(turn, Turn { fire: Some(EIGHT + 10 * MINUTE), missed: 2, next }, "{policy}");
    }
}

#[test]
fn years_of_absence_are_over_at_once() {
    let now = at("2035-01-31T08:01:00Z");
    let turn = cron("* * * * *", "America/Sao_Paulo").turn(EIGHT, now + 30_000);
    let next = Some(now + MINUTE);
    assert_eq!(turn, Turn { fire: None, missed: MAX_MISSED, next });
}

#[test]
fn the_event_of_a_tick_is_the_same_again_and_another_at_the_next() {
    let event = json!({ "type": "report.due", "subject": "sales", "data": { "n": 1 } });
    let nightly = schedule(json!({ "cron": "0 8 * * *", "event": event }));
    let event = nightly.event(EIGHT).unwrap();
    assert_eq!(event, nightly.event(EIGHT).unwrap());
    assert_ne!(event.id(), nightly.event(EIGHT + 1).unwrap().id());
    let members = Value::Object(event.as_map().clone());
    assert_eq!(members["time"], "2025-01-31T08:00:00.000Z");
    assert_eq!(members["source"], "/v1/schedules/nightly");
    assert_eq!((&members["subject"], &members["data"]["n"]), (&json!("sales"), &json!(1)));
}

#[test]
fn what_is_kept_reads_as_what_was_sent() {
    let nightly = cron("0 8 * * *", "Europe/Berlin");
    let document = nightly.document();
    let read = Schedule::from_json("nightly", document.to_string().as_bytes()).unwrap();
    assert_eq!(read.document(), document);
    assert_eq!(document["missed"], "skip");
    assert!(Schedule::from_json("other", document.to_string().as_bytes()).is_none());
}

#[test]
fn every_fault_is_named_with_its_place_and_all_at_once() {
    let document = json!({ "id": "x", "cron": 5, "timezone": "Mars", "missed": "all", "evnt": 1 });
    let faults = Schedule::parse("nightly", document).unwrap_err();
    let paths: Vec<_> = faults.iter().map(|fault| fault.path.as_str()).collect();
    let all = ["$.id", "$[\"evnt\"]", "$.cron", "$.timezone", "$.missed", "$.event"];
    assert_eq!(paths, all);

    for (document, path, says) in [
        (json!({ "cron": "* * * *" }), "$.cron", "five fields but 4"),
        (json!({ "cron": "0 * * * * *" }), "$.cron", "five fields but 6"),
        (json!({ "cron": "@daily" }), "$.cron", "five fields but 1"),
        (json!({ "cron": "61 * * * *" }), "$.cron", "cannot be read"),
        (json!({ "cron": "never ever at all no" }), "$.cron", "cannot be read"),
        (json!({ "cron": "0 0 30 2 *" }), "$.cron", "no day is ever like this"),
        (json!({ "cron": "0 0 31 4,6,9,11 *" }), "$.cron", "no day is ever like this"),
        (json!({ "cron": "1,".repeat(200) }), "$.cron", "at most 256"),
        (json!({ "timezone": 1 }), "$.timezone", "Europe/Berlin"),
        (json!({ "event": { "subject": "s" } }), "$.event.type", "is required"),
        (json!({ "event": { "type": "t", "id": "7" } }), "$.event.id", "every tick"),
        (json!({ "event": { "type": "t", "notbefore": "x" } }), "$.event.notbefore", "every tick"),
        (json!({ "event": { "type": "t", "partitionkey": 7 } }), "$.event.partitionkey", "a text"),
        (json!({ "event": { "type": "t", "Bad": 1 } }), "$.event.Bad", "lower-case"),
    ] {
        let mut whole = json!({ "cron": "* * * * *", "event": { "type": "t" } });
        for (name, value) in document.as_object().unwrap() {
            whole[name] = value.clone();
        }
        let faults = Schedule::parse("nightly", whole).unwrap_err();
        let [fault] = &faults[..] else { panic!("{document}: {faults:?}") };
        assert!(fault.path == path && fault.message.contains(says), "{document}: {fault}");
    }
    for id in ["", "a b", "a/b", &"a".repeat(65)] {
        assert_eq!(Schedule::parse(id, every_five("skip").document()).unwrap_err()[0].path, "$.id");
    }
}
