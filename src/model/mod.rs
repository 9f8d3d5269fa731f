//! The words everybody uses: pure values, no IO.

pub mod label;

mod channel;
#[cfg(feature = "bridge")]
mod delivery;
#[cfg(feature = "bridge")]
mod depth;
#[cfg(feature = "bridge")]
mod event;
mod fault;
#[cfg(all(any(test, fuzzing), feature = "bridge"))]
pub(crate) mod fuzz;
#[cfg(feature = "bridge")]
mod notification;
#[cfg(feature = "bridge")]
mod position;
#[cfg(feature = "bridge")]
mod problem;
mod redis_endpoint;
#[cfg(feature = "bridge")]
mod schedule;
mod secret;
#[cfg(feature = "bridge")]
mod time;
#[cfg(feature = "bridge")]
mod traceparent;

pub use channel::{ChannelName, MAX_CHANNEL_BYTES, Subscription};
#[cfg(feature = "bridge")]
pub use delivery::{DeliveryPolicy, DeliveryRule};
#[cfg(feature = "bridge")]
pub use event::{Event, MAX_BATCH_EVENTS, MAX_ID_BYTES};
pub use fault::Fault;
#[cfg(feature = "bridge")]
pub use fault::{MAX_FAULTS, bounded};
pub use label::*;
#[cfg(feature = "bridge")]
pub use notification::{
    DecodeError, FOREIGN_SOURCE, FOREIGN_TYPE, Notification, Origin, chain_notification_id,
};
#[cfg(feature = "bridge")]
pub use position::{NotAPosition, Position};
#[cfg(feature = "bridge")]
pub use problem::{Problem, ProblemKind};
pub use redis_endpoint::{ClientCertificate, DEFAULT_PORT, RedisEndpoint, Target, TlsOptions};
#[cfg(feature = "bridge")]
pub use schedule::{MAX_MISSED, Schedule, Turn, tick_time};
pub use secret::Secret;
#[cfg(feature = "bridge")]
pub use time::{rfc3339, rfc3339_now, unix_ms};
#[cfg(feature = "bridge")]
pub use traceparent::is_traceparent;
