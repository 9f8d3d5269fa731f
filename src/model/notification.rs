//! A notification, and its two forms: on the wire in Redis, and as a client sees it.

use serde::Serialize;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::depth::{MAX_DEPTH, depth};
use super::{ChannelName, Position, is_traceparent, rfc3339_now};

/// The `type` of a notification whose publisher sent something other than a CloudEvent.
pub const FOREIGN_TYPE: &str = "trunkline.foreign";
/// The `source` of such a notification.
pub const FOREIGN_SOURCE: &str = "/redis";

/// The namespace of the UUIDv5 of notifications made by rule chains. Changing it would let a
/// retried job deliver the same notification under two ids.
const CHAIN_NAMESPACE: Uuid = Uuid::from_u128(0x8d2c_2f0e_51f4_4b43_9c0a_7a1e_55d3_b6c9);

/// Something clients are told on a channel.
#[derive(Clone, Debug, PartialEq)]
pub struct Notification {
    /// The CloudEvent's `id`; a retried job repeats it.
    pub id: String,
    /// The CloudEvent's `type`.
    pub kind: String,
    /// The CloudEvent's `source`.
    pub source: String,
    /// Where it was published; the CloudEvent's `subject`.
    pub channel: ChannelName,
    /// When it was made, in RFC 3339.
    pub time: String,
    /// The W3C trace it belongs to.
    pub traceparent: Option<String>,
    /// The payload.
    pub data: Value,
    /// When the event behind it was accepted, in milliseconds since the Unix epoch.
    pub accepted_ms: Option<u64>,
    /// When it was handed to PUBLISH, in milliseconds since the Unix epoch.
    pub published_ms: Option<u64>,
    /// Where it stands in the history; none where nothing is kept. Redis gives it, not the
    /// publisher.
    pub position: Option<Position>,
    /// Who put it on the channel.
    pub origin: Origin,
}

/// Who put a notification on its channel.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Origin {
    /// A process of this fleet.
    #[default]
    Trunkline,
    /// Another Redis client, with a payload that is no CloudEvent; it was wrapped in one.
    Wrapped,
    /// Another Redis client, with a CloudEvent of its own, which clients see as it is.
    Verbatim(Map<String, Value>),
}

/// Why a payload cannot be a notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// It is not text.
    #[error("the payload is not UTF-8")]
    NotUtf8,
}

/// The members of the CloudEvent, in the order they are written.
#[derive(Serialize)]
struct Document<'a> {
    specversion: &'static str,
    id: &'a str,
    source: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    subject: &'a str,
    time: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<&'a str>,
    // Strings: the Integer of CloudEvents has 32 bits, too few for milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    acceptedms: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    publishedms: Option<String>,
    data: &'a Value,
}

impl Notification {
    /// What goes into PUBLISH: a structured CloudEvent with the extensions `acceptedms` and
    /// `publishedms`. Without [`Notification::published_ms`] the receiver takes it for foreign.
    pub fn to_wire(&self) -> Vec<u8> {
        let mut document = self.document();
        document.acceptedms = self.accepted_ms.map(|ms| ms.to_string());
        document.publishedms = self.published_ms.map(|ms| ms.to_string());
        to_json(&document)
    }

    /// What a client sees: one line of JSON, without `acceptedms` and `publishedms`.
    pub fn to_client_json(&self) -> Vec<u8> {
        match &self.origin {
            Origin::Verbatim(members) => to_json(members),
            Origin::Trunkline | Origin::Wrapped => to_json(&self.document()),
        }
    }

    /// Reads what arrived on a channel. A CloudEvent with `publishedms` is ours. Anything else
    /// is foreign: a JSON object with the texts `specversion`, `id`, `source` and `type` stays
    /// as it is, other JSON becomes `data`, and other text, or JSON so deep that it could not be
    /// read from there, becomes `data` as a string.
    pub fn from_wire(channel: &ChannelName, payload: &[u8]) -> Result<Self, DecodeError> {
        let text = std::str::from_utf8(payload).map_err(|_| DecodeError::NotUtf8)?;
        Ok(match serde_json::from_str(text) {
            Ok(Value::Object(members)) if is_cloud_event(&members) => {
                Self::from_cloud_event(channel, members)
            }
            Ok(data) if depth(&data) < MAX_DEPTH => Self::wrapped(channel, data),
            _ => Self::wrapped(channel, Value::String(text.to_owned())),
        })
    }

    /// Whether another Redis client published it: it has no history and gives no lag sample.
    pub fn is_foreign(&self) -> bool {
        self.origin != Origin::Trunkline
    }

