//! What can happen, one struct each; one file per path.
//!
//! A name is a noun and a past participle; `emit(self)` is the only place that counts and
//! logs. Each label is read once and feeds the metric and the log line alike.
//!
//! What is logged:
//! - an outage once when it begins (warn) and once when it ends (info, with how long, how
//!   many dials and how many commands were refused meanwhile), never once per message;
//! - a fault that can come at any rate at most once in ten seconds for each reason, with
//!   `suppressed` saying how many it stands for;
//! - what goes well on a hot path never.
//!
//! A payload, a credential or a channel name is never part of an event.

pub mod client;
pub mod command;
pub mod connection;
pub mod http;
pub mod job;
pub mod process;
pub mod publish;
pub mod queue;
pub mod subscriber;

use std::time::{SystemTime, UNIX_EPOCH};

/// Now, as a gauge of Unix seconds wants it.
fn unix_seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}
