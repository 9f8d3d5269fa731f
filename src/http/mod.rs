//! The doors: HTTP in, server-sent events and WebSockets out, and the admin listener. The only
//! place with hyper. Every error is a [`problem`]; `docs/http.md` is the outside view.

pub mod access;
pub mod admin;
pub mod body;
pub mod client;
pub mod problem;
pub mod public;
pub mod serve;
pub mod session;
pub mod sse;
pub mod ws;

mod chains;
mod channels;
mod events;
mod intake;
mod page;
mod plug;
mod route;
mod schedules;
mod subscribe;

#[cfg(test)]
mod tests;
