//! The rules: accepted by Prometheus, tested, complete, and about metrics that exist.

use std::collections::{BTreeSet, HashSet};

use serde_json::Value;

use crate::promql::Query;
use crate::{expect_none, files, read, run, yaml};

/// The recording rules.
pub(crate) const RECORDING: &str = "alerts/trunkline.recording.yml";
/// The alerts, in the order of the runbook.
pub(crate) const ALERTS: [&str; 2] =
    ["alerts/trunkline.alerts.yml", "alerts/trunkline.supplementary.yml"];
const RULES: [&str; 3] = [RECORDING, ALERTS[0], ALERTS[1]];
const RUNBOOK: &str = "https://github.com/trunkline/trunkline/blob/main/docs/runbook.md";

/// Every rule of a file.
pub(crate) fn rules(file: &str) -> Vec<Value> {
    let groups = yaml(file)["groups"].as_array().cloned().unwrap_or_default();
    groups.iter().flat_map(|group| group["rules"].as_array().cloned().unwrap_or_default()).collect()
}

pub(crate) fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

pub(crate) fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

/// Every alert, in the order of its first rule.
pub(crate) fn names() -> Vec<String> {
    let mut seen = BTreeSet::new();
    let all = ALERTS.into_iter().flat_map(rules).map(|rule| text(&rule, "alert").to_owned());
    all.filter(|name| seen.insert(name.clone())).collect()
}

/// The names of the recording rules.
pub(crate) fn recorded() -> HashSet<String> {
    rules(RECORDING).iter().map(|rule| text(rule, "record").to_owned()).collect()
}

#[test]
fn prometheus_accepts_the_rules() {
    run(
        "promtool",
        "prometheus",
        &[&["check", "rules", "--lint=all", "--lint-fatal"], &RULES[..]].concat(),
    );
}

#[test]
fn the_rules_do_what_their_tests_say() {
    let tests = files("alerts/tests", ".test.yml");
    let tests: Vec<&str> = tests.iter().map(String::as_str).collect();
    run("promtool", "prometheus", &[&["test", "rules"], &tests[..]].concat());
}

#[test]
fn prometheus_and_alertmanager_accept_their_configuration() {
    let printed = run("promtool", "prometheus", &["check", "config", "deploy/prometheus.yml"]);
    // A pattern that matches no file is no error for Prometheus.
    assert_eq!(printed.matches("rules found").count(), RULES.len(), "{printed}");
    run("amtool", "prometheus-alertmanager", &["check-config", "deploy/alertmanager.yml"]);
}

#[test]
fn every_alert_fires_in_one_test_and_is_quiet_in_another() {
    let (mut fires, mut quiet, mut faults) = (HashSet::new(), HashSet::new(), vec![]);
    for file in files("alerts/tests", ".test.yml") {
        let test = yaml(&file);
        // promtool's default of a minute reads samples between two minutes as stale.
        if text(&test, "evaluation_interval").is_empty() {
            faults.push(format!("{file}: no evaluation_interval"));
        }
        for case in list(&test, "tests").iter().flat_map(|test| list(test, "alert_rule_test")) {
            let name = text(case, "alertname").to_owned();
            if list(case, "exp_alerts").is_empty() {
                quiet.insert(name)
            } else {
                fires.insert(name)
            };
        }
    }
    for name in names() {
        if !fires.contains(&name) {
            faults.push(format!("{name}: no test in which it fires"));
        }
        if !quiet.contains(&name) {
            faults.push(format!("{name}: no test in which it is quiet"));
        }
    }
    faults.extend(
        fires
            .union(&quiet)
            .filter(|name| !names().contains(name))
            .map(|name| format!("{name}: tested, and no alert")),
    );
    expect_none(faults);
}

#[test]
fn every_alert_says_what_it_means_and_where_to_look() {
    let mut faults = vec![];
    for rule in ALERTS.into_iter().flat_map(rules) {
        let (name, notes) = (text(&rule, "alert"), &rule["annotations"]);
        if !["critical", "warning"].contains(&text(&rule["labels"], "severity")) {
            faults.push(format!("{name}: severity is critical or warning"));
        }
        for note in ["summary", "description"] {
            if !text(notes, note).ends_with(['.', '}']) {
                faults.push(format!("{name}: {note} is a sentence"));
            }
        }
        if text(notes, "runbook_url") != format!("{RUNBOOK}#{}", name.to_lowercase()) {
            faults.push(format!("{name}: runbook_url is not the heading of its name"));
        }
        let board = text(notes, "dashboard_url").strip_prefix("/d/").unwrap_or_default();
        let (uid, query) = board.split_once('?').unwrap_or((board, ""));
        let boards = files("dashboards", ".json");
        let Some(file) = boards.iter().find(|file| **file == format!("dashboards/{uid}.json"))
        else {
            faults.push(format!("{name}: dashboard_url leads to no dashboard"));
            continue;
        };
        let board: Value = serde_json::from_str(&read(file)).expect("JSON");
        let explains =
            |panel: &Value| text(panel, "description").ends_with(&format!("Alert: {name}."));
        if !list(&board, "panels").iter().any(explains) {
            faults.push(format!("{name}: {file} has no panel for it"));
        }
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            let variable =
                parameter.strip_prefix("var-").and_then(|it| it.split_once('=')).map(|it| it.0);
            let known = list(&board["templating"], "list").iter().map(|it| text(it, "name"));
            if !known.into_iter().any(|known| Some(known) == variable) {
                faults.push(format!("{name}: the dashboard has no variable for {parameter}"));
            }
        }
    }
    expect_none(faults);
}

#[test]
fn every_rule_reads_metrics_and_labels_that_exist() {
    let (recorded, mut faults) = (recorded(), vec![]);
    for rule in RULES.into_iter().flat_map(rules) {
        let name = rule["alert"].as_str().unwrap_or_else(|| text(&rule, "record"));
        match Query::parse(text(&rule, "expr")) {
            Ok(query) => {
                faults.extend(query.faults(&recorded).iter().map(|it| format!("{name}: {it}")))
            }
            Err(error) => faults.push(format!("{name}: {error}")),
        }
    }
    for record in &recorded {
        if !ALERTS.iter().any(|file| read(file).contains(record.as_str())) {
            faults.push(format!("{record}: recorded, and read by no alert"));
        }
    }
    expect_none(faults);
}

#[test]
fn the_tests_of_the_rules_feed_series_that_exist() {
    let mut faults = vec![];
    for file in files("alerts/tests", ".test.yml") {
        let test = yaml(&file);
        for series in list(&test, "tests").iter().flat_map(|test| list(test, "input_series")) {
            let query = Query::parse(text(series, "series")).expect("a series");
            faults.extend(query.faults(&HashSet::new()).iter().map(|it| format!("{file}: {it}")));
        }
    }
    expect_none(faults);
}
