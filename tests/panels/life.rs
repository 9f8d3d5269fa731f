//! A small fleet that has seen a bit of everything.

use std::path::Path;
use std::time::Duration;

use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_websockets::ClientBuilder;

use super::support::chain::{store, telling};
use super::support::http::Http;
use super::support::process::Daemon;
use super::support::prometheus::Prometheus;
use super::support::redis::Redis;
use super::support::traffic::Ears;

/// A server and a worker under traffic, and the Prometheus that has watched them. What they do
/// goes on until this is dropped.
pub struct Life {
    /// Has seen all of it.
    pub prometheus: Prometheus,
    _daemons: [Daemon; 2],
    _redis: Redis,
    _ears: Ears,
    _tasks: [Aborted; 2],
}

impl Life {
    /// Lets them live through events with and without a rule, a rule that fails, notifications,
    /// clients of both transports, one that leaves, garbage, and one reconnect of everybody.
    pub async fn live() -> Life {
        let redis = Redis::start();
        let server = Daemon::server(&redis.url()).args(OFTEN).start();
        let worker = Daemon::worker(&redis.url()).args(OFTEN).start();
        server.wait_ready().await;
        worker.wait_ready().await;
        let jobs = [
            ("trunkline-server", vec![server.address("admin").await]),
            ("trunkline-worker", vec![worker.address("admin").await]),
        ];
        let alerts = Path::new(env!("CARGO_MANIFEST_DIR")).join("alerts/trunkline.alerts.yml");
        // From before the traffic: what it counts must be seen to rise.
        let prometheus = Prometheus::start(&jobs, &[&alerts]).await;

        let http = server.public().await;
        store(&http, &telling("news", "news")).await;
        store(&http, &failing()).await;
        let ears = Ears::open(&server, "news").await;
        drop(Ears::open(&server, "news").await);
        let tasks = [listen(&http).await, talk(http.clone())];
        prometheus.shows("trunkline_delivery_latency_seconds_count{transport=\"ws\"} > 0").await;

        redis.cli(&["EVAL", "return redis.call('PUBLISH', 'trunkline:notify:news', '\\255')", "0"]);
        redis.cli(&["CLIENT", "KILL", "TYPE", "pubsub"]);
        redis.cli(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
        server.wait_nothing_missing().await;
        worker.wait_nothing_missing().await;
        for seen in [
            "min(increase(trunkline_redis_outage_duration_seconds_count[20s])) > 0",
            "increase(trunkline_probe_duration_seconds_count[5s]) > 0",
            "ALERTS{alertname=\"TrunklineJobsDead\", alertstate=\"firing\"}",
        ] {
            prometheus.shows(seen).await;
        }
        Life { prometheus, _daemons: [server, worker], _redis: redis, _ears: ears, _tasks: tasks }
    }
}

/// Probes, samples and audits as often as Prometheus looks.
const OFTEN: [&str; 6] =
    ["--probe-interval", "1s", "--sample-interval", "1s", "--audit-interval", "1s"];

/// A chain that goes wrong on every event it is for.
fn failing() -> Value {
    json!({
        "id": "failing", "on": { "type": "failing" },
        "nodes": [{ "id": "tell", "kind": "action",
                    "notify": { "channel": "event.data.missing", "type": "never" } }],
    })
}

/// A client over a WebSocket.
async fn listen(http: &Http) -> Aborted {
    let address = http.address();
    let stream = TcpStream::connect(address).await.unwrap();
    let uri = format!("ws://{address}/v1/ws?channel=news");
    let (mut client, _) = ClientBuilder::new().uri(&uri).unwrap().connect_on(stream).await.unwrap();
    Aborted(tokio::spawn(async move { while client.next().await.is_some() {} }))
}

/// Some of everything that a caller can say, ten times a second. What it is answered during the
/// reconnect does not matter here.
fn talk(http: Http) -> Aborted {
    let post = async move |path: &str, body: Value| {
        drop(http.try_send(hyper::Method::POST, path, JSON, body.to_string()).await);
    };
    Aborted(tokio::spawn(async move {
        loop {
            post("/v1/events", json!({ "type": "news", "data": "from a rule" })).await;
            post("/v1/events", json!({ "type": "news", "id": "again", "source": "/twice" })).await;
            post("/v1/events", json!({ "type": "failing", "data": {} })).await;
            post("/v1/events", json!({ "type": "of no interest" })).await;
            post("/v1/events", json!("no event")).await;
            post("/v1/notifications", json!({ "channel": "news", "data": "directly" })).await;
            post("/v1/notifications", json!({ "channel": "nobody", "data": "hears" })).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }))
}

const JSON: &[(&str, &str)] = &[("content-type", "application/json")];

/// A task that ends with what holds it.
struct Aborted(JoinHandle<()>);

impl Drop for Aborted {
    fn drop(&mut self) {
        self.0.abort();
    }
}
