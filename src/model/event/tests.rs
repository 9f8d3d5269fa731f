use super::*;
use proptest::prelude::*;
use serde_json::json;

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const OTHER_TRACE: &str = "00-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-bbbbbbbbbbbbbbbb-00";

fn sound() -> Value {
    json!({"specversion": "1.0", "id": "1", "source": "/s", "type": "t"})
}
fn with(name: &str, value: Value) -> Value {
    let mut document = sound();
    document[name] = value;
    document
}
fn paths(result: Result<Event, Vec<Fault>>) -> Vec<String> {
    result.unwrap_err().into_iter().map(|fault| fault.path).collect()
}

#[test]
fn a_structured_event_is_kept_as_it_is() {
    let document = json!({"specversion": "1.0", "id": "1", "source": "urn:x:1", "type": "t", "subject": "s",
        "time": "2025-01-31T08:00:00.5+01:00", "datacontenttype": "application/json; charset=utf-8",
        "dataschema": "https://example.com/s", "tenant": "x", "rank": -3, "test": true, "data": null});
    let event = Event::structured(document.clone()).unwrap();
    assert_eq!(
        (event.id(), event.source(), event.kind(), event.subject()),
        ("1", "urn:x:1", "t", Some("s"))
    );
    assert!(!event.assigned_id());
    assert_eq!(Value::Object(event.as_map().clone()), document);
    assert_eq!(Event::from_json(&event.to_json()).unwrap(), event);
}

#[test]
fn all_faults_are_named_at_once() {
    let faults = paths(Event::structured(json!({
        "specversion": "0.3", "id": "", "type": 7, "subject": "", "time": "yesterday", "dataschema": "/relative",
        "datacontenttype": "json", "my-key": 1, "Upper": 1, "list": [], "pi": 3.5, "big": 4_294_967_296_u64,
        "data": 1, "data_base64": "?"
    })));
    let mut expected = [
        "$.source",
        "$.data_base64",
        "$.data_base64",
        "$.specversion",
        "$.id",
        "$.type",
        "$.subject",
        "$.time",
        "$.dataschema",
        "$.datacontenttype",
        "$[\"my-key\"]",
        "$.Upper",
        "$.list",
        "$.pi",
        "$.big",
    ];
    let mut faults: Vec<&str> = faults.iter().map(String::as_str).collect();
    faults.sort_unstable();
    expected.sort_unstable();
    assert_eq!(faults, expected);
}

#[test]
fn a_fault_says_what_to_do() {
    let fault = Event::shorthand(json!({})).unwrap_err().remove(0);
    assert_eq!(
        fault.to_string(),
        "$.type: is required; add a text such as `telemetry.temperature`"
    );
}

#[test]
fn what_is_not_an_object_is_one_fault() {
    for document in [json!([]), json!("x"), Value::Null] {
        assert_eq!(paths(Event::structured(document)), ["$"]);
    }
}

#[test]
fn a_null_attribute_counts_as_absent() {
    assert!(Event::structured(with("subject", Value::Null)).unwrap().subject().is_none());
    assert_eq!(paths(Event::structured(with("id", Value::Null))), ["$.id"]);
    assert!(Event::shorthand(json!({"type": "t", "id": null})).unwrap().assigned_id());
}

#[test]
fn texts_have_bounds_and_hold_no_control_characters() {
    assert!(Event::structured(with("id", "x".repeat(MAX_ID_BYTES).into())).is_ok());
    for (name, value) in [
        ("id", "x".repeat(MAX_ID_BYTES + 1)),
        ("id", "a\u{7}".into()),
        ("tenant", "a\u{fdd0}".into()),
        ("tenant", "a\u{1fffe}".into()),
        ("source", "/a b".into()),
        ("source", "/a%2".into()),
    ] {
        assert_eq!(paths(Event::structured(with(name, value.into()))), [format!("$.{name}")]);
    }
}

