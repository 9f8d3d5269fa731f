//! The connection, from outside: an owner and its handles in this process, a real Redis in
//! another, and CLIENT LIST as the witness.
#![cfg(feature = "bridge")]
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

#[path = "../support/mod.rs"]
mod support;

mod commands;
mod dials;
mod fixture;
mod lifecycle;
mod outages;
mod roles;
mod signals;
mod subscriber;
