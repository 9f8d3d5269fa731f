//! `partitionkey`: the extension attribute by which events ask to be done in order.

use super::Event;
use crate::model::Fault;

/// The name of the attribute.
const PARTITION_KEY: &str = "partitionkey";

/// The longest key, in bytes.
const MAX_BYTES: usize = 200;

impl Event {
    /// The key that the event shares with those among which it has an order; `None` if it has none,
    /// or one that [`Event::check_partition_key`] refuses.
    pub fn partition_key(&self) -> Option<&str> {
        self.text(PARTITION_KEY).filter(|key| (1..=MAX_BYTES).contains(&key.len()))
    }

    /// Whether the event has a `partitionkey` that can be one, or none.
    pub fn check_partition_key(&self) -> Result<(), Fault> {
        let Some(value) = self.members.get(PARTITION_KEY) else { return Ok(()) };
        let message = match value.as_str().map(str::len) {
            None => format!("must be a text of 1 to {MAX_BYTES} bytes"),
            Some(0) => "must not be empty; give it a value or leave it out".to_owned(),
            Some(long) if long > MAX_BYTES => {
                format!("is {long} bytes long; at most {MAX_BYTES} are allowed")
            }
            Some(_) => return Ok(()),
        };
        Err(Fault { path: format!("$.{PARTITION_KEY}"), message })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn event(key: Value) -> Event {
        Event::shorthand(json!({ "type": "t", "partitionkey": key })).unwrap()
    }

    #[test]
    fn a_text_of_up_to_two_hundred_bytes_is_a_key() {
        for key in ["7", "invoice 7", &"é".repeat(100)] {
            let event = event(json!(key));
            assert_eq!(event.check_partition_key(), Ok(()), "{key}");
            assert_eq!(event.partition_key(), Some(key));
        }
        let none = event(Value::Null);
        assert_eq!((none.check_partition_key(), none.partition_key()), (Ok(()), None));
    }

    #[test]
    fn any_other_is_refused_in_words() {
        for (key, says) in [
            (json!(""), "must not be empty"),
            (json!("x".repeat(201)), "201 bytes long; at most 200"),
            (json!("é".repeat(101)), "202 bytes long"),
            (json!(7), "must be a text"),
            (json!(true), "must be a text"),
        ] {
            let event = event(key.clone());
            let fault = event.check_partition_key().unwrap_err();
            assert!(
                fault.path == "$.partitionkey" && fault.message.contains(says),
                "{key}: {fault}"
            );
            assert_eq!(event.partition_key(), None);
        }
    }
}
