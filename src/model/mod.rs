//! The words everybody uses: pure values, no IO.

pub mod label;

mod fault;

pub use fault::Fault;
pub use label::*;
