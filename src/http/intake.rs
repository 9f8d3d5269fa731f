//! What a request brings: its content type, and its body within a limit and in time.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::HeaderMap;
use hyper::body::{Body, Incoming};
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE};
use serde_json::Value;

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

/// The whole body. One that says it is too large is refused before it is read.
pub(super) async fn read(
    headers: &HeaderMap,
    body: Incoming,
    limit: usize,
) -> Result<Bytes, Problem> {
    let identity = |encoding: &hyper::header::HeaderValue| encoding == "identity";
    if !headers.get(CONTENT_ENCODING).is_none_or(identity) {
        let detail = "send the body as it is, without a Content-Encoding";
        return Err(Problem::new(ProblemKind::UnsupportedMediaType, detail));
    }
    if body.size_hint().lower() > limit as u64 {
        return Err(too_large(limit));
    }
    match tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, limit).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large(limit)),
        Ok(Err(_)) => Err(Problem::new(ProblemKind::Malformed, "the body ended early")),
        Err(_) => {
            let detail = format!("the body did not arrive within {BODY_TIMEOUT:?}");
            Err(Problem::new(ProblemKind::RequestTimeout, detail))
        }
    }
}

/// The body as a JSON document; only where the content type says so.
pub(super) async fn read_json(
    headers: &HeaderMap,
    body: Incoming,
    limit: usize,
) -> Result<Value, Problem> {
    if media(headers) != Media::Json {
        return Err(unsupported("application/json"));
    }
    parse(&read(headers, body, limit).await?)
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
