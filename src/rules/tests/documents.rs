use super::*;

#[test]
fn all_faults_of_a_chain_are_named_at_once() {
    let found = paths(json!({ "id": "no spaces", "name": 7, "enabled": "yes", "extra": 1,
        "on": { "type": "a*", "subject": 1, "topic": "x" },
        "nodes": [
            { "id": "f", "kind": "filter", "when": "evnt > 1", "then": "gone", "set": {} },
            { "id": "f", "kind": "transform", "set": { "a": 1, "b-c": "(" } },
            { "id": "t", "kind": "action", "notify": { "channel": "x", "to": "y" } },
            { "kind": "dance" },
            7 ] }));
    for path in [
        "$.id",
        "$.name",
        "$.enabled",
        "$[\"extra\"]",
        "$.on.type",
        "$.on.subject",
        "$.on[\"topic\"]",
        "$.nodes[0].when",
        "$.nodes[0].then",
        "$.nodes[0][\"set\"]",
        "$.nodes[1].id",
        "$.nodes[1].set.a",
        "$.nodes[1].set[\"b-c\"]",
        "$.nodes[2]",
        "$.nodes[2].notify.channel",
        "$.nodes[2].notify.type",
        "$.nodes[2].notify[\"to\"]",
        "$.nodes[3].id",
        "$.nodes[3].kind",
        "$.nodes[4]",
    ] {
        assert!(found.iter().any(|found| found == path), "{path} is missing in {found:?}");
    }
}

#[test]
fn what_is_missing_is_named() {
    assert_eq!(paths(json!({})), ["$.id", "$.on", "$.nodes"]);
    assert_eq!(paths(json!([])), ["$"]);
    assert_eq!(paths(of(json!([]))), ["$.nodes"]);
    assert_eq!(
        paths(of(json!([{"id": "a", "kind": "filter"}]))),
        ["$.nodes[0].when", "$.nodes[0].then"]
    );
    assert_eq!(paths(of(json!([{"id": "a", "kind": "transform"}]))), ["$.nodes[0].set"]);
    assert_eq!(
        paths(of(json!([{"id": "a", "kind": "action", "notify": {}}]))),
        ["$.nodes[0].notify.channel", "$.nodes[0].notify.type"]
    );
}

#[test]
fn a_cycle_is_refused_where_it_closes() {
    let found = faults(of(json!([
        filter("a", "b", "c"),
        filter("b", "c", "c"),
        filter("c", "d", "a"),
        action("d")
    ])));
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].to_string(), "$.nodes[2].else: leads back to `a`; a chain has no cycle");
    assert_eq!(paths(of(json!([filter("a", "a", "a")]))), ["$.nodes[0].then", "$.nodes[0].else"]);
}

#[test]
fn a_node_out_of_reach_is_refused_and_so_is_a_cycle_out_of_reach() {
    assert_eq!(paths(of(json!([action("a"), action("b")]))), ["$.nodes[1]"]);
    assert_eq!(
        paths(of(json!([action("a"), filter("b", "c", "c"), filter("c", "b", "a")]))),
        ["$.nodes[1]", "$.nodes[2].then"]
    );
    // A diamond is fine.
    chain(of(json!([
        filter("a", "b", "c"),
        filter("b", "d", "d"),
        filter("c", "d", "d"),
        action("d")
    ])));
}

#[test]
fn a_chain_has_at_most_64_nodes() {
    let long = |count: usize| {
        let mut nodes: Vec<Value> = (0..count)
            .map(|n| json!({"id": format!("n{n}"), "kind": "transform", "set": {"v": "1"}, "then": format!("n{}", n + 1)}))
            .collect();
        nodes[count - 1] = action(&format!("n{}", count - 1));
        of(nodes.into())
    };
    assert_eq!(set([long(64)]).evaluate(&event(json!({"type": "t"})))[0].notifications.len(), 1);
    assert_eq!(paths(long(65)), ["$.nodes"]);
}

#[test]
fn the_id_of_the_path_is_the_id_of_the_chain() {
    let mut nameless = overheat();
    nameless.as_object_mut().unwrap().remove("id");
    let named = RuleChain::parse(Some("overheat"), nameless).unwrap();
    assert_eq!(serde_json::to_value(&named).unwrap(), overheat());
    let differs = RuleChain::parse(Some("other"), overheat()).unwrap_err();
    assert_eq!(differs[0].to_string(), "$.id: differs from `other`, under which it is stored");
    assert!(RuleChain::parse(Some("a/b"), json!({})).unwrap_err().iter().any(|f| f.path == "$.id"));
    assert!(RuleChain::parse(Some(&"x".repeat(65)), json!({})).is_err());
}

#[test]
fn a_refusal_is_short_however_long_what_is_refused() {
    let unknown = |count: usize| (0..count).map(|n| (format!("x{n}"), json!(0)));
    let many = Value::Object(unknown(9_000).collect());
    assert_eq!(faults(many).len(), 23);
    let nodes = vec![Value::Object(unknown(9).collect()); 64];
    assert_eq!(faults(of(nodes.into())).len(), 100);
    let nowhere = faults(of(json!([filter("a", &"x".repeat(9_000), &"x".repeat(9_000))])));
    assert!(nowhere.iter().all(|fault| fault.message.len() < 100), "{nowhere:?}");
}
