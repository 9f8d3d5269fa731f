//! The connection can be had without the bridge: what a build without default features brings
//! along. That it compiles, and without a warning, is seen by `make lint`.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::collections::BTreeSet;
use std::process::Command;

/// What only the bridge needs: doors, rules, settings, the page of metrics, traces.
const OF_THE_BRIDGE: &[&str] = &[
    "cel",
    "chrono",
    "clap",
    "http",
    "hyper",
    "hyper-util",
    "metrics-exporter-prometheus",
    "opentelemetry",
    "opentelemetry-otlp",
    "rustix",
    "serde_json",
    "toml",
    "tower",
    "tracing-subscriber",
    "uuid",
];

/// What only an encrypted connection needs.
const OF_TLS: &[&str] = &["aws-lc-rs", "aws-lc-sys", "ring", "rustls", "tokio-rustls"];

/// The crates that somebody builds who depends on us with these features alone.
fn brought(features: &str) -> BTreeSet<String> {
    let mut tree = Command::new(env!("CARGO"));
    tree.current_dir(env!("CARGO_MANIFEST_DIR"));
    tree.args(["tree", "--offline", "--edges", "normal", "--prefix", "none", "--format", "{p}"]);
    let tree = tree.args(["--no-default-features", "--features", features]).output().unwrap();
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let text = String::from_utf8(tree.stdout).unwrap();
    text.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

fn has_none_of(features: &str, unwanted: &[&str]) {
    let brought = brought(features);
    assert!(brought.contains("redis") && brought.contains("tokio"), "{brought:?}");
    let found: Vec<_> = unwanted.iter().filter(|name| brought.contains(**name)).collect();
    assert!(
        found.is_empty(),
        "features [{features}] bring {found:?}: make them optional, of `bridge`"
    );
}

#[test]
fn the_connection_alone_brings_nothing_of_the_bridge_and_no_tls() {
    has_none_of("", OF_THE_BRIDGE);
    has_none_of("", OF_TLS);
}

#[test]
fn tls_brings_nothing_of_the_bridge() {
    has_none_of("tls", OF_THE_BRIDGE);
    assert!(brought("tls").contains("rustls"));
}

#[test]
fn the_bridge_is_what_one_gets_unasked() {
    let bridge = brought("bridge");
    assert_eq!(brought("default"), bridge);
    let missing: Vec<_> =
        OF_THE_BRIDGE.iter().filter(|name| **name != "tower" && !bridge.contains(**name)).collect();
    assert!(
        missing.is_empty(),
        "no longer brought by anything, so not worth watching: {missing:?}"
    );
}
