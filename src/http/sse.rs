//! Server-sent events: `GET /v1/stream`.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::Response;
use hyper::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue};
use tokio::net::TcpStream;
use tokio::task::coop;
use tokio::time::Interval;

use super::body::Body;
use super::session::{self, poll_left};
use super::subscribe;
use crate::flow::listen::{Listen, Opened, Returning};
use crate::hub::{Client, Frame, Written, id};
use crate::model::{ClientClose, Fault, Position, Problem, Transport};

/// Keeps proxies from closing an idle stream, and tells us of a client that is gone.
const COMMENT: &[u8] = b":\n\n";
/// Tells nginx to pass each event on at once.
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// Opens a stream: answers 200 only after Redis has confirmed every subscription.
pub(super) async fn open(
    listen: &Listen,
    heartbeat: Duration,
    query: &str,
    last_event_id: Option<&[u8]>,
) -> Result<Response<Body>, Problem> {
    let subscriptions = subscribe::channels(query).map_err(Problem::invalid)?;
    let since = subscribe::since(query, last_event_id);
    let since = since.map_err(|fault| Problem::invalid(vec![fault]))?;
    if subscriptions.is_empty() {
        let message = "is missing; name at least one, as in /v1/stream?channel=door".into();
        return Err(Problem::invalid(vec![Fault { path: "channel".into(), message }]));
    }
    let opened = listen.open(Transport::Sse, &subscriptions, since).await;
    let Opened { client, at, returning } = opened.map_err(subscribe::problem)?;
    let mut opening = format!("retry: {}\n", subscribe::reconnect()).into_bytes();
    opening.extend(at.map(id).into_iter().flatten());
    opening.push(b'\n');
    opening.extend_from_slice(&listen.announced().unwrap_or_default());
    let session = Session { client, heartbeat, opening: opening.into(), returning };
    let mut response = Response::new(Body::Session(session::Session::Events(Box::new(session))));
    let headers = response.headers_mut();
    let content_type = HeaderValue::from_static("text/event-stream; charset=utf-8");
    headers.insert(CONTENT_TYPE, content_type);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_ACCEL_BUFFERING, HeaderValue::from_static("no"));
    // The stream is as long as the connection, so it needs no chunks to tell where it ends.
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    Ok(response)
}

/// A stream that Redis has confirmed.
pub struct Session {
    client: Client,
    heartbeat: Duration,
    opening: Bytes,
    returning: Option<Returning>,
}

impl Session {
    /// Who listens.
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Streams until either side ends it.
    pub(super) async fn run(self, stream: TcpStream, head: Bytes) {
        let Self { client, heartbeat, opening, returning } = self;
        let (stream, heartbeat) = (Arc::new(stream), session::heartbeat(heartbeat));
        client.outbox().attach(stream.clone(), [head, opening].concat().into());
        let mut events = Events { client, stream, heartbeat, returning };
        let end = poll_fn(|cx| events.poll(cx)).await;
        let Events { client, stream, .. } = events;
        let (End::Ours(reason) | End::Theirs(reason)) = end;
        client.outbox().close(reason);
        // It counts as closed from here on, and what waits for it as dropped.
        let rest = client.outbox().detach();
        drop(client);
        if let End::Ours(reason) = end {
            let last = closing(reason, subscribe::reconnect());
            session::bounded(session::farewell(&stream, rest, &last)).await;
        }
    }
}

/// Who ended it, and why.
enum End {
    /// We do, and say so.
    Ours(ClientClose),
    /// Nobody is there any more.
    Theirs(ClientClose),
}

struct Events {
    client: Client,
    stream: Arc<TcpStream>,
    heartbeat: Interval,
    returning: Option<Returning>,
}

impl Events {
    /// Ready at the end.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        loop {
            // A client for whom more comes than it takes shares its thread with the others.
            ready!(coop::poll_proceed(cx)).made_progress();
            if let Poll::Ready(reason) = poll_left(&self.stream, cx) {
                return Poll::Ready(End::Theirs(reason));
            }
            if let Some(returning) = &mut self.returning
                && returning.as_mut().poll(cx).is_ready()
            {
                self.returning = None;
            }
            match self.client.outbox().write(cx) {
                Written::More => {}
                Written::Everything => {
                    ready!(self.heartbeat.poll_tick(cx));
                    if !self.client.advance(comment_at) {
                        let comment = Frame::announcement(Bytes::from_static(COMMENT));
                        self.client.outbox().push(comment);
                    }
                }
                Written::Blocked => {
                    if let Err(error) = ready!(self.stream.poll_write_ready(cx)) {
                        return Poll::Ready(End::Theirs(session::lost(&error)));
                    }
                }
                Written::Closed(reason) => return Poll::Ready(End::Ours(reason)),
                Written::Lost(reason) => return Poll::Ready(End::Theirs(reason)),
            }
        }
    }
}

/// The comment for a client that has heard nothing lately: where to resume from is later now.
fn comment_at(position: Position) -> Frame {
    Frame::announcement([&id(position), COMMENT].concat().into())
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
