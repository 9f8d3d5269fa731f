//! What an operator does with a queue: `trunkline queue`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use trunkline::model::DeadReason;
use trunkline::queue::{GROUP, Partition, Thresholds, Verdict};

use crate::house::{Diary, House, NAMESPACE, event};
use crate::support::eventually::eventually;
use crate::support::process::{Daemon, Launch};
use crate::support::redis::Redis;

fn queue(url: &str, arguments: &[&str]) -> Launch {
    let tool = Daemon::tool().args([&["queue"], arguments].concat());
    tool.args(["--namespace", NAMESPACE, "--queue", "q", "--redis-url", url])
}

/// How a run ends: its code, and its lines.
async fn run(launch: Launch) -> (i32, Vec<String>) {
    let tool = launch.start();
    (tool.exit().await.code().expect("no signal"), tool.lines())
}

async fn told(house: &House, arguments: &[&str]) -> (i32, Vec<String>) {
    run(queue(&house.redis.url(), arguments)).await
}

/// The one JSON document that a run prints.
async fn document(house: &House, arguments: &[&str]) -> Value {
    let (code, lines) = told(house, &[arguments, &["--json"]].concat()).await;
    assert_eq!((code, lines.len()), (0, 1), "{lines:?}");
    serde_json::from_str(&lines[0]).unwrap()
}

/// A diary whose jobs all die, until they are told to be done.
fn hopeless() -> (Diary, Arc<AtomicBool>) {
    let mended = Arc::new(AtomicBool::new(false));
    let mend = mended.clone();
    let diary = Diary::new(move |_| {
        let mended = mend.load(Ordering::Relaxed);
        async move {
            match mended {
                true => Verdict::Done,
                false => Verdict::Dead { reason: DeadReason::RuleError, detail: "no field".into() },
            }
        }
    });
    (diary, mended)
}

/// Puts a dead letter there, as a worker would.
fn bury(house: &House, body: &str) -> String {
    bury_with(house, body, &[])
}

fn bury_with(house: &House, body: &str, fields: &[&str]) -> String {
    let dead = house.keys.dead();
    let words =
        ["reason", "attempts", "detail", "boom", "buried_at", "1738310400000", "entry", "1-0"];
    let job =
        ["delivered", "3", "id", body, "type", "event", "at", "1738310400000", "attempt", "3"];
    let rest = ["deliveries", "2", "body", body, "traceparent", "t", "later", "field"];
    house
        .redis
        .cli(&[&["XADD", &dead, "*"], &words[..], &job[..], &rest[..], fields].concat())
        .text()
}

#[tokio::test]
async fn a_job_that_goes_back_starts_afresh_and_keeps_why_it_died() {
    let house = House::start();
    let (diary, mended) = hopeless();
    let _worker = house.worker().start(&diary).await;
    house.producer().await.producer.enqueue(&[event("patient")]).await.unwrap();
    house.buries(1).await;

    let first = document(&house, &["dead", "list"]).await;
    assert_eq!((&first["reason"], &first["history"]), (&json!("rule_error"), &json!([])));
    let id = first["id"].as_str().unwrap();
    assert_eq!(document(&house, &["dead", "show", id]).await["body"], "patient");
    assert_eq!(document(&house, &["dead", "requeue", id]).await, json!({ "requeued": 1 }));
    diary.reaches(2).await;
    house.buries(1).await;

    let second = document(&house, &["dead", "list"]).await;
    let death =
        json!([{ "buried_at": first["buried_at"], "reason": "rule_error", "detail": "no field" }]);
    assert_eq!((&second["history"], &second["job"]), (&death, &first["job"]));
    assert_ne!(second["id"], first["id"]);

    mended.store(true, Ordering::Relaxed);
    assert_eq!(told(&house, &["dead", "requeue", "--all"]).await.0, 0);
    diary.reaches(3).await;
    house.is_drained().await;
    assert_eq!(house.dead().len(), 0);
    for job in diary.jobs() {
        assert_eq!((job.attempt, job.deliveries, job.body.as_slice()), (1, 1, &b"patient"[..]));
        assert_eq!(job.id, first["job"].as_str().unwrap());
    }
}

