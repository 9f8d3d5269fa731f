//! Rule chains out of bytes of anybody's making: see `crate::fuzzing`.

use std::sync::Arc;

use serde_json::{json, to_value, to_vec};

use super::{RuleChain, RuleSet};
use crate::model::fuzz::told;
use crate::model::{Event, MAX_FAULTS, RuleOutcome};

/// A chain's document; one that is accepted runs over an event.
pub fn chain(data: &[u8]) {
    let chain = match RuleChain::from_json("c", data) {
        Ok(chain) => chain,
        Err(faults) => {
            let caught = |message: &str| message == "the chain cannot be compiled now; try again";
            assert!(!faults.iter().any(|fault| caught(&fault.message)), "it panicked");
            return told(&faults, MAX_FAULTS, |path| path.starts_with('$'));
        }
    };
    assert_eq!(chain.id(), "c");
    let stored = to_vec(&chain).expect("JSON");
    let read = RuleChain::from_json("c", &stored).expect("what was accepted is read again");
    assert_eq!(to_value(&read).expect("JSON"), to_value(&chain).expect("JSON"));

    let event = json!({ "type": "t", "subject": "kitchen", "data": {
        "celsius": 81.5, "n": -3, "text": "hot", "list": [1, 2.5, "3", null, [true]], "none": null,
        "when": "2025-01-31T08:00:00Z", "deep": { "a": { "b": ["c"] } } } });
    let event = Event::shorthand(event).expect("an event");
    for run in RuleSet::new([Arc::new(chain)]).evaluate(&event) {
        assert_eq!(run.error.is_some(), run.outcome == RuleOutcome::Error);
        assert_eq!(run.notifications.is_empty(), run.outcome != RuleOutcome::Match);
    }
}
