//! One process, one trunk line to Redis.
//!
//! This crate is two things. As a library it is [`conn`]: one supervised, budgeted and measured
//! Redis connection per process, over which any redis-rs command runs. On top of it stand three
//! programs, `trunkline-server`, `trunkline-worker` and the tool `trunkline`: a bridge that turns
//! events into notifications for browsers. `README.md` shows those running.
//!
//! # The connection in your own service
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use redis::AsyncCommands;
//! use trunkline::conn::{Budget, Options, Owner, Target};
//! use trunkline::model::Component;
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let redis = Target::Tcp { host: "127.0.0.1".into(), port: 6379 };
//! let options = Options::new(redis, "shop", Component::Worker, "checkout-1");
//! let owner = Owner::new(options, &Budget::of(Component::Worker))?;
//! owner.connect().await;
//!
//! let mut shared = owner.shared();
//! shared.ready(Duration::from_secs(5)).await?;
//! let orders: u64 = shared.incr("shop:orders", 1).await?;
//! # Ok(())
//! # }
//! ```
//!
//! `CLIENT LIST` shows that connection as `shop:worker:checkout-1:shared:1`. [`conn`] has a whole
//! example, and says what happens when Redis is away, hangs, or refuses. What the connection
//! counts goes to whichever recorder of the [`metrics`] crate is installed before it is made;
//! [`telemetry::Telemetry`] installs one, and renders its page.
//!
//! Names, labels and settings are promises, listed in `docs/`. Rust paths are not yet: this is
//! version 0.1.
//!
//! # Map
//!
//! The modules are floors: each imports only from those above it in this list, and those of one
//! floor do not know each other. `ARCHITECTURE.md` has the paths that data takes through them.
//!
//! | floor | module | what lives there |
//! |---|---|---|
//! | 0 | [`model`], [`config`] | words: pure, no IO |
//! | 1 | [`telemetry`] | the catalogue of metrics, events that log and count, tracing |
//! | 2 | [`conn`] | THE connection: state, supervisor, budget, publisher, subscriber |
//! | 3 | [`queue`], [`rules`], [`index`], [`hub`], [`health`] | rooms that do not know each other |
//! | 4 | [`flow`] | the data's paths, one file per path |
//! | 5 | [`http`] | the doors |
//! | 6 | [`app`] | assembles, starts, drains |

pub mod model;

pub mod config;

pub mod telemetry;

pub mod conn;

pub mod health;
pub mod hub;
pub mod index;
pub mod queue;
pub mod rules;

pub mod flow;

pub mod http;

pub mod app;

/// Compiles the examples of the README as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
