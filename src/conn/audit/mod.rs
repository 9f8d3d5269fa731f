//! Do we hold exactly the connections that we should? Three sides are asked, and each sees what
//! the one before cannot.
//!
//! | side | counts | finds |
//! |---|---|---|
//! | guards ([`sockets`]) | sockets that dials of ours opened, by the guard inside each | one of ours that was forgotten |
//! | kernel ([`kernel`]) | TCP sockets of this process to Redis, whoever opened them | one that no guard knows, failed handshakes included |
//! | Redis ([`client_list`]) | clients named for this process; on one process at a time, for the whole fleet | one that bears our name without a guard; those of dead processes |
//!
//! Each side is held against the one before: the guards against the budget, the kernel and Redis
//! against the guards. So a fault shows where it is, and not on all sides at once. What is too
//! many twice in a row is a leak ([`verdict`]): counting takes time, and connections come and go.

mod auditor;
mod client_list;
mod finding;
mod fleet;
#[cfg(all(any(test, fuzzing), feature = "bridge"))]
pub(crate) mod fuzz;
mod grant;
mod kernel;
mod sockets;
mod verdict;

pub(super) use auditor::Auditor;
#[cfg(feature = "bridge")]
pub(super) use client_list::{Name, parse as parse_clients};
pub(super) use finding::Findings;
pub use finding::{Finding, Offender};
#[cfg(feature = "bridge")]
pub(super) use fleet::{HEARTBEATS_YOUNG, living};
pub use sockets::OpenSocket;
pub(super) use sockets::Sockets;
