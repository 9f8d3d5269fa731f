//! THE connection.
pub mod backoff;
pub mod state;
