//! One process, one trunk line to Redis.
//!
//! Everything a process says to Redis goes over one shared, instrumented connection
//! ([`conn`]); a server has a second one of its own for its subscriptions. The modules
//! below are floors: each imports only from those above it in this list.
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