#[tokio::test]
async fn no_letter_goes_back_twice_however_many_ask_at_once() {
    let house = House::start();
    for n in 0..150 {
        bury(&house, &n.to_string());
    }
    let url = house.redis.url();
    let all = || run(queue(&url, &["dead", "requeue", "--all", "--json"]));
    let runs = tokio::join!(all(), all(), all());
    let mut requeued = 0;
    for (code, lines) in [runs.0, runs.1, runs.2] {
        assert_eq!(code, 0, "{lines:?}");
        let told: Value = serde_json::from_str(lines.last().unwrap()).unwrap();
        requeued += told["requeued"].as_u64().unwrap();
    }
    assert_eq!((requeued, house.dead().len()), (150, 0));

    let diary = Diary::done();
    let _worker = house.worker().start(&diary).await;
    house.is_drained().await;
    assert_eq!((diary.jobs().len(), diary.distinct()), (150, 150));
    for job in diary.jobs() {
        assert_eq!((job.attempt, job.deliveries, job.traceparent.as_deref()), (1, 1, Some("t")));
    }
}

#[tokio::test]
async fn what_does_not_exist_is_named_and_the_rest_is_done() {
    let house = House::start();
    let (there, other) = (bury(&house, "there"), bury(&house, "other"));
    let foreign = house.redis.cli(&["XADD", &house.keys.dead(), "*", "some", "thing"]).text();

    let (code, lines) = told(&house, &["dead", "requeue", &there, "1-1", &foreign, &there]).await;
    let said = lines.join("\n");
    assert_eq!(code, 1, "{said}");
    for words in [
        "1-1: there is no such dead letter".to_owned(),
        format!("{there}: there is no such"),
        format!("{foreign}: carries no job"),
        "1 dead letter put back into the queue".to_owned(),
    ] {
        assert!(said.contains(&words), "{words} is not in\n{said}");
    }
    assert_eq!((house.depths().await.waiting, house.dead().len()), (1, 2));

    for deed in [&["dead", "show", &there][..], &["dead", "delete", &there, &other]] {
        let (code, lines) = told(&house, deed).await;
        assert!(code == 1 && lines.join("\n").contains(&there), "{deed:?}: {lines:?}");
    }
    assert_eq!(house.dead(), [["some", "thing"]], "the other one is deleted");
    let (code, lines) = told(&house, &["dead", "requeue", "--all"]).await;
    assert!(code == 1 && lines.join("\n").contains("1 of them carry no job"), "{lines:?}");
    assert_eq!(document(&house, &["dead", "delete", "--all"]).await, json!({ "deleted": 1 }));
    assert_eq!((house.dead().len(), house.depths().await.waiting), (0, 1));

    let nobody = format!("redis://127.0.0.1:{}", crate::support::port::free());
    let (code, lines) = run(queue(&nobody, &["status"])).await;
    assert!(code == 1 && lines.join("\n").contains("refused"), "{lines:?}");
}

#[tokio::test]
async fn nothing_goes_back_into_a_full_queue_or_one_without_memory() {
    let mut house = House::start();
    house.thresholds = Thresholds { warning: 2, critical: 3, recovery: 1 };
    let thresholds = ["--queue-recovery", "1", "--queue-warning", "2", "--queue-critical", "3"];
    for n in 0..5 {
        bury(&house, &n.to_string());
    }
    let requeue = [&["dead", "requeue", "--all"], &thresholds[..]].concat();
    let (code, lines) = told(&house, &requeue).await;
    let said = lines.join("\n");
    assert!(code == 1 && said.contains("critical threshold") && said.contains("3 dead"), "{said}");
    assert_eq!((house.depths().await.waiting, house.dead().len()), (3, 2));

    house.redis.cli(&["DEL", &house.keys.stream()]);
    house.redis.cli(&["CONFIG", "SET", "maxmemory", "1"]);
    let (code, lines) = told(&house, &requeue).await;
    assert!(code == 1 && lines.join("\n").contains("OOM"), "{lines:?}");
    assert_eq!((house.depths().await.waiting, house.dead().len()), (0, 2));
}

