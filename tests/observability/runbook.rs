//! The runbook: one heading per alert, and commands whose queries still mean something. And the
//! page of faults, which leads there.

use std::collections::HashSet;

use crate::promql::Query;
use crate::{alerts, expect_none, read};

const RUNBOOK: &str = "docs/runbook.md";
/// What every section answers, in this order.
const QUESTIONS: [&str; 5] =
    ["**Means.**", "**Users feel.**", "**Type.**", "**End it.**", "**Ignore it**"];

/// Headings of the second level with the text below each.
fn sections(text: &str) -> Vec<(&str, &str)> {
    text.split("\n## ")
        .skip(1)
        .map(|section| section.split_once('\n').unwrap_or((section, "")))
        .collect()
}

#[test]
fn the_runbook_has_one_heading_per_alert_and_no_other() {
    let text = read(RUNBOOK);
    let headings: Vec<&str> = sections(&text).into_iter().map(|(heading, _)| heading).collect();
    assert_eq!(headings, alerts::names(), "in the order of the rules");
}

#[test]
fn every_section_answers_the_same_questions_and_gives_three_commands() {
    let (text, mut faults) = (read(RUNBOOK), vec![]);
    for (heading, body) in sections(&text) {
        let places: Vec<Option<usize>> = QUESTIONS.iter().map(|it| body.find(it)).collect();
        if places.contains(&None) || !places.is_sorted() {
            faults.push(format!("{heading}: answers {QUESTIONS:?} in this order"));
        }
        let commands = body.split("```").nth(1).map_or(0, |block| {
            block
                .lines()
                .skip(1)
                .filter(|line| !line.trim().is_empty() && !line.starts_with('#'))
                .count()
        });
        if commands != 3 {
            faults.push(format!("{heading}: {commands} commands instead of three"));
        }
    }
    expect_none(faults);
}

#[test]
fn every_query_of_the_runbook_reads_metrics_and_labels_that_exist() {
    let (text, recorded, mut faults) = (read(RUNBOOK), alerts::recorded(), vec![]);
    let mut queries = 0;
    for line in text.lines() {
        let quoted = line.strip_prefix("ask '").and_then(|rest| rest.rsplit_once('\''));
        if let Some((expr, _)) = quoted {
            queries += 1;
            match Query::parse(expr) {
                Ok(query) => faults
                    .extend(query.faults(&recorded).iter().map(|it| format!("{it} in {line}"))),
                Err(error) => faults.push(error),
            }
        }
    }
    assert!(queries > 0, "no query was found");
    // In the prose a metric is written without its labels.
    let words: HashSet<&str> =
        text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect();
    for word in words.into_iter().filter(|word| word.starts_with("trunkline_")) {
        let query = Query::parse(word).expect("a name");
        faults.extend(query.faults(&recorded));
    }
    expect_none(faults);
}

const FAULTS: &str = "docs/faults.md";
/// What is said of every fault, in this order.
const SAID: [&str; 4] = ["- **Seen.**", "- **Back by itself.**", "- **Not.**", "- **Told by** "];

#[test]
fn every_fault_has_the_same_four_lines_and_names_alerts_and_metrics_that_exist() {
    let (text, recorded, mut faults) = (read(FAULTS), alerts::recorded(), vec![]);
    let all = sections(&text);
    assert!(all.len() >= 15, "only {} faults", all.len());
    for (heading, body) in all {
        let lines: Vec<&str> = body.lines().filter(|line| line.starts_with("- ")).collect();
        if lines.len() != SAID.len() || !lines.iter().zip(SAID).all(|(it, so)| it.starts_with(so)) {
            faults.push(format!("{heading}: {SAID:?}, and nothing else"));
        }
        let last = lines.last().copied().unwrap_or_default();
        let (told, look) = last.split_once(" **Look at** ").unwrap_or((last, ""));
        let words = told.split(|c: char| !c.is_ascii_alphanumeric());
        let alerts = alerts::names();
        let named =
            words.filter(|it| it.starts_with("Trunkline") || it.starts_with("RedisClients"));
        faults.extend(
            named
                .filter(|it| !alerts.iter().any(|name| name == it))
                .map(|it| format!("{heading}: no alert {it}")),
        );
        let metrics: Vec<_> = look.split('`').filter(|it| it.starts_with("trunkline_")).collect();
        if metrics.is_empty() {
            faults.push(format!("{heading}: name a metric to look at"));
        }
        for metric in metrics {
            match Query::parse(metric) {
                Ok(query) => {
                    faults.extend(
                        query.faults(&recorded).iter().map(|it| format!("{heading}: {it}")),
                    );
                }
                Err(error) => faults.push(format!("{heading}: {error}")),
            }
        }
    }
    expect_none(faults);
}
