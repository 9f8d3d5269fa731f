//! Breaks every rule a little, in every way listed in [`own`] and [`mutants`], and expects a test
//! of the rules to see it. What nobody sees is a number nobody has thought about.

use std::fs;
use std::process::Command;
use std::sync::Mutex;

use promql_parser::label::Matcher;
use promql_parser::parser::token::{self, TokenType};
use promql_parser::parser::{self, BinaryExpr, Expr};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::alerts::{ALERTS, RECORDING, list, rules, text};
use crate::promql::Query;
use crate::{expect_none, files, yaml};

/// Mutants that mean the same as the rule, by rule and change, and why.
const EQUIVALENT: &[(&str, &str, &str)] = &[];

/// The change that is none.
const UNCHANGED: &str = "unchanged";

/// One rule, changed in one place, beside the rules it is tested with.
struct Mutant {
    /// What [`EQUIVALENT`] knows it by: the rule, and what was changed.
    name: (String, String),
    /// The alerts that read it; an alert reads itself.
    alerts: Vec<String>,
    /// Its labels, as a query has them.
    labels: Vec<String>,
    /// Every rule that matters to these, with the changed one among them.
    rules: Value,
}

/// Every way to change an expression in one place, with the place in words.
fn variants(expr: &Expr) -> Vec<(String, Expr)> {
    let mut all = own(expr);
    for place in 0..children(&mut expr.clone()).len() {
        let child = children_at(&mut expr.clone(), place).clone();
        for (change, broken) in variants(&child) {
            let mut whole = expr.clone();
            *children_at(&mut whole, place) = broken;
            all.push((change, whole));
        }
    }
    all
}

/// The ways to change the outermost node alone.
fn own(expr: &Expr) -> Vec<(String, Expr)> {
    match expr {
        Expr::NumberLiteral(number) if number.val == 0.0 => {
            [-1.0, 1.0].map(|other| (format!("0 is {other}"), Expr::from(other))).into()
        }
        Expr::NumberLiteral(number) => {
            let others = [number.val / 2.0, number.val * 2.0];
            others.map(|other| (format!("{} is {other}", number.val), Expr::from(other))).into()
        }
        Expr::Binary(binary) => operands(binary),
        Expr::VectorSelector(selector) => {
            let name = selector.name.clone().unwrap_or_default();
            without_each(&selector.matchers.matchers, &name, |left| {
                let mut selector = selector.clone();
                selector.matchers.matchers = left;
                Expr::VectorSelector(selector)
            })
        }
        Expr::MatrixSelector(matrix) => {
            let name = matrix.vs.name.clone().unwrap_or_default();
            without_each(&matrix.vs.matchers.matchers, &name, |left| {
                let mut matrix = matrix.clone();
                matrix.vs.matchers.matchers = left;
                Expr::MatrixSelector(matrix)
            })
        }
        _ => vec![],
    }
}

/// A comparison the other way round, or one of two conditions alone.
fn operands(binary: &BinaryExpr) -> Vec<(String, Expr)> {
    let (left, right) = (&*binary.lhs, &*binary.rhs);
    let flipped = |id| {
        let op = TokenType::new(id);
        let change = format!("{} {right} is {op} {right}", binary.op);
        vec![(change, Expr::Binary(BinaryExpr { op, ..binary.clone() }))]
    };
    let alone = |side: &Expr, gone: &Expr| (format!("without {} {gone}", binary.op), side.clone());
    match binary.op.id() {
        token::T_GTR => flipped(token::T_LSS),
        token::T_LSS => flipped(token::T_GTR),
        token::T_GTE => flipped(token::T_LTE),
        token::T_LTE => flipped(token::T_GTE),
        token::T_EQLC => flipped(token::T_NEQ),
        token::T_NEQ => flipped(token::T_EQLC),
        token::T_LAND | token::T_LOR => vec![alone(left, right), alone(right, left)],
        token::T_LUNLESS => vec![alone(left, right)],
        _ => vec![],
    }
}

fn without_each(
    matchers: &[Matcher],
    name: &str,
    rebuild: impl Fn(Vec<Matcher>) -> Expr,
) -> Vec<(String, Expr)> {
    let each = matchers.iter().map(|gone| {
        let left = matchers.iter().filter(|matcher| *matcher != gone).cloned().collect();
        (format!("{name} without {gone}"), rebuild(left))
    });
    each.collect()
}

