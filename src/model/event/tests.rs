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
fn an_event_with_a_thousand_faults_answers_with_fifty() {
    let document: Map<_, _> = (0..1000).map(|n| (format!("bad-{n}"), json!(1))).collect();
    assert_eq!(Event::structured(document.into()).unwrap_err().len(), 50);
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
