//! THE connection: one per role, supervised, budgeted, counted.
//!
//! An [`Owner`] opens and closes; everybody else holds a handle. [`Shared`] runs any redis-rs
//! command, [`Publisher`] publishes on it, [`Subscriber`] has the process' only other
//! connection. Behind each role one supervisor applies the pure function [`state::next`]:
//!
//! * lazy: nothing is dialled before [`Owner::connect`] or the first command;
//! * no offline queue: in any state but ready a command fails at once with a typed [`Error`]
//!   that says whether it was sent;
//! * it never gives up: a closed port is knocked at ten times a second, everything else is
//!   retried with full jitter, a wrong password about every two seconds;
//! * a connection that hangs is replaced within two seconds, one that became read-only at once,
//!   one that is deaf after two lost self-probes;
//! * every socket counts itself from a guard inside the stream, so what was forgotten shows.
//!
//! # Example
//!
//! A service with both connections: it counts orders, tells of them, and hears of its own.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use redis::AsyncCommands;
//! use trunkline::conn::{Budget, Error, Options, Owner, Sent, Target};
//! use trunkline::model::{Component, Role, Secret, Subscription};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let redis = Target::Tcp { host: "redis.internal".into(), port: 6379 };
//! let mut options = Options::new(redis, "shop", Component::Server, "checkout-1");
//! options.password = Some(Secret::new("correct horse"));
//! options.command_timeout = Duration::from_millis(250);
//!
//! // A server may have a shared connection and a subscriber, a worker a shared one alone.
//! // A second owner under the same budget is refused.
//! let owner = Owner::new(options, &Budget::of(Component::Server))?;
//! let subscriber = owner.subscriber()?;
//! owner.connect().await;
//!
//! // Handles are cheap to clone, and none of them can close anything.
//! let (mut shared, publisher) = (owner.shared(), owner.publisher());
//! shared.ready(Duration::from_secs(5)).await?;
//!
//! // Redis has confirmed it when this returns. The Redis channel is `shop:notify:orders`.
//! let orders = Subscription::parse("orders")?;
//! subscriber.subscribe(&orders, Duration::from_secs(5)).await?;
//! let mut messages = subscriber.messages().ok_or("taken already")?;
//!
//! // Any redis-rs command, pipeline or script. The typed error is inside the redis-rs one.
//! match shared.incr("shop:orders", 1).await.map_err(Error::from) {
//!     Ok(count) => {
//!         let count: u64 = count;
//!         publisher.publish("shop:notify:orders", count.to_string().as_bytes()).await?;
//!     }
//!     Err(error) if error.sent() == Sent::Maybe => {} // it may have counted: do not repeat it
//!     Err(error) => return Err(error.into()),         // nothing happened: repeating is safe
//! }
//! if let Some(message) = messages.next().await {
//!     println!("{}: {} bytes", message.channel, message.payload.len());
//! }
//!
//! // Anybody may watch.
//! if let Some(mut status) = owner.watch(Role::Shared) {
//!     let status = status.borrow_and_update();
//!     println!("{} is {} since {:?}", status.role, status.state, status.since);
//! }
//!
//! // In order, with a second for what is in flight. Dropping the owner closes at once.
//! owner.close(Duration::from_secs(1)).await;
//! # Ok(())
//! # }
//! ```

mod activity;
mod backoff;
mod budget;
mod commands;
mod desired;
mod dial;
mod error;
mod heartbeat;
mod hello;
mod line;
mod options;
mod outages;
mod owner;
mod probe;
mod publisher;
mod shared;
mod signals;
mod socket;
pub mod state;
mod status;
mod subscriber;
mod subscriptions;
mod supervisor;
mod tls;

pub use backoff::Limits;
pub use budget::Budget;
pub use error::{Code, Error, Sent};
pub use options::{Options, Target};
pub use owner::Owner;
pub use publisher::Publisher;
pub use shared::Shared;
pub use signals::Signal;
pub use status::{Outage, Status};
pub use subscriber::{Messages, Subscriber};
pub use subscriptions::Message;
pub use tls::{Tls, TlsError};
