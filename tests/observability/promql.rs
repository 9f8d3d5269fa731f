//! Holds PromQL to the catalogue: a name or a label nobody exports is a fault.

use std::collections::{BTreeSet, HashSet};

use promql_parser::label::{MatchOp, Matcher};
use promql_parser::parser::{self, Expr, VectorSelector};
use promql_parser::util::{ExprVisitor, walk_expr};
use trunkline::model::Component;
use trunkline::telemetry::catalogue::{ALL, Definition, Kind};

/// What Prometheus adds to every series it scrapes.
const TARGET: [&str; 2] = ["job", "instance"];

/// Series that are not in the catalogue, and their labels.
const FOREIGN: &[(&str, &[&str])] = &[
    ("up", &[]),
    ("scrape_duration_seconds", &[]),
    ("scrape_samples_scraped", &[]),
    ("scrape_samples_post_metric_relabeling", &[]),
    ("process_start_time_seconds", &[]),
    ("process_cpu_seconds_total", &[]),
    ("process_resident_memory_bytes", &[]),
    ("process_open_fds", &[]),
    ("process_max_fds", &[]),
    ("process_threads", &[]),
    ("ALERTS", &["alertname", "alertstate", "severity"]),
];

/// An expression, taken apart.
pub(crate) struct Query {
    /// The series it reads, with whether it reads them over a range.
    pub(crate) selectors: Vec<(VectorSelector, bool)>,
    /// The labels it groups or matches by.
    grouping: BTreeSet<String>,
}

impl Query {
    /// Parses an expression; the variables of a dashboard stand for anything.
    pub(crate) fn parse(expr: &str) -> Result<Self, String> {
        let plain = expr
            .replace("$__rate_interval", "5m")
            .replace("$__interval", "1m")
            .replace("$job", ".+")
            .replace("$instance", ".+")
            .replace("$role", ".+");
        let tree = parser::parse(&plain).map_err(|error| format!("{expr}: {error}"))?;
        let mut query = Query { selectors: vec![], grouping: BTreeSet::new() };
        walk_expr(&mut query, &tree)?;
        Ok(query)
    }

    /// Names, label keys and label values that nothing exports. `recorded` are the names of
    /// the recording rules.
    pub(crate) fn faults(&self, recorded: &HashSet<String>) -> Vec<String> {
        let mut faults = vec![];
        let mut known: BTreeSet<String> = TARGET.map(str::to_owned).into();
        for (selector, _) in &self.selectors {
            let Some(name) = &selector.name else {
                faults.push(format!("{selector}: a series without a name"));
                continue;
            };
            let Some(keys) = keys(name, recorded) else {
                faults.push(format!("{name}: no such metric"));
                continue;
            };
            for matcher in &selector.matchers.matchers {
                if TARGET.contains(&matcher.name.as_str()) {
                    continue;
                }
                if !keys.contains(&matcher.name) {
                    faults.push(format!("{name}: no label {}", matcher.name));
                } else if let Some(definition) = definition(name) {
                    faults.extend(unknown_values(definition, matcher));
                }
            }
            known.extend(keys);
        }
        let strangers = self.grouping.difference(&known);
        faults.extend(strangers.map(|label| format!("no series here has the label {label}")));
        faults
    }

    /// Every label the series of this expression can have.
    pub(crate) fn labels(&self) -> BTreeSet<String> {
        let none = HashSet::new();
        let names = self.selectors.iter().filter_map(|(selector, _)| selector.name.as_ref());
        names
            .filter_map(|name| keys(name, &none))
            .flatten()
            .chain(TARGET.map(str::to_owned))
            .collect()
    }
}

impl ExprVisitor for Query {
    type Error = String;

    fn pre_visit(&mut self, expr: &Expr) -> Result<bool, String> {
        match expr {
            Expr::VectorSelector(selector) => self.selectors.push((selector.clone(), false)),
            Expr::MatrixSelector(matrix) => self.selectors.push((matrix.vs.clone(), true)),
            Expr::Aggregate(aggregate) => {
                let labels = aggregate.modifier.iter().flat_map(|by| by.labels().labels.clone());
                self.grouping.extend(labels);
            }
            Expr::Binary(binary) => {
                if let Some(modifier) = &binary.modifier {
                    let on = modifier.matching.iter().flat_map(|on| on.labels().labels.clone());
                    self.grouping.extend(on);
                    let group = modifier.card.labels();
                    self.grouping.extend(group.iter().flat_map(|with| with.labels.clone()));
                }
            }
            _ => {}
        }
        Ok(true)
    }
}

/// The catalogue's entry behind the name of a series.
pub(crate) fn definition(series: &str) -> Option<&'static Definition> {
    ALL.iter().find(|metric| match metric.kind {
        Kind::Histogram => series
            .strip_prefix(metric.name)
            .is_some_and(|part| ["_bucket", "_sum", "_count"].contains(&part)),
        Kind::Counter | Kind::Gauge => series == metric.name,
    })
}

/// The labels of a series, beside those of its target; `None` where no such series exists.
fn keys(series: &str, recorded: &HashSet<String>) -> Option<Vec<String>> {
    if let Some(metric) = definition(series) {
        let bucket = series.ends_with("_bucket").then_some("le");
        return Some((metric.keys)().into_iter().chain(bucket).map(str::to_owned).collect());
    }
    if recorded.contains(series) {
        // level:metric:operation, where the level is its labels.
        return series
            .split_once(':')
            .map(|(level, _)| level.split('_').map(str::to_owned).collect());
    }
    let foreign = FOREIGN.iter().find(|(name, _)| *name == series)?;
    Some(foreign.1.iter().map(|key| (*key).to_owned()).collect())
}

fn unknown_values(metric: &Definition, matcher: &Matcher) -> Vec<String> {
    let at = (metric.keys)().iter().position(|key| *key == matcher.name);
    let legal: Vec<String> = match at {
        // The queue's name is a setting.
        Some(_) if matcher.name == "queue" => return vec![],
        Some(at) => [Component::Server, Component::Worker]
            .into_iter()
            .filter(|component| metric.scope.includes(*component))
            .flat_map(|component| (metric.combinations)(component))
            .map(|values| values[at].to_owned())
            .collect(),
        None => metric.buckets.iter().map(f64::to_string).chain(["+Inf".to_owned()]).collect(),
    };
    let asked: Vec<&str> = match matcher.op {
        MatchOp::Equal | MatchOp::NotEqual => vec![&matcher.value],
        MatchOp::Re(_) | MatchOp::NotRe(_) => matcher.value.split('|').collect(),
    };
    asked
        .into_iter()
        .filter(|value| *value != ".+" && !legal.iter().any(|known| known == value))
        .map(|value| format!("{}: {} is never {value:?}", metric.name, matcher.name))
        .collect()
}
