//! The doors from outside, over real sockets; what Redis would say is said by doubles.

mod admin;
mod doors;
mod lifecycle;
mod streams;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::access::Access;
use super::intake::Bodies;
use super::public::Public;
use super::serve::{Answer, Door, Listener};
use crate::conn::{self, Budget, Options, Owner, Target};
use crate::flow::chains::{Chains, Stored};
use crate::flow::ingest::Ingest;
use crate::flow::listen::{Listen, Upstream};
use crate::flow::notify::Notify;
use crate::flow::presence::Audience;
use crate::flow::schedules::Schedules;
use crate::flow::stored::StoreError;
use crate::history::{History, Retention};
use crate::hub::{Bounds, Encoded, Hub, Limits, Touched};
use crate::model::{ChannelName, Component, Fault, Notification, Subscription};
use crate::presence::Presence;
use crate::queue::{Keys, Producer, QueueOptions, ScheduleStore, Thresholds};

const PATIENCE: Duration = Duration::from_secs(10);
const BOUNDS: Bounds = Bounds { messages: 256, bytes: 1024 * 1024 };

/// Waits for what must come.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it did not come in time")
}

/// Says what Redis would say to a subscription.
#[derive(Default)]
struct Redis {
    answer: Mutex<Option<conn::Error>>,
    left: Mutex<Vec<String>>,
}

impl Upstream for Redis {
    fn subscribe<'a>(
        &'a self,
        _: &'a Subscription,
        _: Duration,
    ) -> BoxFuture<'a, Result<(), conn::Error>> {
        let answer = self.answer.lock().unwrap().clone();
        Box::pin(async move { answer.map_or(Ok(()), Err) })
    }
    fn unsubscribe(&self, subscription: &Subscription) {
        self.left.lock().unwrap().push(subscription.to_string());
    }
}

/// Knows one chain, `known`, and panics when asked for `bug`.
struct Shelf;

impl Chains for Shelf {
    fn put<'a>(&'a self, id: &'a str, chain: Value) -> BoxFuture<'a, Result<Stored, StoreError>> {
        Box::pin(async move {
            if chain.get("nodes").is_none() {
                let message = "is missing".into();
                return Err(StoreError::Invalid(vec![Fault { path: "$.nodes".into(), message }]));
            }
            Ok(Stored { chain, created: id != "known" })
        })
    }
    fn get<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<Value>, StoreError>> {
        assert_ne!(id, "bug");
        Box::pin(async move { Ok((id == "known").then(|| serde_json::json!({ "id": id }))) })
    }
    fn list(&self) -> BoxFuture<'_, Result<Vec<Value>, StoreError>> {
        Box::pin(async { Ok(vec![]) })
    }
    fn delete<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move { Ok(id == "known") })
    }
}

/// A public listener whose shared connection was never dialled.
struct House {
    address: SocketAddr,
    hub: Hub,
    redis: Arc<Redis>,
    stop: CancellationToken,
    serving: JoinHandle<usize>,
    _owner: Owner,
}

impl House {
    fn start() -> Self {
        Self::with(BOUNDS, Duration::from_secs(15), 1_000)
    }

    fn with(outbox: Bounds, heartbeat: Duration, max_connections: usize) -> Self {
        Self::with_room(outbox, heartbeat, max_connections, 16 * 1024 * 1024)
    }

    fn with_room(outbox: Bounds, heartbeat: Duration, max_connections: usize, room: usize) -> Self {
        let nowhere = Target::Unix("/nonexistent/redis.sock".into());
        let options = Options::new(nowhere, "test", Component::Server);
        let owner = Owner::new(options, &Budget::of(Component::Server)).unwrap();
        let redis = Arc::new(Redis::default());
        let nothing = Retention { size: 0, age: PATIENCE, off: vec![] };
        let channels = "test:notify:".to_owned();
        let history = History::new(owner.shared(), owner.publisher(), "test", channels, nothing);
        let deadline = Duration::from_secs(1);
        let listen = Listen::new(Limits::new(outbox), redis.clone(), deadline, history.clone());
        let hub = listen.hub().clone();
        let presence = Presence::new(owner.shared(), "test", "here", PATIENCE);
        let public = Public {
            access: Access::new(["https://app.example"], []),
            ingest: Ingest::new(producer(&owner), 1_000),
            notify: Notify::new(history),
            chains: Arc::new(Shelf),
            schedules: schedules(&owner),
            audience: Audience::new(presence, hub.clone()),
            listen,
            max_payload: 1_000,
            bodies: Bodies::with_room(room),
            heartbeat,
        };
        let (address, stop, serving) = serve(public, max_connections);
        Self { address, hub, redis, stop, serving, _owner: owner }
    }

