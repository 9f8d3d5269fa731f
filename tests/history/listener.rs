//! A client of an event stream that remembers where it was.

use serde_json::Value;

use super::support::DEADLINE;
use super::support::http::{Http, Sse};

/// An open stream, and what a browser's EventSource would send as `Last-Event-ID`.
pub struct Listener {
    stream: Sse,
    /// The last `id:` that came.
    pub cursor: String,
}

/// What a listener hears.
#[derive(Debug, PartialEq)]
pub enum Heard {
    /// The data of a notification.
    Data(Value),
    /// What is lost: channels and reason.
    Lost(Value),
    /// The server says goodbye, or is gone.
    End(String),
}

impl Listener {
    /// Opens a stream of channels, as `a&channel=b.*`, and reads where it begins.
    pub async fn open(http: &Http, channels: &str) -> Listener {
        let stream = Sse::open(http, &format!("/v1/stream?channel={channels}")).await;
        let mut listener = Listener { stream, cursor: String::new() };
        while listener.cursor.is_empty() {
            let event = listener.stream.next_event(DEADLINE).await.unwrap();
            listener.cursor = event.id.unwrap_or_default();
        }
        listener
    }

    /// Comes back after `cursor`.
    pub async fn resume(http: &Http, channels: &str, cursor: &str) -> Listener {
        let path = format!("/v1/stream?channel={channels}");
        let stream = Sse::open_with(http, &path, &[("last-event-id", cursor)]).await;
        Listener { stream, cursor: cursor.to_owned() }
    }

    /// The next thing that matters.
    pub async fn next(&mut self) -> Heard {
        loop {
            let event = match self.stream.next_event(DEADLINE).await {
                Ok(event) => event,
                Err(end) => return Heard::End(end),
            };
            if let Some(id) = &event.id {
                self.cursor.clone_from(id);
            }
            match event.event.as_str() {
                "notification" => return Heard::Data(event.json()["data"].clone()),
                "lost" => return Heard::Lost(event.json()),
                "closing" => return Heard::End(event.data),
                _ => {}
            }
        }
    }

    /// The data of the next notification; anything else that matters is a panic.
    pub async fn data(&mut self) -> Value {
        match self.next().await {
            Heard::Data(data) => data,
            other => panic!("{other:?} instead of a notification"),
        }
    }

    /// The data of the next notifications.
    pub async fn take(&mut self, count: usize) -> Vec<Value> {
        let mut all = Vec::with_capacity(count);
        for _ in 0..count {
            all.push(self.data().await);
        }
        all
    }

    /// The data of all notifications up to the one that says `end`, without it.
    pub async fn until_end(&mut self) -> Vec<Value> {
        let mut all = Vec::new();
        loop {
            match self.data().await {
                end if end == "end" => return all,
                data => all.push(data),
            }
        }
    }

    /// What is lost, which must come next.
    pub async fn lost(&mut self) -> Value {
        match self.next().await {
            Heard::Lost(lost) => lost,
            other => panic!("{other:?} instead of a loss"),
        }
    }
}
