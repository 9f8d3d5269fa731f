//! Connections that are too many show on the side that can see them, and on no other; and nothing
//! that merely happens to a connection is taken for a leak.
#![cfg(feature = "bridge")]
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]
#![allow(unreachable_pub, reason = "a test binary exports nothing, its modules do to each other")]

#[path = "../support/mod.rs"]
mod support;

mod acl;
mod fleet;
mod leaks;
mod quiet;

use serde_json::Value;

use support::DEADLINE;
use support::eventually::eventually;
use support::process::{Daemon, Launch, field};

/// What a leak is logged with.
const LEAKED: &str = "redis connections leaked";
/// What its end is logged with.
const ENDED: &str = "redis connection leak ended";

/// Lets a daemon audit several times a second.
fn auditing(daemon: Launch) -> Daemon {
    auditing_every("300ms", daemon)
}

fn auditing_every(interval: &str, daemon: Launch) -> Daemon {
    daemon.args(["--audit-interval", interval, "--heartbeat-interval", "1s"]).start()
}

/// Waits until a side of the audit is as it should be, and returns it.
async fn side(daemon: &Daemon, name: &str, holds: impl Fn(&Value) -> bool) -> Value {
    eventually(&format!("the side {name} is as it should be"), async || {
        let found = daemon.status().await["audit"][name].clone();
        if holds(&found) { Ok(found) } else { Err(found) }
    })
    .await
}

/// Waits until a side has been asked so many times more, and returns what it said last.
async fn audited_again(daemon: &Daemon, name: &str, times: usize) -> Value {
    let mut last = daemon.status().await["audit"][name].clone();
    for _ in 0..times {
        let before = last["audited"].clone();
        last = side(daemon, name, |it| it["audited"] != before).await;
    }
    last
}

/// The sides whose leaks a daemon has logged, each as often as it did.
fn leaks_logged(daemon: &Daemon) -> Vec<String> {
    let logs = daemon.logs();
    let leaks = logs.iter().filter(|line| field(line, "message") == LEAKED);
    leaks.map(|line| field(line, "side").to_owned()).collect()
}
