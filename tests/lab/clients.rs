//! Clients that come back by themselves, each time to another server, and resume where they
//! were if they were told where that is.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_websockets::{ClientBuilder, Message, WebSocketStream};

use crate::books::What;
use crate::ear::{Ear, End};
use crate::fleet::Fleet;
use crate::support::http::{Http, Sse};

/// Longer than any silence: a server says something every 15 s.
const SILENCE: Duration = Duration::from_secs(40);
/// How long a client waits before it tries the next server.
const PAUSE: Duration = Duration::from_millis(100);
/// How long a server may take to open. It confirms within three seconds or says that it cannot.
const OPENING: Duration = Duration::from_secs(5);

/// How it listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Server-sent events.
    Sse,
    /// WebSocket.
    WebSocket,
}

/// A client that listens until this is dropped.
pub struct Client {
    /// Who it is, in a report.
    pub name: String,
    channels: &'static [&'static str],
    ear: Arc<Mutex<Ear>>,
    task: JoinHandle<()>,
}

impl Client {
    /// Begins to listen.
    pub fn start(
        fleet: &Arc<Fleet>,
        number: usize,
        transport: Transport,
        channels: &'static [&'static str],
    ) -> Client {
        let ear = Arc::<Mutex<Ear>>::default();
        let name = format!("client {number} ({transport:?} on {})", channels.join(", "));
        let (fleet, heard) = (Arc::clone(fleet), Arc::clone(&ear));
        let task = tokio::spawn(async move {
            for visit in number.. {
                let door = fleet.door(visit);
                let end = match transport {
                    Transport::Sse => over_sse(&door, channels, &heard).await,
                    Transport::WebSocket => over_websocket(&door, channels, &heard).await,
                };
                heard.lock().unwrap().closed(end);
                tokio::time::sleep(PAUSE).await;
            }
        });
        Client { name, channels, ear, task }
    }

    /// Whether it is connected and its channels are confirmed.
    pub fn confirmed(&self) -> bool {
        self.ear.lock().unwrap().confirmed
    }

    /// Whether it listens to the channel that this is told on.
    pub fn wants(&self, what: What) -> bool {
        let channel = what.channel();
        self.channels.iter().any(|wanted| match wanted.strip_suffix('*') {
            Some(prefix) => channel.starts_with(prefix),
            None => channel == *wanted,
        })
    }

    /// Those of these that it has not heard yet.
    pub fn misses(&self, said: &[What]) -> usize {
        let ear = self.ear.lock().unwrap();
        let heard: std::collections::HashSet<_> = ear.heard.iter().map(|&(_, what)| what).collect();
        said.iter().filter(|&&what| self.wants(what) && !heard.contains(&what)).count()
    }

    /// What it heard since this was last asked.
    pub fn take(&self) -> Ear {
        assert!(!self.task.is_finished(), "{} has ended", self.name);
        self.ear.lock().unwrap().take()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn query(channels: &[&str]) -> String {
    format!("?channel={}", channels.join("&channel="))
}

async fn over_sse(door: &Http, channels: &[&str], ear: &Mutex<Ear>) -> End {
    let cursor = ear.lock().unwrap().cursor.clone();
    let resume = cursor.as_deref().map(|cursor| [("last-event-id", cursor)]);
    let fields = resume.as_ref().map_or(&[][..], |field| &field[..]);
    let path = format!("/v1/stream{}", query(channels));
    let opened = Sse::try_open(door, &path, fields);
    let mut stream = match timeout(OPENING, opened).await {
        Ok(Ok(stream)) => stream,
        // The two that are meant for a client that is at fault.
        Ok(Err(why)) if why.starts_with('4') => return Some(why),
        Ok(Err(_)) | Err(_) => return None,
    };
    ear.lock().unwrap().opened();
    while let Ok(event) = stream.next_event(SILENCE).await {
        let mut ear = ear.lock().unwrap();
        match event.event.as_str() {
            "notification" => ear.notification(&event.json(), event.id.as_deref()),
            "lost" => ear.lost = true,
            "closing" => return None,
            "status" | "" => {}
            other => ear.odd.push(format!("a {other} event: {}", event.data)),
        }
        if let Some(id) = event.id {
            ear.at(&id);
        }
    }
    None
}

async fn over_websocket(door: &Http, channels: &[&str], ear: &Mutex<Ear>) -> End {
    let cursor = ear.lock().unwrap().cursor.clone();
    // Where there is something to resume from, the first message says so instead of the query.
    let in_query = if cursor.is_none() { query(channels) } else { String::new() };
    let opened = open_websocket(door, &in_query);
    let Ok(Some(mut socket)) = timeout(OPENING, opened).await else { return None };
    if let Some(cursor) = cursor {
        let message = json!({ "subscribe": channels, "after": cursor });
        socket.send(Message::text(message.to_string())).await.ok()?;
    }
    loop {
        let message = timeout(SILENCE, socket.next()).await.ok()??.ok()?;
        if message.is_close() {
            return None;
        }
        let Some(text) = message.as_text() else { continue };
        let document: Value = match serde_json::from_str(text) {
            Ok(document) => document,
            Err(error) => return Some(format!("{error} in {text}")),
        };
        let mut ear = ear.lock().unwrap();
        let cursor = document["cursor"].as_str();
        if let Some(notification) = document.get("notification") {
            ear.notification(notification, cursor);
        } else if document.get("subscribed").is_some() {
            ear.opened();
            if let Some(cursor) = cursor {
                ear.at(cursor);
            }
        } else if document.get("lost").is_some() {
            ear.lost = true;
        } else if document.get("closing").is_some() {
            return None;
        } else if document["error"]["status"].as_u64() == Some(503) {
            // Redis did not confirm in time. Another connection asks anew.
            return None;
        } else {
            return Some(format!("a WebSocket says {text}"));
        }
    }
}

async fn open_websocket(door: &Http, query: &str) -> Option<WebSocketStream<TcpStream>> {
    let stream = TcpStream::connect(door.address()).await.ok()?;
    let uri = format!("ws://{}/v1/ws{query}", door.address());
    let (socket, _) = ClientBuilder::new().uri(&uri).ok()?.connect_on(stream).await.ok()?;
    Some(socket)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// Answers one request with this stream, ends it, and returns what was asked.
    async fn stream_once(listener: &TcpListener, events: &str) -> String {
        let (mut client, _) = listener.accept().await.unwrap();
        let mut asked = Vec::new();
        while !asked.ends_with(b"\r\n\r\n") {
            client.read_buf(&mut asked).await.unwrap();
        }
        let head =
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
        client.write_all(format!("{head}{events}").as_bytes()).await.unwrap();
        String::from_utf8(asked).unwrap()
    }

    #[tokio::test]
    async fn a_stream_that_told_of_a_place_is_resumed_from_there() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let door = Http::at(listener.local_addr().unwrap());
        let ear = Mutex::<Ear>::default();
        let direct = json!({ "subject": "lab.direct.0", "data": { "number": 1 } });
        let events = [
            format!("event: notification\nid: seven\ndata: {direct}\n\n"),
            format!(
                "event: lost\nid: nine\ndata: {{}}\n\nevent: notification\nid: seven\ndata: {direct}\n\n"
            ),
            String::new(),
        ];
        let mut asked = Vec::new();
        for events in &events {
            let (end, request) =
                tokio::join!(over_sse(&door, &["lab.*"], &ear), stream_once(&listener, events));
            assert_eq!(end, None);
            asked.push(request);
        }
        assert!(!asked[0].contains("last-event-id"), "{}", asked[0]);
        assert!(asked[1].contains("last-event-id: seven"), "{}", asked[1]);
        assert!(asked[2].contains("last-event-id: seven"), "{}", asked[2]);
        let ear = ear.into_inner().unwrap();
        assert_eq!(ear.heard, [(1, What::Direct(0, 1)), (2, What::Direct(0, 1))]);
        assert!(ear.resumes && ear.lost);
        assert_eq!(ear.odd, ["the position seven came twice"]);
    }
}
