//! The WebSocket of a real server over a real Redis, spoken to by a library that shares nothing
//! with ours, and by bytes that no library would send.
#![cfg(feature = "bridge")]
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]
#![allow(unreachable_pub, reason = "a test binary exports nothing, its modules do to each other")]

#[path = "../support/mod.rs"]
mod support;

mod bytes;
mod client;
mod endings;
mod garbage;
mod limits;
mod present;
mod redis;
mod talk;
mod two_writers;

use support::house::House;
use support::metrics::Page;

/// The sum of a metric of this house's server over its WebSocket clients.
async fn ws(house: &House, name: &str) -> f64 {
    Page::of(&house.server).await.sum(name, &[("transport", "ws")])
}

/// Waits until the sum of a metric over the WebSocket clients is so much, and stays so.
async fn settles(house: &House, name: &str, at: f64) {
    let metric = house.server.metric(name).await;
    metric.label("transport", "ws").settles(at).await;
}

/// Waits until this many WebSocket clients were closed for this reason.
async fn closed(house: &House, reason: &str, count: u32) {
    let closed = house.server.metric("trunkline_clients_closed_total").await;
    closed.label("transport", "ws").label("reason", reason).reaches(f64::from(count)).await;
}
