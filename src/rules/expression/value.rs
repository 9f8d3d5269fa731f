//! JSON into the language and back.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cel::Context;
use cel::common::types::{
    CelBool, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString, CelUInt,
};
use cel::common::value::Val;
use serde_json::{Map, Number, Value};

use super::Problem;
use super::meter::{MAX_ELEMENTS, MAX_VALUE_DEPTH};

/// A JSON object in the language's own form.
pub(in crate::rules) struct Container<'a>(Box<dyn Val + 'a>);

impl<'a> Container<'a> {
    /// Converts a map; its texts are borrowed. Whole numbers become `int`, so that they add to
    /// the literals people write; the language compares them to `double` by value.
    pub(in crate::rules) fn borrowed(members: &'a Map<String, Value>) -> Result<Self, Problem> {
        Ok(Self(map(members, MAX_VALUE_DEPTH, &|text| CelString::from(text))?))
    }

    /// The same with texts of its own, for a map that does not live as long as the context.
    pub(in crate::rules) fn owned(members: &Map<String, Value>) -> Result<Self, Problem> {
        Ok(Self(map(members, MAX_VALUE_DEPTH, &|text| CelString::from(text.to_owned()))?))
    }
}

/// Gives a variable its value.
pub(in crate::rules) fn bind<'v>(scope: &mut Context<'_, 'v>, name: &str, value: Container<'v>) {
    scope.add_variable_as_val(name, value.0);
}

type Text<'s, 'a> = &'s dyn Fn(&'s str) -> CelString<'a>;

fn map<'s, 'a>(
    members: &'s Map<String, Value>,
    depth: usize,
    text: Text<'s, 'a>,
) -> Result<Box<dyn Val + 'a>, Problem> {
    bounded(members.len())?;
    let mut entries: HashMap<CelMapKey<'a>, Box<dyn Val + 'a>> =
        HashMap::with_capacity(members.len());
    for (name, value) in members {
        entries.insert(CelMapKey::String(text(name)), from_json(value, depth, text)?);
    }
    Ok(Box::new(CelMap::from(entries)))
}

fn from_json<'s, 'a>(
    value: &'s Value,
    depth: usize,
    text: Text<'s, 'a>,
) -> Result<Box<dyn Val + 'a>, Problem> {
    let deeper = depth.checked_sub(1).ok_or(Problem::TooDeep)?;
    Ok(match value {
        Value::Null => Box::new(CelNull),
        Value::Bool(truth) => Box::new(CelBool::from(*truth)),
        Value::Number(number) => from_number(number),
        Value::String(string) => Box::new(text(string)),
        Value::Array(elements) => {
            bounded(elements.len())?;
            let list: Result<Vec<_>, _> =
                elements.iter().map(|element| from_json(element, deeper, text)).collect();
            Box::new(CelList::from(list?))
        }
        Value::Object(members) => map(members, deeper, text)?,
    })
}

fn from_number<'a>(number: &Number) -> Box<dyn Val + 'a> {
    if let Some(int) = number.as_i64() {
        Box::new(CelInt::from(int))
    } else if let Some(uint) = number.as_u64() {
        Box::new(CelUInt::from(uint))
    } else {
        Box::new(CelDouble::from(number.as_f64().unwrap_or(f64::NAN)))
    }
}

fn bounded(elements: usize) -> Result<(), Problem> {
    if elements > MAX_ELEMENTS { Err(Problem::TooLong) } else { Ok(()) }
}

/// A result as JSON: bytes become Base64, a timestamp RFC 3339, a duration its seconds as in
/// `1.5s`. The meter has bounded it.
pub(super) fn to_json(value: &cel::Value) -> Result<Value, Problem> {
    use cel::Value as Cel;
    Ok(match value {
        Cel::Null => Value::Null,
        Cel::Bool(truth) => Value::Bool(*truth),
        Cel::Int(int) => Value::from(*int),
        Cel::UInt(uint) => Value::from(*uint),
        Cel::Float(double) => Value::Number(Number::from_f64(*double).ok_or(Problem::NotJson)?),
        Cel::String(text) => Value::String(text.to_string()),
        Cel::Bytes(bytes) => Value::String(STANDARD.encode(bytes.as_slice())),
        Cel::Timestamp(time) => Value::String(time.to_rfc3339()),
        Cel::Duration(duration) => Value::String(format!("{}s", duration.as_seconds_f64())),
        Cel::List(elements) => {
            Value::Array(elements.iter().map(to_json).collect::<Result<_, _>>()?)
        }
        Cel::Map(map) => Value::Object(
            map.map
                .iter()
                .map(|(key, value)| Ok((key.to_string(), to_json(value)?)))
                .collect::<Result<_, Problem>>()?,
        ),
        _ => return Err(Problem::NotJson),
    })
}
