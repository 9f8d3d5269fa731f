//! Binary content mode of the CloudEvents HTTP binding: attributes in headers, data in the body.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use crate::model::depth::{MAX_DEPTH, depth};
use crate::model::{Fault, bounded};

const PREFIX: &str = "ce-";
/// What of a header's name is repeated: a name may be as long as all headers together.
const MAX_PATH_CHARS: usize = 64;

/// The members of the event, before they are checked.
pub(super) fn members<'a>(
    headers: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    content_type: Option<&str>,
    body: &[u8],
) -> Result<Map<String, Value>, Vec<Fault>> {
    let (mut members, mut faults) = (Map::new(), Vec::new());
    let mut wrong = |path: &str, message: &str| {
        let path = path.chars().take(MAX_PATH_CHARS).collect();
        faults.push(Fault { path, message: message.to_owned() });
    };
    for (header, value) in headers {
        let header = header.to_ascii_lowercase();
        let Some(name) = header.strip_prefix(PREFIX) else { continue };
        match (name, decode(value)) {
            ("datacontenttype", _) => {
                wrong(&header, "is not allowed; use the header `content-type`");
            }
            ("data" | "data_base64", _) => {
                wrong(&header, "is not an attribute; the data is the body");
            }
            (_, None) => wrong(&header, "is not UTF-8 after percent-decoding"),
            (_, Some(value)) => {
                if members.insert(name.to_owned(), Value::String(value)).is_some() {
                    wrong(&header, "appears twice; send it once");
                }
            }
        }
    }
    if let Some(content_type) = content_type {
        members.insert("datacontenttype".to_owned(), content_type.into());
    }
    if !body.is_empty() {
        // Without a content type, CloudEvents takes data for JSON.
        if content_type.is_none_or(is_json) {
            match serde_json::from_slice(body) {
                // As `data` it stands one level deeper, and a worker reads it from there.
                Ok(data) if depth(&data) >= MAX_DEPTH => {
                    let most = MAX_DEPTH - 1;
                    wrong("body", &format!("is nested more than {most} levels deep; flatten it"));
                }
                Ok(data) => drop(members.insert("data".to_owned(), data)),
                Err(error) => wrong("body", &format!("is not JSON: {error}")),
            }
        } else {
            members.insert("data_base64".to_owned(), STANDARD.encode(body).into());
        }
    }
    if faults.is_empty() { Ok(members) } else { Err(bounded(faults)) }
}

/// Turns the JSON paths of an event's faults into the names of the headers they came from.
pub(super) fn name_headers(faults: Vec<Fault>) -> Vec<Fault> {
    faults.into_iter().map(name_header).collect()
}

/// The same for one.
pub(super) fn name_header(fault: Fault) -> Fault {
    if fault.path == "$" {
        return fault;
    }
    let name = fault.path.trim_start_matches(['$', '.', '[', '"']).trim_end_matches(['"', ']']);
    let path = if name == "datacontenttype" {
        "content-type".to_owned()
    } else {
        format!("{PREFIX}{name}")
    };
    Fault { path, ..fault }
}

fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    matches!(essence.as_str(), "application/json" | "text/json") || essence.ends_with("+json")
}

/// A header's value as an attribute (HTTP binding §3.1.3.2): surrounding quotes and their
/// escapes are taken off, then one round of percent-decoding.
fn decode(value: &[u8]) -> Option<String> {
    let value = unquoted(value.trim_ascii());
    let (mut decoded, mut rest) = (Vec::with_capacity(value.len()), value.as_ref());
    while let [first, tail @ ..] = rest {
        let escaped = match tail {
            [high, low, ..] if *first == b'%' => hex(*high).zip(hex(*low)),
            _ => None,
        };
        match escaped {
            Some((high, low)) => {
                decoded.push(high << 4 | low);
                rest = &tail[2..];
            }
            None => {
                decoded.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8(decoded).ok()
}

fn unquoted(value: &[u8]) -> Cow<'_, [u8]> {
    let Some(inner) = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")) else {
        return Cow::Borrowed(value);
    };
    let (mut plain, mut escape) = (Vec::with_capacity(inner.len()), false);
    for byte in inner {
        escape = *byte == b'\\' && !escape;
        if !escape {
            plain.push(*byte);
        }
    }
    Cow::Owned(plain)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}
