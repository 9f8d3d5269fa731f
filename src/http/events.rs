//! `POST /v1/events` and `POST /v1/notifications`: what comes in.

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::http::request::Parts;
use hyper::{HeaderMap, Response, StatusCode};
use serde_json::json;

use super::body::Body;
use super::intake::{self, Bodies, Media};
use super::public::json_response;
use crate::flow::ingest::{Accepted, Ingest, IngestError, Trace};
use crate::flow::notify::{Notify, NotifyError, Request};
use crate::model::{Event, Fault, Problem, ProblemKind, is_traceparent, unix_ms};
use crate::telemetry::trace::TraceContext;

/// A whole batch.
const MAX_BATCH_BYTES: usize = 4 * 1024 * 1024;

/// Takes events in, in any of the modes of CloudEvents over HTTP.
pub(super) async fn post(
    ingest: &Ingest,
    max_payload: usize,
    bodies: &Bodies,
    parts: &Parts,
    body: Incoming,
    context: Option<TraceContext>,
) -> Result<Response<Body>, Problem> {
    let headers = &parts.headers;
    let media = media(headers)?;
    let limit = if media == Mode::Batch { MAX_BATCH_BYTES } else { max_payload };
    let body = intake::read(headers, body, limit, bodies).await?;
    let events = events(media, headers, &body)?;
    check_wishes(media, &events)?;
    let trace = Trace { traceparent: traceparent(headers), context };
    let accepted = ingest.accept(events, trace).await.map_err(problem)?;
    let entry = |accepted: Accepted| match accepted.duplicate {
        true => json!({ "id": accepted.id, "duplicate": true }),
        false => json!({ "id": accepted.id }),
    };
    let accepted: Vec<_> = accepted.into_iter().map(entry).collect();
    Ok(json_response(StatusCode::ACCEPTED, &json!({ "accepted": accepted })))
}

/// How a request carries its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Shorthand,
    Structured,
    Batch,
    Binary,
}

/// As in the HTTP binding of CloudEvents: the content type decides, and only where it names no
/// CloudEvents format the header that makes a request a binary event.
fn media(headers: &HeaderMap) -> Result<Mode, Problem> {
    match intake::media(headers) {
        Media::Event => Ok(Mode::Structured),
        Media::Batch => Ok(Mode::Batch),
        _ if headers.contains_key("ce-specversion") => Ok(Mode::Binary),
        Media::Json => Ok(Mode::Shorthand),
        Media::Other => Err(intake::unsupported(
            "application/cloudevents+json, application/cloudevents-batch+json or application/json, \
             or any with a ce-specversion header",
        )),
    }
}

fn events(mode: Mode, headers: &HeaderMap, body: &Bytes) -> Result<Vec<Event>, Problem> {
    let events = match mode {
        Mode::Shorthand => Event::shorthand(intake::parse(body)?).map(|event| vec![event]),
        Mode::Structured => Event::structured(intake::parse(body)?).map(|event| vec![event]),
        Mode::Batch => Event::batch(intake::parse(body)?),
        Mode::Binary => {
            let named = headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
            let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
            Event::binary(named, content_type, body).map(|event| vec![event])
        }
    };
    events.map_err(Problem::invalid)
}

/// Whether every event may ask for the time, by the clock of this server, and for the order that
/// it asks for.
fn check_wishes(mode: Mode, events: &[Event]) -> Result<(), Problem> {
    let now_ms = unix_ms();
    let placed = |index: usize, fault: Fault| match mode {
        Mode::Batch => Event::fault_at(index, fault),
        Mode::Binary => Event::fault_in_header(fault),
        Mode::Shorthand | Mode::Structured => fault,
    };
    let faults = events.iter().enumerate().flat_map(|(index, event)| {
        let checks = [event.check_not_before(now_ms), event.check_partition_key()];
        checks.into_iter().filter_map(Result::err).map(move |fault| placed(index, fault))
    });
    let faults: Vec<_> = faults.collect();
    if faults.is_empty() { Ok(()) } else { Err(Problem::invalid(faults)) }
}

