//! What was measured, as `docs/alerts.md`.

use std::fmt::Write;
use std::time::Duration;

use serde_json::Value;

use crate::scaled::{FILES, SCALE, rules};
use crate::watch::Alarm;

/// Rules that no fault on one machine provokes within minutes, and why.
const PROMTOOL_ONLY: &[(&str, &str, &str)] = &[
    ("TrunklinePublishBudgetBurn", "1d", "its windows and its hold take hours even scaled"),
    ("RedisClientsPredictedToHitMaxclients", "", "it looks hours back and hours ahead"),
    ("TrunklineSeriesCountHigh", "", "every label is a closed list, so no input makes a page grow"),
];

/// One alert that came with a fault and went with it.
pub struct Row {
    alarm: Alarm,
    fault: &'static str,
    fires: Duration,
    resolves: Duration,
}

impl Row {
    pub fn new(alarm: Alarm, fault: &'static str, fires: Duration, resolves: Duration) -> Row {
        Row { alarm, fault, fires, resolves }
    }

    fn is_of(&self, rule: &Value) -> bool {
        let labels = self.alarm.labels.iter();
        let fixed = |key: &str| rule["labels"][key].as_str();
        rule["alert"] == self.alarm.name
            && labels.clone().all(|(key, value)| fixed(key).is_none_or(|it| it == value))
            && ["long", "source"]
                .iter()
                .all(|key| fixed(key).is_none() || labels.clone().any(|(it, _)| it == key))
    }
}

/// What tells rules of one name apart, beside their severity.
fn variant(rule: &Value) -> &str {
    let labels = ["job", "long", "source"].iter();
    labels.filter_map(|key| rule["labels"][key].as_str()).next().unwrap_or("")
}

/// The page. Without numbers it is what must be true of the committed one too.
fn page(rows: &[Row], numbers: bool) -> String {
    let mut page = format!(
        "# Alerts, measured\n\n\
         Written by `TRUNKLINE_WRITE=1 cargo test --test alerts_live`, which makes each fault happen to real daemons \
         under a real Prometheus and Alertmanager. Times are seconds until the Alertmanager has told of it, at a scale of 1:{SCALE}: \
         all durations of the rules and the intervals of the daemons are divided by {SCALE}, so a second here is half a minute \
         in production. The leaks are there when the first samples are: a process that begins to leak later is told of only once \
         the windows of its rule, 10 or 15 minutes, hold nothing else.\n\n\
         What each alert means is in the [runbook](runbook.md).\n\n\
         | alert | severity | fault | fires after | resolves after |\n|---|---|---|---:|---:|\n"
    );
    for rule in FILES.iter().flat_map(|file| rules(file)).filter(|it| !it["alert"].is_null()) {
        let (name, severity) = (rule["alert"].as_str().unwrap(), &rule["labels"]["severity"]);
        let variant = variant(&rule);
        let title = if variant.is_empty() { name.into() } else { format!("{name} ({variant})") };
        let only = PROMTOOL_ONLY.iter().find(|(of, it, _)| *of == name && *it == variant);
        let measured = rows.iter().find(|row| row.is_of(&rule));
        let (fault, fires, resolves) = match (measured, only) {
            (Some(row), None) => {
                let seconds = |it: Duration| match numbers {
                    true => format!("{:.0}", it.as_secs_f64()),
                    false => String::new(),
                };
                (row.fault.to_owned(), seconds(row.fires), seconds(row.resolves))
            }
            (None, Some((_, _, why))) => {
                (format!("promtool only, because {why}"), String::new(), String::new())
            }
            (Some(_), Some(_)) => panic!("{title}: was provoked, so it is not for promtool only"),
            (None, None) => panic!("{title}: no fault provokes it, and nothing says why"),
        };
        let severity = severity.as_str().unwrap();
        writeln!(page, "| {title} | {severity} | {fault} | {fires} | {resolves} |").unwrap();
    }
    page
}

/// Writes the page, or compares all of the committed one but the numbers.
pub fn check(rows: Vec<Row>) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/alerts.md");
    if std::env::var_os("TRUNKLINE_WRITE").is_some() {
        std::fs::write(path, page(&rows, true)).unwrap();
        return;
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    let numbers = |cell: &str| cell.trim().parse::<u32>().is_ok();
    let without = committed.lines().map(|line| {
        let cells: Vec<&str> =
            line.split('|').map(|cell| if numbers(cell) { "  " } else { cell }).collect();
        cells.join("|") + "\n"
    });
    let (without, fresh): (String, String) = (without.collect(), page(&rows, false));
    assert_eq!(without, fresh, "run TRUNKLINE_WRITE=1 cargo test --test alerts_live");
}
