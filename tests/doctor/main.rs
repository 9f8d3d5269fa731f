//! `trunkline doctor` against a real Redis: each thing that is wrong gives its finding, with what
//! to type, and nothing else does.
#![cfg(feature = "bridge")]
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]
#![allow(unreachable_pub, reason = "a test binary exports nothing, its modules do to each other")]

#[path = "../support/mod.rs"]
mod support;

mod away;
mod fleet;
mod rights;
mod server;
mod terminal;
mod watch;

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::Value;

use support::eventually::eventually;
use support::process::{Daemon, Launch};
use support::redis::{Plan, Redis};

/// A Redis as operators should keep it: nothing to be said about it.
fn kept() -> Plan {
    Redis::plan()
        .argument("appendonly", "yes")
        .argument("maxmemory", "100mb")
        .argument("tcp-keepalive", "60")
}

/// A doctor that looks at the Redis at this URL.
fn doctor(redis_url: &str) -> Launch {
    Daemon::tool().args(["doctor"]).env("REDIS_URL", redis_url)
}

/// What one look came to.
#[derive(Debug)]
struct Look {
    exit: i32,
    document: Value,
}

impl Look {
    async fn at(launch: Launch) -> Look {
        let doctor = launch.args(["--json"]).start();
        let exit = doctor.exit().await.code().expect("no signal");
        let said = doctor.lines().join("\n");
        let document = serde_json::from_str(&said);
        Look { exit, document: document.unwrap_or_else(|error| panic!("{error}: {said}")) }
    }

    fn findings(&self) -> &[Value] {
        self.document["findings"].as_array().unwrap()
    }

    /// Findings that are not as it should be, but for what this host allows.
    fn faults(&self) -> Vec<(&str, &str)> {
        let all = self.findings().iter().map(|it| (text(it, "check"), text(it, "severity")));
        all.filter(|(check, severity)| *severity != "ok" && *check != "open-files").collect()
    }

    fn finding(&self, check: &str) -> &Value {
        let found = self.findings().iter().rev().find(|it| it["check"] == check);
        found.unwrap_or_else(|| panic!("no {check} in {}", self.document))
    }

    /// The lines to type of one check.
    fn fixes(&self, check: &str) -> Vec<&str> {
        self.finding(check)["fix"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it.as_str().unwrap())
            .collect()
    }
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_else(|| panic!("no {field} in {value}"))
}

/// Looks until exactly these are the faults: what is young is given time.
async fn finds(launch: impl Fn() -> Launch, faults: &[(&str, &str)]) -> Look {
    eventually(&format!("the faults are {faults:?}"), async || {
        let look = Look::at(launch()).await;
        if look.faults() == faults { Ok(look) } else { Err(format!("{:?}", look.faults())) }
    })
    .await
}

/// Types a line of the doctor's into its Redis.
fn types(redis: &Redis, line: &str) {
    let start = format!("redis-cli -p {} ", redis.port());
    let command = line.strip_prefix(&start).unwrap_or_else(|| panic!("{line:?} begins otherwise"));
    // Every second part is within quotes.
    let parts = command.split('\'').enumerate();
    let words: Vec<&str> = parts
        .flat_map(|(at, part)| match at % 2 {
            0 => part.split_whitespace().collect(),
            _ => vec![part],
        })
        .collect();
    redis.cli(&words);
}

/// A connection below everything that is ours, which has said one line, and what it was answered.
fn raw(redis: &Redis, line: &str) -> (TcpStream, char) {
    let mut socket = TcpStream::connect(("127.0.0.1", redis.port())).unwrap();
    socket.write_all(line.as_bytes()).unwrap();
    socket.write_all(b"\r\n").unwrap();
    let mut first = [0];
    socket.read_exact(&mut first).unwrap();
    (socket, char::from(first[0]))
}

/// The same, with a name as ours have.
fn named(redis: &Redis, name: &str) -> TcpStream {
    let (socket, answer) = raw(redis, &format!("HELLO 3 SETNAME {name}"));
    assert_eq!(answer, '%', "a map is the answer to HELLO 3");
    socket
}

/// A server and a worker that are ready.
async fn daemons(redis: &Redis) -> [Daemon; 2] {
    let daemons = [Daemon::server(&redis.url()).start(), Daemon::worker(&redis.url()).start()];
    for daemon in &daemons {
        daemon.wait_ready().await;
    }
    daemons
}

fn names(redis: &Redis) -> Vec<String> {
    let mut names: Vec<_> = redis.client_list().into_iter().map(|client| client.name).collect();
    names.sort();
    names
}

async fn admin(daemon: &Daemon) -> String {
    format!("http://{}", daemon.address("admin").await)
}