/// The caller's trace, if it is one.
pub(super) fn traceparent(headers: &HeaderMap) -> Option<&str> {
    headers.get("traceparent")?.to_str().ok().filter(|header| is_traceparent(header))
}

fn problem(error: IngestError) -> Problem {
    let detail = error.to_string();
    match error {
        IngestError::Full => Problem::new(ProblemKind::QueueFull, detail),
        IngestError::TooLarge { .. } => Problem::new(ProblemKind::PayloadTooLarge, detail),
        IngestError::Unavailable(_) => Problem::new(ProblemKind::RedisUnavailable, detail),
        IngestError::Unknown { ids, .. } => {
            Problem::new(ProblemKind::OutcomeUnknown, detail).with_ids(ids)
        }
    }
}

/// Publishes a notification without a job.
pub(super) async fn post_notification(
    notify: &Notify,
    max_payload: usize,
    bodies: &Bodies,
    parts: &Parts,
    body: Incoming,
    context: Option<TraceContext>,
) -> Result<Response<Body>, Problem> {
    let document = intake::read_json(&parts.headers, body, max_payload, bodies).await?;
    let request = Request::parse(document).map_err(Problem::invalid)?;
    let trace = Trace { traceparent: traceparent(&parts.headers), context };
    let published = notify.publish(request, trace).await.map_err(|error| {
        let detail = error.to_string();
        match error {
            NotifyError::TooLarge(_) => Problem::new(ProblemKind::PayloadTooLarge, detail),
            NotifyError::Unavailable(_) => Problem::new(ProblemKind::RedisUnavailable, detail),
            NotifyError::Unknown { id, .. } => {
                Problem::new(ProblemKind::OutcomeUnknown, detail).with_ids(vec![id])
            }
        }
    })?;
    let document = json!({ "id": published.id, "receivers": published.receivers });
    Ok(json_response(StatusCode::OK, &document))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(content_type: &str, binary: bool) -> Result<Mode, ProblemKind> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, content_type.parse().unwrap());
        if binary {
            headers.insert("ce-specversion", "1.0".parse().unwrap());
        }
        media(&headers).map_err(|problem| problem.kind())
    }

    #[test]
    fn the_content_type_decides_and_only_then_the_header() {
        assert_eq!(mode("application/json", false), Ok(Mode::Shorthand));
        assert_eq!(mode("application/json", true), Ok(Mode::Binary));
        assert_eq!(mode("application/cloudevents+json", true), Ok(Mode::Structured));
        assert_eq!(mode("application/cloudevents-batch+json", false), Ok(Mode::Batch));
        assert_eq!(mode("text/plain", true), Ok(Mode::Binary));
        assert_eq!(mode("text/plain", false), Err(ProblemKind::UnsupportedMediaType));
    }

    #[test]
    fn a_fault_in_a_batch_names_the_event() {
        let body =
            Bytes::from_static(br#"[{"specversion":"1.0","id":"1","source":"/s","type":"t"},{}]"#);
        let problem = events(Mode::Batch, &HeaderMap::new(), &body).unwrap_err();
        assert_eq!(problem.kind(), ProblemKind::Invalid);
        assert!(problem.errors().iter().all(|fault| fault.path.starts_with("$[1]")));
        let empty = events(Mode::Batch, &HeaderMap::new(), &Bytes::from_static(b"[]"));
        assert_eq!(empty.unwrap(), []);
    }

    #[test]
    fn what_is_not_json_is_malformed_and_what_breaks_a_rule_is_invalid() {
        let kind = |body: &'static [u8]| {
            let refused = events(Mode::Shorthand, &HeaderMap::new(), &Bytes::from_static(body));
            refused.unwrap_err().kind()
        };
        assert_eq!(kind(b"{"), ProblemKind::Malformed);
        assert_eq!(kind(b"{}"), ProblemKind::Invalid);
        assert_eq!(kind(b"[]"), ProblemKind::Invalid);
    }
}
