//! What CloudEvents 1.0 demands of attributes.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::DateTime;
use serde_json::{Map, Value};

use crate::model::{Fault, bounded};

/// The longest `id`, in bytes. It is part of the key that recognises a repetition.
pub const MAX_ID_BYTES: usize = 256;
/// The longest `type`, in bytes.
const MAX_TYPE_BYTES: usize = 256;
/// The longest `source`, `subject` and `dataschema`, in bytes.
const MAX_REFERENCE_BYTES: usize = 1024;

const REQUIRED: [&str; 4] = ["specversion", "id", "source", "type"];

/// Every fault of an event.
pub(super) fn faults(members: &Map<String, Value>) -> Vec<Fault> {
    let missing = REQUIRED.iter().filter(|name| !members.contains_key(**name)).map(|name| {
        let example = match *name {
            "specversion" => "`1.0`",
            "id" => "a text unique within `source`",
            "source" => "a URI reference such as `/sensors/kitchen`",
            _ => "a text such as `telemetry.temperature`",
        };
        (*name, format!("is required; add {example}"))
    });
    let both = (members.contains_key("data") && members.contains_key("data_base64"))
        .then(|| ("data_base64", "cannot stand beside `data`; send one of the two".to_owned()));
    let wrong =
        members.iter().filter_map(|(name, value)| Some((name.as_str(), check(name, value).err()?)));
    let all = missing.chain(both).chain(wrong);
    bounded(all.map(|(name, message)| Fault { path: member_path(name), message }))
}

/// `$.name`, or `$["na-me"]` for a name that is no identifier, shortened if it is very long.
fn member_path(name: &str) -> String {
    let plain = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let short: String = name.chars().take(64).collect();
    if plain { format!("$.{short}") } else { format!("$[{}]", Value::String(short)) }
}

fn check(name: &str, value: &Value) -> Result<(), String> {
    match name {
        "data" => Ok(()),
        "data_base64" => base64(value),
        "specversion" if value == "1.0" => Ok(()),
        "specversion" => Err("must be the text `1.0`".into()),
        "id" => text(value, MAX_ID_BYTES).map(drop),
        "type" => text(value, MAX_TYPE_BYTES).map(drop),
        "subject" => text(value, MAX_REFERENCE_BYTES).map(drop),
        "source" => uri_reference(text(value, MAX_REFERENCE_BYTES)?),
        "dataschema" => uri(text(value, MAX_REFERENCE_BYTES)?),
        "datacontenttype" => media_type(text(value, MAX_REFERENCE_BYTES)?),
        "time" => time(text(value, MAX_REFERENCE_BYTES)?),
        _ => extension(name, value),
    }
}

/// A text that is not empty and not too long.
fn text(value: &Value, longest: usize) -> Result<&str, String> {
    let text = value.as_str().ok_or("must be a text")?;
    if text.is_empty() {
        return Err("must not be empty; give it a value or leave it out".into());
    }
    if text.len() > longest {
        return Err(format!("is {} bytes long; at most {longest} are allowed", text.len()));
    }
    printable(text)?;
    Ok(text)
}

/// The String of CloudEvents: no control characters, no noncharacters.
fn printable(text: &str) -> Result<(), String> {
    let noncharacter = |c: char| {
        let point = u32::from(c);
        (0xFDD0..=0xFDEF).contains(&point) || point & 0xFFFE == 0xFFFE
    };
    match text.chars().find(|c| c.is_control() || noncharacter(*c)) {
        Some(c) => Err(format!("holds the character U+{:04X}; remove it", u32::from(c))),
        None => Ok(()),
    }
}

fn uri_reference(text: &str) -> Result<(), String> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=%".contains(&b);
    let bytes = text.as_bytes();
    let escaped = |at: usize| {
        bytes.get(at + 1..at + 3).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit))
    };
    let sound = bytes.iter().enumerate().all(|(at, b)| allowed(*b) && (*b != b'%' || escaped(at)))
        && bytes.iter().filter(|b| **b == b'#').count() <= 1;
    if sound {
        Ok(())
    } else {
        Err("must be a URI reference such as `/sensors/kitchen`; percent-encode other characters"
            .into())
    }
}

fn uri(text: &str) -> Result<(), String> {
    uri_reference(text)?;
    let scheme = text.split_once(':').is_some_and(|(scheme, rest)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
            && !rest.is_empty()
    });
    if scheme {
        Ok(())
    } else {
        Err("must be an absolute URI such as `https://example.com/schema.json`".into())
    }
}

/// `type/subtype`, with parameters left to whoever reads the data (RFC 2045 §5.1).
fn media_type(text: &str) -> Result<(), String> {
    let essence = text.split(';').next().unwrap_or_default().trim();
    let token = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
    };
    match essence.split_once('/') {
        Some((kind, subtype)) if token(kind) && token(subtype) => Ok(()),
        _ => Err("must be a media type such as `application/json`".into()),
    }
}

fn time(text: &str) -> Result<(), String> {
    DateTime::parse_from_rfc3339(text)
        .map(drop)
        .map_err(|_| "must be a time in RFC 3339 such as `2025-01-31T08:00:00Z`".into())
}

fn base64(value: &Value) -> Result<(), String> {
    let text = value.as_str().ok_or("must be a text in Base64")?;
    STANDARD
        .decode(text)
        .map(drop)
        .map_err(|_| "must be Base64 with the standard alphabet and padding (RFC 4648 §4)".into())
}

fn extension(name: &str, value: &Value) -> Result<(), String> {
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()) {
        return Err("attribute names are lower-case letters and digits only; rename it, or move it into `data`".into());
    }
    match value {
        Value::String(text) => printable(text),
        Value::Bool(_) => Ok(()),
        Value::Number(number)
            if number.as_i64().is_some_and(|number| i32::try_from(number).is_ok()) =>
        {
            Ok(())
        }
        Value::Number(_) => {
            Err("a number in an attribute is whole and has 32 bits; send it as a text".into())
        }
        _ => {
            Err("an attribute is a text, a boolean or a whole number; put structure into `data`"
                .into())
        }
    }
}
