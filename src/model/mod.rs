//! The words everybody uses: pure values, no IO.

pub mod label;

pub use label::*;
