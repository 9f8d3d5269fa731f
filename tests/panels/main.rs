//! The dashboards over a fleet that lives: every query of theirs, asked of a real Prometheus that
//! scrapes real daemons, has an answer.
#![cfg(feature = "bridge")]
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]
#![allow(unreachable_pub, reason = "a test binary exports nothing, its modules do to each other")]

#[path = "../support/mod.rs"]
mod support;

mod boards;
mod life;

use boards::{Query, queries};
use life::Life;

/// Panels without a series in a fleet that is well, and why that is as it should be.
const EMPTY: [(&str, &str); 1] =
    [(": Not ready now", "it lists what is not ready, and after the reconnect everything is")];

#[tokio::test]
async fn every_panel_variable_and_annotation_of_a_living_fleet_shows_something() {
    let life = Life::live().await;
    let (mut faults, mut empty) = (vec![], vec![]);
    for Query { place, expr } in queries() {
        let shown = match life.prometheus.query_range(&expr).await {
            // A panel that leaves out what is zero: the series must be there all the same.
            Ok(lines) if lines.is_empty() => match expr.strip_suffix(" > 0") {
                Some(all) => life.prometheus.query_range(all).await,
                None => Ok(lines),
            },
            answer => answer,
        };
        match shown {
            Err(error) => faults.push(format!("{place}: {error}: {expr}")),
            Ok(lines) if lines.is_empty() => empty.push((place, expr)),
            Ok(lines) => {
                let strange = lines.iter().flat_map(|line| &line.values).find(|it| !it.is_finite());
                faults.extend(strange.map(|value| format!("{place}: {value}: {expr}")));
            }
        }
    }
    empty.retain(|(place, _)| !EMPTY.iter().any(|(panel, _)| place.ends_with(panel)));
    faults.extend(empty.iter().map(|(place, expr)| format!("{place}: empty: {expr}")));
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}