#[test]
fn an_event_with_a_thousand_faults_answers_with_a_hundred() {
    let document: Map<_, _> = (0..1000).map(|n| (format!("bad-{n}"), json!(1))).collect();
    let more = "$: has at least 905 faults more, which are not listed";
    let faults = Event::structured(document.clone().into()).unwrap_err();
    assert_eq!((faults.len(), faults[99].to_string().as_str()), (100, more));
    // What is said of all is said of no header.
    let headers: Vec<_> = document.keys().map(|name| format!("ce-{name}")).collect();
    let headers = headers.iter().map(|name| (name.as_str(), &b"1"[..]));
    assert_eq!(Event::binary(headers, None, b"").unwrap_err()[99].to_string(), more);
    let headers = std::iter::repeat_n(("ce-data", &b"x"[..]), 1_000);
    assert_eq!(Event::binary(headers, None, b"").unwrap_err().len(), 100);
}

#[test]
fn shorthand_fills_in_all_but_the_type() {
    let event = Event::shorthand(json!({"type": "t", "data": 1})).unwrap();
    assert!(event.assigned_id());
    assert_eq!(event.source(), "/v1/events");
    assert_eq!(Uuid::parse_str(event.id()).unwrap().get_version_num(), 7);
    assert!(event.as_map().contains_key("time"));
    let named = Event::shorthand(json!({"type": "t", "id": "mine"})).unwrap();
    assert!(!named.assigned_id());
}

#[test]
fn a_valid_traceparent_attribute_wins_over_the_header() {
    let bare = || Event::structured(sound()).unwrap();
    assert_eq!(bare().with_traceparent(TRACE).traceparent(), Some(TRACE));
    assert_eq!(bare().with_traceparent("nonsense").traceparent(), None);
    let own = Event::structured(with("traceparent", OTHER_TRACE.into())).unwrap();
    assert_eq!(own.with_traceparent(TRACE).traceparent(), Some(OTHER_TRACE));
    let broken = Event::structured(with("traceparent", "broken".into())).unwrap();
    assert_eq!(broken.traceparent(), None);
    assert_eq!(broken.with_traceparent(TRACE).traceparent(), Some(TRACE));
}

#[test]
fn a_batch_names_the_index_of_each_fault() {
    assert_eq!(Event::batch(json!([])).unwrap(), []);
    assert_eq!(Event::batch(json!([sound(), sound()])).unwrap().len(), 2);
    let faults = Event::batch(json!([sound(), {}, with("id", "".into()), 3])).unwrap_err();
    let paths: Vec<_> = faults.iter().map(|fault| fault.path.as_str()).collect();
    assert_eq!(
        paths,
        ["$[1].specversion", "$[1].id", "$[1].source", "$[1].type", "$[2].id", "$[3]"]
    );
    assert_eq!(Event::batch(sound()).unwrap_err()[0].path, "$");
    assert_eq!(Event::batch(vec![sound(); 101].into()).unwrap_err()[0].path, "$");
}

const HEADERS: [(&str, &str); 4] =
    [("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-source", "/s"), ("ce-type", "t")];

fn binary(
    more: &[(&str, &str)],
    content_type: Option<&str>,
    body: &[u8],
) -> Result<Event, Vec<Fault>> {
    let headers = HEADERS.iter().chain(more).map(|(name, value)| (*name, value.as_bytes()));
    Event::binary(headers, content_type, body)
}

#[test]
fn binary_mode_takes_attributes_from_headers_and_data_from_the_body() {
    let more =
        [("CE-Subject", "caf%C3%A9 %zz"), ("ce-note", "\"say \\\"hi\\\"\""), ("accept", "*/*")];
    let event = binary(&more, Some("application/vnd.x+json"), b"{\"a\":1}").unwrap();
    assert_eq!(event.subject(), Some("café %zz"));
    assert_eq!(event.as_map()["note"], "say \"hi\"");
    assert_eq!(event.as_map()["data"], json!({"a": 1}));
    assert_eq!(event.as_map()["datacontenttype"], "application/vnd.x+json");
    assert!(!event.as_map().contains_key("accept"));
}

