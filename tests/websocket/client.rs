//! A client made of somebody else's library.

use std::net::SocketAddr;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_websockets::{ClientBuilder, Message, WebSocketStream};

use super::support::DEADLINE;
use super::support::house::House;

/// An open WebSocket. It reads, and so answers pings, only while asked for a message.
pub struct Client {
    socket: WebSocketStream<TcpStream>,
    /// Where it would resume from: what came last.
    pub cursor: Option<String>,
}

/// How the server ended it: the code and the reason in words.
pub type Closed = (u16, String);

impl Client {
    /// Opens `/v1/ws` with this query, which may be empty.
    pub async fn open(house: &House, query: &str) -> Client {
        Client::at(house.public.address(), query).await
    }

    /// The same at an address.
    pub async fn at(address: SocketAddr, query: &str) -> Client {
        let uri = format!("ws://{address}/v1/ws{query}");
        let stream = TcpStream::connect(address).await.unwrap();
        let opening = ClientBuilder::new();
        let opening = opening.uri(&uri).unwrap();
        let (client, answer) =
            timeout(DEADLINE, opening.connect_on(stream)).await.unwrap().unwrap();
        assert_eq!(answer.status(), 101);
        Client { socket: client, cursor: None }
    }

    /// Opens one that hears a channel, and waits until it does.
    pub async fn hearing(house: &House, channels: &[&str]) -> Client {
        let mut client = Client::open(house, "").await;
        client.subscribe(channels).await;
        client
    }

    /// Sends a document.
    pub async fn say(&mut self, message: Value) {
        self.send(Message::text(message.to_string())).await;
    }

    /// Sends any message.
    pub async fn send(&mut self, message: Message) {
        timeout(DEADLINE, self.socket.send(message)).await.unwrap().unwrap();
    }

    /// Sends a document and returns the next message that is no notification.
    pub async fn ask(&mut self, message: Value) -> Value {
        self.say(message).await;
        loop {
            let answer = self.next().await;
            if answer.get("notification").is_none() {
                return answer;
            }
        }
    }

    /// Subscribes, and waits for the answer.
    pub async fn subscribe(&mut self, channels: &[&str]) {
        let answer = self.ask(json!({ "subscribe": channels })).await;
        assert_eq!(answer, json!({ "subscribed": channels }));
    }

    /// The next message. Panics if none comes in time or the server ends it.
    pub async fn next(&mut self) -> Value {
        match self.message().await {
            Ok(message) => message,
            Err(closed) => panic!("closed: {closed:?}"),
        }
    }

    /// The data of the next message, which must be a notification.
    pub async fn heard(&mut self) -> Value {
        let message = self.next().await;
        let notification = message.get("notification");
        notification.unwrap_or_else(|| panic!("{message} is none"))["data"].clone()
    }

    /// The data of all notifications up to the one that says `end`.
    pub async fn heard_until_end(&mut self) -> Vec<Value> {
        let mut all = Vec::new();
        loop {
            match self.heard().await {
                end if end == "end" => return all,
                data => all.push(data),
            }
        }
    }

    /// All that comes until the server ends it, and how it did.
    pub async fn rest(&mut self) -> (Vec<Value>, Closed) {
        let mut all = Vec::new();
        loop {
            match self.message().await {
                Ok(message) => all.push(message),
                Err(closed) => return (all, closed),
            }
        }
    }

    async fn message(&mut self) -> Result<Value, Closed> {
        loop {
            let message = timeout(DEADLINE, self.socket.next()).await.expect("a message in time");
            let message = message.ok_or((0, "it just ended".to_owned()))?;
            let message = message.map_err(|error| (0, error.to_string()))?;
            if let Some((code, reason)) = message.as_close() {
                return Err((code.into(), reason.to_owned()));
            }
            if let Some(text) = message.as_text() {
                let mut document: Value = serde_json::from_str(text).unwrap();
                if let Some(cursor) = document.as_object_mut().unwrap().remove("cursor") {
                    self.cursor = Some(cursor.as_str().unwrap().to_owned());
                }
                assert_eq!(document.as_object().map(serde_json::Map::len), Some(1), "{text}");
                return Ok(document);
            }
            assert!(message.is_ping() || message.is_pong(), "{message:?}");
        }
    }
}

/// The last word of an error's type.
pub fn problem(message: &Value) -> &str {
    let problem = &message["error"];
    for text in ["type", "title", "detail"] {
        assert!(problem[text].as_str().is_some_and(|it| !it.is_empty()), "{text} in {message}");
    }
    assert!(problem["status"].is_u64(), "{message}");
    problem["type"].as_str().unwrap().strip_prefix("urn:trunkline:problem:").unwrap()
}
