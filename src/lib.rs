//! One process, one trunk line to Redis.
//!
//! This crate is two things. As a library it is [`conn`]: one supervised, budgeted and measured
//! Redis connection per process, over which any redis-rs command runs. On top of it stand three
//! programs, `trunkline-server`, `trunkline-worker` and the tool `trunkline`: a bridge that turns
//! events into notifications for browsers. `README.md` shows those running.
//!
//! # The connection in your own service
//!
//! ```toml
//! trunkline = { version = "0.1", default-features = false, features = ["tls"] }
//! ```
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use redis::AsyncCommands;
//! use trunkline::conn::{Budget, Options, Owner};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let options = Options::from_url("redis://127.0.0.1:6379", "shop", "checkout")?;
//! let owner = Owner::new(options, &Budget::shared_only())?;
//! owner.connect().await;
//!
//! let mut shared = owner.shared();
//! shared.ready(Duration::from_secs(5)).await?;
//! let orders: u64 = shared.incr("shop:orders", 1).await?;
//! # Ok(())
//! # }
//! ```
//!
//! `CLIENT LIST` shows that connection as `shop:checkout:9f2c…:shared:1`. Now read [`conn`]: it
//! is written as a first chapter, and says what happens when Redis is away, hangs, or refuses.
//!
//! # Features
//!
//! | feature | gives | brings |
//! |---|---|---|
//! | (none) | [`conn`], [`model`], and of [`telemetry`] what counts and logs | tokio, redis, metrics, tracing |
//! | `tls` | `rediss://` and `conn::Tls` | rustls with aws-lc, the system's authorities |
//! | `bridge`, the default | the three programs and all they are made of; `tls` | hyper, cel, clap, OpenTelemetry and more |
//!
//! Features only add. What counts goes to whichever recorder of the [`metrics`] crate is
//! installed, and what logs to whichever subscriber of [`tracing`]; this crate installs neither
//! in a service of yours.
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
//! | 0 | [`model`], `config` | words: pure, no IO |
//! | 1 | [`telemetry`] | the catalogue of metrics, events that log and count, tracing |
//! | 2 | [`conn`] | THE connection: state, supervisor, budget, publisher, subscriber |
//! | 3 | `queue`, `rules`, `index`, `history`, `presence`, `hub`, `health` | rooms that do not know each other |
//! | 4 | `flow` | the data's paths, one file per path |
//! | 5 | `http` | the doors |
//! | 6 | `app` | assembles, starts, drains |
//!
//! Those without a link in your build belong to the feature `bridge`.

#![cfg_attr(docsrs, feature(doc_cfg))]
#![warn(rustdoc::broken_intra_doc_links)]

pub mod model;

#[cfg(feature = "bridge")]
pub mod config;

pub mod telemetry;

pub mod conn;

#[cfg(feature = "bridge")]
pub mod health;
#[cfg(feature = "bridge")]
pub mod history;
#[cfg(feature = "bridge")]
pub mod hub;
#[cfg(feature = "bridge")]
pub mod index;
#[cfg(feature = "bridge")]
pub mod presence;
#[cfg(feature = "bridge")]
pub mod queue;
#[cfg(feature = "bridge")]
pub mod rules;

#[cfg(feature = "bridge")]
pub mod flow;

#[cfg(feature = "bridge")]
pub mod http;

#[cfg(feature = "bridge")]
pub mod app;

#[cfg(all(any(test, fuzzing), feature = "bridge"))]
#[doc(hidden)]
pub mod fuzzing;

/// Compiles the examples of the README as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
