//! What every dashboard keeps to, whoever writes it.

use std::collections::{BTreeSet, HashMap, HashSet};

use serde_json::Value;
use trunkline::telemetry::catalogue::{ALL, Definition, Kind};

use crate::promql::{Query, definition};
use crate::{alerts, dashboards, expect_none, files, path, read};

/// Panels that look over a window of their own, and why.
const WINDOWS: [(&str, &str); 6] = [
    ("Published, 30 days", "the objective is over 30 days"),
    ("Budget left", "the objective is over 30 days"),
    ("In time, 30 days", "the objective is over 30 days"),
    ("Burn, 1 hour", "the window of the alert"),
    ("Burn, 6 hours", "the window of the alert"),
    ("Panics", "one in a day is one too many, and an hour's range would not show it"),
];

/// Every dashboard, as it is committed.
pub(crate) fn boards() -> Vec<(String, Value)> {
    let load = |file: String| (file.clone(), serde_json::from_str(&read(&file)).expect("JSON"));
    files("dashboards", ".json").into_iter().map(load).collect()
}

pub(crate) fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

pub(crate) fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// Panels with something to show; rows are headings.
pub(crate) fn panels(board: &Value) -> impl Iterator<Item = &Value> {
    list(board, "panels").iter().filter(|panel| panel["type"] != "row")
}

/// Every expression of a dashboard with the name of its place and its legend.
fn queries(board: &Value) -> Vec<(String, String, String)> {
    let targets = panels(board).flat_map(|panel| {
        list(panel, "targets").iter().map(|target| {
            (text(panel, "title"), text(target, "expr"), text(target, "legendFormat"))
        })
    });
    let annotations = list(&board["annotations"], "list")
        .iter()
        .map(|mark| (text(mark, "name"), text(&mark["target"], "expr"), text(mark, "titleFormat")));
    let owned = |(place, expr, legend): (&str, &str, &str)| {
        (place.to_owned(), expr.to_owned(), legend.to_owned())
    };
    targets.chain(annotations).map(owned).collect()
}

#[test]
fn the_dashboards_are_what_the_code_writes() {
    for dashboard in dashboards::all() {
        let file = format!("dashboards/{}.json", dashboard.uid);
        let text = dashboard.json();
        if std::env::var_os("TRUNKLINE_WRITE").is_some() {
            std::fs::write(path(&file), text).expect("a writable repository");
        } else {
            assert!(
                read(&file) == text,
                "{file} is old: TRUNKLINE_WRITE=1 cargo test --test observability"
            );
        }
    }
}

#[test]
fn every_dashboard_is_called_by_its_uid_and_moves_with_its_siblings() {
    let mut faults = vec![];
    for (file, board) in boards() {
        let mut demand = |holds: bool, what: &str| {
            if !holds {
                faults.push(format!("{file}: {what}"));
            }
        };
        demand(
            file == format!("dashboards/{}.json", text(&board, "uid")),
            "the uid is the name of the file",
        );
        demand(board["graphTooltip"] == 1, "a shared crosshair");
        demand(board["refresh"] == "30s", "refreshes every 30 s");
        demand(board["timezone"] == "browser", "the time zone of the browser");
        let siblings = list(&board, "links").iter().find(|link| link["type"] == "dashboards");
        demand(
            siblings.is_some_and(|it| it["keepTime"] == true && it["includeVars"] == true),
            "leads to its siblings with time and variables",
        );
    }
    expect_none(faults);
}

#[test]
fn every_metric_of_the_catalogue_is_on_a_panel() {
    let all: String =
        boards().iter().flat_map(|(_, board)| queries(board)).map(|it| it.1).collect();
    let words: HashSet<&str> =
        all.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect();
    let shown = |metric: &&Definition| {
        words.iter().any(|word| definition(word).is_some_and(|it| it.name == metric.name))
    };
    let hidden = ALL.iter().filter(|metric| !shown(metric));
    expect_none(hidden.map(|metric| format!("{}: on no panel", metric.name)).collect());
}

