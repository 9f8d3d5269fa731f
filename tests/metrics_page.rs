//! The page of metrics as a scraper sees it, from a process that has only just started.
//!
//! The recorder is global, so each page comes from a process of its own: this binary again.
#![cfg(feature = "bridge")]
#![allow(clippy::unwrap_used, reason = "a helper of a test fails the test")]

mod support;

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};

use support::programs::Program;
use trunkline::config::LogFormat;
use trunkline::model::Component;
use trunkline::telemetry::catalogue::{ALL, Kind};
use trunkline::telemetry::{PageFormat, Telemetry, TelemetryOptions};

const COMPONENT: &str = "TRUNKLINE_TEST_COMPONENT";
const PAGE: &str = "TRUNKLINE_TEST_PAGE";

/// Not a test: what the tests run in a child.
#[tokio::test]
#[ignore = "run by the other tests"]
async fn write_the_page() {
    let component = match std::env::var(COMPONENT).as_deref() {
        Ok("server") => Component::Server,
        _ => Component::Worker,
    };
    let telemetry = Telemetry::start(&TelemetryOptions {
        component,
        instance: "test".into(),
        queue: "rule-engine-events".into(),
        log_format: LogFormat::Json,
        log_filter: None,
        tracing: None,
        exemplars: false,
        exporting: tokio::runtime::Handle::current(),
    })
    .unwrap();
    std::fs::write(std::env::var(PAGE).unwrap(), telemetry.render(PageFormat::Text).await.text)
        .unwrap();
}

fn page_of(component: Component) -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--ignored", "write_the_page"])
        .env(COMPONENT, component.label())
        .env(PAGE, file.path())
        .output()
        .unwrap();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stdout));
    std::fs::read_to_string(file.path()).unwrap()
}

/// Every series line of each metric, without values, by the metric's name.
fn series(page: &str) -> BTreeMap<String, Vec<String>> {
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in page.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (series, _) = line.rsplit_once(' ').unwrap();
        let name = series.split('{').next().unwrap();
        all.entry(name.to_owned()).or_default().push(series.to_owned());
    }
    all
}

fn check_page(component: Component) {
    let page = page_of(component);
    assert!(!page.contains(" summary"), "a histogram has no buckets");
    let all = series(&page);

    for metric in ALL {
        let expected = match metric.scope.includes(component) && metric.from_start {
            true => (metric.combinations)(component).len(),
            false => 0,
        };
        let suffix = if metric.kind == Kind::Histogram { "_count" } else { "" };
        let found = all.get(&format!("{}{suffix}", metric.name)).map_or(0, Vec::len);
        assert_eq!(found, expected, "{component}: {}", metric.name);
        let help = page.contains(&format!("# HELP {} {}", metric.name, metric.help));
        assert_eq!(help, expected > 0, "{component}: help of {}", metric.name);
    }
    let ours: Vec<_> = all.keys().filter(|name| name.starts_with("trunkline_")).collect();
    for name in ours {
        let known = ALL.iter().any(|metric| {
            let suffix = name.strip_prefix(metric.name);
            suffix.is_some_and(|it| ["", "_bucket", "_sum", "_count"].contains(&it))
        });
        assert!(known, "{name} is not in the catalogue");
    }
    assert!(all.contains_key("process_open_fds"));
    assert!(page.contains("trunkline_build_info{version=\""));

    let series: usize = all.values().map(Vec::len).sum();
    assert!(series <= 1_500, "{component}: {series} series");
    lint(&page);
}

/// What promtool says of the page; its silence is consent.
fn lint(page: &str) {
    let mut promtool = Program::Promtool
        .command()
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    promtool.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success() && said.is_empty(), "{}", String::from_utf8_lossy(&said));
}

#[test]
fn a_server_shows_every_series_of_its_own_at_zero_and_no_other() {
    check_page(Component::Server);
}

#[test]
fn a_worker_shows_every_series_of_its_own_at_zero_and_no_other() {
    check_page(Component::Worker);
}
