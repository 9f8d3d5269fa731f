//! Clients leave a server that ends, find another, and miss nothing.

use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::listener::{Heard, Listener};
use super::support::http::Http;
use super::support::process::Daemon;
use super::support::redis::Redis;

/// Listens at one of these servers, and at another when that ends, until it hears `end`.
async fn wander(
    addresses: [std::net::SocketAddr; 2],
    mut at: usize,
    mut listener: Listener,
) -> Vec<Value> {
    let mut all = Vec::new();
    loop {
        match listener.next().await {
            Heard::Data(end) if end == "end" => return all,
            Heard::Data(data) => all.push(data),
            Heard::Lost(lost) => panic!("{lost}"),
            Heard::End(_) => {
                at = 1 - at;
                let cursor = listener.cursor.clone();
                listener = Listener::resume(&Http::at(addresses[at]), "a", &cursor).await;
            }
        }
    }
}

#[tokio::test]
async fn over_a_rolling_restart_of_the_servers_everybody_hears_everything_once_and_in_order() {
    let redis = Redis::start();
    let port = super::support::port::free;
    let ports = [port(), port()];
    let start = |port: u16| {
        Daemon::server(&redis.url()).env("TRUNKLINE_LISTEN", format!("127.0.0.1:{port}")).start()
    };
    let mut servers = ports.map(start);
    let mut addresses = Vec::new();
    for server in &servers {
        server.wait_ready().await;
        addresses.push(server.public().await.address());
    }
    let addresses = [addresses[0], addresses[1]];
    let publisher = Daemon::server(&redis.url()).patient().start();
    publisher.wait_ready().await;
    let public = publisher.public().await;
    let mut clients = JoinSet::new();
    for number in 0..10 {
        let at = number % 2;
        let listener = Listener::open(&Http::at(addresses[at]), "a").await;
        clients.spawn(wander(addresses, at, listener));
    }
    let mut number = 0;
    for _ in 0..2 {
        for (at, port) in ports.into_iter().enumerate() {
            for _ in 0..40 {
                let body = json!({ "channel": "a", "data": number });
                assert_eq!(public.post("/v1/notifications", &body).await.status, 200);
                number += 1;
            }
            // All have found it who left the other one: they come back to one that is there.
            let clients = if number == 40 { 5.0 } else { 10.0 };
            servers[at].metric("trunkline_clients_connected").await.reaches(clients).await;
            servers[at].sigterm();
            assert!(servers[at].exit().await.success());
            servers[at] = start(port);
            servers[at].wait_ready().await;
        }
    }
    public.post("/v1/notifications", &json!({ "channel": "a", "data": "end" })).await;
    let all: Vec<_> = (0..number).map(|number| json!(number)).collect();
    while let Some(heard) = clients.join_next().await {
        assert_eq!(heard.unwrap(), all);
    }
}
