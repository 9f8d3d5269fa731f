use super::*;
use proptest::prelude::*;

/// Documents that look like chains, more or less.
fn documents() -> impl Strategy<Value = Value> {
    let word = prop::sample::select(vec![
        "a",
        "b",
        "filter",
        "transform",
        "action",
        "*",
        "t",
        "t.*",
        "true",
        "1",
        "'c'",
        "event.data",
        "vars.a",
        "event.data > 1",
        "event.data.map(x, x)",
        "(",
        "",
    ])
    .prop_map(Value::from);
    let leaf = prop_oneof![8 => word, 1 => any::<i64>().prop_map(Value::from), 1 => Just(Value::Null), 1 => Just(json!(true))];
    leaf.prop_recursive(5, 60, 8, |inner| {
        let key = prop::sample::select(vec![
            "id", "kind", "on", "type", "subject", "nodes", "when", "then", "else", "set",
            "notify", "channel", "name", "enabled", "a",
        ]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::hash_map(key.prop_map(str::to_owned), inner, 0..8)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn nodes() -> impl Strategy<Value = Value> {
    let id = || prop::sample::select(vec!["a", "b", "c", "d", "e"]);
    let source = prop::sample::select(vec![
        "true",
        "event.data",
        "vars.a",
        "event.data > 1",
        "[event.data].map(x, x)",
        "'c'",
    ]);
    let node = (id(), 0..3, source, prop::option::of(id()), prop::option::of(id())).prop_map(
        |(id, kind, source, then, otherwise)| {
            let mut node = match kind {
                0 => json!({"id": id, "kind": "filter", "when": source}),
                1 => json!({"id": id, "kind": "transform", "set": {"a": source}}),
                _ => {
                    json!({"id": id, "kind": "action", "notify": {"channel": source, "type": "t"}})
                }
            };
            if let Some(then) = then {
                node["then"] = then.into();
            }
            if let (Some(otherwise), 0) = (otherwise, kind) {
                node["else"] = otherwise.into();
            }
            node
        },
    );
    prop::collection::vec(node, 1..6).prop_map(Value::from)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn a_document_that_is_refused_is_told_where(document in documents()) {
        if let Err(faults) = RuleChain::parse(Some("a"), document) {
            prop_assert!(!faults.is_empty());
            let placed = |fault: &Fault| fault.path.starts_with('$') && !fault.message.is_empty();
            prop_assert!(faults.iter().all(placed), "{faults:?}");
        }
    }

    #[test]
    fn a_chain_is_read_back_as_it_was_taken(nodes in nodes()) {
        let document = of(nodes);
        if let Ok(chain) = RuleChain::parse(None, document.clone()) {
            let stored = serde_json::to_vec(&chain).unwrap();
            let read = RuleChain::from_json(chain.id(), &stored).unwrap();
            prop_assert_eq!(serde_json::to_value(&read).unwrap(), document);
        }
    }

    #[test]
    fn what_is_accepted_runs_to_an_end(nodes in nodes(), data in prop::sample::select(vec![
        json!(true), json!(2), json!("c"), json!([1]), json!({"a": 1}), Value::Null])) {
        if let Ok(chain) = RuleChain::parse(None, of(nodes)) {
            let runs = RuleSet::new([Arc::new(chain)]).evaluate(&event(json!({"type": "t", "data": data})));
            prop_assert_eq!(runs.len(), 1);
            prop_assert_eq!(runs[0].error.is_some(), runs[0].outcome == RuleOutcome::Error);
        }
    }
}
