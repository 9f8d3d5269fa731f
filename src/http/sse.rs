//! Server-sent events: `GET /v1/stream`.

use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use hyper::Response;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use tokio::time::{Interval, MissedTickBehavior};

use super::body::{Body, Chunk};
use crate::flow::listen::{Listen, ListenError};
use crate::hub::{Client, Refusal, Taken};
use crate::model::{ClientClose, Fault, Problem, ProblemKind, Subscription, Transport};
use tokio_util::sync::CancellationToken;

/// Keeps proxies from closing an idle stream, and tells us of a client that is gone.
const COMMENT: &[u8] = b":\n\n";
/// Tells nginx to pass each event on at once.
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
/// When a client should come back after it lost us, spread so that not all come at once.
const RECONNECT: std::ops::Range<u64> = 1_000..5_000;

/// Opens a stream: answers 200 only after Redis has confirmed every subscription.
pub(super) async fn open(
    listen: &Listen,
    heartbeat: Duration,
    query: &str,
    cut: CancellationToken,
) -> Result<Response<Body>, Problem> {
    let subscriptions = subscriptions(query).map_err(Problem::invalid)?;
    let client = listen.open(Transport::Sse, &subscriptions, cut).await.map_err(problem)?;
    let stream = EventStream::new(client, listen.announced(), heartbeat);
    let mut response = Response::new(Body::Events(Box::new(stream)));
    let headers = response.headers_mut();
    let content_type = HeaderValue::from_static("text/event-stream; charset=utf-8");
    headers.insert(CONTENT_TYPE, content_type);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_ACCEL_BUFFERING, HeaderValue::from_static("no"));
    Ok(response)
}

/// The channels of `?channel=a&channel=b.*`.
fn subscriptions(query: &str) -> Result<Vec<Subscription>, Vec<Fault>> {
    let (mut subscriptions, mut faults) = (Vec::new(), Vec::new());
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        if name == "channel" {
            match Subscription::parse(&value) {
                Ok(subscription) => subscriptions.push(subscription),
                Err(fault) => {
                    faults.push(Fault { message: format!("`{value}` {}", fault.message), ..fault });
                }
            }
        }
    }
    if subscriptions.is_empty() && faults.is_empty() {
        let message = "is missing; name at least one, as in /v1/stream?channel=door".into();
        faults.push(Fault { path: "channel".into(), message });
    }
    if faults.is_empty() { Ok(subscriptions) } else { Err(faults) }
}

fn problem(error: ListenError) -> Problem {
    match error {
        ListenError::Refused(refusal @ Refusal::TooManySubscriptions { .. }) => {
            Problem::invalid(vec![Fault { path: "channel".into(), message: refusal.to_string() }])
        }
        ListenError::Refused(refusal @ Refusal::TooManyPrefixes { .. }) => {
            Problem::new(ProblemKind::PrefixesExhausted, refusal.to_string())
        }
        ListenError::Refused(refusal @ Refusal::Draining) => {
            Problem::new(ProblemKind::ShuttingDown, refusal.to_string())
        }
        ListenError::Denied(denied) => {
            let names: Vec<_> = denied.iter().map(Subscription::to_string).collect();
            let names = names.join(", ");
            let detail = format!("the ACL of Redis does not let this server subscribe to {names}");
            Problem::new(ProblemKind::SubscriptionRefused, detail)
        }
        ListenError::Redis(error) => Problem::new(ProblemKind::RedisUnavailable, error.to_string()),
    }
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
        opening.put_slice(format!("retry: {}\n\n", fastrand::u64(RECONNECT)).as_bytes());
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
                Poll::Ready(Some(Chunk::Bytes(closing(reason, fastrand::u64(RECONNECT)))))
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
    fn every_bad_channel_is_named_and_no_channel_at_all_is_a_fault() {
        let faults = subscriptions("channel=a&channel=*&channel=b..c").unwrap_err();
        assert_eq!(faults.len(), 2);
        assert!(faults[0].message.starts_with("`*` "), "{}", faults[0].message);
        assert_eq!(subscriptions("channels=a").unwrap_err().len(), 1);
        let good = subscriptions("channel=a.%2A&x=y&channel=b").unwrap();
        assert_eq!(good.iter().map(ToString::to_string).collect::<Vec<_>>(), ["a.*", "b"]);
    }

    #[test]
    fn the_goodbye_tells_a_browser_when_to_come_back() {
        let goodbye = closing(ClientClose::Shutdown, 1_500);
        assert_eq!(
            goodbye,
            "event: closing\nretry: 1500\ndata: {\"reason\":\"shutdown\",\"reconnect\":1500}\n\n"
        );
    }
}
