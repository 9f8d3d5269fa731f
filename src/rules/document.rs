//! Reads JSON field by field and names everything that is wrong with it.

use serde_json::{Map, Value};

use super::MAX_CHAIN_ID_BYTES;
use crate::model::Fault;

/// An object with more unknown fields than this is something else, and not described any further.
const MAX_UNKNOWN: usize = 20;

/// The fields of one JSON object. What is not taken by [`Fields::finish`] is a fault.
pub(super) struct Fields<'f> {
    path: String,
    members: Map<String, Value>,
    taken: Vec<&'static str>,
    faults: &'f mut Vec<Fault>,
}

impl<'f> Fields<'f> {
    /// Opens an object; anything else is a fault at `path`.
    pub(super) fn open(path: &str, value: Value, faults: &'f mut Vec<Fault>) -> Option<Self> {
        match value {
            Value::Object(members) => {
                Some(Self { path: path.to_owned(), members, taken: vec![], faults })
            }
            _ => {
                faults.push(Fault { path: path.to_owned(), message: "must be an object".into() });
                None
            }
        }
    }

    /// The JSON path of a field.
    pub(super) fn path(&self, name: &str) -> String {
        format!("{}.{name}", self.path)
    }

    /// Adds a fault at a field.
    pub(super) fn fault(&mut self, name: &str, message: impl Into<String>) {
        let path = self.path(name);
        self.faults.push(Fault { path, message: message.into() });
    }

    /// The place for faults of what is inside a field.
    pub(super) fn faults(&mut self) -> &mut Vec<Fault> {
        self.faults
    }

    /// A field, if it is there.
    pub(super) fn take(&mut self, name: &'static str) -> Option<Value> {
        self.taken.push(name);
        self.members.remove(name)
    }

    /// A field that must be there; `what` says what it is.
    pub(super) fn required(&mut self, name: &'static str, what: &str) -> Option<Value> {
        let value = self.take(name);
        if value.is_none() {
            self.fault(name, format!("is required: {what}"));
        }
        value
    }

    /// A text, if it is there.
    pub(super) fn text(&mut self, name: &'static str) -> Option<String> {
        match self.take(name)? {
            Value::String(text) => Some(text),
            _ => {
                self.fault(name, "must be a text");
                None
            }
        }
    }

    /// A text that must be there; `what` says what it is.
    pub(super) fn required_text(&mut self, name: &'static str, what: &str) -> Option<String> {
        if !self.members.contains_key(name) {
            self.required(name, what);
            return None;
        }
        self.text(name)
    }

    /// An id that must be there.
    pub(super) fn id(&mut self) -> Option<String> {
        let id = self.required_text("id", "letters, digits, `_` and `-`")?;
        match check_id(&id) {
            Ok(()) => Some(id),
            Err(message) => {
                self.fault("id", message);
                None
            }
        }
    }

    /// Names the fields that nobody took, up to [`MAX_UNKNOWN`].
    pub(super) fn finish(self) {
        for name in self.members.keys().take(MAX_UNKNOWN) {
            let path = format!(
                "{}[{}]",
                self.path,
                Value::from(name.chars().take(64).collect::<String>())
            );
            let message = format!("is not known here; known are `{}`", self.taken.join("`, `"));
            self.faults.push(Fault { path, message });
        }
    }
}

/// Checks the id of a chain or node.
fn check_id(id: &str) -> Result<(), String> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    if (1..=MAX_CHAIN_ID_BYTES).contains(&id.len()) && id.bytes().all(allowed) {
        Ok(())
    } else {
        Err(format!("must be 1 to {MAX_CHAIN_ID_BYTES} letters, digits, `_` or `-`"))
    }
}
