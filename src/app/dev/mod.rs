//! `trunkline dev`: everything on this machine, with a Redis of its own, and nothing left behind.

mod child;
mod feed;
mod redis;

use std::future::pending;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use hyper::Method;
use serde_json::{Value, json};
use url::Url;

use self::child::Child;
use self::redis::PrivateRedis;
use super::drain;
use super::signals::Signals;
use super::tool::{line, say, stream_path};
use super::watch::cannot_bind;
use crate::config::Dev;
use crate::http::client::{Client, Events};

/// The fleet of `trunkline dev`: nothing of it can be mistaken for another's in a shared Redis.
const NAMESPACE: &str = "trunkline-dev";
/// How long the server and the worker may take to become ready.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long after its last word a process may take to be gone.
const EXIT: Duration = Duration::from_secs(1);

struct Fleet {
    server: Child,
    worker: Child,
    redis: Option<PrivateRedis>,
}

pub(super) async fn run(dev: Dev) -> Result<(), String> {
    // First of all: what a signal interrupts is still cleared away.
    let mut signals = Signals::catch().map_err(|error| error.to_string())?;
    addresses_are_free(&dev)?;
    let mut fleet = tokio::select! {
        fleet = start(&dev) => fleet?,
        _ = signals.next() => return Ok(()),
    };
    let lived = tokio::select! {
        told = live(&dev, &mut fleet) => told,
        _ = signals.next() => Ok(()),
    };
    // A second signal ends the waiting; what is dropped then is killed.
    tokio::select! {
        () = stop(fleet) => {}
        _ = signals.next() => {}
    }
    if lived.is_ok() {
        say("\ntrunkline dev has ended")?;
    }
    lived
}

/// Tries the addresses before anything is started, so that one that is taken is told by the
/// name of the flag that was typed here. Who loses the race for it is told by the daemon.
fn addresses_are_free(dev: &Dev) -> Result<(), String> {
    let wanted = [
        ("--listen", dev.listen),
        ("--admin-listen", dev.admin_listen),
        ("--worker-admin-listen", dev.worker_admin_listen),
    ];
    // All are held at once: two that are the same are found as well.
    let (mut held, mut taken) = (vec![], vec![]);
    for (flag, address) in wanted {
        match std::net::TcpListener::bind(address) {
            Ok(listener) => held.push(listener),
            Err(error) => taken.push(cannot_bind(flag, address, &error).to_string()),
        }
    }
    if taken.is_empty() { Ok(()) } else { Err(taken.join("\n  ")) }
}

async fn start(dev: &Dev) -> Result<Fleet, String> {
    let redis = match &dev.redis_url {
        Some(_) => None,
        None => Some(PrivateRedis::start().await?),
    };
    let url = match (&dev.redis_url, &redis) {
        (Some(url), _) => url.expose().to_owned(),
        (None, Some(redis)) => redis.url(),
        (None, None) => return Err("there is no Redis".to_owned()),
    };
    let named = format!("--instance={}", instance());
    let mut server_flags = vec![
        named.clone(),
        format!("--listen={}", dev.listen),
        format!("--admin-listen={}", dev.admin_listen),
    ];
    if dev.insecure {
        server_flags.push("--insecure".to_owned());
    }
    let worker_flags = vec![named, format!("--admin-listen={}", dev.worker_admin_listen)];
    let server = Child::daemon("trunkline-server", NAMESPACE, &url, server_flags)?;
    let worker = Child::daemon("trunkline-worker", NAMESPACE, &url, worker_flags)?;
    Ok(Fleet { server, worker, redis })
}

async fn live(dev: &Dev, fleet: &mut Fleet) -> Result<(), String> {
    let Fleet { server, worker, redis } = fleet;
    let redis_ended = async {
        match redis {
            Some(redis) => redis.ended().await,
            None => pending().await,
        }
    };
    let died = async {
        tokio::select! {
            how = server.ended() => format!("the server ended by itself ({how})"),
            how = worker.ended() => format!("the worker ended by itself ({how})"),
            how = redis_ended => format!("redis ended by itself ({how})"),
        }
    };
    let mut died = pin!(died);
    tokio::select! {
        cause = &mut died => Err(cause),
        told = show(dev) => match told {
            Ok(()) => Ok(()),
            // When one of them dies, what it leaves broken may show before its end does.
            Err(effect) => Err(tokio::time::timeout(EXIT, died).await.unwrap_or(effect)),
        },
    }
}

