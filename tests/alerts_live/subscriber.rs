//! A subscriber that hears nothing, lacks a channel, or hears what it cannot read.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::json;
use tokio::time::sleep;

use crate::support::process::Daemon;
use crate::support::proxy::{Direction, Proxy};
use crate::support::redis::Redis;
use crate::support::traffic::Ears;
use crate::table::Row;
use crate::watch::{Watch, alarm};
use crate::{Script, hurried, target};

/// What Redis pushes is swallowed; whatever is asked is answered.
pub async fn silent(redis: &Arc<Redis>) -> Script {
    let proxy = Proxy::to(redis.port());
    let server = hurried(Daemon::server(&proxy.url()), "silent").start();
    Script::new(vec![target("trunkline-silent", &server).await], async move |watch: Arc<Watch>| {
        let silent = alarm("TrunklineSubscriberSilent", &[("job", "trunkline-silent")]);
        let began = Instant::now();
        proxy.filter(Arc::new(|direction, piece| match direction {
            Direction::ToServer => piece,
            Direction::ToClient => without_messages(&piece),
        }));
        let fires = watch.fires(&silent, began).await;
        let ended = Instant::now();
        proxy.forward();
        let resolves = watch.resolves(&silent, ended).await;
        drop(server);
        vec![Row::new(
            silent,
            "a proxy swallows messages and answers everything else",
            fires,
            resolves,
        )]
    })
}

/// A piece of RESP 3 without the pushes that are messages of a channel.
fn without_messages(piece: &[u8]) -> Vec<u8> {
    const MESSAGE: &[u8] = b">3\r\n$7\r\nmessage\r\n";
    let mut kept = Vec::new();
    let mut rest = piece;
    while let Some(at) = rest.windows(MESSAGE.len()).position(|window| window == MESSAGE) {
        kept.extend_from_slice(&rest[..at]);
        rest = after_bulk(after_bulk(&rest[at + MESSAGE.len()..]));
    }
    kept.extend_from_slice(rest);
    kept
}

/// What follows a bulk string; nothing if it is not whole.
fn after_bulk(text: &[u8]) -> &[u8] {
    let end = text.windows(2).position(|window| window == b"\r\n").unwrap_or(text.len());
    let length = std::str::from_utf8(text.get(1..end).unwrap_or_default()).unwrap();
    let length: usize = length.parse().unwrap_or(0);
    text.get(end + 2 + length + 2..).unwrap_or_default()
}

/// Redis never confirms one of the channels that clients want.
pub async fn missing(redis: &Arc<Redis>) -> Script {
    let proxy = Proxy::to(redis.port());
    let server = hurried(Daemon::server(&proxy.url()), "missing").start();
    let public = server.public().await;
    Script::new(vec![target("trunkline-missing", &server).await], async move |watch: Arc<Watch>| {
        let missing = alarm("TrunklineSubscriptionsMissing", &[("job", "trunkline-missing")]);
        // The same length, and no command: Redis answers with an error, and in its turn.
        proxy.filter(Arc::new(|direction, piece| {
            let text = String::from_utf8_lossy(&piece);
            match direction {
                Direction::ToServer if text.contains(":notify:lost") => {
                    text.replace("\r\nSUBSCRIBE\r\n", "\r\nSUBSCRIBX\r\n").into_bytes()
                }
                _ => piece,
            }
        }));
        let began = Instant::now();
        // Each waits for its answer and comes back, so that there is always one that wants it.
        let clients = join_all((0..4).map(async |number| {
            // Not all in step, or there would be moments without any of them.
            sleep(Duration::from_millis(150 * number)).await;
            loop {
                public.get("/v1/stream?channel=lost").await;
            }
        }));
        let fires = tokio::select! {
            fires = watch.fires(&missing, began) => fires,
            _ = clients => unreachable!("they come until the alert is there"),
        };
        let ended = Instant::now();
        proxy.forward();
        let ears = Ears::open(&server, "lost").await;
        let resolves = watch.resolves(&missing, ended).await;
        drop((ears, server));
        vec![Row::new(missing, "a proxy spoils the SUBSCRIBE of one channel", fires, resolves)]
    })
}

/// Somebody else publishes what is no text.
pub async fn garbage(redis: &Arc<Redis>) -> Script {
    let server = hurried(Daemon::server(&redis.url()), "garbage").start();
    let public = server.public().await;
    let redis = Arc::clone(redis);
    Script::new(vec![target("trunkline-garbage", &server).await], async move |watch: Arc<Watch>| {
        let ears = Ears::open(&server, "a").await;
        let labels = [("job", "trunkline-garbage"), ("reason", "decode")];
        let dropped = alarm("TrunklineMessagesDropped", &labels);
        let publishing = |foreign: bool| {
            let (public, redis) = (&public, &redis);
            async move {
                loop {
                    public.post("/v1/notifications", &json!({ "channel": "a", "data": 1 })).await;
                    if foreign {
                        // Ends a string that is not UTF-8.
                        let script = "return redis.call('PUBLISH', 'garbage:notify:a', '\\255')";
                        redis.cli(&["EVAL", script, "0"]);
                    }
                    // The pace of the traffic: the rule is about a rate.
                    sleep(Duration::from_millis(100)).await;
                }
            }
        };
        let began = Instant::now();
        let fires = tokio::select! {
            fires = watch.fires(&dropped, began) => fires,
            () = publishing(true) => unreachable!("it publishes until the alert is there"),
        };
        let ended = Instant::now();
        let resolves = tokio::select! {
            resolves = watch.resolves(&dropped, ended) => resolves,
            () = publishing(false) => unreachable!("it publishes until the alert is gone"),
        };
        drop(ears);
        vec![Row::new(dropped, "somebody publishes what is not UTF-8", fires, resolves)]
    })
}
