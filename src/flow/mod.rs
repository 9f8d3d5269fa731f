//! The data's paths, one file per path.

pub mod announce;
pub mod chains;
pub mod evaluate;
pub mod fanout;
pub mod ingest;
pub mod listen;
pub mod notify;
pub mod process;
pub mod refusals;
pub mod rules;
pub mod sample;
