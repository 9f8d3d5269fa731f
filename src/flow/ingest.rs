//! Events in: each becomes a job, and the caller hears it once Redis has them all.

use crate::conn::{self, Sent};
use crate::model::{Event, JobType};
use crate::queue::{DedupKey, EnqueueError, NewJob, Producer};

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
    max_event: usize,
}

impl Ingest {
    /// Puts jobs into the queue of `producer`; an event may be `max_event` bytes long.
    pub fn new(producer: Producer, max_event: usize) -> Self {
        Self { producer, max_event }
    }

    /// Accepts all of the events or none. Dropped while it waits, they may still get in.
    pub async fn accept(&self, events: &[Event]) -> Result<Vec<Accepted>, IngestError> {
        let jobs = jobs(events, self.max_event)?;
        match self.producer.enqueue(&jobs).await {
            Ok(enqueued) => Ok(events
                .iter()
                .zip(enqueued)
                .map(|(event, job)| Accepted { id: event.id().into(), duplicate: job.duplicate })
                .collect()),
            Err(EnqueueError::Full) => Err(IngestError::Full),
            Err(EnqueueError::Redis(error)) => Err(refusal(events, error)),
        }
    }
}

fn jobs(events: &[Event], limit: usize) -> Result<Vec<NewJob>, IngestError> {
    let job = |(index, event): (usize, &Event)| {
        let body = event.to_json();
        if body.len() > limit {
            return Err(IngestError::TooLarge { index, bytes: body.len(), limit });
        }
        Ok(NewJob {
            job_type: JobType::Event,
            body,
            traceparent: event.traceparent().map(str::to_owned),
            // An id we made ourselves never comes twice by itself.
            dedup: (!event.assigned_id()).then(|| DedupKey::new(event.source(), event.id())),
        })
    };
    events.iter().enumerate().map(job).collect()
}

fn refusal(events: &[Event], error: conn::Error) -> IngestError {
    match error.sent() {
        Sent::No | Sent::Refused => IngestError::Unavailable(error),
        Sent::Maybe => {
            let ids = events.iter().map(|event| event.id().to_owned()).collect();
            IngestError::Unknown { ids, error }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn event(document: serde_json::Value) -> Event {
        Event::shorthand(document).unwrap()
    }

    #[test]
    fn only_an_id_of_the_callers_own_is_remembered() {
        let events = [event(json!({"type": "t"})), event(json!({"type": "t", "id": "7"}))];
        let jobs = jobs(&events, 1_000).unwrap();
        assert!(jobs[0].dedup.is_none());
        assert_eq!(jobs[1].dedup, Some(DedupKey::new("/v1/events", "7")));
    }

    #[test]
    fn an_event_over_the_limit_is_named_by_its_place() {
        let events =
            [event(json!({"type": "t"})), event(json!({"type": "t", "data": "x".repeat(200)}))];
        let refused = jobs(&events, 250);
        assert!(matches!(refused, Err(IngestError::TooLarge { index: 1, limit: 250, .. })));
    }

    #[test]
    fn only_what_redis_may_have_executed_is_an_unknown_outcome() {
        let events = [event(json!({"type": "t", "id": "7"}))];
        let lost = refusal(&events, conn::Error::Disconnected);
        assert!(matches!(lost, IngestError::Unknown { ids, .. } if ids == ["7"]));
        let closed = refusal(&events, conn::Error::Closed);
        assert!(matches!(closed, IngestError::Unavailable(_)));
    }
}
