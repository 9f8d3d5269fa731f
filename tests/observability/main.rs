//! What operators get is held to the code: alerts, dashboards, runbook and deployment.
//!
//! Dashboards are written here, in Rust, with the catalogue's own names. After a change run
//! `TRUNKLINE_WRITE=1 cargo test --test observability` and commit the JSON.
#![cfg(feature = "bridge")]

mod alerts;
mod compose;
mod dashboards;
mod lint;
mod linter;
mod mutants;
mod promql;
mod runbook;
mod schema;

use std::path::{Path, PathBuf};
use std::process::Command;

/// A path of the repository.
fn path(relative: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(relative)
}

/// The text of a file of the repository.
fn read(relative: &str) -> String {
    std::fs::read_to_string(path(relative)).unwrap_or_else(|error| panic!("{relative}: {error}"))
}

/// A YAML file of the repository, its merge keys applied.
fn yaml(relative: &str) -> serde_json::Value {
    let mut value: serde_yaml_ng::Value = serde_yaml_ng::from_str(&read(relative))
        .unwrap_or_else(|error| panic!("{relative}: {error}"));
    value.apply_merge().unwrap_or_else(|error| panic!("{relative}: {error}"));
    serde_json::to_value(value).unwrap_or_else(|error| panic!("{relative}: {error}"))
}

/// The files of a directory whose names end with `suffix`, sorted, as paths of the repository.
fn files(directory: &str, suffix: &str) -> Vec<String> {
    let mut found: Vec<String> = std::fs::read_dir(path(directory))
        .unwrap_or_else(|error| panic!("{directory}: {error}"))
        .map(|entry| entry.expect("a readable directory").file_name())
        .map(|name| format!("{directory}/{}", name.to_string_lossy()))
        .filter(|name| name.ends_with(suffix))
        .collect();
    found.sort();
    assert!(!found.is_empty(), "{directory} has no *{suffix}");
    found
}

/// Runs a program in the repository and returns what it printed; fails where it fails.
fn run(program: &str, package: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).current_dir(path("")).output();
    let output = output.unwrap_or_else(|error| {
        panic!("{program}: {error}. Install it: apt-get install {package}")
    });
    let printed = [output.stdout, output.stderr].concat();
    let printed = String::from_utf8_lossy(&printed).into_owned();
    assert!(output.status.success(), "{program} {arguments:?}\n{printed}");
    printed
}

/// Fails with all faults at once.
#[track_caller]
fn expect_none(faults: Vec<String>) {
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}
