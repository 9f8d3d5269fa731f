//! WebSockets: `GET /v1/ws`. `open` agrees to one, [`Session`] is what is said on it,
//! `message` reads what clients ask for, and `socket` has the frames.

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod message;
mod session;
mod socket;

use std::time::Duration;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::prelude::{BASE64_STANDARD, Engine};
use hyper::header::{
    CONNECTION, CONTENT_LENGTH, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_VERSION, TRANSFER_ENCODING, UPGRADE,
};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Response, StatusCode, Version};

use super::body::Body;
use super::subscribe;
use crate::flow::listen::{Listen, Since};
use crate::model::{Fault, Problem, ProblemKind, Transport};

pub use session::Session;

/// Agrees to a WebSocket. What the query asks for is not subscribed yet when this answers.
pub(super) fn open(
    listen: &Listen,
    heartbeat: Duration,
    parts: &Parts,
) -> Result<Response<Body>, Problem> {
    // An HTTP/1.0 client knows no 101, and its Upgrade means nothing (RFC 9110, section 7.8).
    if parts.version != Version::HTTP_11 {
        return Err(required());
    }
    let accept = handshake(&parts.headers)?;
    let query = parts.uri.query().unwrap_or_default();
    let wanted = subscribe::channels(query).map_err(Problem::invalid)?;
    let since = subscribe::since(query, None).map_err(|fault| Problem::invalid(vec![fault]))?;
    if wanted.is_empty() && since != Since::Now {
        let message = "goes with the channels it is about; name them, as in ?channel=door".into();
        return Err(Problem::invalid(vec![Fault { path: "after".into(), message }]));
    }
    let refused = |refusal| subscribe::refused(refusal, "channel");
    let mut client = listen.hub().join(Transport::Ws).map_err(refused)?;
    let unheard = client.want(&wanted).map_err(refused)?;
    let session = Session::new(client, listen.clone(), heartbeat, wanted, unheard, since);
    let session = super::session::Session::WebSocket(Box::new(session));
    let mut response = Response::new(Body::Session(session));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    Ok(response)
}

/// Checks the client's half of the handshake, and makes the proof that it was read (RFC 6455,
/// section 4.2).
fn handshake(headers: &HeaderMap) -> Result<HeaderValue, Problem> {
    let version = headers.get(SEC_WEBSOCKET_VERSION);
    if !lists(headers, UPGRADE, "websocket")
        || !lists(headers, CONNECTION, "upgrade")
        || version.is_none_or(|version| version != "13")
    {
        return Err(required());
    }
    let empty = |length: &HeaderValue| length == "0";
    if headers.contains_key(TRANSFER_ENCODING) || !headers.get(CONTENT_LENGTH).is_none_or(empty) {
        return Err(Problem::new(ProblemKind::Malformed, "a request for a WebSocket has no body"));
    }
    let mut keys = headers.get_all(SEC_WEBSOCKET_KEY).iter();
    let key = keys.next().filter(|_| keys.next().is_none()).map(HeaderValue::as_bytes);
    let sound = |key: &&[u8]| BASE64_STANDARD.decode(key).is_ok_and(|nonce| nonce.len() == 16);
    let key = key.filter(sound).ok_or_else(|| {
        Problem::new(ProblemKind::Malformed, "Sec-WebSocket-Key must be 16 bytes in base64, once")
    })?;
    let proof = [key, b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"].concat();
    let proof = BASE64_STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &proof));
    Ok(HeaderValue::from_str(&proof).expect("base64 is ASCII"))
}

/// Whether a header, which may be there several times, lists this word in any case.
fn lists(headers: &HeaderMap, name: HeaderName, word: &str) -> bool {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|token| token.trim().eq_ignore_ascii_case(word))
}

fn required() -> Problem {
    let detail = "this path is for a WebSocket: send Connection: Upgrade, Upgrade: websocket \
                  and Sec-WebSocket-Version: 13 over HTTP/1.1";
    Problem::new(ProblemKind::UpgradeRequired, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(change: impl FnOnce(&mut HeaderMap)) -> Result<HeaderValue, ProblemKind> {
        let mut headers = HeaderMap::new();
        headers.insert(UPGRADE, "WebSocket".parse().unwrap());
        headers.insert(CONNECTION, "keep-alive, Upgrade".parse().unwrap());
        headers.insert(SEC_WEBSOCKET_VERSION, "13".parse().unwrap());
        headers.insert(SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ==".parse().unwrap());
        change(&mut headers);
        handshake(&headers).map_err(|problem| problem.kind())
    }

    #[test]
    fn the_example_of_the_rfc_is_answered_as_the_rfc_says() {
        assert_eq!(request(|_| ()).unwrap(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn what_does_not_begin_a_websocket_is_told_how() {
        for header in [UPGRADE, CONNECTION, SEC_WEBSOCKET_VERSION] {
            let missing = request(|headers| drop(headers.remove(&header)));
            assert_eq!(missing, Err(ProblemKind::UpgradeRequired), "{header}");
            let other = request(|headers| drop(headers.insert(&header, "8".parse().unwrap())));
            assert_eq!(other, Err(ProblemKind::UpgradeRequired), "{header}");
        }
    }

    #[test]
    fn a_key_that_is_none_and_a_body_are_malformed() {
        for key in ["", "x", "dGhlIHNhbXBsZQ==", "dGhlIHNhbXBsZSBub25jZQ"] {
            let answer =
                request(|headers| drop(headers.insert(SEC_WEBSOCKET_KEY, key.parse().unwrap())));
            assert_eq!(answer, Err(ProblemKind::Malformed), "{key}");
        }
        let twice = request(|headers| {
            headers.append(SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ==".parse().unwrap());
        });
        assert_eq!(twice, Err(ProblemKind::Malformed));
        let body = request(|headers| drop(headers.insert(CONTENT_LENGTH, "5".parse().unwrap())));
        assert_eq!(body, Err(ProblemKind::Malformed));
    }
}
