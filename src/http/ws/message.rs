//! What a client asks for over its WebSocket: one JSON object with one member, and where
//! subscribing goes on from a cursor, that. Pure.

use serde_json::{Number, Value};

use crate::http::subscribe;
use crate::model::{Fault, Position, Problem, ProblemKind, Subscription};

/// Entries of one list: more could not be subscribed anyway.
const MAX_ENTRIES: usize = 128;
/// Characters of an unknown member's name that are repeated to the client.
const MAX_NAME: usize = 40;

/// What a client asks for.
#[derive(Debug, PartialEq)]
pub(super) enum Command {
    /// To hear these too, from the cursor on if there is one.
    Subscribe(Vec<Subscription>, Option<Position>),
    /// To hear these no longer.
    Unsubscribe(Vec<Subscription>),
    /// To be answered with the same number.
    Ping(Number),
}

/// Reads one message. The problem says what is wrong, where, and what would be right.
pub(super) fn parse(text: &str) -> Result<Command, Problem> {
    let document: Value = serde_json::from_str(text).map_err(|error| {
        Problem::new(ProblemKind::Malformed, format!("the message is not JSON: {error}"))
    })?;
    let Value::Object(mut members) = document else {
        return Err(fault("$", "must be an object, as in {\"subscribe\":[\"door\"]}"));
    };
    let after = match members.remove("after").filter(|_| members.contains_key("subscribe")) {
        None => None,
        Some(Value::String(cursor)) => {
            let cursor = subscribe::cursor("$.after", &cursor);
            Some(cursor.map_err(|fault| Problem::invalid(vec![fault]))?)
        }
        Some(_) => return Err(fault("$.after", "must be a text, a cursor of this service")),
    };
    let mut members = members.into_iter();
    match (members.next(), members.next()) {
        (Some((name, value)), None) => match name.as_str() {
            "subscribe" => channels(&name, value).map(|named| Command::Subscribe(named, after)),
            "unsubscribe" => channels(&name, value).map(Command::Unsubscribe),
            "ping" => match value {
                Value::Number(number) => Ok(Command::Ping(number)),
                _ => Err(fault("$.ping", "must be a number, as in {\"ping\":1}")),
            },
            unknown => {
                let name: String = unknown.chars().take(MAX_NAME).collect();
                Err(fault(format!("$.{name}"), "is unknown; send subscribe, unsubscribe or ping"))
            }
        },
        (None, _) => Err(fault("$", "is empty; send subscribe, unsubscribe or ping")),
        (Some(_), Some(_)) => {
            Err(fault("$", "has several members; send each in a message of its own"))
        }
    }
}

fn channels(name: &str, value: Value) -> Result<Vec<Subscription>, Problem> {
    let path = format!("$.{name}");
    let Value::Array(entries) = value else {
        let message = format!("must be a list of channels, as in {{\"{name}\":[\"door\"]}}");
        return Err(fault(path, message));
    };
    if entries.is_empty() || entries.len() > MAX_ENTRIES {
        let message = format!("has {} entries; name 1 to {MAX_ENTRIES} channels", entries.len());
        return Err(fault(path, message));
    }
    let (mut subscriptions, mut faults) = (Vec::with_capacity(entries.len()), Vec::new());
    for (at, entry) in entries.iter().enumerate() {
        let subscription = match entry.as_str() {
            Some(text) => Subscription::parse(text).map_err(|fault| fault.message),
            None => Err("must be a text, the name of a channel".to_owned()),
        };
        match subscription {
            Ok(subscription) => subscriptions.push(subscription),
            Err(message) => faults.push(Fault { path: format!("{path}[{at}]"), message }),
        }
    }
    if faults.is_empty() { Ok(subscriptions) } else { Err(Problem::invalid(faults)) }
}

fn fault(path: impl Into<String>, message: impl Into<String>) -> Problem {
    Problem::invalid(vec![Fault { path: path.into(), message: message.into() }])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn faults(text: &str) -> Vec<String> {
        let problem = parse(text).expect_err(text);
        problem.errors().iter().map(|fault| fault.path.clone()).collect()
    }

    #[test]
    fn the_three_commands_are_read() {
        let channels = |texts: &[&str]| {
            texts.iter().map(|text| Subscription::parse(text).unwrap()).collect::<Vec<_>>()
        };
        let subscribe = parse(r#"{"subscribe":["a","b.*"]}"#).unwrap();
        assert_eq!(subscribe, Command::Subscribe(channels(&["a", "b.*"]), None));
        let cursor = "00000000000000ff-7";
        let text = format!(r#"{{"after":"{cursor}","subscribe":["a"]}}"#);
        let after = Some(cursor.parse().unwrap());
        assert_eq!(parse(&text).unwrap(), Command::Subscribe(channels(&["a"]), after));
        let unsubscribe = parse(r#" { "unsubscribe" : [ "a" ] } "#).unwrap();
        assert_eq!(unsubscribe, Command::Unsubscribe(channels(&["a"])));
        assert_eq!(parse(r#"{"ping":1}"#).unwrap(), Command::Ping(1.into()));
    }

    #[test]
    fn what_is_no_command_is_told_where_it_is_wrong() {
        for (text, path) in [
            ("{}", "$"),
            ("[]", "$"),
            ("null", "$"),
            ("\"subscribe\"", "$"),
            (r#"{"subscribe":["a"],"ping":1}"#, "$"),
            (r#"{"subscribe":["a"],"after":"7"}"#, "$.after"),
            (r#"{"subscribe":["a"],"after":7}"#, "$.after"),
            (r#"{"subscribe":["a"],"after":null}"#, "$.after"),
            (r#"{"after":"00000000000000ff-7"}"#, "$"),
            (r#"{"ping":"1"}"#, "$.ping"),
            (r#"{"Subscribe":["a"]}"#, "$.Subscribe"),
            (r#"{"subscribe":"a"}"#, "$.subscribe"),
            (r#"{"subscribe":[]}"#, "$.subscribe"),
            (r#"{"subscribe":["*"]}"#, "$.subscribe[0]"),
            (r#"{"unsubscribe":["a",7]}"#, "$.unsubscribe[1]"),
        ] {
            assert_eq!(faults(text), [path], "{text}");
        }
        assert_eq!(faults(r#"{"subscribe":["a..b","a","",null]}"#).len(), 3);
        assert_eq!(parse("{").unwrap_err().kind(), ProblemKind::Malformed);
    }

    #[test]
    fn an_answer_is_never_much_longer_than_what_it_answers() {
        let long = "x".repeat(9_000);
        let entries = vec!["\"\""; 9_000].join(",");
        for text in [format!("{{\"{long}\":1}}"), format!("{{\"subscribe\":[{entries}]}}")] {
            assert!(parse(&text).unwrap_err().to_json().len() < 400);
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,40}|\\{\"(un)?subscribe\":\\[.{0,20}\\]\\}") {
            // Either verdict will do.
            let _ = parse(&text);
        }
    }
}
