//! Everything this process says about itself: metrics, logs and traces.
//!
//! This is the only module that counts or logs. A room says what happened with a struct of
//! [`events`] and calls `emit()`; the struct alone decides how it is counted and worded.
//! From a dashboard panel to the line that counts it is always three searches: the metric's
//! name in [`catalogue`], the constant in one file of [`events`], the event in the room.

pub mod catalogue;
pub mod events;
#[cfg(feature = "bridge")]
mod exemplar;
pub mod family;
#[cfg(feature = "bridge")]
mod histogram;
#[cfg(feature = "bridge")]
mod init;
mod limit;
#[cfg(feature = "bridge")]
mod lines;
#[cfg(feature = "bridge")]
mod log;
#[cfg(feature = "bridge")]
mod openmetrics;
#[cfg(feature = "bridge")]
mod page;
pub mod task;
#[cfg(feature = "bridge")]
pub mod trace;

#[cfg(feature = "bridge")]
pub use exemplar::TraceId;
#[cfg(feature = "bridge")]
pub use init::{InitError, Telemetry, TelemetryOptions};
#[cfg(feature = "bridge")]
pub use log::detect_format;
#[cfg(feature = "bridge")]
pub use page::{PageFormat, Rendered};