    fn publish(&self, name: &str, data: &str) {
        let channel = ChannelName::parse(name).unwrap();
        let notification = Notification::from_wire(&channel, data.as_bytes()).unwrap();
        let mut touched = Touched::default();
        self.hub.dispatch(&channel, &mut Encoded::new(&notification), &mut touched);
        while touched.write(1) {}
    }

    async fn peer(&self) -> Peer {
        Peer::connect(self.address).await
    }

    async fn ask(&self, request: &str) -> Reply {
        self.peer().await.ask(request).await
    }
}

fn producer(owner: &Owner) -> Producer {
    let keys = Keys::new("test", "jobs");
    let thresholds = Thresholds { warning: 2, critical: 3, recovery: 1 };
    Producer::new(owner.shared(), QueueOptions { keys, thresholds, dedup_window: PATIENCE })
}

fn schedules(owner: &Owner) -> Schedules {
    Schedules::new(ScheduleStore::new(owner.shared(), Keys::new("test", "jobs")), 1_000)
}

fn serve(
    answer: impl Answer,
    max_connections: usize,
) -> (SocketAddr, CancellationToken, JoinHandle<usize>) {
    let listener = Listener::bind(Door::Public, ([127, 0, 0, 1], 0).into(), max_connections);
    let listener = listener.unwrap();
    let (address, stop) = (listener.address().unwrap(), CancellationToken::new());
    let drain = Duration::from_millis(200);
    let serving =
        tokio::spawn(listener.serve(Arc::new(answer), Handle::current(), stop.clone(), drain));
    (address, stop, serving)
}

/// A client that writes HTTP by hand.
struct Peer(BufReader<TcpStream>);

struct Reply {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Reply {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
    /// The status and the last word of the problem's type.
    fn problem(&self) -> (u16, String) {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{}", self.head);
        let uri = self.json()["type"].as_str().unwrap().to_owned();
        (self.status, uri.strip_prefix("urn:trunkline:problem:").unwrap().to_owned())
    }
}

impl Peer {
    async fn connect(address: SocketAddr) -> Self {
        Self(BufReader::new(TcpStream::connect(address).await.unwrap()))
    }

    /// Sends a request line and header lines, a `Host` if there is none, and after a blank line
    /// the body. Reads the answer's head, and its body where that has a length.
    async fn ask(&mut self, request: &str) -> Reply {
        let (head, body) = request.split_once("\n\n").unwrap_or((request, ""));
        let mut text =
            head.trim().replace('\n', " HTTP/1.1\r\n").replacen(" HTTP/1.1\r\n", "\0", 1);
        text = text.replace(" HTTP/1.1\r\n", "\r\n").replace('\0', " HTTP/1.1\r\n");
        if !head.contains('\n') {
            text.push_str(" HTTP/1.1");
        }
        if !head.contains("Host:") {
            text.push_str("\r\nHost: localhost");
        }
        if !body.is_empty() && !head.contains("Length:") {
            text.push_str(&format!("\r\nContent-Length: {}", body.len()));
        }
        let text = format!("{text}\r\n\r\n{body}");
        self.0.get_mut().write_all(text.as_bytes()).await.unwrap();
        let mut reply = self.head().await;
        if let Some(length) = reply.header("content-length").filter(|_| !head.starts_with("HEAD")) {
            reply.body = vec![0; length.parse().unwrap()];
            soon(self.0.read_exact(&mut reply.body)).await.unwrap();
        }
        reply
    }

    async fn head(&mut self) -> Reply {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let read = soon(self.0.read_line(&mut head)).await.unwrap();
            assert_ne!(read, 0, "the connection ended after {head:?}");
        }
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Reply { status, head: head.replace("\r\n", "\n"), body: vec![] }
    }

    /// The next line of a stream that is not empty.
    async fn line(&mut self) -> String {
        loop {
            let mut line = String::new();
            assert_ne!(soon(self.0.read_line(&mut line)).await.unwrap(), 0, "the stream ended");
            if line != "\n" {
                return line.trim_end().to_owned();
            }
        }
    }

    /// Everything until the peer closes.
    async fn rest(&mut self) -> String {
        let mut rest = Vec::new();
        // A reset is an end as well.
        let _ = soon(self.0.read_to_end(&mut rest)).await;
        String::from_utf8_lossy(&rest).into_owned()
    }
}