#[test]
fn data_that_is_not_json_becomes_base64() {
    let event = binary(&[], Some("text/plain"), b"\xff\x00").unwrap();
    assert_eq!(event.as_map()["data_base64"], "/wA=");
    assert!(binary(&[], None, b"").unwrap().as_map().get("data").is_none());
    assert_eq!(binary(&[], None, b"1").unwrap().as_map()["data"], 1);
}

#[test]
fn faults_of_binary_mode_name_the_header() {
    let more = [("ce-id", "2"), ("ce-datacontenttype", "x"), ("ce-note", "%ff")];
    assert_eq!(
        paths(binary(&more, Some("application/json"), b"{")),
        ["ce-id", "ce-datacontenttype", "ce-note", "body"]
    );
    assert_eq!(
        paths(binary(&[("ce-my-key", "1"), ("ce-time", "now")], Some("nonsense"), b"")),
        ["content-type", "ce-my-key", "ce-time"]
    );
    assert_eq!(paths(Event::binary([("ce-type", &b"t"[..])], None, b""))[0], "ce-specversion");
}

proptest! {
    #[test]
    fn no_bytes_panic(json: Vec<u8>, header: Vec<u8>, content_type in ".*") {
        if let Ok(event) = Event::from_json(&json) {
            event.to_json();
        }
        let event = Event::binary([("ce-id", &header[..])], Some(&content_type), &json);
        prop_assert!(event.is_err(), "most attributes are missing");
    }

    #[test]
    fn what_is_stored_is_read_back(subject in "[^\\p{C}]{1,40}", data in ".*", number: f64) {
        let event = Event::shorthand(json!({"type": "t", "subject": subject, "data": [data, number]})).unwrap();
        let read = Event::from_json(&event.to_json()).unwrap();
        prop_assert_eq!(read.as_map(), event.as_map());
    }
}

/// Values as they may stand in a document, more or less.
fn values() -> impl Strategy<Value = Value> {
    let text = prop::sample::select(vec![
        "1.0",
        "1",
        "",
        "/s",
        "a b",
        "%zz",
        "t",
        "yesterday",
        "2025-01-31T08:00:00Z",
        "text/plain",
        "AA==",
        "?",
        "\u{7}",
        "https://example.com/s",
    ]);
    let leaf = prop_oneof![
        6 => text.prop_map(Value::from),
        1 => any::<String>().prop_map(Value::from),
        1 => any::<i64>().prop_map(Value::from),
        1 => any::<bool>().prop_map(Value::from),
        1 => Just(Value::Null),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| prop::collection::vec(inner, 0..4).prop_map(Value::from))
}

/// Objects with the attributes of an event, sound or spoilt, some left out, and others.
fn documents() -> impl Strategy<Value = Value> {
    let name = prop::sample::select(vec![
        "specversion",
        "id",
        "source",
        "type",
        "subject",
        "time",
        "datacontenttype",
        "dataschema",
        "data",
        "data_base64",
        "traceparent",
        "tenant",
        "Upper",
        "na-me",
        "",
    ]);
    let members = prop::collection::hash_map(name.prop_map(str::to_owned), values(), 0..4);
    let required = prop::sample::subsequence(vec!["specversion", "id", "source", "type"], 2..=4);
    (members, required).prop_map(|(mut members, required)| {
        for name in required {
            members.insert(name.to_owned(), sound()[name].clone());
        }
        Value::Object(members.into_iter().collect())
    })
}

