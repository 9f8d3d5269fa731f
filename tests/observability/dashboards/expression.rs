//! What the queries of all dashboards are made of.

use trunkline::model::Label;

/// The series of a metric that the variables of the dashboard choose; `more` narrows them.
pub(crate) fn of(name: &str, more: &str) -> String {
    let comma = if more.is_empty() { "" } else { ", " };
    format!(r#"{name}{{job=~"$job", instance=~"$instance"{comma}{more}}}"#)
}

/// The same for a metric with a role.
pub(crate) fn of_role(name: &str, more: &str) -> String {
    let comma = if more.is_empty() { "" } else { ", " };
    of(name, &format!(r#"role=~"$role"{comma}{more}"#))
}

/// The buckets of a histogram.
pub(crate) fn buckets(name: &str) -> String {
    of(&format!("{name}_bucket"), "")
}

/// The observations of a histogram; `more` narrows them.
pub(crate) fn count(name: &str, more: &str) -> String {
    of(&format!("{name}_count"), more)
}

/// Per-second rate over the interval Grafana picks.
pub(crate) fn rate(series: &str) -> String {
    format!("rate({series}[$__rate_interval])")
}

/// How often in the interval Grafana picks.
pub(crate) fn increase(series: &str) -> String {
    format!("increase({series}[$__rate_interval])")
}

/// The sum by these labels; without any, of everything.
pub(crate) fn sum(by: &str, inner: &str) -> String {
    if by.is_empty() { format!("sum({inner})") } else { format!("sum by ({by}) ({inner})") }
}

/// Only the series that are not zero: a legend of thirty zeros hides the one line that matters.
pub(crate) fn busy(series: &str) -> String {
    format!("{series} > 0")
}

/// A quantile of the buckets of a histogram. Where nothing was observed it is no number, and
/// the comparison takes it out: a line that ends says so better than `NaN` in a legend.
pub(crate) fn quantile(share: f64, buckets: &str, by: &str) -> String {
    let by = if by.is_empty() { "le".to_owned() } else { format!("le, {by}") };
    format!("histogram_quantile({share}, {}) >= 0", sum(&by, &rate(buckets)))
}

/// A matcher for one value of a closed label.
pub(crate) fn is<L: Label>(value: L) -> String {
    format!(r#"{}="{}""#, L::KEYS[0], value.values()[0])
}

/// The place in `L::ALL` of the value whose series is 1: all others are 0, so the largest
/// product is it. `series` gives the series of one value.
pub(crate) fn place<L: Label>(by: &str, series: impl Fn(L) -> String) -> String {
    let each = L::ALL.iter().enumerate();
    let each = each.map(|(number, value)| format!("{} * {number}", series(*value)));
    format!("max by ({by}) ({})", each.collect::<Vec<_>>().join(" or "))
}
