//! Rule chains: what an event makes happen. Pure: no clock, no socket, no async.
//!
//! A [`RuleChain`] is read and checked once, with every fault named at once. A [`RuleSet`]
//! finds the chains an event concerns and runs them; what is to be published comes back as
//! data, so that the caller alone decides when something leaves the process.

mod chain;
mod document;
mod expression;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod graph;
mod pattern;
mod reader;
mod run;
mod set;
mod stack;

pub use chain::RuleChain;
pub use expression::Problem;
pub use run::{ChainRun, Planned, RuleError};
pub use set::RuleSet;

/// The most nodes of a chain.
pub const MAX_NODES: usize = 64;
/// The longest id of a chain or node, in bytes.
pub const MAX_CHAIN_ID_BYTES: usize = 64;

#[cfg(test)]
mod tests;
