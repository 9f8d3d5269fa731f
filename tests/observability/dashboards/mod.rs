//! The dashboards, written in Rust with the catalogue's own names.

mod board;
mod bridge;
mod connections;
mod expression;
mod panel;
mod process;
mod queue;
mod truth;

pub(crate) use board::Dashboard;

/// Every dashboard, in the order in which the links at their top show them.
pub(crate) fn all() -> Vec<Dashboard> {
    vec![connections::dashboard(), bridge::dashboard(), process::dashboard(), queue::dashboard()]
}
