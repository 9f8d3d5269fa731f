//! Assembles, starts and drains the three programs.

mod daemon;
mod dev;
mod doctor;
mod drain;
mod links;
mod operate;
mod server;
mod signals;
mod tail;
mod tasks;
mod terminal;
mod tool;
mod watch;
mod worker;

#[doc(hidden)]
pub use daemon::main_with;
pub use daemon::{Daemon, main};
pub use server::Server;
pub use tool::main as tool_main;
pub use worker::Worker;
