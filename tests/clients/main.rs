//! The streams and the live page, as clients see them that share no line with ours: somebody
//! else's EventSource, and a browser.
#![cfg(feature = "bridge")]
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]
#![allow(unreachable_pub, reason = "a test binary exports nothing, its modules do to each other")]

#[path = "../support/mod.rs"]
mod support;

mod eventsource;
mod in_a_page;
mod live_page;

use std::net::SocketAddr;

use support::house::House;
use support::port;
use support::process::Daemon;

/// A house whose server can be started again where it was.
async fn house_that_stays_where_it_is() -> House {
    let address = SocketAddr::from(([127, 0, 0, 1], port::free()));
    House::with(|server| server.env("TRUNKLINE_LISTEN", address.to_string())).await
}

/// Starts the server again, under the address it had.
async fn start_again(house: &mut House) {
    let address = house.public.address().to_string();
    house.server = Daemon::server(&house.redis.url()).env("TRUNKLINE_LISTEN", address).start();
    house.server.wait_ready().await;
}
