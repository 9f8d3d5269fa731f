mod documents;
mod random;

use std::sync::Arc;

use super::*;
use crate::model::{Event, Fault, RuleOutcome};
use serde_json::{Value, json};

/// The chain of the documentation.
fn overheat() -> Value {
    json!({ "id": "overheat", "name": "Overheating sensor", "enabled": true,
        "on": { "type": "telemetry.temperature", "subject": "*" },
        "nodes": [
            { "id": "hot", "kind": "filter", "when": "event.data.celsius > 80.0", "then": "shape" },
            { "id": "shape", "kind": "transform", "set": { "message": "'Sensor ' + event.subject + ' is hot'",
                "celsius": "event.data.celsius" }, "then": "tell" },
            { "id": "tell", "kind": "action",
                "notify": { "channel": "'alerts.' + event.subject", "type": "alert.overheat" } } ] })
}
/// A chain that tells `channel` of every event of type `t`.
fn teller(id: &str, channel: &str) -> Value {
    json!({ "id": id, "on": { "type": "t" },
        "nodes": [{ "id": "tell", "kind": "action", "notify": { "channel": channel, "type": "told" } }] })
}
fn chain(document: Value) -> RuleChain {
    RuleChain::parse(None, document).expect("a sound chain")
}
fn set(documents: impl IntoIterator<Item = Value>) -> RuleSet {
    RuleSet::new(documents.into_iter().map(|document| Arc::new(chain(document))))
}
fn event(document: Value) -> Event {
    Event::shorthand(document).expect("a sound event")
}
fn temperature(celsius: Value) -> Event {
    event(
        json!({"type": "telemetry.temperature", "subject": "kitchen", "data": {"celsius": celsius}}),
    )
}
fn faults(document: Value) -> Vec<Fault> {
    RuleChain::parse(None, document).expect_err("an unsound chain")
}
fn paths(document: Value) -> Vec<String> {
    faults(document).into_iter().map(|fault| fault.path).collect()
}
/// A chain of these nodes.
fn of(nodes: Value) -> Value {
    json!({"id": "c", "on": {"type": "t"}, "nodes": nodes})
}
fn filter(id: &str, then: &str, otherwise: &str) -> Value {
    json!({"id": id, "kind": "filter", "when": "true", "then": then, "else": otherwise})
}
fn action(id: &str) -> Value {
    json!({"id": id, "kind": "action", "notify": {"channel": "'c'", "type": "t"}})
}

#[test]
fn a_hot_sensor_is_told_of_and_a_cool_one_is_not() {
    let rules = set([overheat()]);
    for hot in [json!(81), json!(80.5)] {
        let runs = rules.evaluate(&temperature(hot.clone()));
        assert_eq!(runs.len(), 1);
        assert_eq!((runs[0].chain_id.as_str(), runs[0].outcome), ("overheat", RuleOutcome::Match));
        let planned = &runs[0].notifications[0];
        assert_eq!(
            (planned.node_id.as_str(), planned.channel.as_str(), planned.kind.as_str()),
            ("tell", "alerts.kitchen", "alert.overheat")
        );
        assert_eq!(planned.data, json!({"message": "Sensor kitchen is hot", "celsius": hot}));
    }
    for cool in [json!(80), json!(80.0), json!(-3)] {
        let runs = rules.evaluate(&temperature(cool));
        assert_eq!((runs[0].outcome, runs[0].notifications.len()), (RuleOutcome::NoMatch, 0));
    }
}

#[test]
fn a_chain_that_fails_does_not_stop_the_others() {
    let rules = set([teller("a", "'a'"), teller("b", "event.data.nope"), teller("c", "'c'")]);
    let runs = rules.evaluate(&event(json!({"type": "t", "data": {"secret": "hunter2"}})));
    let outcomes: Vec<_> = runs.iter().map(|run| (run.chain_id.as_str(), run.outcome)).collect();
    assert_eq!(
        outcomes,
        [("a", RuleOutcome::Match), ("b", RuleOutcome::Error), ("c", RuleOutcome::Match)]
    );
    let error = runs[1].error.as_ref().unwrap();
    assert_eq!(
        error.to_string(),
        "node `tell`, `notify.channel`: no such key `nope`; test with has()"
    );
}

#[test]
fn a_chain_that_fails_late_tells_nothing() {
    let mut first = action("first");
    first["then"] = json!("second");
    let rules = set([of(json!([first,
        {"id": "second", "kind": "action", "notify": {"channel": "event.data", "type": "t"}}]))]);
    for data in [json!("not a channel"), json!(7), json!("*"), Value::Null] {
        let runs = rules.evaluate(&event(json!({"type": "t", "data": data})));
        assert!(runs[0].notifications.is_empty());
        assert_eq!(runs[0].error.as_ref().unwrap().problem, Problem::NotAChannel);
    }
    let runs = rules.evaluate(&event(json!({"type": "t", "data": "fine"})));
    assert_eq!(runs[0].notifications.len(), 2);
}

#[test]
fn a_filter_must_give_a_boolean() {
    let rules = set([of(json!([
        {"id": "f", "kind": "filter", "when": "event.data", "then": "yes", "else": "no"},
        {"id": "yes", "kind": "action", "notify": {"channel": "'yes'", "type": "t"}},
        {"id": "no", "kind": "action", "notify": {"channel": "'no'", "type": "t"}}]))]);
    let run = |data: Value| rules.evaluate(&event(json!({"type": "t", "data": data}))).remove(0);
    assert_eq!(run(json!(true)).notifications[0].channel.as_str(), "yes");
    assert_eq!(run(json!(false)).notifications[0].channel.as_str(), "no");
    assert_eq!(run(json!("true")).error.unwrap().problem, Problem::NotABoolean);
}

