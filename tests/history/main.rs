//! What clients hear that were away, and what they hear that were there while their server was
//! not: over real sockets, from a real Redis.
#![cfg(feature = "bridge")]
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]
#![allow(unreachable_pub, reason = "a test binary exports nothing, its modules do to each other")]

#[path = "../support/mod.rs"]
mod support;

#[allow(dead_code, reason = "a part of it is enough here")]
#[path = "../websocket/client.rs"]
mod client;

mod cursors;
mod gaps;
mod kept;
mod listener;
mod lost;
mod moving;
mod overflow;
mod resume;
