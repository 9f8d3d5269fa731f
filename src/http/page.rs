//! `GET /`: the live page, one file without any other resource.

use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::Response;
use hyper::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};

use super::body::Body;

const PAGE: &str = include_str!("page.html");

/// Only the page's own script and style may run, known by their hashes, and it may speak only
/// to the server it came from. A notification is foreign text: even if the page were to put
/// it into the document as markup, nothing in it would run.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let (script, style) = (hash(inline("script")), hash(inline("style")));
    let policy = format!(
        "default-src 'none'; script-src '{script}'; style-src '{style}'; connect-src 'self'; \
         img-src data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    );
    HeaderValue::try_from(policy).expect("a policy is made of visible ASCII")
});

pub(super) fn response() -> Response<Body> {
    let mut response = Response::new(Body::Whole(Bytes::from_static(PAGE.as_bytes())));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(CONTENT_SECURITY_POLICY, POLICY.clone());
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// What stands between `<element>` and `</element>`: a browser hashes exactly that.
fn inline(element: &str) -> &'static str {
    let after = PAGE.split_once(&format!("<{element}>")).map(|(_, after)| after);
    let between = after.and_then(|after| after.split_once(&format!("</{element}>")));
    between.map_or("", |(inside, _)| inside)
}

fn hash(text: &str) -> String {
    format!("sha256-{}", STANDARD.encode(digest(&SHA256, text.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_names_the_hashes_of_what_is_in_the_page() {
        // The example of the CSP specification.
        let known = "sha256-qznLcsROx4GACP2dm0UCKCzCG+HiZ1guq6ZZDob/Tng=";
        assert_eq!(hash("alert('Hello, world.');"), known);
        assert!(inline("script").contains("EventSource") && inline("style").contains("color"));
        let response = response();
        let policy = response.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(policy.contains(&hash(inline("script"))), "{policy}");
    }

    #[test]
    fn the_page_needs_nothing_from_elsewhere_and_no_inline_attribute() {
        for forbidden in
            ["http://", "https://", " src=", " style=", " onclick=", "innerHTML", "@import"]
        {
            assert!(!PAGE.contains(forbidden), "the page contains {forbidden}");
        }
    }
}