fn children(expr: &mut Expr) -> Vec<&mut Expr> {
    match expr {
        Expr::Aggregate(aggregate) => vec![&mut *aggregate.expr],
        Expr::Unary(unary) => vec![&mut *unary.expr],
        Expr::Paren(paren) => vec![&mut *paren.expr],
        Expr::Binary(binary) => {
            // A product of two numbers is one number.
            let one = is_number(&binary.lhs) && is_number(&binary.rhs);
            let mut sides = vec![&mut *binary.lhs, &mut *binary.rhs];
            sides.truncate(if one { 1 } else { 2 });
            sides
        }
        Expr::Call(call) => call.args.args.iter_mut().map(|argument| &mut **argument).collect(),
        Expr::Subquery(subquery) => vec![&mut *subquery.expr],
        _ => vec![],
    }
}

fn is_number(expr: &Expr) -> bool {
    matches!(expr, Expr::NumberLiteral(_))
}

fn children_at(expr: &mut Expr, place: usize) -> &mut Expr {
    children(expr).swap_remove(place)
}

fn with(rule: &Value, key: &str, value: &str) -> Value {
    let mut rule = rule.clone();
    rule[key] = json!(value);
    rule
}

fn tree(rule: &Value) -> Expr {
    parser::parse(text(rule, "expr")).expect("an expression")
}

/// A rule in all its variants.
fn versions(rule: &Value) -> Vec<(String, Value)> {
    let broken = variants(&tree(rule)).into_iter();
    let mut all: Vec<_> =
        broken.map(|(change, broken)| (change, with(rule, "expr", &broken.to_string()))).collect();
    if !rule["for"].is_null() {
        all.push((format!("without for {}", text(rule, "for")), with(rule, "for", "0s")));
    }
    all
}

/// What a rule is called here; several alerts may share a name.
fn title(rule: &Value) -> String {
    let labels = rule["labels"].as_object().into_iter().flatten();
    let labels: Vec<&str> = labels.filter_map(|(_, value)| value.as_str()).collect();
    match rule["alert"].as_str() {
        Some(alert) => format!("{alert} ({})", labels.join(", ")),
        None => text(rule, "record").to_owned(),
    }
}

/// All rules there are.
struct Rules {
    recording: Vec<Value>,
    alerts: Vec<Value>,
}

impl Rules {
    fn read() -> Rules {
        let alerts = ALERTS.iter().flat_map(|file| rules(file)).collect();
        Rules { recording: rules(RECORDING), alerts }
    }

    /// The alerts by which a change of the rule can be seen.
    fn readers(&self, rule: &Value) -> Vec<&Value> {
        let reads = |alert: &&Value| match rule["record"].as_str() {
            Some(record) => text(alert, "expr").contains(record),
            None => *alert == rule,
        };
        self.alerts.iter().filter(reads).collect()
    }

    /// The file of all alerts of these names, and of what they read, each written in some way.
    fn file(&self, names: &[String], written: impl Fn(&Value) -> Value) -> Value {
        let named = |alert: &&Value| names.iter().any(|name| *name == text(alert, "alert"));
        let alerts: Vec<&Value> = self.alerts.iter().filter(named).collect();
        let read = |record: &&Value| {
            alerts.iter().any(|alert| text(alert, "expr").contains(text(record, "record")))
        };
        let recording: Vec<Value> = self.recording.iter().filter(read).map(&written).collect();
        let alerts: Vec<Value> = alerts.into_iter().map(written).collect();
        let groups = [("recording", recording), ("alerts", alerts)];
        let groups = groups.map(|(name, rules)| json!({ "name": name, "rules": rules }));
        json!({ "groups": groups })
    }
}

/// The alerts with nothing changed, but printed by the parser as the mutants are, and all mutants.
fn mutants() -> Vec<Mutant> {
    let rules = Rules::read();
    let names = |alerts: &[&Value]| -> Vec<String> {
        let mut names: Vec<_> =
            alerts.iter().map(|alert| text(alert, "alert").to_owned()).collect();
        names.dedup();
        names
    };
    let printed = |rule: &Value| with(rule, "expr", &tree(rule).to_string());
    let mut all = vec![];
    for name in crate::alerts::names() {
        let alerts = vec![name.clone()];
        let rules = rules.file(&alerts, printed);
        all.push(Mutant { name: (name, UNCHANGED.to_owned()), alerts, labels: vec![], rules });
    }
    for rule in rules.recording.iter().chain(&rules.alerts) {
        let readers = rules.readers(rule);
        let labels = readers.iter().filter_map(|alert| alert["labels"].as_object()).flatten();
        let labels: Vec<String> = labels.map(|(key, value)| format!("{key}={value}")).collect();
        let alerts = names(&readers);
        for (change, broken) in versions(rule) {
            let swap = |one: &Value| if one == rule { broken.clone() } else { one.clone() };
            let rules = rules.file(&alerts, swap);
            let (name, alerts, labels) = ((title(rule), change), alerts.clone(), labels.clone());
            all.push(Mutant { name, alerts, labels, rules });
        }
    }
    all
}

