//! A problem as the answer to a request: `application/problem+json`.

use bytes::Bytes;
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use hyper::{Response, StatusCode};

use super::body::Body;
use crate::model::{Problem, ProblemKind};

impl Problem {
    /// The answer.
    pub fn into_response(self) -> Response<Body> {
        let mut response = Response::new(Body::Whole(Bytes::from(self.to_json())));
        *response.status_mut() =
            StatusCode::from_u16(self.kind().status()).expect("every kind has a real status");
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self.kind() == ProblemKind::UpgradeRequired {
            headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        }
        if let Some(seconds) = self.kind().retry_after() {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// The path knows other methods, and lists them.
pub fn method_not_allowed(allow: &str) -> Response<Body> {
    let problem = Problem::new(ProblemKind::MethodNotAllowed, format!("this path allows {allow}"));
    let mut response = problem.into_response();
    let allow = HeaderValue::from_str(allow).expect("methods are visible ASCII");
    response.headers_mut().insert(ALLOW, allow);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_503_says_when_to_come_back_and_nothing_else_does() {
        for kind in ProblemKind::ALL {
            let answer = Problem::new(*kind, "words").into_response();
            let is_503 = answer.status() == StatusCode::SERVICE_UNAVAILABLE;
            assert_eq!(answer.headers().contains_key(RETRY_AFTER), is_503, "{}", kind.uri());
            assert_eq!(answer.status().as_u16(), kind.status());
            assert_eq!(answer.headers()[CONTENT_TYPE], "application/problem+json");
            let Body::Whole(body) = answer.into_body() else { panic!("a problem is no stream") };
            let document: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(document["type"], kind.uri());
        }
    }
}
