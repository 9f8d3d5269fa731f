//! How events come in.

use hyper::Method;
use serde_json::{Value, json};

use super::support::house::{House, heard, problem};
use super::support::http::Response;
use super::{TRACE, echo};

const EVENT: (&str, &str) = ("content-type", "application/cloudevents+json");
const BATCH: (&str, &str) = ("content-type", "application/cloudevents-batch+json");

impl House {
    async fn post_as(
        &self,
        headers: &[(&str, &str)],
        body: impl Into<hyper::body::Bytes>,
    ) -> Response {
        self.public.send(Method::POST, "/v1/events", headers, body).await
    }

    fn jobs(&self) -> i64 {
        self.redis.cli(&["XLEN", "trunkline:{q:rule-engine-events}:stream"]).integer()
    }
}

fn structured(id: &str, data: Value) -> Value {
    json!({ "specversion": "1.0", "id": id, "source": "/s", "type": "t", "data": data })
}

fn accepted(ids: &[&str]) -> Value {
    json!({ "accepted": ids.iter().map(|id| json!({ "id": id })).collect::<Vec<_>>() })
}

#[tokio::test]
async fn an_event_is_taken_in_every_mode_and_heard() {
    let house = House::start().await;
    house.chain(echo("echo", "heard")).await;
    let mut kitchen = echo("kitchen", "kitchen");
    kitchen["on"]["subject"] = "Küche".into();
    house.chain(kitchen).await;
    let mut stream = house.listen("heard").await;
    let mut kitchen = house.listen("kitchen").await;
    let binary = [
        ("ce-specversion", "1.0"),
        ("ce-id", "b1"),
        ("ce-source", "/s"),
        ("ce-type", "t"),
        ("ce-subject", "K%C3%BCche"),
    ];
    let with = |content_type| [&binary[..], &[("content-type", content_type)]].concat();
    let json_header = [("content-type", "application/json; charset=utf-8")];
    let batch = json!([structured("s2", json!(3)), structured("s3", json!([4]))]).to_string();
    for (headers, body, ids, heard_data) in [
        (
            &json_header[..],
            json!({ "type": "t", "id": "j1", "data": 1 }).to_string(),
            vec!["j1"],
            vec![json!(1)],
        ),
        (&[EVENT], structured("s1", json!("2")).to_string(), vec!["s1"], vec![json!("2")]),
        (&[BATCH], batch, vec!["s2", "s3"], vec![json!(3), json!([4])]),
        (&with("application/json"), "{\"five\":5}".into(), vec!["b1"], vec![json!({ "five": 5 })]),
    ] {
        let answer = house.post_as(headers, body).await;
        assert_eq!((answer.status, answer.json()), (202, accepted(&ids)));
        let mut said = vec![];
        for _ in &heard_data {
            said.push(heard(&mut stream).await["data"].clone());
        }
        // The jobs of a batch are several, and a worker takes them side by side.
        said.sort_by_key(Value::to_string);
        assert_eq!(said, heard_data);
    }
    let mut bytes = with("application/octet-stream");
    bytes[1].1 = "b2";
    assert_eq!(house.post_as(&bytes, vec![0, 0xff]).await.json(), accepted(&["b2"]));
    assert_eq!(heard(&mut stream).await["data"], "AP8=");
    // Only the binary ones have the subject, and only percent-decoded is it this one.
    assert_eq!(heard(&mut kitchen).await["data"], json!({ "five": 5 }));
    assert_eq!(heard(&mut kitchen).await["data"], "AP8=");
}

#[tokio::test]
async fn what_shorthand_leaves_out_is_filled_in() {
    let house = House::start().await;
    let mut chain = echo("echo", "heard");
    chain["nodes"] = json!([
        { "id": "look", "kind": "transform", "then": "tell", "set": { "event": "event" } },
        chain["nodes"][0],
    ]);
    house.chain(chain).await;
    let mut stream = house.listen("heard").await;
    let id = house.event(json!({ "type": "t" })).await["accepted"][0]["id"].clone();
    let event = heard(&mut stream).await["data"]["event"].clone();
    let time = event["time"].as_str().unwrap();
    assert!(chrono::DateTime::parse_from_rfc3339(time).is_ok(), "{time}");
    assert_eq!(
        event,
        json!({ "specversion": "1.0", "id": id, "source": "/v1/events", "type": "t", "time": time })
    );
    let id = uuid::Uuid::parse_str(id.as_str().unwrap()).unwrap();
    assert_eq!(id.get_version_num(), 7);
}

#[tokio::test]
async fn a_trace_comes_from_the_event_or_else_from_the_request() {
    let house = House::start().await;
    house.chain(echo("echo", "heard")).await;
    let mut stream = house.listen("heard").await;
    let own = "00-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-bbbbbbbbbbbbbbbb-00";
    let headers = [("content-type", "application/json"), ("traceparent", TRACE)];
    for (event, expected) in [
        (json!({ "type": "t" }), TRACE),
        (json!({ "type": "t", "traceparent": own }), own),
        (json!({ "type": "t", "traceparent": "nonsense" }), TRACE),
    ] {
        assert_eq!(house.post_as(&headers, event.to_string()).await.status, 202);
        assert_eq!(heard(&mut stream).await["traceparent"], expected, "{event}");
    }
    let direct = json!({ "channel": "heard", "data": 1 }).to_string();
    let answer = house.public.send(Method::POST, "/v1/notifications", &headers, direct).await;
    assert_eq!(answer.status, 200);
    assert_eq!(heard(&mut stream).await["traceparent"], TRACE);
}

#[tokio::test]
async fn a_batch_is_all_or_nothing() {
    let house = House::start().await;
    // Without a worker every job that gets in stays where it can be counted.
    house.worker.sigterm();
    house.worker.exit().await;
    let fine = |count: usize| -> Vec<_> {
        (0..count).map(|id| structured(&id.to_string(), json!(id))).collect()
    };
    let mut faulty = fine(3);
    faulty[1] = json!({ "specversion": "1.0", "id": "", "type": "t" });
    let refused = house.post_as(&[BATCH], json!(faulty).to_string()).await;
    assert_eq!(problem(&refused), (400, "invalid".into()));
    let errors = refused.json()["errors"].clone();
    let errors = errors.as_array().unwrap();
    assert!(
        errors.iter().all(|it| it["path"].as_str().unwrap().starts_with("$[1].")),
        "{errors:?}"
    );
    assert_eq!(errors.len(), 2);
    let refused = house.post_as(&[BATCH], json!(fine(101)).to_string()).await;
    assert_eq!(problem(&refused), (400, "invalid".into()));
    let large = json!([structured("large", json!("x".repeat(70_000)))]).to_string();
    assert_eq!(problem(&house.post_as(&[BATCH], large).await), (413, "payload-too-large".into()));
    assert_eq!(house.jobs(), 0);

    let empty = house.post_as(&[BATCH], "[]").await;
    assert_eq!((empty.status, empty.json()), (202, accepted(&[])));
    let mut full = fine(100);
    full[99] = full[0].clone();
    let answer = house.post_as(&[BATCH], json!(full).to_string()).await.json();
    let answers = answer["accepted"].as_array().unwrap();
    let ids: Vec<_> = answers.iter().map(|it| it["id"].as_str().unwrap().to_owned()).collect();
    let expected: Vec<_> = (0..99).chain([0]).map(|id| id.to_string()).collect();
    assert_eq!(ids, expected);
    let repeats: Vec<_> = answers.iter().filter(|it| it["duplicate"] == true).collect();
    assert_eq!((repeats.len(), house.jobs()), (1, 99));
}
