//! The dashboards against Grafana's own schema of its classic model.

use serde_json::{Value, json};

use crate::lint::boards;
use crate::{expect_none, read};

/// What Grafana's Prometheus data source reads from an annotation. The schema knows the target
/// of Grafana's own annotations alone, and the fields of no data source.
const OF_PROMETHEUS: [&str; 4] = ["target", "titleFormat", "tagKeys", "useValueForTime"];
/// The keys of such a target.
const TARGET: [&str; 3] = ["expr", "interval", "refId"];

/// Every fault of a dashboard, with its place.
fn faults(board: &Value) -> Vec<String> {
    let schema = serde_json::from_str(&read("tests/schemas/grafana-dashboard.json"));
    let validator = jsonschema::validator_for(&schema.expect("JSON")).expect("a schema");
    let mut board = board.clone();
    let annotations = board["annotations"]["list"].as_array_mut();
    let mut found = vec![];
    for annotation in annotations.into_iter().flatten().filter_map(Value::as_object_mut) {
        let target = annotation["target"].as_object();
        if !target.is_some_and(|it| it.keys().eq(TARGET)) {
            found.push(format!("{}: its target is not {TARGET:?}", annotation["name"]));
        }
        annotation.retain(|key, _| !OF_PROMETHEUS.contains(&key.as_str()));
    }
    let errors = validator.iter_errors(&board);
    found.extend(errors.map(|error| format!("{}: {error}", error.instance_path())));
    found
}

#[test]
fn every_dashboard_follows_grafanas_schema() {
    let all = boards().into_iter();
    expect_none(
        all.flat_map(|(file, board)| {
            faults(&board).into_iter().map(move |fault| format!("{file}{fault}"))
        })
        .collect(),
    );
}

#[test]
fn a_misspelt_key_and_a_word_grafana_does_not_know_are_refused() {
    let (_, good) = boards().remove(0);
    let breaks: [fn(&mut Value); 5] = [
        |board| board["schemaVerson"] = json!(39),
        |board| board["panels"][1]["gridPoss"] = json!({}),
        |board| board["panels"][1]["fieldConfig"]["defaults"]["units"] = json!("s"),
        |board| board["annotations"]["list"][0]["target"]["exp"] = json!("up"),
        |board| board["templating"]["list"][1]["refresh"] = json!("never"),
    ];
    for (number, break_it) in breaks.into_iter().enumerate() {
        let mut board = good.clone();
        break_it(&mut board);
        assert!(!faults(&board).is_empty(), "number {number} passes");
    }
}
