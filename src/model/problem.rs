//! What went wrong, in the words of RFC 9457: the same for every door and every transport.

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use super::{Fault, MAX_FAULTS, bounded};

/// Declares the kinds of problem: their stable name, status, seconds to wait, and title.
macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $name:literal $status:literal $(after $seconds:literal)?, $title:literal;)+) => {
        /// Every problem this server answers with. The name is public and never changes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum ProblemKind { $($(#[$doc])* $kind,)+ }

        impl ProblemKind {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$kind,)+];

            /// The `type` of the problem document.
            pub const fn uri(self) -> &'static str {
                match self { $(Self::$kind => concat!("urn:trunkline:problem:", $name),)+ }
            }
            /// The same for every occurrence.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$kind => $title,)+ }
            }
            /// The HTTP status of an answer that says so.
            pub const fn status(self) -> u16 {
                match self { $(Self::$kind => $status,)+ }
            }
            /// Seconds after which trying again makes sense.
            pub const fn retry_after(self) -> Option<u16> {
                match self { $(Self::$kind => kinds!(@seconds $($seconds)?),)+ }
            }
        }
    };
    (@seconds $seconds:literal) => { Some($seconds) };
    (@seconds) => { None };
}

kinds! {
    /// The request cannot be read at all.
    Malformed = "malformed" 400, "Malformed request";
    /// It can be read and its content breaks a rule; `errors` lists every fault.
    Invalid = "invalid" 400, "Invalid content";
    /// A browser sent it from a page of a foreign origin.
    ForbiddenOrigin = "forbidden-origin" 403, "Origin not allowed";
    /// The ACL of Redis does not let this server subscribe to the channel.
    SubscriptionRefused = "subscription-refused" 403, "Subscription refused";
    /// No such path, or no such chain.
    NotFound = "not-found" 404, "Not found";
    /// The path knows other methods; `Allow` lists them.
    MethodNotAllowed = "method-not-allowed" 405, "Method not allowed";
    /// The body did not arrive in time.
    RequestTimeout = "request-timeout" 408, "Request timed out";
    /// The body or an event in it is over the limit.
    PayloadTooLarge = "payload-too-large" 413, "Payload too large";
    /// The content type is none this path reads.
    UnsupportedMediaType = "unsupported-media-type" 415, "Unsupported media type";
    /// The request names a host that this server is not.
    MisdirectedHost = "misdirected-host" 421, "Misdirected request";
    /// This path is for a WebSocket, and the request does not begin one.
    UpgradeRequired = "upgrade-required" 426, "Upgrade required";
    /// A bug.
    Internal = "internal" 500, "Internal error";
    /// Redis cannot be reached; nothing was sent and nothing is kept.
    RedisUnavailable = "redis-unavailable" 503 after 1, "Redis unavailable";
    /// The queue is over its critical threshold.
    QueueFull = "queue-full" 503 after 5, "Queue full";
    /// Redis did not answer in time: it may have been executed. `ids` allows a safe repeat.
    OutcomeUnknown = "outcome-unknown" 503 after 1, "Outcome unknown";
    /// This server has all the prefixes it may have.
    PrefixesExhausted = "prefixes-exhausted" 503 after 30, "Prefixes exhausted";
    /// The bodies of other requests fill the memory there is for them.
    Overloaded = "overloaded" 503 after 1, "Overloaded";
    /// This server is shutting down; another one may be there.
    ShuttingDown = "shutting-down" 503 after 1, "Shutting down";
}

/// Its part of the problem document: what is the same for every occurrence.
impl Serialize for ProblemKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut document = serializer.serialize_struct("ProblemKind", 3)?;
        document.serialize_field("type", self.uri())?;
        document.serialize_field("title", self.title())?;
        document.serialize_field("status", &self.status())?;
        document.end()
    }
}

/// One occurrence of a problem; serialises as the problem document.
#[derive(Clone, Debug, Serialize)]
pub struct Problem {
    #[serde(flatten)]
    kind: ProblemKind,
    detail: String,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: Vec<Fault>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    ids: Vec<String>,
}

impl Problem {
    /// A problem in words for the caller: never a payload, never a credential.
    pub fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), errors: vec![], ids: vec![] }
    }

    /// Every fault at once, or the first hundred: see [`bounded`].
    pub fn invalid(errors: impl IntoIterator<Item = Fault>) -> Self {
        let errors = bounded(errors);
        let detail = match &errors[..] {
            [fault] => fault.to_string(),
            faults if faults.len() < MAX_FAULTS => {
                format!("{} faults; `errors` lists each with its path", faults.len())
            }
            _ => format!("at least {MAX_FAULTS} faults; `errors` lists them with their paths"),
        };
        Self { errors, ..Self::new(ProblemKind::Invalid, detail) }
    }

    /// The ids under which the caller may repeat the request.
    #[must_use]
    pub fn with_ids(self, ids: Vec<String>) -> Self {
        Self { ids, ..self }
    }

    /// What kind it is.
    pub fn kind(&self) -> ProblemKind {
        self.kind
    }

    /// Every fault, where there are several.
    pub fn errors(&self) -> &[Fault] {
        &self.errors
    }

    /// The problem document, on one line.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("text and numbers always serialise")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(problem: &Problem) -> serde_json::Value {
        serde_json::from_slice(&problem.to_json()).unwrap()
    }

    #[test]
    fn several_faults_are_listed_and_a_single_one_is_told_in_the_detail() {
        let fault = |path: &str| Fault { path: path.into(), message: "is missing".into() };
        let one = document(&Problem::invalid(vec![fault("$.type")]));
        assert_eq!(one["detail"], "$.type: is missing");
        assert_eq!(one["errors"][0]["path"], "$.type");
        let two = document(&Problem::invalid(vec![fault("$.type"), fault("$.id")]));
        assert_eq!(two["errors"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn an_answer_stays_small_however_many_faults_there_are() {
        let fault = |number: usize| Fault { path: format!("$.a{number}"), message: "bad".into() };
        let many = document(&Problem::invalid((0..70_000).map(fault)));
        let errors = many["errors"].as_array().unwrap();
        let last = "has at least 69901 faults more, which are not listed";
        assert_eq!((errors.len(), &errors[99]["message"]), (100, &last.into()));
        assert_eq!(many["detail"], "at least 100 faults; `errors` lists them with their paths");
    }

    #[test]
    fn a_document_without_faults_and_ids_does_not_speak_of_them() {
        let document = document(&Problem::new(ProblemKind::QueueFull, "words"));
        let members: Vec<_> = document.as_object().unwrap().keys().collect();
        assert_eq!(members, ["detail", "status", "title", "type"]);
    }

    #[test]
    fn the_documentation_names_every_problem() {
        let docs = include_str!("../../docs/http.md");
        for kind in ProblemKind::ALL {
            let row = format!("| `{}` | {} |", kind.uri(), kind.status());
            assert!(docs.contains(&row), "docs/http.md lacks {row}");
        }
    }
}
