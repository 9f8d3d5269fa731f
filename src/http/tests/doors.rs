use super::*;

const JSON: &str = "Content-Type: application/json";

fn problem(status: u16, kind: &str) -> (u16, String) {
    (status, kind.to_owned())
}

#[tokio::test]
async fn what_does_not_exist_or_is_not_allowed_there_says_so() {
    let house = House::start();
    assert_eq!(house.ask("GET /nowhere").await.problem(), problem(404, "not-found"));
    let reply = house.ask("DELETE /v1/events").await;
    assert_eq!(reply.problem(), problem(405, "method-not-allowed"));
    assert_eq!(reply.header("allow"), Some("POST, OPTIONS"));
    let reply = house.ask("OPTIONS /v1/events").await;
    assert_eq!((reply.status, reply.header("allow")), (204, Some("POST, OPTIONS")));
}

#[tokio::test]
async fn a_strange_host_or_origin_is_refused_before_anything_else() {
    let house = House::start();
    let reply = house.ask("GET /\nHost: evil.example").await;
    assert_eq!(reply.problem(), problem(421, "misdirected-host"));
    let reply = house.ask("GET /nowhere\nOrigin: https://evil.example").await;
    assert_eq!(reply.problem(), problem(403, "forbidden-origin"));
    let reply = house.ask("GET /\nHost: localhost:8080\nOrigin: http://localhost:8080").await;
    assert_eq!((reply.status, reply.header("access-control-allow-origin")), (200, None));
}

#[tokio::test]
async fn a_page_of_an_allowed_origin_may_ask_and_may_read_the_answer() {
    let house = House::start();
    let origin = "Origin: https://app.example";
    let preflight = house.ask(&format!("OPTIONS /v1/events\n{origin}")).await;
    assert_eq!(preflight.status, 204);
    assert_eq!(preflight.header("access-control-allow-methods"), Some("POST, OPTIONS"));
    assert!(preflight.header("access-control-allow-headers").unwrap().contains("content-type"));
    let refused = house.ask(&format!("POST /v1/events\n{origin}\n\nx")).await;
    assert_eq!(refused.status, 415);
    assert_eq!(refused.header("access-control-allow-origin"), Some("https://app.example"));
    assert_eq!(refused.header("vary"), Some("origin"));
}