/// Whether the expression of a test asks for one of these alerts, or for the record.
fn asks_for(expr: &str, alerts: &[String], record: &str) -> bool {
    let query = Query::parse(expr).expect("an expression");
    query.selectors.iter().any(|(selector, _)| {
        let mut names = selector.matchers.matchers.iter().filter(|it| it.name == "alertname");
        selector.name.as_deref() == Some(record)
            || names.any(|matcher| alerts.iter().any(|alert| matcher.is_match(alert)))
    })
}

/// What the tests of the rules say about those of a mutant, and nothing else: one file for each
/// case, because the first that fails is enough, and first those that name the rule's own labels.
fn cases(mutant: &Mutant, tests: &[Value]) -> Vec<Value> {
    let mut files = vec![];
    for test in tests {
        for case in list(test, "tests") {
            let alerts = list(case, "alert_rule_test").iter();
            let alerts: Vec<&Value> = alerts
                .filter(|it| mutant.alerts.iter().any(|alert| alert == text(it, "alertname")))
                .collect();
            let asked = list(case, "promql_expr_test").iter();
            let asked: Vec<&Value> = asked
                .filter(|it| asks_for(text(it, "expr"), &mutant.alerts, &mutant.name.0))
                .collect();
            if alerts.is_empty() && asked.is_empty() {
                continue;
            }
            let own = |it: &&Value| mutant.labels.iter().any(|own| text(it, "expr").contains(own));
            let apart = !asked.iter().any(own);
            let mut case = case.clone();
            case["alert_rule_test"] = json!(alerts);
            case["promql_expr_test"] = json!(asked);
            let file = json!({
                "rule_files": ["rules.yml"],
                "evaluation_interval": test["evaluation_interval"],
                "group_eval_order": ["recording", "alerts"],
                "tests": [case],
            });
            files.push((apart, file));
        }
    }
    files.sort_by_key(|(apart, _)| *apart);
    files.into_iter().map(|(_, file)| file).collect()
}

/// Whether a test fails, and with what.
fn fails(mutant: &Mutant, tests: &[Value]) -> Option<String> {
    let directory = TempDir::new().expect("a directory");
    let write = |name: &str, value: &Value| {
        fs::write(directory.path().join(name), value.to_string()).expect("a file");
    };
    // JSON is YAML.
    write("rules.yml", &mutant.rules);
    cases(mutant, tests).iter().find_map(|case| {
        write("case.yml", case);
        let output = Command::new("promtool")
            .args(["test", "rules", "case.yml"])
            // It lives too briefly for collecting garbage to pay.
            .envs([("GOGC", "off"), ("GOMEMLIMIT", "256MiB")])
            .current_dir(directory.path())
            .output()
            .unwrap_or_else(|error| {
                panic!("promtool: {error}. Install it: apt-get install prometheus")
            });
        let printed = || String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into();
        (!output.status.success()).then(printed)
    })
}

#[test]
fn whatever_is_changed_in_a_rule_a_test_of_the_rules_fails() {
    let tests: Vec<Value> =
        files("alerts/tests", ".test.yml").iter().map(|file| yaml(file)).collect();
    let (mutants, faults) = (mutants(), Mutex::new(vec![]));
    let queue = Mutex::new(mutants.iter());
    let judge = |mutant: &Mutant| {
        let (rule, change) = &mutant.name;
        let known = EQUIVALENT.iter().any(|(of, it, _)| of == rule && it == change);
        match fails(mutant, &tests) {
            Some(printed) if change == UNCHANGED => Some(format!("{rule}: {printed}")),
            Some(_) if known => Some(format!("{rule}: {change}: a test does see it")),
            None if change != UNCHANGED && !known => Some(format!("{rule}: {change}")),
            _ => None,
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().expect("no thread panicked").next();
                    let Some(mutant) = next else { return };
                    let fault = judge(mutant);
                    faults.lock().expect("no thread panicked").extend(fault);
                }
            });
        }
    });
    let mut faults = faults.into_inner().expect("no thread panicked");
    for (rule, change, _) in EQUIVALENT {
        let there = mutants.iter().any(|it| it.name.0 == *rule && it.name.1 == *change);
        if !there {
            faults.push(format!("{rule}: {change}: nothing is changed like this any more"));
        }
    }
    faults.sort();
    expect_none(faults);
}
