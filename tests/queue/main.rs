//! The job queue and the index of rule chains on a real Redis.
#![cfg(feature = "bridge")]
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]
#![allow(unreachable_pub, reason = "a test binary exports nothing, its modules do to each other")]

#[path = "../support/mod.rs"]
mod support;

mod acl;
mod delivery;
mod faults;
mod house;
mod index;
mod later;
mod limits;
mod model;
mod operate;
mod ordered;
mod process;
mod retention;
mod schedules;
mod succession;