#[test]
fn data_of_binary_mode_is_refused_where_a_worker_could_not_read_it() {
    let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
    let deepest = binary(&[], None, nested(126).as_bytes()).unwrap();
    assert_eq!(Event::from_json(&deepest.to_json()), Ok(deepest));
    let faults = binary(&[], None, nested(127).as_bytes()).unwrap_err();
    assert_eq!(faults[0].to_string(), "body: is nested more than 126 levels deep; flatten it");
}

#[test]
fn a_refusal_is_short_however_long_what_is_refused() {
    let many = Value::from(vec![json!({}); MAX_BATCH_EVENTS]);
    assert_eq!(Event::batch(many).unwrap_err().len(), 100);
    let long = format!("ce-{}", "x".repeat(9_000));
    let faults = Event::binary([(long.as_str(), &b"\xff"[..])], None, b"").unwrap_err();
    assert_eq!(faults[0].path.len(), 64);
}

proptest! {
    #[test]
    fn an_event_is_read_back_as_it_was_taken_and_a_refusal_names_a_member(document in documents()) {
        for taken in [Event::structured(document.clone()), Event::shorthand(document.clone())] {
            match taken {
                Ok(event) => {
                    let read = Event::from_json(&event.to_json()).unwrap();
                    prop_assert_eq!(read.as_map(), event.as_map());
                    prop_assert!((1..=MAX_ID_BYTES).contains(&event.id().len()));
                    prop_assert!(!event.source().is_empty() && !event.kind().is_empty());
                }
                Err(faults) => {
                    prop_assert!((1..=crate::model::MAX_FAULTS).contains(&faults.len()));
                    let named = faults.iter().all(|it| it.path.starts_with('$') && it.path.len() > 1);
                    prop_assert!(named && faults.iter().all(|it| !it.message.is_empty()), "{faults:?}");
                }
            }
        }
    }

    #[test]
    fn a_batch_is_all_or_nothing_and_a_fault_names_the_index(
        documents in prop::collection::vec(documents(), 0..6)
    ) {
        let one_by_one: Vec<bool> =
            documents.iter().map(|one| Event::structured(one.clone()).is_ok()).collect();
        match Event::batch(documents.into()) {
            Ok(events) => prop_assert_eq!(vec![true; events.len()], one_by_one),
            Err(faults) => for (index, sound) in one_by_one.iter().enumerate() {
                let named = faults.iter().any(|it| it.path.starts_with(&format!("$[{index}]")));
                prop_assert_eq!(named, !sound, "{}: {:?}", index, faults);
            },
        }
    }

    #[test]
    fn any_attribute_survives_the_way_through_a_header(subject in "[^\\p{C}]{1,40}", body: Vec<u8>) {
        let escaped = percent_encoding::utf8_percent_encode(&subject, percent_encoding::NON_ALPHANUMERIC);
        let event = binary(&[("ce-subject", &escaped.to_string())], Some("image/png"), &body).unwrap();
        prop_assert_eq!(event.subject(), Some(subject.as_str()));
        let stored = event.as_map().get("data_base64").and_then(Value::as_str).unwrap_or_default();
        use base64::Engine;
        prop_assert_eq!(base64::engine::general_purpose::STANDARD.decode(stored).unwrap(), body);
    }

    #[test]
    fn a_refused_header_is_named(name in "[a-zA-Z0-9_-]{0,12}|data|data_base64|DataContentType|time|Id", value: Vec<u8>, twice: bool) {
        let name = format!("ce-{name}");
        let headers = HEADERS.iter().map(|(name, value)| (*name, value.as_bytes()));
        let more = std::iter::repeat_n((name.as_str(), &value[..]), 1 + usize::from(twice));
        match Event::binary(headers.chain(more), None, b"") {
            Ok(event) => prop_assert_eq!(event.as_map().len(), HEADERS.len() + 1),
            Err(faults) => {
                let known = |path: &str| path.eq_ignore_ascii_case(&name) || name.len() == 3;
                prop_assert!(faults.iter().all(|it| known(&it.path)), "{name}: {faults:?}");
            }
        }
    }
}
