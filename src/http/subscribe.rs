//! What the streams of both transports have in common: which channels a client asks for, what it
//! is told when it may not have them, and when it should come back.

use crate::conn;
use crate::flow::listen::{ListenError, Since};
use crate::hub::Refusal;
use crate::model::{Fault, Position, Problem, ProblemKind, Subscription};

/// Milliseconds after which a client should come back, spread so that not all come at once.
const RECONNECT: std::ops::Range<u64> = 1_000..5_000;

/// When a client that loses us should come back, in milliseconds.
pub(super) fn reconnect() -> u64 {
    fastrand::u64(RECONNECT)
}

/// The channels of `?channel=a&channel=b.*`, which may be none.
pub(super) fn channels(query: &str) -> Result<Vec<Subscription>, Vec<Fault>> {
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
    if faults.is_empty() { Ok(subscriptions) } else { Err(faults) }
}

/// Where a client comes back from: what it says as `Last-Event-ID`, which is what a browser's
/// EventSource says by itself, or else `?after=`.
pub(super) fn since(query: &str, last_event_id: Option<&[u8]>) -> Result<Since, Fault> {
    let mut parameters = url::form_urlencoded::parse(query.as_bytes());
    let (path, text) = match last_event_id.filter(|id| !id.is_empty()) {
        Some(id) => ("Last-Event-ID", String::from_utf8_lossy(id)),
        None => match parameters.find(|(name, value)| name == "after" && !value.is_empty()) {
            Some((_, value)) => ("after", value),
            None => return Ok(Since::Now),
        },
    };
    cursor(path, &text).map(Since::After)
}

/// Reads the cursor at `path`.
pub(super) fn cursor(path: &str, text: &str) -> Result<Position, Fault> {
    text.parse().map_err(|wrong: crate::model::NotAPosition| {
        let message = wrong.to_string();
        Fault { path: path.into(), message }
    })
}

/// What a client is told that may not listen.
pub(super) fn problem(error: ListenError) -> Problem {
    match error {
        ListenError::Refused(refusal) => refused(refusal, "channel"),
        ListenError::Denied(channels) => denied(&channels),
        ListenError::Redis(error) => Problem::new(ProblemKind::RedisUnavailable, error.to_string()),
    }
}

/// The hub does not admit what was asked for at `path`.
pub(super) fn refused(refusal: Refusal, path: &str) -> Problem {
    match refusal {
        Refusal::TooManySubscriptions { .. } => {
            Problem::invalid(vec![Fault { path: path.into(), message: refusal.to_string() }])
        }
        Refusal::TooManyPrefixes { .. } => {
            Problem::new(ProblemKind::PrefixesExhausted, refusal.to_string())
        }
        Refusal::Draining => Problem::new(ProblemKind::ShuttingDown, refusal.to_string()),
    }
}

/// The ACL of Redis refuses these.
pub(super) fn denied(channels: &[Subscription]) -> Problem {
    let names = names(channels);
    let detail = format!("the ACL of Redis does not let this server subscribe to {names}");
    Problem::new(ProblemKind::SubscriptionRefused, detail)
}

/// Redis did not confirm these.
pub(super) fn unconfirmed(channels: &[Subscription], error: &conn::Error) -> Problem {
    let detail = format!("not subscribed to {}: {error}", names(channels));
    Problem::new(ProblemKind::RedisUnavailable, detail)
}

fn names(channels: &[Subscription]) -> String {
    let names: Vec<_> = channels.iter().map(Subscription::to_string).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_bad_channel_is_named_and_other_parameters_are_passed_over() {
        let faults = channels("channel=a&channel=*&channel=b..c").unwrap_err();
        assert_eq!(faults.len(), 2);
        assert!(faults[0].message.starts_with("`*` "), "{}", faults[0].message);
        assert_eq!(channels("channels=a").unwrap(), []);
        let good = channels("channel=a.%2A&x=y&channel=b").unwrap();
        assert_eq!(good.iter().map(ToString::to_string).collect::<Vec<_>>(), ["a.*", "b"]);
    }

    #[test]
    fn who_comes_back_says_so_in_the_header_or_in_the_query() {
        let (older, newer) = ("00000000000000ff-7", "00000000000000ff-8");
        let after = |text: &str| Ok(Since::After(text.parse().unwrap()));
        let query = format!("channel=a&after={older}");
        assert_eq!(since("channel=a&after=", Some(b"")), Ok(Since::Now));
        assert_eq!(since(&query, None), after(older));
        assert_eq!(since(&query, Some(newer.as_bytes())), after(newer));
        let path = |query, header| since(query, header).unwrap_err().path;
        assert_eq!(path("after=7", None), "after");
        assert_eq!(path(&query, Some(b"\xff")), "Last-Event-ID");
    }

    proptest! {
        #[test]
        fn any_query_is_read_and_a_refusal_names_the_channel(query in ".{0,40}|(channel=[a-z.*%+&=0-9]{0,8}&?){0,5}") {
            match channels(&query) {
                Ok(found) => prop_assert!(found.len() <= query.matches("channel").count().max(query.matches('=').count())),
                Err(faults) => prop_assert!(!faults.is_empty() && faults.iter().all(|it| it.path == "channel")),
            }
        }

        #[test]
        fn channels_survive_the_encoding_of_a_query(
            names in prop::collection::vec("[A-Za-z0-9_:-]{1,9}(\\.[A-Za-z0-9_:-]{1,9}){0,3}(\\.\\*)?", 0..9)
        ) {
            let mut query = url::form_urlencoded::Serializer::new(String::new());
            query.extend_pairs(names.iter().map(|name| ("channel", name)));
            let read: Vec<_> = channels(&query.finish()).unwrap().iter().map(ToString::to_string).collect();
            prop_assert_eq!(read, names);
        }
    }
}