/// Waits until all is ready, says where, and prints what arrives until its time is up.
async fn show(dev: &Dev) -> Result<(), String> {
    let public = client(&dev.listen.to_string())?;
    for admin in [dev.admin_listen, dev.worker_admin_listen] {
        ready(admin).await?;
    }
    for chain in [feed::pulse(), feed::busy()] {
        let path = format!("/v1/rule-chains/{}", chain["id"].as_str().unwrap_or_default());
        public.send(Method::PUT, &path, &chain).await.map_err(|error| error.to_string())?;
    }
    let channels = [feed::CHANNEL.to_owned(), format!("{}.*", feed::ALERTS)];
    let events =
        public.events(&stream_path(&channels), None).await.map_err(|error| error.to_string())?;
    if !say(&welcome(dev))? {
        return Ok(());
    }
    let time_is_up = async {
        match dev.run_for {
            Some(time) => tokio::time::sleep(time).await,
            None => pending().await,
        }
    };
    let feeding = async {
        if dev.feed {
            feed::run(&public).await;
        }
        pending::<()>().await;
    };
    tokio::select! {
        () = time_is_up => Ok(()),
        told = print(events) => told,
        () = feeding => Ok(()),
    }
}

async fn print(mut events: Events) -> Result<(), String> {
    while let Some(event) = events.next().await.map_err(|error| error.to_string())? {
        if event.name == "notification" && !say(&line(&event.data))? {
            return Ok(());
        }
    }
    Err("the server ended the stream".to_owned())
}

fn client(address: &str) -> Result<Client, String> {
    let url = Url::parse(&format!("http://{address}")).map_err(|error| error.to_string())?;
    Ok(Client::new(url))
}

/// What the instances of our own children begin with.
fn instance() -> String {
    format!("dev-{}", std::process::id())
}

/// Waits until the child that was given this address is ready.
async fn ready(address: SocketAddr) -> Result<(), String> {
    let admin = client(&address.to_string())?;
    let mut last = String::new();
    let asking = async {
        loop {
            // Who took the address before us is ready, too: it is not to be fed, or worse.
            match admin.get("/status").await.map(|status| status["instance"].to_string()) {
                Ok(it) if !it.trim_matches('"').starts_with(&instance()) => {
                    return Err(format!(
                        "another trunkline, instance {it}, listens on {address}; end it, or \
                         choose another address (trunkline dev --help)"
                    ));
                }
                Ok(_) => match admin.get("/readyz").await {
                    Ok(_) => return Ok(()),
                    Err(error) => last = error.to_string(),
                },
                Err(error) => last = error.to_string(),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let asked = tokio::time::timeout(PATIENCE, asking).await;
    asked.unwrap_or_else(|_| Err(format!("{address} is not ready in time: {last}")))
}

fn welcome(dev: &Dev) -> String {
    let (public, server, worker) = (dev.listen, dev.admin_listen, dev.worker_admin_listen);
    let body: Value = json!({ "channel": feed::CHANNEL, "data": "hello" });
    let end = match dev.redis_url {
        None => "Ctrl-C ends it and leaves nothing behind".to_owned(),
        Some(_) => format!("Ctrl-C ends it; keys that begin with {NAMESPACE}: stay in that Redis"),
    };
    format!(
        "trunkline dev is running; {end}\n\n  \
         live page   http://{public}/\n  \
         metrics     http://{server}/metrics (server)  http://{worker}/metrics (worker)\n  \
         status      http://{server}/status\n\n  \
         try this    curl -s http://{public}/v1/notifications -H 'content-type: application/json' -d '{body}'\n"
    )
}

/// Ends the daemons first, so that they can say goodbye to Redis. When that has ended there is
/// nobody to say it to, and what they wait for does not come.
async fn stop(fleet: Fleet) {
    let Fleet { server, worker, mut redis } = fleet;
    let gone = redis.as_mut().is_some_and(PrivateRedis::has_ended);
    let patience = if gone { EXIT } else { drain::WHOLE };
    tokio::join!(server.stop(patience), worker.stop(patience));
    drop(redis);
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// A daemon of this instance, ready from the start.
    async fn daemon(instance: String) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let body = json!({ "instance": instance }).to_string();
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
            while let Ok((mut stream, _)) = listener.accept().await {
                assert_ne!(stream.read(&mut [0; 1024]).await.unwrap(), 0);
                stream.write_all((head.clone() + &body).as_bytes()).await.unwrap();
            }
        });
        address
    }

    #[tokio::test]
    async fn another_trunkline_at_our_address_is_not_taken_for_our_own() {
        let foreign = ready(daemon("other-1".to_owned()).await).await;
        assert!(foreign.unwrap_err().contains("another trunkline, instance \"other-1\""));
        ready(daemon(format!("{}-1", instance())).await).await.unwrap();
    }
}