#[tokio::test]
async fn the_list_is_bounded_and_begins_with_the_last() {
    let house = House::start();
    for n in 0..130 {
        bury(&house, &format!("{n}\u{1b}[2J"));
    }
    let jobs = async |limit: &str| {
        let (code, lines) = told(&house, &["dead", "list", "--limit", limit]).await;
        assert!(code == 0 && !lines.join("").contains('\u{1b}'), "{lines:?}");
        let third = |line: &String| line.split_whitespace().nth(2).unwrap().to_owned();
        lines.iter().map(third).collect::<Vec<_>>()
    };
    let listed = jobs("100").await;
    assert_eq!(listed.len(), 100);
    assert!(listed[0].starts_with("129") && listed[99].starts_with("30"), "{listed:?}");
    assert_eq!(jobs("1000").await.len(), 130);
}

/// The user of the documentation may do all of it, and is refused nothing on the way.
#[tokio::test]
async fn the_documented_operator_may_do_all_that_is_offered() {
    let text = include_str!("../../docs/queue.md");
    let line = text.split("```acl\n").nth(1).unwrap().split("```").next().unwrap().trim();
    let line = line.replace("trunkline:", &format!("{NAMESPACE}:")).replace("<password>", "pw");
    let mut house = House::start();
    house.login = None;
    house
        .redis
        .cli(&[&["ACL", "SETUSER"], &line.split(' ').skip(1).collect::<Vec<_>>()[..]].concat());
    let url = format!("redis://trunkline-operator:pw@127.0.0.1:{}", house.redis.port());
    let diary = Diary::done();
    let _worker = house.worker().start(&diary).await;
    house.parks(1).await;
    let mut ids: Vec<String> = ["a", "b", "c"].iter().map(|body| bury(&house, body)).collect();
    // Two of one partition: one goes into the stream, and the other behind it.
    let partition = Partition::of("a").to_string();
    ids.extend(["a/0", "a/1"].map(|body| bury_with(&house, body, &["partition", &partition])));
    for arguments in [
        &["status"][..],
        &["dead", "list"],
        &["dead", "show", &ids[0]],
        &["dead", "requeue", &ids[0]],
        &["dead", "delete", &ids[1]],
        &["dead", "requeue", "--all"],
    ] {
        let (code, lines) = run(queue(&url, arguments)).await;
        assert_eq!(code, 0, "{arguments:?}: {lines:?}");
    }
    // Its safety poll is an hour away: that it learns of them is the operator's doing.
    diary.reaches(4).await;
    house.is_drained().await;
    assert_refused_nothing(&house.redis);
}

fn assert_refused_nothing(redis: &Redis) {
    let log = redis.cli(&["ACL", "LOG"]);
    assert!(log.list().is_empty(), "{log:?}");
}

#[tokio::test]
async fn the_status_says_where_jobs_are_and_changes_nothing() {
    let house = House::start();
    let post = house.producer().await;
    post.post_all(["one".into(), "two".into()]).await;
    post.keyed(&["a/0", "a/1", "a/2"]).await;
    bury(&house, "dead");
    let stream = house.keys.stream();
    house.redis.cli(&["XGROUP", "CREATE", &stream, GROUP, "0"]);
    house.redis.cli(&["XREADGROUP", "GROUP", GROUP, "w", "COUNT", "1", "STREAMS", &stream, ">"]);
    house.redis.cli(&["SET", &house.keys.full(), "1"]);
    let status = document(&house, &["status"]).await;
    let told = |name: &str| status[name].clone();
    let told = ["waiting", "active", "delayed", "blocked", "dead", "full"].map(told);
    assert_eq!(told, [json!(2), json!(1), json!(0), json!(2), json!(1), json!(true)]);
    assert_eq!(house.redis.cli(&["EXISTS", &house.keys.full()]).integer(), 1, "only a look");
    eventually("an age", async || {
        match document(&house, &["status"]).await["oldest_job_age_seconds"].as_f64() {
            Some(age) if age > 0.0 => Ok(()),
            age => Err(format!("{age:?}")),
        }
    })
    .await;
}
