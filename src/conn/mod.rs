//! THE connection: one per process for commands, and one more for subscriptions where they are
//! wanted. Supervised, budgeted, counted.
//!
//! Most services open a connection to Redis wherever one is convenient, and learn how many there
//! are, and how they fail, in an outage. Here one [`Owner`] opens and closes, everybody else
//! holds a handle that can do neither, and every error says whether the command was sent.
//!
//! # A first example
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use redis::AsyncCommands;
//! use trunkline::conn::{Budget, Error, Options, Owner, Sent};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let options = Options::from_url("redis://:secret@redis.internal", "shop", "checkout")?;
//! let owner = Owner::new(options, &Budget::shared_only())?; // one connection, and no second
//! owner.connect().await;
//!
//! let mut shared = owner.shared(); // cheap to clone: give it to whoever needs it
//! shared.ready(Duration::from_secs(5)).await?;
//!
//! // Any redis-rs command, pipeline or script. The typed error is inside the redis-rs one.
//! let counted: Result<u64, _> = shared.incr("shop:orders", 1).await.map_err(Error::from);
//! match counted {
//!     Ok(count) => println!("order {count}"),
//!     Err(error) if error.sent() == Sent::Maybe => {} // it may have counted: do not repeat it
//!     Err(error) => return Err(error.into()),         // nothing happened: repeating is safe
//! }
//!
//! // In order, with a second for what is in flight.
//! owner.close(Duration::from_secs(1)).await;
//! # Ok(())
//! # }
//! ```
//!
//! # Who owns what
//!
//! | type | what it may do | who holds it |
//! |---|---|---|
//! | [`Budget`] | say how many connections there may be: [one](Budget::shared_only) or [two](Budget::with_subscriber) | `main` |
//! | [`Owner`] | connect and close | `main`, to its end |
//! | [`Shared`] | any redis-rs command, pipeline or script | anybody; clones are cheap |
//! | [`Publisher`] | PUBLISH, on the shared connection | anybody |
//! | [`Subscriber`] | subscribe; it has the second connection, and cannot publish | anybody |
//! | [`Messages`] | hear what comes in | the one task that reads |
//!
//! A handle has no way to close its connection, and dropping all of them leaves it open.
//! Dropping the owner closes it. A second owner under the same budget, or a subscriber that the
//! budget has no room for, is refused with [`Error::OverBudget`] and counted.
//!
//! # States
//!
//! ```text
//!  idle ─▶ connecting ─▶ handshaking ─▶ ready        any ─▶ closed ─▶ connecting
//!             ▲   └─────────┐  │ failed    │ lost          close()  connect()
//!             └── backoff ◀─┴──┴───────────┘
//! ```
//!
//! Nothing is dialled before [`Owner::connect`] or the first command, which itself fails unsent;
//! [`Shared::ready`] waits. *Ready* means: logged in and named, Redis has loaded its data and is
//! a master, and a subscriber has everything confirmed that is wanted. From then on it is watched:
//!
//! * it never gives up: a closed port is knocked at ten times a second, everything else is
//!   retried with full jitter, a wrong password about every two seconds;
//! * a connection that hangs is replaced within two seconds, one that became read-only at once;
//! * [`Owner::watch`] and [`Shared::watch`] follow the [`Status`], [`Owner::outages`] has the
//!   [`Outage`]s with their reasons.
//!
//! # What an error means for you
//!
//! There is no offline queue. In any state but ready a command fails at once, in well under a
//! millisecond, and nothing is ever sent a second time by this module. [`Error::sent`] has the
//! three answers:
//!
//! | [`Sent`] | errors | you may |
//! |---|---|---|
//! | [`No`](Sent::No): nothing was sent | [`NotReady`](Error::NotReady), [`Overloaded`](Error::Overloaded), [`Closed`](Error::Closed), [`Denied`](Error::Denied), [`TooLarge`](Error::TooLarge), [`OverBudget`](Error::OverBudget), [`Options`](Error::Options) | repeat it; the last four come again until the code changes |
//! | [`Maybe`](Sent::Maybe): it may have been executed, or will be | [`Timeout`](Error::Timeout), [`Disconnected`](Error::Disconnected), [`Other`](Error::Other) | repeat only what may happen twice |
//! | [`Refused`](Sent::Refused): Redis answered with an error | [`Server`](Error::Server) | look at its [`Code`]; of a script or pipeline a part may have been done |
//!
//! [`Error::is_outage`] tells whether waiting can help.
//!
//! # Publishing and subscribing
//!
//! [`Publisher::publish`] takes a whole Redis channel, and its answer says how many connections
//! heard. It is at most once. The subscriber thinks in channels *of the namespace*:
//!
//! ```no_run
//! # use std::time::Duration;
//! # use trunkline::conn::{Budget, Options, Owner};
//! # async fn run(options: Options) -> Result<(), Box<dyn std::error::Error>> {
//! use trunkline::model::Subscription;
//!
//! let channel = options.notify_channel("orders"); // shop:notify:orders
//! let owner = Owner::new(options, &Budget::with_subscriber())?;
//! let subscriber = owner.subscriber()?;
//! owner.connect().await;
//!
//! let orders = Subscription::parse("orders")?; // `orders.*` would be all below it
//! subscriber.subscribe(&orders, Duration::from_secs(5)).await?; // Redis has confirmed it
//! let mut messages = subscriber.messages().ok_or("taken already")?;
//!
//! owner.publisher().publish(&channel, b"one more").await?;
//! while let Some(message) = messages.next().await {
//!     println!("{}: {} bytes", message.channel, message.payload.len());
//! }
//! # Ok(())
//! # }
//! ```
//!
//! What is subscribed survives reconnects. What was published meanwhile is not heard: Redis does
//! not keep it. A reader that is too slow loses what does not fit into [`Options::hand_off`],
//! counted, and never slows the connection down.
//!
//! # What is refused
//!
//! What would block, bind or confuse a connection that others share fails with [`Error::Denied`]
//! before it is sent. What to do instead:
//!
//! | refused | instead |
//! |---|---|
//! | `BLPOP`, `BLMOVE`, `BZPOPMIN`, `XREAD BLOCK` and the like | the command that does not block, when [`Shared::signal`] tells of a change or a timer is due |
//! | `MULTI`, `EXEC`, `WATCH` one by one | `redis::pipe().atomic()`; where the answer decides, a script |
//! | `SUBSCRIBE`, `PSUBSCRIBE` | [`Owner::subscriber`] |
//! | `SELECT`, `AUTH`, `CLIENT SETNAME`, `CLIENT REPLY`, `QUIT` and the like | [`Options`], before the start |
//!
//! # Cancellation and shutdown
//!
//! A command's future may be dropped at any time; if it was sent, its outcome is unknown, as
//! after a timeout. [`Messages::next`] and [`Signal::changed`] are cancel-safe.
//! [`Owner::close`] lets what is in flight finish, then closes, and returns when the sockets are
//! gone. Handles answer [`Error::Closed`] afterwards, and [`Owner::connect`] opens anew.
//!
//! # Metrics
//!
//! Everything is counted with the [`metrics`] crate, under the names of `docs/metrics.md`:
//! sockets open and expected, state, dials, outages, commands by name with their durations and
//! errors, publishes, messages received, routed and dropped. Install a recorder *before* the
//! owner is made, then call [`Budget::describe_metrics`] for the help texts and the zeros:
//!
//! ```
//! use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
//! use trunkline::conn::Budget;
//! use trunkline::telemetry::catalogue;
//!
//! let mut builder = PrometheusBuilder::new();
//! for metric in catalogue::ALL.iter().filter(|metric| !metric.buckets.is_empty()) {
//!     let name = Matcher::Full(metric.name.to_owned());
//!     builder = builder.set_buckets_for_metric(name, metric.buckets)?; // else they are summaries
//! }
//! let page = builder.install_recorder()?;
//! Budget::shared_only().describe_metrics();
//! assert!(page.render().contains("trunkline_redis_connections_open{role=\"shared\"} 0"));
//! # Ok::<(), metrics_exporter_prometheus::BuildError>(())
//! ```
//!
//! No label is ever a key, a channel or an error's text, and no payload or credential is in a
//! log line.
//!
//! # As many as there should be
//!
//! [`Budget::sockets`] has every socket that was opened here and not closed, with the line of
//! code that opened it. What was opened past it is found by the audit: with
//! [`Options::audit_interval`] the owner also asks the kernel and Redis, time and again, and
//! [`Owner::findings`] has the [`Finding`]s. The same [`Offender`] twice in a row is a leak, and
//! logged. The user of Redis needs some more rights for it, which `docs/redis.md` lists.

mod activity;
mod audit;
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
#[cfg(feature = "bridge")]
mod scripts;
mod shared;
mod signals;
mod socket;
mod state;
mod status;
mod subscriber;
mod subscriptions;
mod supervisor;
#[cfg(feature = "bridge")]
pub(crate) mod survey;
#[cfg(feature = "tls")]
mod tls;

#[cfg(all(any(test, fuzzing), feature = "bridge"))]
pub(crate) use audit::fuzz;
pub use audit::{Finding, Offender, OpenSocket};
pub use backoff::Limits;
pub use budget::Budget;
pub use error::{Code, Error, Sent};
pub use options::Options;
pub use owner::Owner;
pub use publisher::Publisher;
#[cfg(feature = "bridge")]
pub(crate) use scripts::scripts;
pub use shared::Shared;
pub use signals::Signal;
pub use status::{Outage, Status};
pub use subscriber::{Messages, Subscriber};
pub use subscriptions::Message;
#[cfg(feature = "tls")]
pub use tls::{Tls, TlsError};

#[doc(inline)]
pub use crate::model::Target;
