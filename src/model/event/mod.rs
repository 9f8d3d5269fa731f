//! An event: a valid CloudEvent 1.0.

mod attributes;
mod binary;
mod later;
mod ordered;

use serde_json::{Map, Value};
use uuid::Uuid;

use super::{Fault, bounded, is_traceparent, rfc3339_now};

pub use attributes::MAX_ID_BYTES;

/// The most events one batch may hold.
pub const MAX_BATCH_EVENTS: usize = 100;

/// The `source` of a shorthand event that names none.
const SHORTHAND_SOURCE: &str = "/v1/events";

/// A valid CloudEvent 1.0, held as the JSON object it is. Cloning copies the payload.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    members: Map<String, Value>,
    assigned_id: bool,
}

impl Event {
    /// Takes a CloudEvent in structured mode. Answers with every fault at once, each with its
    /// JSON path. A `null` attribute counts as absent, as the JSON format demands.
    pub fn structured(document: Value) -> Result<Self, Vec<Fault>> {
        Self::checked(object(document)?, false)
    }

    /// Takes any CloudEvents attributes and fills in what is missing, except `type`:
    /// `specversion`, `id` (a UUIDv7), `source` (`/v1/events`) and `time`.
    pub fn shorthand(document: Value) -> Result<Self, Vec<Fault>> {
        let mut members = object(document)?;
        let assigned_id = absent(&members, "id");
        let mut fill = |name: &str, value: &dyn Fn() -> String| {
            if absent(&members, name) {
                members.insert(name.to_owned(), Value::String(value()));
            }
        };
        fill("specversion", &|| "1.0".to_owned());
        fill("id", &|| Uuid::now_v7().to_string());
        fill("source", &|| SHORTHAND_SOURCE.to_owned());
        fill("time", &rfc3339_now);
        Self::checked(members, assigned_id)
    }

    /// Takes a batch of structured events, at most [`MAX_BATCH_EVENTS`]: all or nothing. A fault's
    /// path begins with the index of its event, such as `$[3].id`. An empty batch is fine.
    pub fn batch(document: Value) -> Result<Vec<Self>, Vec<Fault>> {
        let Value::Array(documents) = document else {
            return Err(fault("$", "a batch is a JSON array of CloudEvents"));
        };
        if documents.len() > MAX_BATCH_EVENTS {
            let message = format!(
                "holds {} events; send at most {MAX_BATCH_EVENTS} at a time",
                documents.len()
            );
            return Err(fault("$", message));
        }
        let (mut events, mut faults) = (Vec::with_capacity(documents.len()), Vec::new());
        for (index, document) in documents.into_iter().enumerate() {
            match Self::structured(document) {
                Ok(event) => events.push(event),
                Err(found) => {
                    faults.extend(found.into_iter().map(|fault| Self::fault_at(index, fault)));
                }
            }
        }
        if faults.is_empty() {
            return Ok(events);
        }
        Err(bounded(faults))
    }

    /// Takes an event in binary mode: the attributes from `ce-` headers (others are passed over),
    /// the payload from the body. JSON becomes `data`, anything else `data_base64`. A fault's
    /// path is the header's name, or `body`.
    pub fn binary<'a>(
        headers: impl IntoIterator<Item = (&'a str, &'a [u8])>,
        content_type: Option<&str>,
        body: &[u8],
    ) -> Result<Self, Vec<Fault>> {
        let members = binary::members(headers, content_type, body)?;
        Self::checked(members, false).map_err(binary::name_headers)
    }

    /// Reads what [`Event::to_json`] wrote. [`Event::assigned_id`] is not kept.
    pub fn from_json(json: &[u8]) -> Result<Self, Vec<Fault>> {
        match serde_json::from_slice(json) {
            Ok(document) => Self::structured(document),
            Err(error) => Err(fault("$", format!("is not JSON: {error}"))),
        }
    }

    /// The event as structured JSON, in one line.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(&self.members).expect("JSON values always serialise")
    }

    /// The event as a JSON object: attributes, extensions, and `data` or `data_base64`.
    pub fn as_map(&self) -> &Map<String, Value> {
        &self.members
    }

    /// Unique within [`Event::source`].
    pub fn id(&self) -> &str {
        self.text("id").unwrap_or_default()
    }
    /// Who says so: a URI reference.
    pub fn source(&self) -> &str {
        self.text("source").unwrap_or_default()
    }
    /// The attribute `type`.
    pub fn kind(&self) -> &str {
        self.text("type").unwrap_or_default()
    }
    /// What the event is about, within its source.
    pub fn subject(&self) -> Option<&str> {
        self.text("subject")
    }
    /// The W3C trace the event belongs to, if it carries a valid one.
    pub fn traceparent(&self) -> Option<&str> {
        self.text("traceparent").filter(|text| is_traceparent(text))
    }

    /// Gives the event the trace of the request it came with, unless it carries a valid one
    /// itself. A header that is not a valid `traceparent` changes nothing.
    #[must_use]
    pub fn with_traceparent(mut self, header: &str) -> Self {
        if self.traceparent().is_none() && is_traceparent(header) {
            self.members.insert("traceparent".to_owned(), Value::String(header.to_owned()));
        }
        self
    }

    /// The same fault in an event of a batch.
    pub fn fault_at(index: usize, fault: Fault) -> Fault {
        Fault { path: fault.path.replacen('$', &format!("$[{index}]"), 1), ..fault }
    }

    /// The same fault in an event that came in binary mode.
    pub fn fault_in_header(fault: Fault) -> Fault {
        binary::name_header(fault)
    }

    /// Whether the server made the id itself: then nobody can repeat it, and it needs no place
    /// among the ids that are remembered.
    pub fn assigned_id(&self) -> bool {
        self.assigned_id
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.members.get(name).and_then(Value::as_str)
    }

    fn checked(mut members: Map<String, Value>, assigned_id: bool) -> Result<Self, Vec<Fault>> {
        // `data` may be null; a null attribute is an absent one (CloudEvents JSON format §2.2).
        members.retain(|name, value| name == "data" || !value.is_null());
        let faults = attributes::faults(&members);
        if faults.is_empty() { Ok(Self { members, assigned_id }) } else { Err(faults) }
    }
}

fn object(document: Value) -> Result<Map<String, Value>, Vec<Fault>> {
    match document {
        Value::Object(members) => Ok(members),
        _ => Err(fault("$", "an event is a JSON object with CloudEvents attributes")),
    }
}

fn absent(members: &Map<String, Value>, name: &str) -> bool {
    members.get(name).is_none_or(Value::is_null)
}

fn fault(path: &str, message: impl Into<String>) -> Vec<Fault> {
    vec![Fault { path: path.to_owned(), message: message.into() }]
}

#[cfg(test)]
mod tests;