#[test]
fn every_panel_says_what_it_shows_in_which_unit_and_what_good_looks_like() {
    let (mut faults, alerts) = (vec![], alerts::names());
    for (file, board) in boards() {
        let mut titles = HashSet::new();
        for panel in panels(&board) {
            let (title, description) = (text(panel, "title"), text(panel, "description"));
            let defaults = &panel["fieldConfig"]["defaults"];
            let mut demand = |holds: bool, what: &str| {
                if !holds {
                    faults.push(format!("{file}: {title}: {what}"));
                }
            };
            demand(!title.is_empty() && titles.insert(title), "a title of its own");
            demand(description.contains("Good: "), "says what good looks like");
            let alert =
                description.rsplit_once("Alert: ").map(|(_, name)| name.trim_end_matches('.'));
            demand(
                alert.map_or(description.ends_with("No alert."), |name| {
                    alerts.iter().any(|it| it == name)
                }),
                "names its alert, or none",
            );
            demand(!list(&defaults["thresholds"], "steps").is_empty(), "thresholds");
            let targets = list(panel, "targets");
            demand(!targets.is_empty(), "a query");
            let ids: HashSet<&str> = targets.iter().map(|it| text(it, "refId")).collect();
            demand(ids.len() == targets.len(), "queries with names of their own");
            for part in targets.iter().chain([panel]) {
                demand(part["datasource"]["uid"] == "${datasource}", "the chosen data source");
            }
            for target in targets {
                let named = !text(target, "legendFormat").is_empty() || panel["type"] == "table";
                demand(named, "a legend");
            }
        }
    }
    expect_none(faults);
}

#[test]
fn no_two_panels_share_a_place_or_an_id() {
    let mut faults = vec![];
    for (file, board) in boards() {
        let (mut ids, mut taken) = (HashSet::new(), HashMap::new());
        for panel in list(&board, "panels") {
            let title = text(panel, "title");
            let at = |key: &str| panel["gridPos"][key].as_u64().unwrap_or(99);
            if !ids.insert(panel["id"].as_u64()) {
                faults.push(format!("{file}: {title}: its id stands twice"));
            }
            if at("x") + at("w") > 24 {
                faults.push(format!("{file}: {title}: leaves the grid"));
            }
            let cells = (at("y")..at("y") + at("h"))
                .flat_map(|y| (at("x")..at("x") + at("w")).map(move |x| (x, y)));
            for cell in cells {
                if let Some(other) = taken.insert(cell, title) {
                    faults.push(format!("{file}: {title} lies on {other}"));
                    break;
                }
            }
        }
    }
    expect_none(faults);
}

#[test]
fn every_query_reads_metrics_and_labels_that_exist() {
    let (none, mut faults) = (HashSet::new(), vec![]);
    for (file, board) in boards() {
        for (place, expr, legend) in queries(&board) {
            let query = match Query::parse(&expr) {
                Ok(query) => query,
                Err(error) => {
                    faults.push(format!("{file}: {place}: {error}"));
                    continue;
                }
            };
            // Dashboards must work without the recording rules.
            let mut found = query.faults(&none);
            let labels = query.labels();
            let named: BTreeSet<String> = legend
                .split("{{")
                .skip(1)
                .filter_map(|rest| rest.split_once("}}"))
                .map(|(label, _)| label.trim().to_owned())
                .collect();
            found
                .extend(named.difference(&labels).map(|label| format!("legend: no label {label}")));
            faults.extend(found.iter().map(|fault| format!("{file}: {place}: {fault}")));
        }
        let variables =
            list(&board["templating"], "list").iter().map(|it| text(&it["query"], "query"));
        for definition in variables.filter(|definition| !definition.is_empty()) {
            let inner =
                definition.strip_prefix("label_values(").and_then(|it| it.rsplit_once(", "));
            let (series, label) = inner.expect("label_values(series, label)");
            let query = Query::parse(series).expect("a series");
            faults.extend(query.faults(&none));
            if !query.labels().contains(label.trim_end_matches(')')) {
                faults.push(format!("{file}: {definition}: no such label"));
            }
        }
    }
    expect_none(faults);
}

#[test]
fn every_query_follows_the_variables_and_rates_its_counters() {
    let mut faults = vec![];
    for (file, board) in boards() {
        for (place, expr, _) in queries(&board) {
            let Ok(query) = Query::parse(&expr) else { continue };
            for (selector, ranged) in &query.selectors {
                let name = selector.name.clone().unwrap_or_default();
                let has = |label: &str| {
                    selector.matchers.matchers.iter().any(|it| it.name == label && it.value == ".+")
                };
                let metric = definition(&name);
                let role = metric.is_some_and(|metric| (metric.keys)().contains(&"role"));
                if name != "ALERTS" && !(has("job") && has("instance") && (has("role") || !role)) {
                    faults.push(format!("{file}: {place}: {name} ignores a variable"));
                }
                if metric.is_some_and(|metric| metric.kind != Kind::Gauge) && !ranged {
                    faults.push(format!(
                        "{file}: {place}: {name} is a counter and read without a rate"
                    ));
                }
            }
            if ["rate(", "increase("].iter().any(|call| expr.contains(call))
                && !expr.contains("[$__rate_interval]")
                && !WINDOWS.iter().any(|(panel, _)| *panel == place)
            {
                faults.push(format!("{file}: {place}: a rate over an interval of its own"));
            }
        }
    }
    expect_none(faults);
}
