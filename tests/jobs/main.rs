//! Events in, jobs through workers that die, stand still and meet poison, notifications out:
//! real processes.
#![cfg(feature = "bridge")]
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]
#![allow(unreachable_pub, reason = "a test binary exports nothing, its modules do to each other")]

#[path = "../support/mod.rs"]
mod support;

mod events;
mod house;
mod ordered;
mod schedules;
mod workers;
