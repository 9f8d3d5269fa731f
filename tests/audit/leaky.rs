//! A daemon that leaks one connection to Redis on purpose, once it is ready. It is the real one:
//! the leak is done to it from outside, so that no program has a switch for it.
//!
//! `TRUNKLINE_TEST_DAEMON` is `server` or `worker`, and `TRUNKLINE_TEST_LEAK`
//!
//! - `guard`: a stream of ours is forgotten, and its guard with it;
//! - `guards`: nine of them, one dial after another;
//! - `socket`: a connection below all that is ours, with a name as ours have;
//! - `handshake`: the same whose HELLO failed, so that Redis has no name for it;
//! - unset: nothing.
//!
//! The last two need a Redis at `redis://host:port`.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use trunkline::app::{Server, Worker, main_with};
use trunkline::conn::Owner;
use trunkline::model::Role;

fn main() -> ExitCode {
    match variable("TRUNKLINE_TEST_DAEMON").as_str() {
        "server" => main_with::<Server>(leak),
        "worker" => main_with::<Worker>(leak),
        other => panic!("TRUNKLINE_TEST_DAEMON is server or worker, not {other:?}"),
    }
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}

fn leak(owner: &Arc<Owner>) {
    let owner = Arc::clone(owner);
    tokio::spawn(async move {
        owner.shared().ready(Duration::from_secs(10)).await.unwrap();
        match variable("TRUNKLINE_TEST_LEAK").as_str() {
            "guard" => owner.abandon(Role::Shared),
            "guards" => {
                let mut status = owner.shared().watch();
                for _ in 0..9 {
                    let before = status.borrow().generation;
                    owner.abandon(Role::Shared);
                    let next = status.wait_for(|it| it.is_ready() && it.generation > before);
                    next.await.unwrap();
                }
            }
            "socket" => {
                let mut ask = redis::cmd("CLIENT");
                let name: String =
                    ask.arg("GETNAME").query_async(&mut owner.shared()).await.unwrap();
                let (stem, _) = name.rsplit_once(':').unwrap();
                forget(&format!("HELLO 3 SETNAME {stem}:99\r\n"), '%');
            }
            "handshake" => forget("HELLO 3 AUTH nobody wrong SETNAME none\r\n", '-'),
            _ => {}
        }
    });
}

/// Opens a connection, sends one line, and leaves it open whatever the answer; that has to begin
/// as foreseen.
fn forget(greeting: &str, answer: char) {
    let url = variable("REDIS_URL");
    let mut socket = TcpStream::connect(url.strip_prefix("redis://").unwrap()).unwrap();
    socket.write_all(greeting.as_bytes()).unwrap();
    let mut first = [0];
    socket.read_exact(&mut first).unwrap();
    assert_eq!(char::from(first[0]), answer);
    std::mem::forget(socket);
}
