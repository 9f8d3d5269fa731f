//! What the committed dashboards ask.

use std::path::Path;

use serde_json::Value;

/// A question to Prometheus.
pub struct Query {
    /// The dashboard, and the panel, the variable or the annotation.
    pub place: String,
    /// The expression, every variable of the dashboard standing for anything.
    pub expr: String,
}

/// Every question of every dashboard.
pub fn queries() -> Vec<Query> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("dashboards");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let boards = files.filter(|path| path.extension().is_some_and(|it| it == "json"));
    let all: Vec<Query> = boards
        .flat_map(|path| {
            let board: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
            of(&board)
        })
        .collect();
    assert!(all.len() > 100, "{} queries are not those of four dashboards", all.len());
    all
}

fn of(board: &Value) -> Vec<Query> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut found = vec![];
    let mut add = |name: &Value, expr: &str| {
        let place = format!("{}: {}", text(&board["title"]), text(name));
        found.push(Query { place, expr: filled(expr) });
    };
    for panel in list(&board["panels"]) {
        for target in list(&panel["targets"]) {
            add(&panel["title"], text(&target["expr"]));
        }
    }
    for mark in list(&board["annotations"]["list"]) {
        add(&mark["name"], text(&mark["target"]["expr"]));
    }
    for variable in list(&board["templating"]["list"]) {
        let asked = text(&variable["query"]["query"]).strip_prefix("label_values(");
        if let Some((series, label)) = asked.and_then(|it| it.rsplit_once(", ")) {
            let label = label.trim_end_matches(')');
            add(&variable["name"], &format!("count by ({label}) ({series}) > 0"));
        }
    }
    found
}

/// Prometheus scrapes once a second here, and Grafana takes four times that, or a little more.
fn filled(expr: &str) -> String {
    let expr = expr.replace("$__rate_interval", "5s");
    ["$job", "$instance", "$role"].iter().fold(expr, |expr, name| expr.replace(name, ".+"))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
