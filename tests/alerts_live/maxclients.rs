//! A Redis that is nearly full.

use std::sync::Arc;
use std::time::Instant;

use crate::support::process::Daemon;
use crate::support::redis::Redis;
use crate::table::Row;
use crate::watch::{Watch, alarm};
use crate::{Script, hurried, target};

/// Redis takes no more clients than it has.
pub async fn near() -> Script {
    let redis = Redis::start();
    let server = hurried(Daemon::server(&redis.url()), "full").start();
    Script::new(vec![target("trunkline-full", &server).await], async move |watch: Arc<Watch>| {
        let near = alarm("RedisClientsNearMaxclients", &[]);
        server.wait_ready().await;
        let clients = redis.info("clients", "connected_clients");
        let began = Instant::now();
        redis.cli(&["CONFIG", "SET", "maxclients", &clients]);
        let fires = watch.fires(&near, began).await;
        let ended = Instant::now();
        redis.cli(&["CONFIG", "SET", "maxclients", "1000"]);
        let resolves = watch.resolves(&near, ended).await;
        drop(server);
        vec![Row::new(near, "maxclients is lowered to the clients there are", fires, resolves)]
    })
}
