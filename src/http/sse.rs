//! Server-sent events: `GET /v1/stream`.

use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use hyper::Response;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use tokio::time::{Interval, MissedTickBehavior};

use super::body::{Body, Chunk};
use super::subscribe;
use crate::flow::listen::Listen;
use crate::hub::{Client, Taken};
use crate::model::{ClientClose, Fault, Problem, Transport};
use tokio_util::sync::CancellationToken;

/// Keeps proxies from closing an idle stream, and tells us of a client that is gone.
const COMMENT: &[u8] = b":\n\n";
/// Tells nginx to pass each event on at once.
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
/// Opens a stream: answers 200 only after Redis has confirmed every subscription.
pub(super) async fn open(
    listen: &Listen,
    heartbeat: Duration,
    query: &str,
    cut: CancellationToken,
) -> Result<Response<Body>, Problem> {
    let subscriptions = subscribe::channels(query).map_err(Problem::invalid)?;
    if subscriptions.is_empty() {
        let message = "is missing; name at least one, as in /v1/stream?channel=door".into();
        return Err(Problem::invalid(vec![Fault { path: "channel".into(), message }]));
    }
    let client = listen.open(Transport::Sse, &subscriptions, cut).await;
    let client = client.map_err(subscribe::problem)?;
    let stream = EventStream::new(client, listen.announced(), heartbeat);
    let mut response = Response::new(Body::Events(Box::new(stream)));
    let headers = response.headers_mut();
    let content_type = HeaderValue::from_static("text/event-stream; charset=utf-8");
    headers.insert(CONTENT_TYPE, content_type);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_ACCEL_BUFFERING, HeaderValue::from_static("no"));
    Ok(response)
}

/// The body of a stream. Dropped, its client leaves the hub.
pub struct EventStream {
    client: Client,
    opening: Option<Bytes>,
    heartbeat: Interval,
    ended: bool,
}

impl EventStream {
    fn new(client: Client, announced: Option<Bytes>, heartbeat: Duration) -> Self {
        let mut heartbeat =
            tokio::time::interval_at(tokio::time::Instant::now() + heartbeat, heartbeat);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut opening = BytesMut::new();
        opening.put_slice(format!("retry: {}\n\n", subscribe::reconnect()).as_bytes());
        opening.put_slice(&announced.unwrap_or_default());
        Self { client, opening: Some(opening.freeze()), heartbeat, ended: false }
    }

    /// The next piece of the stream; `None` after the goodbye.
    pub(super) fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Chunk>> {
        if let Some(opening) = self.opening.take() {
            return Poll::Ready(Some(Chunk::Bytes(opening)));
        }
        if self.ended {
            return Poll::Ready(None);
        }
        match self.client.outbox().poll_take(cx) {
            Poll::Ready(Taken::Batch(batch)) => Poll::Ready(Some(Chunk::Batch(batch))),
            Poll::Ready(Taken::Closed(reason)) => {
                self.ended = true;
                Poll::Ready(Some(Chunk::Bytes(closing(reason, subscribe::reconnect()))))
            }
            Poll::Pending => self
                .heartbeat
                .poll_tick(cx)
                .map(|_| Some(Chunk::Bytes(Bytes::from_static(COMMENT)))),
        }
    }
}

/// The goodbye. `retry` makes a browser's own reconnect obey the hint as well.
fn closing(reason: ClientClose, reconnect: u64) -> Bytes {
    let data = serde_json::json!({ "reason": reason.label(), "reconnect": reconnect });
    format!("event: closing\nretry: {reconnect}\ndata: {data}\n\n").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_goodbye_tells_a_browser_when_to_come_back() {
        let goodbye = closing(ClientClose::Shutdown, 1_500);
        assert_eq!(
            goodbye,
            "event: closing\nretry: 1500\ndata: {\"reason\":\"shutdown\",\"reconnect\":1500}\n\n"
        );
    }
}
