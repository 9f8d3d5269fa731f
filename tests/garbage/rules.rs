//! The exact answer to each rule that is broken.

use hyper::Method;
use serde_json::{Value, json};

use super::raw::exchange;
use super::support::house::{House, problem};
use super::support::http::Http;

const JSON: (&str, &str) = ("content-type", "application/json");
const APP: &str = "https://app.example:8443";

async fn house() -> House {
    let hosts = "bridge.example";
    House::with(|server| {
        server.env("TRUNKLINE_ALLOWED_ORIGINS", APP).env("TRUNKLINE_ALLOWED_HOSTS", hosts)
    })
    .await
}

#[tokio::test]
async fn what_is_not_there_is_404_and_what_is_not_allowed_there_is_405() {
    let house = House::start().await;
    let admin = house.server.admin().await;
    for (http, path) in [(&house.public, "/metrics"), (&admin, "/v1/events"), (&admin, "/")] {
        assert_eq!(problem(&http.get(path).await), (404, "not-found".into()), "{path}");
    }
    let chain = "GET, HEAD, PUT, DELETE, OPTIONS";
    for (http, method, path, allow) in [
        (&house.public, Method::DELETE, "/", "GET, HEAD, OPTIONS"),
        (&house.public, Method::GET, "/v1/events", "POST, OPTIONS"),
        (&house.public, Method::PUT, "/v1/notifications", "POST, OPTIONS"),
        (&house.public, Method::POST, "/v1/stream?channel=a", "GET, OPTIONS"),
        (&house.public, Method::POST, "/v1/rule-chains", "GET, HEAD, OPTIONS"),
        (&house.public, Method::PATCH, "/v1/rule-chains/a", chain),
        (&admin, Method::POST, "/livez", "GET, HEAD"),
        (&admin, Method::DELETE, "/metrics", "GET, HEAD"),
    ] {
        let answer = http.send(method, path, &[], "").await;
        assert_eq!(problem(&answer), (405, "method-not-allowed".into()), "{path}");
        assert_eq!(answer.header("allow"), allow, "{path}");
    }
    for path in ["/", "/v1/rule-chains"] {
        let (get, head) =
            (house.public.get(path).await, house.public.send(Method::HEAD, path, &[], "").await);
        assert_eq!((head.status, head.body.len()), (200, 0), "{path}");
        assert_eq!(head.header("content-length"), get.body.len().to_string(), "{path}");
    }
}

#[tokio::test]
async fn every_fault_of_a_document_is_named_with_its_place() {
    let house = House::start().await;
    let paths = async |path: &str, content_type: &str, document: Value| {
        let headers = [("content-type", content_type)];
        let answer = house.public.send(Method::POST, path, &headers, document.to_string()).await;
        assert_eq!(problem(&answer), (400, "invalid".into()));
        let errors = answer.json()["errors"].clone();
        let mut paths: Vec<_> = errors
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it["path"].as_str().unwrap().to_owned())
            .collect();
        paths.sort();
        paths
    };
    let event = json!({ "id": 7, "source": "a b", "time": "now", "Bad-Name": 1 });
    assert_eq!(
        paths("/v1/events", "application/cloudevents+json", event.clone()).await,
        ["$.id", "$.source", "$.specversion", "$.time", "$.type", "$[\"Bad-Name\"]"]
    );
    assert_eq!(
        paths(
            "/v1/events",
            "application/cloudevents-batch+json",
            json!([{ "specversion": "1.0",
            "id": "1", "source": "/s", "type": "t" }, { "specversion": "1.0" }])
        )
        .await,
        ["$[1].id", "$[1].source", "$[1].type"]
    );
    assert_eq!(
        paths("/v1/notifications", "application/json", json!({ "channel": "a.*", "chanel": 1 }))
            .await,
        ["$.chanel", "$.channel", "$.data"]
    );
}

#[tokio::test]
async fn only_a_host_that_is_this_server_is_answered() {
    let house = house().await;
    let address = house.public.address();
    let ask = async |host: &str| {
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        exchange(address, request.as_bytes()).await.unwrap()
    };
    let own = address.to_string();
    for good in [
        "localhost",
        "LOCALHOST.:1",
        "127.0.0.1",
        "[::1]:80",
        &own,
        "a.localhost",
        "bridge.example:9",
    ] {
        assert_eq!(ask(good).await.status, 200, "{good}");
    }
    for bad in ["evil.example", "bridge.example.evil.example", "127.0.0.1.evil.example", "10.0.0.1"]
    {
        ask(bad).await.is_a_problem(&[421]).unwrap();
    }
    // The admin listener may be reached under any name: scrapers use service names.
    let admin = house.server.admin().await;
    let answer = admin.send(Method::GET, "/livez", &[("host", "server-0.trunkline")], "").await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn a_page_elsewhere_may_neither_read_nor_write_unless_it_is_allowed() {
    let house = house().await;
    let own = format!("http://{}", house.public.address());
    let post = async |origin: &str| {
        let headers = [JSON, ("origin", origin)];
        let body = json!({ "type": "t" }).to_string();
        house.public.send(Method::POST, "/v1/events", &headers, body).await
    };
    for foreign in [
        "https://evil.example",
        "null",
        "https://app.example",
        "http://app.example:8443",
        "http://localhost:1",
        "http://127.0.0.1:1",
        "https://app.example:8443.evil.example",
    ] {
        let refused = post(foreign).await;
        assert_eq!(problem(&refused), (403, "forbidden-origin".into()), "{foreign}");
        assert_eq!(refused.header("access-control-allow-origin"), "", "{foreign}");
        let listening = [("origin", foreign)];
        let stream = house.public.send(Method::GET, "/v1/stream?channel=a", &listening, "").await;
        assert_eq!(problem(&stream).0, 403, "{foreign}");
    }
    let accepted = house.server.metric("trunkline_events_accepted_total").await;
    assert_eq!(accepted.value().await, Some(0.0));
    let same = post(&own).await;
    assert_eq!((same.status, same.header("access-control-allow-origin")), (202, ""));
    let allowed = post(APP).await;
    assert_eq!((allowed.status, allowed.header("access-control-allow-origin")), (202, APP));
    assert!(allowed.header("vary").contains("origin"));
}

#[tokio::test]
async fn a_browser_asks_first_and_is_told_what_an_allowed_page_may_do() {
    let house = house().await;
    let preflight = async |http: &Http, origin: &str, path: &str| {
        let headers = [
            ("origin", origin),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "content-type,traceparent"),
        ];
        http.send(Method::OPTIONS, path, &headers, "").await
    };
    let answer = preflight(&house.public, APP, "/v1/events").await;
    assert_eq!((answer.status, answer.body.len()), (204, 0));
    assert_eq!(answer.header("access-control-allow-origin"), APP);
    assert_eq!(answer.header("access-control-allow-methods"), "POST, OPTIONS");
    for header in ["content-type", "traceparent", "ce-id"] {
        assert!(answer.header("access-control-allow-headers").contains(header), "{header}");
    }
    assert_eq!(answer.header("access-control-allow-credentials"), "");
    let foreign = preflight(&house.public, "https://evil.example", "/v1/events").await;
    assert_eq!(problem(&foreign).0, 403);
    // What could be sent without asking first is not read.
    for simple in
        ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"]
    {
        let headers = [("content-type", simple)];
        let answer = house.public.send(Method::POST, "/v1/notifications", &headers, "{}").await;
        assert_eq!(problem(&answer), (415, "unsupported-media-type".into()));
    }
}
