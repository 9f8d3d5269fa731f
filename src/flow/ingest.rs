//! Events in: each becomes a job, and the caller hears it once Redis has them all.

use crate::conn::{self, Sent};
use crate::model::{Event, JobType};
use crate::queue::{Dedup, DedupKey, EnqueueError, Enqueued, NewJob, Partition, Producer};
use crate::telemetry::events::queue::EventsAccepted;
use crate::telemetry::trace::{TraceContext, producer_span};

/// What the server itself adds to an event in shorthand: id, source, time, specversion.
const FILLED_IN: usize = 256;

/// An event whose job is in Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The event's id.
    pub id: String,
    /// Source and id were seen before: the job is the earlier one.
    pub duplicate: bool,
}

/// Why events were not accepted, or may not have been.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// The queue is over its critical threshold. Nothing was kept.
    #[error("the queue is full; it opens again when it has come down to its recovery threshold")]
    Full,
    /// One event is too large. Nothing was sent.
    #[error("event {index} is {bytes} bytes long; at most {limit} are allowed")]
    TooLarge {
        /// Its place in the request, from 0.
        index: usize,
        /// Its length as JSON.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// Redis has none of them, and nothing was kept.
    #[error("{0}")]
    Unavailable(conn::Error),
    /// Redis may have them: repeat them with the same source and these ids.
    #[error("{error}")]
    Unknown {
        /// In the order of the request.
        ids: Vec<String>,
        /// What went wrong.
        error: conn::Error,
    },
}

/// Takes events in. Cheap to clone.
#[derive(Clone)]
pub struct Ingest {
    producer: Producer,
    max_payload: usize,
}

/// The trace that events came in with.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trace<'a> {
    /// As the caller sent it, in a header.
    pub traceparent: Option<&'a str>,
    /// Ours, below it; `None` when tracing is off.
    pub context: Option<TraceContext>,
}

impl Ingest {
    /// Puts jobs into the queue of `producer`; an event may be `max_payload` bytes of JSON long,
    /// not counting what the server fills in.
    pub fn new(producer: Producer, max_payload: usize) -> Self {
        Self { producer, max_payload }
    }

    /// Accepts all of the events or none. Dropped while it waits, they may still get in.
    pub async fn accept(
        &self,
        events: Vec<Event>,
        trace: Trace<'_>,
    ) -> Result<Vec<Accepted>, IngestError> {
        let span = producer_span(trace.context, events.len());
        // Events with a trace of their own go on in that one.
        events.iter().filter_map(Event::traceparent).for_each(|own| span.link(own));
        let sent = span.traceparent();
        let ids: Vec<_> = events.iter().map(|event| event.id().to_owned()).collect();
        let jobs = events.into_iter().enumerate().map(|(index, event)| {
            let limit = self.max_payload + FILLED_IN;
            job(event, trace.traceparent, sent.as_deref(), limit)
                .map_err(|bytes| IngestError::TooLarge { index, bytes, limit: self.max_payload })
        });
        let jobs = jobs.collect::<Result<Vec<_>, _>>()?;
        let enqueued = span.instrument(self.producer.enqueue(&jobs)).await.inspect_err(|error| {
            span.failed(match error {
                EnqueueError::Full => "queue_full",
                EnqueueError::Redis(error) => error.reason().label(),
            });
        });
        match enqueued {
            Ok(enqueued) => {
                let duplicate = enqueued.iter().filter(|job| job.duplicate).count() as u64;
                let fresh = enqueued.len() as u64 - duplicate;
                EventsAccepted { fresh, duplicate }.emit();
                let accepted =
                    |(id, job): (String, Enqueued)| Accepted { id, duplicate: job.duplicate };
                Ok(ids.into_iter().zip(enqueued).map(accepted).collect())
            }
            Err(EnqueueError::Full) => Err(IngestError::Full),
            Err(EnqueueError::Redis(error)) => Err(refusal(ids, error)),
        }
    }
}

/// The job of an event. A trace of the event's own goes before the one it was sent in: `sent` is
/// ours, and without it `header` travels on untouched. Over the limit, says how long it is.
fn job(
    event: Event,
    header: Option<&str>,
    sent: Option<&str>,
    limit: usize,
) -> Result<NewJob, usize> {
    let traceparent = event.traceparent().or(sent).or(header).map(str::to_owned);
    let not_before_ms = event.not_before_ms();
    let partition = event.partition_key().map(Partition::of);
    let event = match header {
        Some(header) => event.with_traceparent(header),
        None => event,
    };
    let body = event.to_json();
    if body.len() > limit {
        return Err(body.len());
    }
    let key = DedupKey::new(event.source(), event.id());
    let dedup = if event.assigned_id() { Dedup::Assigned(key) } else { Dedup::Given(key) };
    let dedup = Some(dedup);
    Ok(NewJob { job_type: JobType::Event, body, traceparent, dedup, not_before_ms, partition })
}

fn refusal(ids: Vec<String>, error: conn::Error) -> IngestError {
    match error.sent() {
        Sent::No | Sent::Refused => IngestError::Unavailable(error),
        Sent::Maybe => IngestError::Unknown { ids, error },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const HEADER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    const OURS: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-bbbbbbbbbbbbbbbb-01";
    const OWN: &str = "00-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-bbbbbbbbbbbbbbbb-00";

    fn event(document: serde_json::Value) -> Event {
        Event::shorthand(document).unwrap()
    }

    #[test]
    fn an_id_of_the_callers_own_is_told_from_one_that_we_made() {
        let dedup = |document| job(event(document), None, None, 1_000).unwrap().dedup;
        assert!(matches!(dedup(json!({"type": "t"})), Some(Dedup::Assigned(_))));
        let key = DedupKey::new("/v1/events", "7");
        assert_eq!(dedup(json!({"type": "t", "id": "7"})), Some(Dedup::Given(key)));
    }

    #[test]
    fn an_event_over_the_limit_is_told_its_length() {
        let large = event(json!({"type": "t", "data": "x".repeat(300)}));
        assert!(job(large, None, None, 300).is_err_and(|bytes| bytes > 300));
    }

    #[test]
    fn the_trace_is_the_events_own_or_the_one_it_was_sent_in() {
        let traced =
            |document, header, sent| job(event(document), header, sent, 1_000).unwrap().traceparent;
        let own = json!({"type": "t", "traceparent": OWN});
        assert_eq!(traced(own, Some(HEADER), Some(OURS)).as_deref(), Some(OWN));
        let none = json!({"type": "t"});
        assert_eq!(traced(none.clone(), Some(HEADER), Some(OURS)).as_deref(), Some(OURS));
        assert_eq!(traced(none.clone(), Some(HEADER), None).as_deref(), Some(HEADER));
        assert_eq!(traced(none, None, None), None);
    }

    #[test]
    fn only_what_redis_may_have_executed_is_an_unknown_outcome() {
        let lost = refusal(vec!["7".into()], conn::Error::Disconnected);
        assert!(matches!(lost, IngestError::Unknown { ids, .. } if ids == ["7"]));
        let closed = refusal(vec!["7".into()], conn::Error::Closed);
        assert!(matches!(closed, IngestError::Unavailable(_)));
    }
}
