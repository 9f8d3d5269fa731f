//! The words everybody uses: pure values, no IO.

pub mod label;

mod channel;
mod event;
mod fault;
mod notification;
mod problem;
mod secret;
mod time;
mod traceparent;

pub use channel::{ChannelName, MAX_CHANNEL_BYTES, Subscription};
pub use event::{Event, MAX_BATCH_EVENTS, MAX_ID_BYTES};
pub use fault::Fault;
pub use label::*;
pub use notification::{
    DecodeError, FOREIGN_SOURCE, FOREIGN_TYPE, Notification, Origin, chain_notification_id,
};
pub use problem::{Problem, ProblemKind};
pub use secret::Secret;
pub use time::{rfc3339, rfc3339_now, unix_ms};
pub use traceparent::is_traceparent;