    fn from_cloud_event(channel: &ChannelName, mut members: Map<String, Value>) -> Self {
        let accepted_ms = members.remove("acceptedms").as_ref().and_then(milliseconds);
        let published_ms = members.remove("publishedms").as_ref().and_then(milliseconds);
        // Whoever writes straight into Redis has no place in the history.
        let position = published_ms.and_then(|_| members.remove("position"));
        let position = position.as_ref().and_then(Value::as_str).and_then(|it| it.parse().ok());
        // A foreign publisher's document is kept whole, ours is taken apart.
        let foreign = published_ms.is_none().then(|| members.clone());
        let mut text = |name: &str| match members.remove(name) {
            Some(Value::String(text)) => Some(text),
            _ => None,
        };
        Self {
            id: text("id").unwrap_or_default(),
            kind: text("type").unwrap_or_default(),
            source: text("source").unwrap_or_default(),
            channel: channel.clone(),
            time: text("time").unwrap_or_else(rfc3339_now),
            traceparent: text("traceparent").filter(|text| is_traceparent(text)),
            data: members.remove("data").unwrap_or(Value::Null),
            accepted_ms,
            published_ms,
            position,
            origin: foreign.map_or(Origin::Trunkline, Origin::Verbatim),
        }
    }

    fn wrapped(channel: &ChannelName, data: Value) -> Self {
        Self {
            id: Uuid::now_v7().to_string(),
            kind: FOREIGN_TYPE.to_owned(),
            source: FOREIGN_SOURCE.to_owned(),
            channel: channel.clone(),
            time: rfc3339_now(),
            traceparent: None,
            data,
            accepted_ms: None,
            published_ms: None,
            position: None,
            origin: Origin::Wrapped,
        }
    }

    fn document(&self) -> Document<'_> {
        Document {
            specversion: "1.0",
            id: &self.id,
            source: &self.source,
            kind: &self.kind,
            subject: self.channel.as_str(),
            time: &self.time,
            traceparent: self.traceparent.as_deref(),
            acceptedms: None,
            publishedms: None,
            data: &self.data,
        }
    }
}

/// The id of the notification that an action makes for an event: a UUIDv5, so that a retried
/// job repeats it and a client can tell a repetition.
pub fn chain_notification_id(
    event_source: &str,
    event_id: &str,
    chain: &str,
    node: &str,
) -> String {
    // No attribute and no id can hold a NUL, so two different quadruples never read the same.
    let name = [event_source, event_id, chain, node].join("\0");
    Uuid::new_v5(&CHAIN_NAMESPACE, name.as_bytes()).to_string()
}

fn is_cloud_event(members: &Map<String, Value>) -> bool {
    ["specversion", "id", "source", "type"]
        .iter()
        .all(|name| members.get(*name).and_then(Value::as_str).is_some_and(|text| !text.is_empty()))
}

