//! What went wrong, as `application/problem+json` (RFC 9457).

use bytes::Bytes;
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use hyper::{Response, StatusCode};
use serde::Serialize;

use super::body::Body;
use crate::model::Fault;

/// Declares the kinds of problem: their stable name, status, seconds to wait, and title.
macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $name:literal $status:ident $(after $seconds:literal)?, $title:literal;)+) => {
        /// Every problem this server answers with. The name is public and never changes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Kind { $($(#[$doc])* $kind,)+ }

        impl Kind {
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
            /// The status of the answer.
            pub const fn status(self) -> StatusCode {
                match self { $(Self::$kind => StatusCode::$status,)+ }
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
    Malformed = "malformed" BAD_REQUEST, "Malformed request";
    /// It can be read and its content breaks a rule; `errors` lists every fault.
    Invalid = "invalid" BAD_REQUEST, "Invalid content";
    /// A browser sent it from a page of a foreign origin.
    ForbiddenOrigin = "forbidden-origin" FORBIDDEN, "Origin not allowed";
    /// The ACL of Redis does not let this server subscribe to the channel.
    SubscriptionRefused = "subscription-refused" FORBIDDEN, "Subscription refused";
    /// No such path, or no such chain.
    NotFound = "not-found" NOT_FOUND, "Not found";
    /// The path knows other methods; `Allow` lists them.
    MethodNotAllowed = "method-not-allowed" METHOD_NOT_ALLOWED, "Method not allowed";
    /// The body did not arrive in time.
    RequestTimeout = "request-timeout" REQUEST_TIMEOUT, "Request timed out";
    /// The body or an event in it is over the limit.
    PayloadTooLarge = "payload-too-large" PAYLOAD_TOO_LARGE, "Payload too large";
    /// The content type is none this path reads.
    UnsupportedMediaType = "unsupported-media-type" UNSUPPORTED_MEDIA_TYPE, "Unsupported media type";
    /// The request names a host that this server is not.
    MisdirectedHost = "misdirected-host" MISDIRECTED_REQUEST, "Misdirected request";
    /// This path is for a WebSocket, and the request does not begin one.
    UpgradeRequired = "upgrade-required" UPGRADE_REQUIRED, "Upgrade required";
    /// A bug.
    Internal = "internal" INTERNAL_SERVER_ERROR, "Internal error";
    /// Redis cannot be reached; nothing was sent and nothing is kept.
    RedisUnavailable = "redis-unavailable" SERVICE_UNAVAILABLE after 1, "Redis unavailable";
    /// The queue is over its critical threshold.
    QueueFull = "queue-full" SERVICE_UNAVAILABLE after 5, "Queue full";
    /// Redis did not answer in time: it may have been executed. `ids` allows a safe repeat.
    OutcomeUnknown = "outcome-unknown" SERVICE_UNAVAILABLE after 1, "Outcome unknown";
    /// This server has all the prefixes it may have.
    PrefixesExhausted = "prefixes-exhausted" SERVICE_UNAVAILABLE after 30, "Prefixes exhausted";
    /// This server is shutting down; another one may be there.
    ShuttingDown = "shutting-down" SERVICE_UNAVAILABLE after 1, "Shutting down";
}

/// One occurrence of a problem.
#[derive(Clone, Debug)]
pub struct Problem {
    kind: Kind,
    detail: String,
    errors: Vec<Fault>,
    ids: Vec<String>,
    allow: Option<HeaderValue>,
}

#[derive(Serialize)]
struct Document<'a> {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [Fault],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    ids: &'a [String],
}

impl Problem {
    /// A problem in words for the caller: never a payload, never a credential.
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), errors: vec![], ids: vec![], allow: None }
    }

    /// Every fault at once.
    pub fn invalid(errors: Vec<Fault>) -> Self {
        let detail = match &errors[..] {
            [fault] => fault.to_string(),
            faults => format!("{} faults; `errors` lists each with its path", faults.len()),
        };
        Self { errors, ..Self::new(Kind::Invalid, detail) }
    }

    /// Another method would do.
    pub fn method_not_allowed(allow: &str) -> Self {
        let allow_value = HeaderValue::from_str(allow).ok();
        let detail = format!("this path allows {allow}");
        Self { allow: allow_value, ..Self::new(Kind::MethodNotAllowed, detail) }
    }

    /// The ids under which the caller may repeat the request.
    #[must_use]
    pub fn with_ids(self, ids: Vec<String>) -> Self {
        Self { ids, ..self }
    }

    /// What kind it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Every fault, where there are several.
    pub fn errors(&self) -> &[Fault] {
        &self.errors
    }

    /// The problem document.
    pub fn to_json(&self) -> Vec<u8> {
        let document = Document {
            r#type: self.kind.uri(),
            title: self.kind.title(),
            status: self.kind.status().as_u16(),
            detail: &self.detail,
            errors: &self.errors,
            ids: &self.ids,
        };
        serde_json::to_vec(&document).expect("text and numbers always serialise")
    }

    /// The answer.
    pub fn into_response(self) -> Response<Body> {
        let mut response = Response::new(Body::Whole(Bytes::from(self.to_json())));
        *response.status_mut() = self.kind.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self.kind == Kind::UpgradeRequired {
            headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        }
        if let Some(allow) = self.allow {
            headers.insert(ALLOW, allow);
        }
        if let Some(seconds) = self.kind.retry_after() {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(problem: Problem) -> (Response<()>, serde_json::Value) {
        let (parts, body) = problem.into_response().into_parts();
        let Body::Whole(bytes) = body else { panic!("a problem is no stream") };
        (Response::from_parts(parts, ()), serde_json::from_slice(&bytes).unwrap())
    }

    #[test]
    fn every_503_says_when_to_come_back_and_nothing_else_does() {
        for kind in Kind::ALL {
            let (answer, document) = document(Problem::new(*kind, "words"));
            let is_503 = answer.status() == StatusCode::SERVICE_UNAVAILABLE;
            assert_eq!(answer.headers().contains_key(RETRY_AFTER), is_503, "{}", kind.uri());
            assert_eq!(document["status"], answer.status().as_u16());
            assert_eq!(document["type"], kind.uri());
            assert_eq!(answer.headers()[CONTENT_TYPE], "application/problem+json");
        }
    }

    #[test]
    fn several_faults_are_listed_and_a_single_one_is_told_in_the_detail() {
        let fault = |path: &str| Fault { path: path.into(), message: "is missing".into() };
        let (_, one) = document(Problem::invalid(vec![fault("$.type")]));
        assert_eq!(one["detail"], "$.type: is missing");
        assert_eq!(one["errors"][0]["path"], "$.type");
        let (_, two) = document(Problem::invalid(vec![fault("$.type"), fault("$.id")]));
        assert_eq!(two["errors"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn the_documentation_names_every_problem() {
        let docs = include_str!("../../docs/http.md");
        for kind in Kind::ALL {
            let row = format!("| `{}` | {} |", kind.uri(), kind.status().as_u16());
            assert!(docs.contains(&row), "docs/http.md lacks {row}");
        }
    }
}