#[test]
fn a_transform_sees_the_variables_as_they_were_before_it() {
    let rules = set([of(json!([
        {"id": "one", "kind": "transform", "set": {"a": "1", "b": "has(vars.a)"}, "then": "two"},
        {"id": "two", "kind": "transform", "set": {"a": "vars.a + 1", "c": "vars.a"}, "then": "tell"},
        action("tell")]))]);
    let runs = rules.evaluate(&event(json!({"type": "t", "data": 9})));
    assert_eq!(runs[0].notifications[0].data, json!({"a": 2, "b": false, "c": 1}));
}

#[test]
fn without_variables_the_data_of_the_event_is_told() {
    let rules = set([teller("a", "'a'")]);
    let told = |document| rules.evaluate(&event(document))[0].notifications[0].data.clone();
    assert_eq!(told(json!({"type": "t", "data": [1]})), json!([1]));
    assert_eq!(told(json!({"type": "t", "data_base64": "AA=="})), json!("AA=="));
    assert_eq!(told(json!({"type": "t"})), Value::Null);
}

#[test]
fn a_chain_hears_what_its_patterns_match_and_nothing_when_disabled() {
    let heard = |on: Value, enabled: bool, document: Value| {
        let mut listener = teller("l", "'c'");
        (listener["on"], listener["enabled"]) = (on, json!(enabled));
        set([listener]).evaluate(&event(document)).len() == 1
    };
    let with = json!({"type": "a.b", "subject": "s.1"});
    let without = json!({"type": "a.b"});
    assert!(heard(json!({"type": "a.b"}), true, without.clone()));
    assert!(heard(json!({"type": "a.*", "subject": "*"}), true, without.clone()));
    assert!(heard(json!({"type": "*", "subject": "s.*"}), true, with.clone()));
    assert!(heard(json!({"type": "*", "subject": "s.1"}), true, with.clone()));
    assert!(!heard(json!({"type": "*", "subject": "s.*"}), true, without));
    assert!(!heard(json!({"type": "a"}), true, with.clone()));
    assert!(!heard(json!({"type": "a.b"}), false, with));
}

#[test]
fn a_stored_chain_that_cannot_be_used_is_refused_with_every_fault() {
    let faults = |json: &[u8]| RuleChain::from_json("a", json).map_err(|faults| faults.len());
    assert_eq!(
        faults(teller("a", "'a'").to_string().as_bytes()).map(|chain| chain.id),
        Ok("a".to_owned())
    );
    assert_eq!(faults(b"{").map(|_| ()), Err(1));
    assert_eq!(faults(b"{}").map(|_| ()), Err(2));
}

#[test]
fn a_long_sum_runs_on_a_stack_that_is_deep_enough() {
    let rules = set([teller("a", &format!("'a'{}", "+event.type".repeat(60)))]);
    let runs = rules.evaluate(&event(json!({"type": "t"})));
    assert_eq!(runs[0].notifications[0].channel.as_str(), format!("a{}", "t".repeat(60)));
}

#[test]
fn data_that_is_nested_deep_passes_through_a_chain_on_an_ordinary_stack() {
    let data = (0..110).fold(json!("'"), |inner, _| json!([inner]));
    let runs = set([of(json!([
        {"id": "set", "kind": "transform", "set": {"copy": "event.data"}, "then": "tell"},
        {"id": "tell", "kind": "action", "notify": {"type": "t",
            "channel": "'a' + 'b' + 'c' + 'd' + 'e' + string(event.data == vars.copy)"}}]))])
    .evaluate(&event(json!({"type": "t", "data": data})));
    assert_eq!(runs[0].notifications[0].channel.as_str(), "abcdetrue");
    assert_eq!(runs[0].notifications[0].data, json!({"copy": data}));
}

#[test]
fn a_chain_that_tells_the_same_large_data_over_and_over_ends_early() {
    let mut nodes = vec![
        json!({"id": "n0", "kind": "transform", "set": {"all": "[event, event, event, event]"},
        "then": "n1"}),
    ];
    nodes.extend((1..64).map(|n| {
        let mut node = action(&format!("n{n}"));
        if n < 63 {
            node["then"] = json!(format!("n{}", n + 1));
        }
        node
    }));
    let rules = set([of(nodes.into())]);
    let run =
        |bytes| rules.evaluate(&event(json!({"type": "t", "data": "x".repeat(bytes)}))).remove(0);
    assert_eq!(run(64_000).notifications.len(), 63);
    assert_eq!(run(640_000).error.unwrap().problem, Problem::TooMuchWork);
}

#[test]
fn an_event_with_too_long_a_list_fails_every_chain_that_hears_it() {
    let rules = set([teller("a", "'a'"), teller("b", "'b'")]);
    let runs = rules.evaluate(&event(json!({"type": "t", "data": vec![0; 10_001]})));
    assert_eq!(runs.len(), 2);
    assert!(runs.iter().all(|run| run.error.as_ref().unwrap().problem == Problem::TooLong));
}

#[test]
fn rules_travel_between_threads() {
    fn travels<T: Send + Sync>() {}
    travels::<RuleSet>();
    travels::<RuleChain>();
    travels::<ChainRun>();
}
