//! THE connection: one per role, supervised, budgeted, counted.
//!
//! An [`Owner`] opens and closes; everybody else holds a handle. [`Shared`] runs any redis-rs
//! command, [`Publisher`] publishes on it, [`Subscriber`] has the process' only other
//! connection. Behind each role one supervisor applies the pure function [`state::next`]:
//!
//! * lazy: nothing is dialled before [`Owner::connect`] or the first command;
//! * no offline queue: in any state but ready a command fails at once with a typed [`Error`]
//!   that says whether it was sent;
//! * it never gives up: a closed port is knocked at ten times a second, everything else is
//!   retried with full jitter, a wrong password about every two seconds;
//! * a connection that hangs is replaced within two seconds, one that became read-only at once,
//!   one that is deaf after two lost self-probes;
//! * every socket counts itself from a guard inside the stream, so what was forgotten shows.

mod activity;
mod backoff;
mod budget;
mod commands;
mod desired;
mod dial;
mod error;
mod heartbeat;
mod hello;
mod line;
mod options;
mod outages;
mod owner;
mod probe;
mod publisher;
mod shared;
mod signals;
mod socket;
pub mod state;
mod status;
mod subscriber;
mod subscriptions;
mod supervisor;
mod tls;

pub use backoff::Limits;
pub use budget::Budget;
pub use error::{Code, Error, Sent};
pub use options::{Options, Target};
pub use owner::Owner;
pub use publisher::Publisher;
pub use shared::Shared;
pub use signals::Signal;
pub use status::{Outage, Status};
pub use subscriber::{Messages, Subscriber};
pub use subscriptions::Message;
pub use tls::{Tls, TlsError};
