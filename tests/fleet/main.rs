//! A whole fleet on one Redis: how many connections it holds, and how it dials when Redis goes.
#![cfg(feature = "bridge")]
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

#[path = "../support/mod.rs"]
mod support;

mod budget;
mod storm;

use tokio::sync::Mutex;

/// Held by each of these tests: they need the machine for themselves, and two look at time.
static ALONE: Mutex<()> = Mutex::const_new(());
