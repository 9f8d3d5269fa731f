//! The rules as they are shipped, with every duration divided by [`SCALE`].

use std::time::Duration;

use promql_parser::parser::token::{self, TokenType};
use promql_parser::parser::{self, BinaryExpr, Expr};
use serde_json::{Value, json};

/// A minute of the rules lasts two seconds here.
pub const SCALE: u32 = 30;

/// The files of the rules, in the order of the runbook.
pub const FILES: [&str; 3] = [
    "alerts/trunkline.recording.yml",
    "alerts/trunkline.alerts.yml",
    "alerts/trunkline.supplementary.yml",
];

/// The rules of a file.
pub fn rules(file: &str) -> Vec<Value> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let text = std::fs::read_to_string(path).unwrap();
    let mut file: serde_yaml_ng::Value = serde_yaml_ng::from_str(&text).unwrap();
    file.apply_merge().unwrap();
    let file = serde_json::to_value(file).unwrap();
    let groups = file["groups"].as_array().unwrap().iter();
    groups.flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
}

/// All rules as one file for Prometheus.
pub fn file() -> String {
    let groups = FILES.map(|file| {
        let rules: Vec<Value> = rules(file).iter().map(rule).collect();
        json!({ "name": file, "rules": rules })
    });
    json!({ "groups": groups }).to_string()
}

/// A setting of a daemon that is given in the time of the rules.
pub fn interval(seconds: u64) -> String {
    format!("{}ms", (Duration::from_secs(seconds) / SCALE).as_millis())
}

fn rule(rule: &Value) -> Value {
    let mut rule = rule.clone();
    let mut tree = parser::parse(rule["expr"].as_str().unwrap()).unwrap();
    scale(&mut tree);
    rule["expr"] = json!(tree.to_string());
    if let Some(hold) = rule["for"].as_str() {
        let hold = promql_parser::util::parse_duration(hold).unwrap() / SCALE;
        rule["for"] = json!(format!("{}ms", hold.as_millis()));
    }
    rule
}

fn scale(expr: &mut Expr) {
    match expr {
        Expr::MatrixSelector(matrix) => matrix.range /= SCALE,
        Expr::Aggregate(aggregate) => scale(&mut aggregate.expr),
        Expr::Paren(paren) => scale(&mut paren.expr),
        Expr::Unary(unary) => scale(&mut unary.expr),
        Expr::Binary(binary) => {
            if binary.op.is_comparison_operator() && is_in_seconds(&binary.lhs) {
                divide(&mut binary.rhs);
            }
            scale(&mut binary.lhs);
            scale(&mut binary.rhs);
        }
        Expr::Call(call) => {
            call.args.args.iter_mut().for_each(|argument| scale(argument));
            // How far ahead it looks, in seconds.
            if call.func.name == "predict_linear" {
                divide(&mut call.args.args[1]);
            }
        }
        Expr::VectorSelector(_) | Expr::NumberLiteral(_) => {}
        other => panic!("a rule with {other:?}: what of it is a duration?"),
    }
}

/// Whether an expression is an age.
fn is_in_seconds(expr: &Expr) -> bool {
    match expr {
        Expr::Aggregate(aggregate) => is_in_seconds(&aggregate.expr),
        Expr::Paren(paren) => is_in_seconds(&paren.expr),
        Expr::Binary(binary) if binary.op.id() == token::T_SUB => is_in_seconds(&binary.lhs),
        Expr::Binary(binary) if binary.op.id() == token::T_LAND => is_in_seconds(&binary.lhs),
        Expr::Call(call) => call.func.name == "time",
        Expr::VectorSelector(selector) => {
            selector.name.as_deref().is_some_and(|name| name.ends_with("_age_seconds"))
        }
        _ => false,
    }
}

fn divide(expr: &mut Expr) {
    *expr = Expr::Binary(BinaryExpr {
        op: TokenType::new(token::T_DIV),
        lhs: Box::new(expr.clone()),
        rhs: Box::new(Expr::from(f64::from(SCALE))),
        modifier: None,
    });
}

#[test]
fn ranges_holds_and_ages_shrink_and_nothing_else() {
    let scaled = |name: &str, severity: &str| {
        let all = FILES.iter().flat_map(|file| rules(file));
        let mut found = all.filter(|rule| rule["alert"] == name);
        rule(&found.find(|rule| rule["labels"]["severity"] == severity).unwrap())
    };
    let leak = scaled("TrunklineConnectionLeak", "critical");
    let expr = leak["expr"].as_str().unwrap();
    assert!(expr.contains("[10s]") && expr.ends_with("> 8"), "{expr}");
    assert_eq!(leak["for"], "4000ms");
    let old = scaled("TrunklineQueueOld", "warning");
    assert!(old["expr"].as_str().unwrap().ends_with("> 60 / 30"), "{old}");
    let silent = scaled("TrunklineSubscriberSilent", "critical");
    assert_eq!(silent["expr"].as_str().unwrap().matches("> 90 / 30").count(), 2, "{silent}");
}