fn milliseconds(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

fn to_json(document: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(document).expect("texts and JSON values always serialise")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn door() -> ChannelName {
        ChannelName::parse("door").unwrap()
    }
    fn heard(payload: &[u8]) -> Notification {
        Notification::from_wire(&door(), payload).unwrap()
    }
    fn seen(notification: &Notification) -> Value {
        serde_json::from_slice(&notification.to_client_json()).unwrap()
    }
    fn ours(data: Value, accepted_ms: Option<u64>, published_ms: u64) -> Notification {
        Notification {
            id: "n1".into(),
            kind: "alert".into(),
            source: "/v1/notifications".into(),
            channel: door(),
            time: rfc3339_now(),
            traceparent: Some(TRACE.into()),
            data,
            accepted_ms,
            published_ms: Some(published_ms),
            position: None,
            origin: Origin::Trunkline,
        }
    }

    #[test]
    fn the_position_that_redis_adds_is_read_and_kept_from_clients() {
        let wire = ours(json!(1), None, 2).to_wire();
        let mut wire = String::from_utf8(wire).unwrap();
        wire.truncate(wire.len() - 1);
        let position = Position { epoch: 7, at: 1_738_310_400_000_000 };
        let notification = heard(format!("{wire},\"position\":\"{position}\"}}").as_bytes());
        assert_eq!((notification.position, notification.is_foreign()), (Some(position), false));
        assert!(seen(&notification).get("position").is_none());
        let forged = heard(format!("{wire},\"position\":\"soon\"}}").as_bytes());
        assert_eq!(forged.position, None);
        let theirs = json!({"specversion": "1.0", "id": "7", "source": "/node", "type": "t",
            "position": position.to_string()});
        let theirs_heard = heard(theirs.to_string().as_bytes());
        assert_eq!((theirs_heard.position, seen(&theirs_heard)), (None, theirs));
    }

    #[test]
    fn a_client_sees_a_cloud_event_without_our_timestamps() {
        let notification = ours(json!({"text": "a\nb"}), Some(1), 2);
        let line = notification.to_client_json();
        assert!(!line.contains(&b'\n'));
        assert_eq!(
            seen(&notification),
            json!({"specversion": "1.0", "id": "n1", "source": "/v1/notifications", "type": "alert",
                "subject": "door", "time": notification.time, "traceparent": TRACE, "data": {"text": "a\nb"}})
        );
        assert!(!notification.is_foreign());
    }

    #[test]
    fn the_wire_form_is_a_valid_cloud_event() {
        let wire = ours(json!(1), Some(1_700_000_000_000), 1_700_000_000_001).to_wire();
        let event = crate::model::Event::from_json(&wire).unwrap();
        assert_eq!(event.as_map()["publishedms"], "1700000000001");
    }

    #[test]
    fn a_foreign_cloud_event_stays_as_it_is() {
        let theirs = json!({"specversion": "1.0", "id": "7", "source": "/node", "type": "t", "subject": "s",
            "tenant": "x", "data_base64": "AA=="});
        let notification = heard(theirs.to_string().as_bytes());
        assert!(notification.is_foreign());
        assert_eq!((notification.id.as_str(), notification.kind.as_str()), ("7", "t"));
        assert_eq!(seen(&notification), theirs);
    }

    #[test]
    fn a_foreign_cloud_event_cannot_smuggle_timestamps_to_clients() {
        let theirs = json!({"specversion": "1.0", "id": "7", "source": "/node", "type": "t", "acceptedms": 5,
            "publishedms": "soon"});
        let notification = heard(theirs.to_string().as_bytes());
        assert!(notification.is_foreign());
        assert_eq!(
            seen(&notification),
            json!({"specversion": "1.0", "id": "7", "source": "/node", "type": "t"})
        );
    }

    #[test]
    fn other_json_becomes_data_and_other_text_a_string() {
        for (payload, data) in [
            (r#"{"id":"7"}"#, json!({"id": "7"})),
            (r#"{"specversion":"1.0","id":"","source":"/","type":"t"}"#, Value::Null),
            ("[1, 2]", json!([1, 2])),
            ("open {", json!("open {")),
            ("", json!("")),
        ] {
            let notification = heard(payload.as_bytes());
            assert!(notification.is_foreign());
            assert_eq!(notification.kind, "trunkline.foreign");
            let seen = seen(&notification);
            assert_eq!((&seen["source"], &seen["subject"]), (&json!("/redis"), &json!("door")));
            if !data.is_null() {
                assert_eq!(seen["data"], data);
            }
        }
    }

    #[test]
    fn json_too_deep_to_be_read_inside_a_cloud_event_becomes_a_string() {
        let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        let deepest = heard(nested(MAX_DEPTH - 1).as_bytes());
        assert_eq!(seen(&deepest)["data"].to_string(), nested(MAX_DEPTH - 1));
        for levels in [MAX_DEPTH, MAX_DEPTH + 1] {
            let data = Value::String(nested(levels));
            assert_eq!(seen(&heard(nested(levels).as_bytes()))["data"], data);
        }
    }

    #[test]
    fn what_is_not_text_is_an_error() {
        assert_eq!(Notification::from_wire(&door(), b"\xff"), Err(DecodeError::NotUtf8));
    }

    #[test]
    fn a_retried_job_repeats_the_id_and_another_node_does_not() {
        let id = chain_notification_id("/s", "1", "chain", "node");
        assert_eq!(id, chain_notification_id("/s", "1", "chain", "node"));
        assert_ne!(id, chain_notification_id("/s", "1", "chain", "other"));
        assert_ne!(id, chain_notification_id("/s1", "", "chain", "node"));
        assert_eq!(Uuid::parse_str(&id).unwrap().get_version_num(), 5);
    }

    proptest! {
        #[test]
        fn no_payload_panics(payload: Vec<u8>) {
            if let Ok(notification) = Notification::from_wire(&door(), &payload) {
                notification.to_client_json();
            }
        }

        #[test]
        fn the_wire_keeps_everything(text in ".*", number: i64, accepted: Option<u64>, published: u64) {
            let sent = ours(json!({"text": text, "number": number}), accepted, published);
            prop_assert_eq!(heard(&sent.to_wire()), sent);
        }
    }

    proptest! {
        #[test]
        fn whatever_is_published_reaches_clients_as_one_line_of_a_cloud_event(
            names in prop::sample::subsequence(vec!["acceptedms", "publishedms", "specversion",
                "id", "source", "type", "time", "traceparent", "data", "x"], 7..=10),
            texts in prop::collection::vec("1|1\\.0|[ -~é\n]{0,6}", 10), numbers: bool,
        ) {
            let value = |text: &str| text.parse::<u64>().ok().filter(|_| numbers)
                .map_or(Value::from(text), Value::from);
            let members: Map<_, _> = names.iter().zip(&texts)
                .map(|(name, text)| ((*name).to_owned(), value(text))).collect();
            let notification = heard(Value::Object(members).to_string().as_bytes());
            prop_assert_eq!(notification.is_foreign(), notification.published_ms.is_none());
            let line = notification.to_client_json();
            prop_assert!(!line.contains(&b'\n'));
            let seen: Map<_, _> = serde_json::from_slice(&line).unwrap();
            prop_assert!(is_cloud_event(&seen), "{seen:?}");
            prop_assert!(!seen.contains_key("acceptedms") && !seen.contains_key("publishedms"));
        }
    }
}
