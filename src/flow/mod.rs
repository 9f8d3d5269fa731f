//! The data's paths, one file per path.

pub mod announce;
pub mod chains;
pub mod evaluate;
pub mod fanout;
mod gap;
pub mod ingest;
pub mod listen;
mod lost;
pub mod notify;
pub mod presence;
pub mod process;
pub mod refusals;
mod resume;
pub mod rules;
pub mod sample;
pub mod schedules;
pub mod stored;
