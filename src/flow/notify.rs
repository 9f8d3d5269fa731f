//! A notification without a job: straight to PUBLISH.

use serde_json::{Map, Value};
use uuid::Uuid;

use super::ingest::Trace;
use crate::conn::{self, Sent};
use crate::history::History;
use crate::model::{ChannelName, Fault, Notification, Origin, bounded, rfc3339_now, unix_ms};
use crate::telemetry::trace::publish_span;

/// The `source` of a notification that was posted.
const SOURCE: &str = "/v1/notifications";
/// The `type` of a notification whose sender gave none.
const DEFAULT_TYPE: &str = "trunkline.notification";

/// What was asked to be published.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    channel: ChannelName,
    kind: String,
    data: Value,
}

impl Request {
    /// Reads `{"channel", "data", "type"?}`; all faults at once.
    pub fn parse(document: Value) -> Result<Self, Vec<Fault>> {
        let fault =
            |path: &str, message: &str| Fault { path: path.into(), message: message.into() };
        let Value::Object(mut members) = document else {
            return Err(vec![fault("$", "must be an object with `channel` and `data`")]);
        };
        let mut faults = Vec::new();
        let channel = match members.remove("channel") {
            Some(Value::String(name)) => ChannelName::parse(&name)
                .map_err(|wrong| faults.push(Fault { path: "$.channel".into(), ..wrong }))
                .ok(),
            Some(_) => {
                faults.push(fault("$.channel", "must be text"));
                None
            }
            None => {
                faults.push(fault("$.channel", "is missing; name the channel to publish to"));
                None
            }
        };
        let data = members.remove("data");
        if data.is_none() {
            faults.push(fault("$.data", "is missing; any JSON value will do"));
        }
        let kind = match members.remove("type") {
            None | Some(Value::Null) => DEFAULT_TYPE.to_owned(),
            Some(Value::String(kind)) if !kind.is_empty() => kind,
            Some(_) => {
                faults.push(fault("$.type", "must be text that is not empty"));
                String::new()
            }
        };
        match (channel, data) {
            (Some(channel), Some(data)) if faults.is_empty() && members.is_empty() => {
                Ok(Self { channel, kind, data })
            }
            _ => Err(bounded(faults.into_iter().chain(unknown(&members)))),
        }
    }
}

fn unknown(members: &Map<String, Value>) -> impl Iterator<Item = Fault> + '_ {
    members.keys().map(|name| Fault {
        path: format!("$.{name}"),
        message: "is not known; use `channel`, `data` and `type`".into(),
    })
}

/// A published notification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// Its id.
    pub id: String,
    /// Subscribed connections Redis handed it to: servers, not clients.
    pub receivers: u64,
}

/// Why a notification was not published, or may not have been.
#[derive(Debug, thiserror::Error)]
pub enum NotifyError {
    /// It is over the limit. Nothing was sent.
    #[error("{0}")]
    TooLarge(conn::Error),
    /// Redis has not got it, and nothing is kept.
    #[error("{0}")]
    Unavailable(conn::Error),
    /// It may have been delivered.
    #[error("{error}")]
    Unknown {
        /// The id it then has.
        id: String,
        /// What went wrong.
        error: conn::Error,
    },
}

impl NotifyError {
    fn new(id: String, error: conn::Error) -> Self {
        match (&error, error.sent()) {
            (conn::Error::TooLarge { .. }, _) => Self::TooLarge(error),
            (_, Sent::No | Sent::Refused) => Self::Unavailable(error),
            (_, Sent::Maybe) => Self::Unknown { id, error },
        }
    }
}

/// Publishes notifications. Cheap to clone.
#[derive(Clone)]
pub struct Notify(History);

impl Notify {
    /// Publishes what the history then keeps.
    pub fn new(history: History) -> Self {
        Self(history)
    }

    /// Publishes at once, at most once.
    pub async fn publish(
        &self,
        request: Request,
        trace: Trace<'_>,
    ) -> Result<Published, NotifyError> {
        let span = publish_span(trace.context);
        let Request { channel, kind, data } = request;
        let (id, now_ms) = (Uuid::now_v7().to_string(), unix_ms());
        let notification = Notification {
            id: id.clone(),
            kind,
            source: SOURCE.to_owned(),
            channel,
            time: rfc3339_now(),
            traceparent: span.traceparent().or_else(|| trace.traceparent.map(str::to_owned)),
            data,
            accepted_ms: Some(now_ms),
            published_ms: Some(now_ms),
            position: None,
            origin: Origin::Trunkline,
        };
        match span.instrument(self.0.publish(&notification)).await {
            Ok(receivers) => Ok(Published { id, receivers }),
            Err(error) => {
                span.failed(error.publish_reason().label());
                Err(NotifyError::new(id, error))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_fault_is_found_at_once() {
        let faults = Request::parse(json!({"chanel": "door", "type": 7})).unwrap_err();
        let paths: Vec<_> = faults.iter().map(|fault| fault.path.as_str()).collect();
        assert_eq!(paths, ["$.channel", "$.data", "$.type", "$.chanel"]);
        assert_eq!(Request::parse(json!([])).unwrap_err()[0].path, "$");
        let faults = Request::parse(json!({"channel": "a.*", "data": 1})).unwrap_err();
        assert_eq!(faults[0].path, "$.channel");
    }

    #[test]
    fn a_thousand_unknown_members_are_told_as_a_hundred_faults() {
        let members = (0..1_000).map(|number| (format!("a{number}"), Value::Null));
        let faults = Request::parse(Value::Object(members.collect())).unwrap_err();
        let paths: Vec<_> = faults.iter().map(|fault| fault.path.as_str()).collect();
        assert_eq!((paths.len(), &paths[..2]), (100, &["$.channel", "$.data"][..]));
        assert_eq!(faults[99].message, "has at least 903 faults more, which are not listed");
    }

    #[test]
    fn null_is_data_and_the_type_may_be_left_out() {
        let request = Request::parse(json!({"channel": "door", "data": null})).unwrap();
        assert_eq!((request.kind.as_str(), request.data), (DEFAULT_TYPE, Value::Null));
    }
}
