//! What a request brings: its content type, and its body within a limit and in time.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::HeaderMap;
use hyper::body::{Body, Incoming};
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE};
use serde_json::Value;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::model::{Problem, ProblemKind};

/// For the whole body.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// What the doors read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Media {
    /// `application/json`.
    Json,
    /// `application/cloudevents+json`.
    Event,
    /// `application/cloudevents-batch+json`.
    Batch,
    /// Anything else, or none.
    Other,
}

/// The media type of a request's content, without its parameters.
pub(super) fn media(headers: &HeaderMap) -> Media {
    let mut all = headers.get_all(CONTENT_TYPE).iter();
    let (Some(first), None) = (all.next(), all.next()) else { return Media::Other };
    let essence = first.to_str().unwrap_or_default().split(';').next().unwrap_or_default();
    match essence.trim().to_ascii_lowercase().as_str() {
        "application/json" => Media::Json,
        "application/cloudevents+json" => Media::Event,
        "application/cloudevents-batch+json" => Media::Batch,
        _ => Media::Other,
    }
}

/// Room for all the bodies that are in memory at one time.
pub struct Bodies(Semaphore);

impl Bodies {
    /// Room for so many bytes. A request that finds none left is refused.
    pub fn with_room(bytes: usize) -> Self {
        Self(Semaphore::new(bytes))
    }

    fn take(&self, bytes: usize) -> Result<SemaphorePermit<'_>, Problem> {
        let room = u32::try_from(bytes).ok().and_then(|it| self.0.try_acquire_many(it).ok());
        room.ok_or_else(|| {
            let detail = "this server is reading as many bodies as it has memory for";
            Problem::new(ProblemKind::Overloaded, detail)
        })
    }
}

/// A whole body, and the room that it takes until it is dropped.
pub(super) struct Content<'a> {
    bytes: Bytes,
    _room: SemaphorePermit<'a>,
}

impl std::ops::Deref for Content<'_> {
    type Target = Bytes;
    fn deref(&self) -> &Bytes {
        &self.bytes
    }
}

/// The whole body. One that says it is too large is refused before it is read.
pub(super) async fn read<'a>(
    headers: &HeaderMap,
    body: Incoming,
    limit: usize,
    bodies: &'a Bodies,
) -> Result<Content<'a>, Problem> {
    let identity = |encoding: &hyper::header::HeaderValue| encoding == "identity";
    if !headers.get(CONTENT_ENCODING).is_none_or(identity) {
        let detail = "send the body as it is, without a Content-Encoding";
        return Err(Problem::new(ProblemKind::UnsupportedMediaType, detail));
    }
    if body.size_hint().lower() > limit as u64 {
        return Err(too_large(limit));
    }
    let reading = tokio::time::timeout(BODY_TIMEOUT, collect(body, limit, bodies)).await;
    reading.unwrap_or_else(|_| {
        let detail = format!("the body did not arrive within {BODY_TIMEOUT:?}");
        Err(Problem::new(ProblemKind::RequestTimeout, detail))
    })
}

/// Room is taken for what has come, not for what was announced: announcing costs nothing.
async fn collect(
    mut body: Incoming,
    limit: usize,
    bodies: &Bodies,
) -> Result<Content<'_>, Problem> {
    let (mut parts, mut room) = (Vec::new(), bodies.take(0)?);
    while let Some(frame) = body.frame().await {
        let early = |_| Problem::new(ProblemKind::Malformed, "the body ended early");
        let Ok(data) = frame.map_err(early)?.into_data() else { continue };
        if room.num_permits() + data.len() > limit {
            return Err(too_large(limit));
        }
        room.merge(bodies.take(data.len())?);
        parts.push(data);
    }
    let bytes = match parts.len() {
        0 | 1 => parts.pop().unwrap_or_default(),
        _ => parts.concat().into(),
    };
    Ok(Content { bytes, _room: room })
}

/// The body as a JSON document; only where the content type says so.
pub(super) async fn read_json(
    headers: &HeaderMap,
    body: Incoming,
    limit: usize,
    bodies: &Bodies,
) -> Result<Value, Problem> {
    if media(headers) != Media::Json {
        return Err(unsupported("application/json"));
    }
    parse(&read(headers, body, limit, bodies).await?)
}

/// A JSON document.
pub(super) fn parse(bytes: &[u8]) -> Result<Value, Problem> {
    serde_json::from_slice(bytes).map_err(|error| {
        Problem::new(ProblemKind::Malformed, format!("the body is not JSON: {error}"))
    })
}

/// The content type is none of these.
pub(super) fn unsupported(expected: &str) -> Problem {
    let detail = format!("send the body with Content-Type {expected}");
    Problem::new(ProblemKind::UnsupportedMediaType, detail)
}

fn too_large(limit: usize) -> Problem {
    Problem::new(ProblemKind::PayloadTooLarge, format!("the body may be {limit} bytes long"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_media_type_is_known_by_its_essence_alone() {
        let read = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, value.parse().unwrap());
            media(&headers)
        };
        assert_eq!(read("application/json"), Media::Json);
        assert_eq!(read("Application/JSON ; charset=utf-8"), Media::Json);
        assert_eq!(read("application/cloudevents+json; charset=utf-8"), Media::Event);
        assert_eq!(read("application/cloudevents-batch+json"), Media::Batch);
        for other in ["text/plain", "application/jsonp", "text/plain; application/json", ""] {
            assert_eq!(read(other), Media::Other, "{other}");
        }
        let mut twice = HeaderMap::new();
        twice.append(CONTENT_TYPE, "application/json".parse().unwrap());
        twice.append(CONTENT_TYPE, "text/plain".parse().unwrap());
        assert_eq!(media(&twice), Media::Other);
    }
}
