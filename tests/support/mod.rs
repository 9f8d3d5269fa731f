//! What the integration tests share: real programs on free ports, and ways to watch them.
//!
//! What starts and hurts something ([`redis`], [`proxy`], [`process`]) is plain blocking code
//! that answers within milliseconds, so it also works under a paused clock. What waits for a
//! witness ([`eventually`], [`metrics`], [`http`]) is async, always has a deadline, and says
//! what it saw instead when the deadline passes.
#![allow(dead_code, reason = "every test binary compiles all of it and uses a part")]
#![allow(unreachable_pub, reason = "a test binary exports nothing, its modules do to each other")]
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

pub mod browser;
pub mod certificates;
pub mod chain;
pub mod children;
pub mod collector;
pub mod eventually;
pub mod fleet;
pub mod house;
pub mod http;
pub mod laws;
pub mod metrics;
pub mod port;
pub mod process;
pub mod programs;
pub mod prometheus;
pub mod proxy;
pub mod redis;
pub mod resp;
pub mod scene;
pub mod stalls;
pub mod traffic;

use std::time::Duration;

/// How long a witness may take: far more than anything needs, so that only a hang runs into it.
pub const DEADLINE: Duration = Duration::from_secs(10);
