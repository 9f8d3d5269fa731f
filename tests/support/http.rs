//! A small HTTP client, and a reader of server-sent events.

use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{HeaderMap, Method, Request};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use tokio::time::timeout;

use super::DEADLINE;

/// A client of one server.
#[derive(Clone)]
pub struct Http {
    address: SocketAddr,
    client: Client<HttpConnector, Full<Bytes>>,
}

/// What the server answered.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The header fields.
    pub headers: HeaderMap,
    /// The body, all of it.
    pub body: Bytes,
}

impl Response {
    /// A header field, or the empty string.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The body as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("a body in UTF-8")
    }

    /// The body as JSON. Panics with the body if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| {
            panic!("{error} in the answer {}: {:?}", self.status, self.body)
        })
    }
}

impl Http {
    /// A client of the server at this address.
    pub fn at(address: SocketAddr) -> Http {
        Http { address, client: Client::builder(TokioExecutor::new()).build_http() }
    }

    /// Where the server is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// GET. Panics, as all of these do, if there is no answer.
    pub async fn get(&self, path: &str) -> Response {
        self.send(Method::GET, path, &[], "").await
    }

    /// POST of JSON.
    pub async fn post(&self, path: &str, body: &Value) -> Response {
        self.send(Method::POST, path, JSON, body.to_string()).await
    }

    /// PUT of JSON.
    pub async fn put(&self, path: &str, body: &Value) -> Response {
        self.send(Method::PUT, path, JSON, body.to_string()).await
    }

    /// DELETE.
    pub async fn delete(&self, path: &str) -> Response {
        self.send(Method::DELETE, path, &[], "").await
    }

    /// Any request.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Response {
        let what = format!("{method} http://{}{path}", self.address);
        let answer = self.try_send(method, path, headers, body).await;
        answer.unwrap_or_else(|error| panic!("{what}: {error}"))
    }

    /// Any request; says why there is no answer.
    pub async fn try_send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Response, String> {
        let request = self.open(method, path, headers, body.into());
        let exchange = async {
            let (head, body) = request.await?.into_parts();
            let body = body.collect().await.map_err(|error| reasons(&error))?.to_bytes();
            Ok(Response { status: head.status.as_u16(), headers: head.headers, body })
        };
        timeout(DEADLINE, exchange).await.map_err(|_| format!("none within {DEADLINE:?}"))?
    }

    async fn open(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Result<hyper::Response<Incoming>, String> {
        let uri = format!("http://{}{path}", self.address);
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body)).expect("a valid request");
        self.client.request(request).await.map_err(|error| reasons(&error))
    }
}

const JSON: &[(&str, &str)] = &[("content-type", "application/json")];

/// A server-sent event, or a comment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SseEvent {
    /// `event:`, empty if there was none.
    pub event: String,
    /// `data:`, lines joined by a newline.
    pub data: String,
    /// `id:`, if there was one.
    pub id: Option<String>,
    /// `retry:`, in milliseconds.
    pub retry: Option<u64>,
    /// The text of a comment line, which the server sends to keep the connection alive.
    pub comment: Option<String>,
}

impl SseEvent {
    /// The data as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }
}

/// An open stream of server-sent events. It reads only while asked for an event: a test that
/// does not ask is a client that stopped reading.
pub struct Sse {
    /// The header fields of the answer.
    pub headers: HeaderMap,
    body: Incoming,
    unread: Vec<u8>,
}

impl Sse {
    /// Opens the stream. Panics unless the server answers 200.
    pub async fn open(http: &Http, path: &str) -> Sse {
        Sse::open_with(http, path, &[]).await
    }

    /// Opens it with header fields, e.g. `last-event-id`.
    pub async fn open_with(http: &Http, path: &str, headers: &[(&str, &str)]) -> Sse {
        let opened = Sse::try_open(http, path, headers).await;
        opened.unwrap_or_else(|refusal| panic!("{path}: {refusal}"))
    }

    /// The same; says why there is no stream, an answer other than 200 by its number first.
    pub async fn try_open(
        http: &Http,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<Sse, String> {
        // A connection of its own, so that it closes when this is dropped.
        let http = Http::at(http.address);
        let mut fields = vec![("accept", "text/event-stream")];
        fields.extend_from_slice(headers);
        let answer = timeout(DEADLINE, http.open(Method::GET, path, &fields, Bytes::new())).await;
        let response = answer.map_err(|_| format!("no answer within {DEADLINE:?}"))??;
        let (head, body) = response.into_parts();
        if head.status != 200 {
            let body = body.collect().await.map(|body| body.to_bytes());
            return Err(format!("{} instead of a stream: {body:?}", head.status));
        }
        Ok(Sse { headers: head.headers, body, unread: Vec::new() })
    }

    /// The next event that bears data. Panics if none comes in time or the stream ends.
    pub async fn event(&mut self) -> SseEvent {
        loop {
            let next = self.next_event(DEADLINE).await;
            let event = next.unwrap_or_else(|silence| panic!("no event: {silence}"));
            if !event.data.is_empty() {
                return event;
            }
        }
    }

    /// The next event or comment; `Err` if none comes in time, or the stream ends.
    pub async fn next_event(&mut self, deadline: Duration) -> Result<SseEvent, String> {
        let event = async {
            loop {
                if let Some(event) = self.parse() {
                    return Ok(event);
                }
                match self.body.frame().await {
                    None => return Err("the stream ended".to_owned()),
                    Some(Err(error)) => return Err(reasons(&error)),
                    Some(Ok(frame)) => self.unread.extend(frame.data_ref().into_iter().flatten()),
                }
            }
        };
        timeout(deadline, event).await.map_err(|_| format!("nothing within {deadline:?}"))?
    }

    /// Takes one block, up to its empty line, from what was read.
    fn parse(&mut self) -> Option<SseEvent> {
        let end = self.unread.windows(2).position(|bytes| bytes == b"\n\n")?;
        let block: Vec<u8> = self.unread.drain(..end + 2).collect();
        let text = String::from_utf8(block).expect("a stream in UTF-8");
        let mut event = SseEvent::default();
        let mut data = Vec::new();
        for line in text.lines().filter(|line| !line.is_empty()) {
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "" => event.comment = Some(value.to_owned()),
                "event" => event.event = value.to_owned(),
                "data" => data.push(value),
                "id" => event.id = Some(value.to_owned()),
                "retry" => event.retry = value.parse().ok(),
                _ => panic!("no field of server-sent events: {line:?}"),
            }
        }
        event.data = data.join("\n");
        Some(event)
    }
}

/// An error with everything that lies under it.
fn reasons(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