#[tokio::test]
async fn an_event_is_refused_for_the_first_thing_that_is_wrong_with_it() {
    let house = House::start();
    let post = |headers: &str, body: &str| format!("POST /v1/events\n{headers}\n\n{body}");
    for (headers, body, expected) in [
        ("Content-Type: text/plain", "{}", problem(415, "unsupported-media-type")),
        (
            "Content-Type: application/json\nContent-Encoding: gzip",
            "{}",
            problem(415, "unsupported-media-type"),
        ),
        (JSON, "{", problem(400, "malformed")),
        (JSON, "{}", problem(400, "invalid")),
        ("Content-Type: application/cloudevents+json", r#"{"type":"t"}"#, problem(400, "invalid")),
        ("Content-Type: text/plain\nce-specversion: 1.0", "x", problem(400, "invalid")),
        (JSON, r#"{"type":"t"}"#, problem(503, "redis-unavailable")),
    ] {
        assert_eq!(house.ask(&post(headers, body)).await.problem(), expected, "{headers} {body}");
    }
    let reply = house.ask(&post(JSON, r#"{"type":"t"}"#)).await;
    assert_eq!(reply.header("retry-after"), Some("1"));
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_before_it_is_sent() {
    let house = House::start();
    let declared = format!("POST /v1/events\n{JSON}\nContent-Length: 1001\nExpect: 100-continue");
    assert_eq!(house.ask(&declared).await.problem(), problem(413, "payload-too-large"));
}

#[tokio::test]
async fn a_body_that_grows_too_large_on_the_way_is_refused() {
    let house = House::start();
    let mut peer = house.peer().await;
    let head = format!("POST /v1/events\n{JSON}\nTransfer-Encoding: chunked\nContent-Length:");
    let head = head.replace("\nContent-Length:", "");
    let chunk = format!("400\r\n{}\r\n", "x".repeat(0x400));
    let text = format!("{}\r\nHost: localhost\r\n\r\n{chunk}", head.replace('\n', "\r\n"));
    let text = text.replacen("/v1/events", "/v1/events HTTP/1.1", 1);
    peer.0.get_mut().write_all(text.as_bytes()).await.unwrap();
    assert_eq!(peer.head().await.status, 413);
}

#[tokio::test]
async fn a_notification_is_refused_with_every_fault_and_unsent_while_redis_is_away() {
    let house = House::start();
    let post = |body: &str| format!("POST /v1/notifications\n{JSON}\n\n{body}");
    let reply = house.ask(&post(r#"{"channel":"a b"}"#)).await;
    assert_eq!(reply.problem(), problem(400, "invalid"));
    assert_eq!(reply.json()["errors"].as_array().unwrap().len(), 2);
    let reply = house.ask(&post(r#"{"channel":"a","data":1}"#)).await;
    assert_eq!(reply.problem(), problem(503, "redis-unavailable"));
}

#[tokio::test]
async fn rule_chains_are_stored_read_and_removed() {
    let house = House::start();
    let put = |id: &str, body: &str| format!("PUT /v1/rule-chains/{id}\n{JSON}\n\n{body}");
    assert_eq!(house.ask(&put("new", r#"{"nodes":[]}"#)).await.status, 201);
    assert_eq!(house.ask(&put("known", r#"{"nodes":[]}"#)).await.status, 200);
    assert_eq!(house.ask(&put("new", "{}")).await.problem(), problem(400, "invalid"));
    assert_eq!(house.ask("GET /v1/rule-chains/known").await.json()["id"], "known");
    assert_eq!(house.ask("GET /v1/rule-chains/new").await.problem(), problem(404, "not-found"));
    assert_eq!(house.ask("GET /v1/rule-chains").await.json()["chains"], serde_json::json!([]));
    assert_eq!(house.ask("DELETE /v1/rule-chains/known").await.status, 204);
    assert_eq!(house.ask("DELETE /v1/rule-chains/new").await.status, 404);
}

#[tokio::test]
async fn a_handler_that_panics_answers_500_and_the_connection_lives_on() {
    let house = House::start();
    let mut peer = house.peer().await;
    let reply = peer.ask("GET /v1/rule-chains/bug").await;
    assert_eq!(reply.problem(), problem(500, "internal"));
    assert_eq!(peer.ask("GET /v1/rule-chains/known").await.status, 200);
}

#[tokio::test]
async fn the_page_is_one_file_under_a_strict_policy_and_head_has_no_body() {
    let house = House::start();
    let page = house.ask("GET /?channel=door").await;
    assert!(page.header("content-security-policy").unwrap().contains("default-src 'none'"));
    let mut peer = house.peer().await;
    let head = peer.ask("HEAD /").await;
    assert_eq!(head.header("content-length"), page.header("content-length"));
    assert_eq!(peer.ask("GET /nowhere").await.status, 404);
}

#[tokio::test]
async fn bodies_that_come_slowly_leave_the_memory_of_the_server_bounded() {
    let house = House::with_room(BOUNDS, PATIENCE, 100, 1_500);
    let post = format!("POST /v1/notifications\n{JSON}\n\n");
    let body = format!(r#"{{"channel":"a","data":"{}"}}"#, "x".repeat(875));
    let quick = async || house.ask(&format!("{post}{body}")).await;
    assert_eq!(quick().await.problem(), problem(503, "redis-unavailable"));

    let mut slow = house.peer().await;
    let (most, rest) = body.split_at(800);
    let head =
        "POST /v1/notifications HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json";
    let begun = format!("{head}\r\nContent-Length: {}\r\n\r\n{most}", body.len());
    slow.0.get_mut().write_all(begun.as_bytes()).await.unwrap();
    let refused = soon(async {
        loop {
            // Until the server has read what the slow one sent there is room.
            let reply = quick().await;
            if reply.problem() != problem(503, "redis-unavailable") {
                return reply;
            }
        }
    })
    .await;
    assert_eq!(refused.problem(), problem(503, "overloaded"));
    assert_eq!(refused.header("retry-after"), Some("1"));

    slow.0.get_mut().write_all(rest.as_bytes()).await.unwrap();
    assert_eq!(slow.head().await.status, 503, "the one that was there first is read to its end");
    assert_eq!(
        quick().await.problem(),
        problem(503, "redis-unavailable"),
        "its room is given back"
    );
}
