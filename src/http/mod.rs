//! (to be built)

pub mod client;
