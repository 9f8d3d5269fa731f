//! Events and notifications out of bytes of anybody's making: see `crate::fuzzing`.

use serde_json::{Map, Value, from_slice};

use super::{ChannelName, DecodeError, Event, Fault, MAX_FAULTS, Notification};

/// The longest path and message of a fault, in bytes: an answer is for people.
const MAX_PATH_BYTES: usize = 640;
const MAX_MESSAGE_BYTES: usize = 1024;

/// Whoever is refused learns where and why, in an answer that stays small.
pub(crate) fn told(faults: &[Fault], most: usize, place: impl Fn(&str) -> bool) {
    assert!(!faults.is_empty(), "refused without a word");
    assert!(faults.len() <= most, "{} faults", faults.len());
    for Fault { path, message } in faults {
        assert!(place(path) && path.len() <= MAX_PATH_BYTES, "no place: {path:?}");
        assert!(!message.is_empty() && message.len() <= MAX_MESSAGE_BYTES, "no words: {message:?}");
    }
}

/// A JSON document as a structured event, as shorthand and as a batch; anything else as an event
/// in binary mode: lines `header: value`, an empty line, the body.
pub fn cloud_event(data: &[u8]) {
    match from_slice::<Value>(data) {
        Ok(document) => in_one_document(&document),
        Err(_) => told(&Event::from_json(data).expect_err("no JSON"), 1, |path| path == "$"),
    }
    in_headers(data);
}

fn in_one_document(document: &Value) {
    let in_event = |path: &str| path.starts_with('$');
    let structured = Event::structured(document.clone());
    match &structured {
        Ok(event) => survives(event),
        Err(faults) => told(faults, MAX_FAULTS, in_event),
    }
    match Event::shorthand(document.clone()) {
        Ok(event) => {
            survives(&event);
            // What needs nothing added has nothing added.
            let whole = structured.as_ref().is_ok_and(|it| it.as_map().contains_key("time"));
            assert!(!whole || Ok(&event) == structured.as_ref(), "{event:?}");
        }
        Err(faults) => {
            told(&faults, MAX_FAULTS, in_event);
            assert!(structured.is_err(), "shorthand is stricter: {faults:?}");
        }
    }
    match (Event::batch(Value::Array(vec![document.clone()])), &structured) {
        (Ok(batch), Ok(event)) => assert_eq!(batch, std::slice::from_ref(event)),
        (Err(faults), Err(alone)) => {
            let placed: Vec<_> =
                alone.iter().map(|fault| Event::fault_at(0, fault.clone())).collect();
            assert_eq!(faults, placed);
        }
        (batch, alone) => panic!("{batch:?} in a batch, {alone:?} alone"),
    }
    if let Err(faults) = Event::batch(document.clone()) {
        told(&faults, MAX_FAULTS, in_event);
    }
}

fn in_headers(data: &[u8]) {
    let end = data.windows(2).position(|two| two == b"\n\n").unwrap_or(data.len());
    let body = data.get(end + 2..).unwrap_or_default();
    let headers: Vec<_> = data[..end].split(|byte| *byte == b'\n').filter_map(header).collect();
    let content_type = headers.iter().find(|(name, _)| *name == "content-type");
    let content_type = content_type.and_then(|(_, value)| std::str::from_utf8(value).ok());
    match Event::binary(headers.iter().copied(), content_type, body) {
        Ok(event) => survives(&event),
        Err(faults) => told(&faults, MAX_FAULTS, |path| {
            path.starts_with("ce-") || ["content-type", "body", "$"].contains(&path)
        }),
    }
}

/// A header as HTTP lets one in: a name of token characters, a value without controls.
fn header(line: &[u8]) -> Option<(&str, &[u8])> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let name = std::str::from_utf8(&line[..colon]).ok()?;
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    let value = line[colon + 1..].trim_ascii();
    let sound =
        !name.is_empty() && name.bytes().all(token) && !value.iter().any(u8::is_ascii_control);
    sound.then_some((name, value))
}

/// A worker reads what a server accepted, and reads the same.
fn survives(event: &Event) {
    let json = event.to_json();
    assert!(!json.contains(&b'\n'));
    let read = Event::from_json(&json).expect("what was accepted is read again");
    assert_eq!(read.as_map(), event.as_map());
    for required in [event.id(), event.source(), event.kind()] {
        assert!((1..=1024).contains(&required.len()), "{required:?}");
    }
    match (event.partition_key(), event.check_partition_key()) {
        (key, Ok(())) => assert_eq!(key.is_some(), event.as_map().contains_key("partitionkey")),
        (None, Err(fault)) => told(&[fault], 1, |path| path == "$.partitionkey"),
        (Some(key), Err(fault)) => panic!("{key:?} counts, and is refused: {fault}"),
    }
    // Some moment: that of the documentation's examples.
    let checked = event.check_not_before(1_738_310_400_000);
    match (event.as_map().contains_key("notbefore"), checked) {
        (true, Ok(())) => assert!(event.not_before_ms().is_some(), "{event:?}"),
        (false, Ok(())) => assert_eq!(event.not_before_ms(), None),
        (_, Err(fault)) => told(&[fault], 1, |path| path == "$.notbefore"),
    }
}

/// A payload as Redis pushes it on a channel.
pub fn notification(data: &[u8]) {
    let channel = ChannelName::parse("door").expect("a name");
    let heard = match Notification::from_wire(&channel, data) {
        Ok(heard) => heard,
        Err(DecodeError::NotUtf8) => return assert!(std::str::from_utf8(data).is_err()),
    };
    let line = heard.to_client_json();
    assert!(!line.contains(&b'\n'));
    // An escape makes six bytes of one; the rest is around the data.
    assert!(line.len() <= 6 * data.len() + 512, "{} bytes of {}", line.len(), data.len());
    let seen: Map<String, Value> = from_slice(&line).expect("a client reads a JSON object");
    for name in ["specversion", "id", "source", "type"] {
        let text = seen.get(name).and_then(Value::as_str).expect("a CloudEvent's attribute");
        assert!(!text.is_empty(), "{name}");
    }
    assert!(!seen.contains_key("acceptedms") && !seen.contains_key("publishedms"));
    assert_eq!(heard.is_foreign(), heard.published_ms.is_none());
    if !heard.is_foreign() {
        assert_eq!(Notification::from_wire(&channel, &heard.to_wire()), Ok(heard));
    }
}
