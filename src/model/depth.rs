//! How deep JSON may be nested.

use serde_json::Value;

/// Readers of JSON stop beyond this many levels, our own included. What is wrapped into an object
/// of ours has to leave room for that.
pub(super) const MAX_DEPTH: usize = 127;

/// The levels of arrays and objects in a value; a value that is neither has none.
pub(super) fn depth(value: &Value) -> usize {
    match value {
        Value::Array(elements) => 1 + elements.iter().map(depth).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_levels_as_are_said_can_be_read_and_no_more() {
        let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        let read = |levels| serde_json::from_str::<Value>(&nested(levels));
        assert_eq!(depth(&read(MAX_DEPTH).unwrap()), MAX_DEPTH);
        assert!(read(MAX_DEPTH + 1).is_err());
        assert_eq!(depth(&serde_json::json!([1, { "a": [{}] }, "[[["])), 4);
    }
}
