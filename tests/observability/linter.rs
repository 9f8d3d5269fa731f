//! The rules of Grafana's dashboard-linter, under its names. Ours are in [`super::lint`].

use std::collections::BTreeSet;

use promql_parser::label::MatchOp;
use promql_parser::parser::{self, Call, Expr, MatrixSelector, VectorSelector};
use promql_parser::util::{ExprVisitor, walk_expr};
use serde_json::{Value, json};

use crate::expect_none;
use crate::lint::{boards, list, panels, text};

/// The units we use; each is one of Grafana's.
const UNITS: [&str; 7] = ["short", "s", "ops", "reqps", "Bps", "bytes", "percentunit"];
/// Stands for `$__rate_interval` where only a duration parses.
const RATE_INTERVAL: &str = "4711s";

/// What a dashboard may do against a rule: the rule, its uid, the panel if it is about one, and why.
const EXCLUDED: [(&str, &str, &str, &str); 3] = [
    ("template-instance-rule", "trunkline-process", "", "it shows one process at a time"),
    ("target-job-rule", "trunkline-connections", "Alerts firing", ABSENT),
    ("target-instance-rule", "trunkline-connections", "Alerts firing", ABSENT),
];
const ABSENT: &str = "an alert about what is absent has neither job nor instance";

/// A breach: the rule, the panel if it is about one, and what is wrong.
type Breach = (&'static str, String, String);

fn lint(board: &Value) -> Vec<Breach> {
    let mut found = vec![];
    let mut about = |rule, what: &str| found.push((rule, String::new(), what.to_owned()));
    let variables = list(&board["templating"], "list");
    let sources: Vec<&Value> = variables.iter().filter(|it| it["type"] == "datasource").collect();
    let named = |it: &&Value| it["name"] == "datasource" && it["label"] == "Data source";
    if !matches!(sources[..], [one] if named(&one) && one["query"] == "prometheus") {
        about("template-datasource-rule", "one variable `datasource`, called Data source");
    }
    for (rule, name, label) in
        [("template-job-rule", "job", "Job"), ("template-instance-rule", "instance", "Instance")]
    {
        let all = |it: &&Value| {
            it["name"] == name
                && it["label"] == label
                && it["type"] == "query"
                && it["multi"] == true
                && it["allValue"] == ".+"
                && it["datasource"]["uid"] == "${datasource}"
        };
        if !variables.iter().any(|it| all(&it)) {
            about(rule, "a query for several values, all of them being .+");
        }
    }
    for variable in variables.iter().filter(|it| it["type"] == "query") {
        let query = text(&variable["query"], "query");
        let series = query.strip_prefix("label_values(").and_then(|it| it.rsplit_once(", "));
        if series.is_none_or(|(series, _)| parser::parse(series).is_err()) {
            about("template-label-promql-rule", &format!("{query}: label_values(series, label)"));
        }
        if variable["refresh"] != 2 {
            about("template-on-time-change-reload-rule", text(variable, "name"));
        }
    }
    if board["editable"] != false {
        about("uneditable-dashboard-rule", "editable");
    }
    for panel in panels(board) {
        for (rule, what) in lint_panel(panel) {
            found.push((rule, text(panel, "title").to_owned(), what));
        }
    }
    found
}

fn lint_panel(panel: &Value) -> Vec<(&'static str, String)> {
    let mut found = vec![];
    let mut demand = |rule, holds: bool, what: &str| {
        if !holds {
            found.push((rule, what.to_owned()));
        }
    };
    let targets = list(panel, "targets");
    let chosen = |part: &Value| part["datasource"]["uid"] == "${datasource}";
    demand("panel-datasource-rule", chosen(panel) && targets.iter().all(chosen), "the variable");
    let told = !text(panel, "title").is_empty() && !text(panel, "description").is_empty();
    demand("panel-title-description-rule", told, "both");
    let unit = text(&panel["fieldConfig"]["defaults"], "unit");
    demand("panel-units-rule", UNITS.contains(&unit), unit);
    demand("panel-no-targets-rule", !targets.is_empty(), "a query");
    for target in targets {
        let expr = text(target, "expr");
        let plain = expr.replace("$__rate_interval", RATE_INTERVAL);
        let mut reads = Reads::default();
        let parsed = parser::parse(&plain).and_then(|tree| walk_expr(&mut reads, &tree));
        demand("target-promql-rule", parsed.is_ok(), expr);
        let interval = parser::parse(&format!("up[{RATE_INTERVAL}]"));
        let Ok(Expr::MatrixSelector(interval)) = interval else { unreachable!("a range parses") };
        for (function, ranged) in &reads.ranged {
            let rates = ["rate", "irate"].contains(function);
            let as_chosen = !rates || ranged.range == interval.range;
            demand("target-rate-interval-rule", as_chosen, expr);
        }
        for (label, rule) in [("job", "target-job-rule"), ("instance", "target-instance-rule")] {
            let follows = |series: &VectorSelector| {
                series.matchers.matchers.iter().any(|it| {
                    it.name == label
                        && it.value == format!("${label}")
                        && matches!(it.op, MatchOp::Re(_))
                })
            };
            demand(rule, reads.all().all(follows), expr);
        }
        let total = |it: &VectorSelector| it.name.as_ref().is_some_and(|it| it.ends_with("_total"));
        let counted = |function: &str| ["rate", "irate", "increase"].contains(&function);
        let bare = reads.bare.iter().any(total)
            || reads.ranged.iter().any(|(function, it)| total(&it.vs) && !counted(function));
        demand("target-counter-agg-rule", !bare, expr);
    }
    found
}

/// The series an expression reads.
#[derive(Default)]
struct Reads {
    /// At one moment.
    bare: Vec<VectorSelector>,
    /// Over a range, with the function that does.
    ranged: Vec<(&'static str, MatrixSelector)>,
}

impl Reads {
    fn all(&self) -> impl Iterator<Item = &VectorSelector> {
        self.bare.iter().chain(self.ranged.iter().map(|(_, it)| &it.vs))
    }
}

impl ExprVisitor for Reads {
    type Error = String;

    fn pre_visit(&mut self, expr: &Expr) -> Result<bool, String> {
        match expr {
            Expr::VectorSelector(series) => self.bare.push(series.clone()),
            Expr::Call(Call { func, args }) => {
                for argument in &args.args {
                    if let Expr::MatrixSelector(series) = &**argument {
                        self.ranged.push((func.name, series.clone()));
                    }
                }
            }
            _ => {}
        }
        Ok(true)
    }
}

#[test]
fn the_dashboards_pass_grafanas_linter() {
    let (mut faults, mut used) = (vec![], BTreeSet::new());
    for (file, board) in boards() {
        for (rule, panel, what) in lint(&board) {
            let here = (rule, text(&board, "uid"), panel.as_str());
            let excluded = EXCLUDED.iter().position(|it| (it.0, it.1, it.2) == here);
            match excluded {
                Some(at) => drop(used.insert(at)),
                None => faults.push(format!("{file}: {panel}: {rule}: {what}")),
            }
        }
    }
    let idle = EXCLUDED.iter().enumerate().filter(|(at, _)| !used.contains(at));
    faults.extend(idle.map(|(_, it)| format!("{} of {}: excluded, and kept", it.0, it.1)));
    expect_none(faults);
}

#[test]
fn each_rule_of_the_linter_refuses_what_it_is_for() {
    let (_, good) =
        boards().into_iter().find(|(file, _)| file.contains("bridge")).expect("the dashboard");
    assert_eq!(lint(&good), []);
    let place = |title: &str| {
        let at = list(&good, "panels").iter().position(|it| it["title"] == title);
        format!("/panels/{}", at.expect("a panel"))
    };
    let (panel, expr) = (place("Received"), format!("{}/targets/0/expr", place("Received")));
    let select = r#"trunkline_events_accepted_total{job=~"$job", instance=~"$instance"}"#;
    let broken = [
        ("template-datasource-rule", "/templating/list/0/label".to_owned(), json!("Source")),
        ("template-job-rule", "/templating/list/1/allValue".to_owned(), json!(".*")),
        ("template-instance-rule", "/templating/list/2/multi".to_owned(), json!(false)),
        ("template-label-promql-rule", "/templating/list/3/query/query".to_owned(), json!("up{")),
        ("template-on-time-change-reload-rule", "/templating/list/3/refresh".to_owned(), json!(1)),
        ("uneditable-dashboard-rule", "/editable".to_owned(), json!(true)),
        ("panel-datasource-rule", format!("{panel}/datasource/uid"), json!("prometheus")),
        ("panel-title-description-rule", format!("{panel}/description"), json!("")),
        ("panel-units-rule", format!("{panel}/fieldConfig/defaults/unit"), json!("parsecs")),
        ("panel-no-targets-rule", format!("{panel}/targets"), json!([])),
        ("target-promql-rule", expr.clone(), json!("sum(")),
        ("target-rate-interval-rule", expr.clone(), json!(format!("rate({select}[5m])"))),
        ("target-job-rule", expr.clone(), json!(r#"up{job=~".+", instance=~"$instance"}"#)),
        ("target-instance-rule", expr.clone(), json!(r#"up{job=~"$job"}"#)),
        ("target-counter-agg-rule", expr, json!(format!("sum({select})"))),
    ];
    for (rule, pointer, value) in broken {
        let mut board = good.clone();
        *board.pointer_mut(&pointer).unwrap_or_else(|| panic!("no {pointer}")) = value;
        let rules: Vec<_> = lint(&board).into_iter().map(|breach| breach.0).collect();
        assert_eq!(rules, [rule], "{pointer}");
    }
}
