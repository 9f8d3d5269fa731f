//! The operator's tool against a real server.
#![cfg(feature = "bridge")]
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod support;

use serde_json::{Value, json};

use support::eventually::eventually;
use support::house::{House, heard};
use support::port;
use support::process::{Daemon, Launch};

fn tool(house: &House, arguments: &[&str]) -> Launch {
    let server = format!("http://{}", house.public.address());
    Daemon::tool().args(arguments).env("TRUNKLINE_SERVER", server)
}

/// How a run ends: its code, and what it said.
async fn run(launch: Launch) -> (i32, String) {
    let tool = launch.start();
    let code = tool.exit().await.code().expect("no signal");
    (code, tool.lines().join("\n"))
}

/// A `tail` that listens.
async fn tail(house: &House, arguments: &[&str]) -> Daemon {
    let connected = house.server.metric("trunkline_clients_connected").await;
    let before = connected.value().await.unwrap();
    let tail = tool(house, &[&["tail"], arguments].concat()).start();
    connected.reaches(before + 1.0).await;
    tail
}

async fn lines(tool: &Daemon, count: usize) -> Vec<String> {
    eventually("the lines", async || {
        let lines = tool.lines();
        if lines.len() >= count { Ok(lines) } else { Err(lines.join("\n")) }
    })
    .await
}

#[tokio::test]
async fn publish_says_what_was_published_and_who_was_told() {
    let house = House::start().await;
    let (code, said) = run(tool(&house, &["publish", "door", "hello"])).await;
    assert!(code == 0 && said.ends_with("heard by 0 server(s)"), "{said}");
    let mut stream = house.listen("door").await;
    for (typed, kind, data) in [
        ("hello", "trunkline.notification", json!("hello")),
        ("{\"open\": true}", "door.open", json!({ "open": true })),
        ("42", "trunkline.notification", json!(42)),
    ] {
        let arguments = ["publish", "door", typed, "--type", kind];
        let (code, said) = run(tool(&house, &arguments)).await;
        let notification = heard(&mut stream).await;
        assert_eq!((&notification["type"], &notification["data"]), (&json!(kind), &data));
        let id = notification["id"].as_str().unwrap();
        assert_eq!((code, said), (0, format!("{id} heard by 1 server(s)")));
    }
}

#[tokio::test]
async fn publish_says_why_it_could_not() {
    let house = House::start().await;
    let nobody = format!("http://127.0.0.1:{}", port::free());
    for (launch, expected, words) in [
        (tool(&house, &["publish", "a b", "x"]), 1, &["400", "$.channel"][..]),
        (tool(&house, &["publish", "door", "{\"open\""]), 64, &["DATA", "begins like JSON"]),
        (tool(&house, &["publish", "door"]), 64, &["DATA"]),
        (tool(&house, &["publish", "door", &"x".repeat(70_000)]), 1, &["413"]),
        (tool(&house, &["publish", "door", "x", "--server", &nobody]), 1, &["cannot be reached"]),
        (tool(&house, &["publish", "door", "x", "--server", "nonsense"]), 64, &["--server"]),
        (tool(&house, &["tail", "*"]), 1, &["400", "`*`"]),
        (tool(&house, &["tail"]), 64, &["CHANNEL"]),
        (tool(&house, &["nonsense"]), 64, &["unknown command"]),
    ] {
        let (code, said) = run(launch).await;
        assert_eq!(code, expected, "{said}");
        assert!(words.iter().all(|word| said.contains(word)), "{words:?} are not in\n{said}");
        assert!(!said.contains("panicked"), "{said}");
    }
}

#[tokio::test]
async fn tail_prints_what_arrives_until_it_is_told_to_end() {
    let house = House::start().await;
    let for_people = tail(&house, &["alerts.*", "door"]).await;
    let for_machines = tail(&house, &["door", "--json"]).await;
    house.notify("door", json!({ "message": "it is open", "since": 7 })).await;
    house.notify("window", json!("nobody asked")).await;
    house.notify("alerts.fire", json!("out")).await;
    house.notify("door", json!([1])).await;

    let told = lines(&for_people, 3).await;
    let ends = ["it is open", "out", "[1]"];
    assert!(told.iter().zip(ends).all(|(line, end)| line.ends_with(end)), "{told:?}");
    assert!(told[1].contains("alerts.fire") && told[1].contains("trunkline.notification"));
    let told = lines(&for_machines, 2).await;
    let documents: Vec<Value> = told.iter().map(|it| serde_json::from_str(it).unwrap()).collect();
    assert_eq!(documents[0]["data"], json!({ "message": "it is open", "since": 7 }));
    assert_eq!(documents[1]["data"], json!([1]));

    for_people.sigint();
    assert_eq!(for_people.exit().await.code(), Some(0));
    assert_eq!(for_people.lines().len(), 3);
    for_machines.sigint();
    assert_eq!(for_machines.exit().await.code(), Some(0));
}

/// The data of what a `tail --json` has printed, once there is so much.
async fn told(tail: &Daemon, count: usize) -> Vec<Value> {
    let printed = || -> Vec<Value> {
        let lines = tail.lines();
        let documents = lines.iter().filter_map(|it| serde_json::from_str::<Value>(it).ok());
        documents.map(|it| it["data"].clone()).collect()
    };
    eventually(&format!("{count} notifications"), async || {
        let printed = printed();
        if printed.len() >= count { Ok(printed) } else { Err(tail.lines().join("\n")) }
    })
    .await
}

async fn says(tail: &Daemon, words: &str, times: usize) {
    eventually(&format!("{words:?} {times} times"), async || {
        let lines = tail.lines();
        let said = lines.iter().filter(|line| line.contains(words)).count();
        if said >= times { Ok(()) } else { Err(lines.join("\n")) }
    })
    .await;
}

#[tokio::test]
async fn tail_comes_back_where_it_was_when_its_server_has_left_or_died() {
    let port = port::free();
    let listen = format!("127.0.0.1:{port}");
    let mut house = House::with(|server| server.env("TRUNKLINE_LISTEN", &listen)).await;
    let url = house.redis.url();
    let other = Daemon::server(&url).patient().start();
    other.wait_ready().await;
    let door = other.public().await;
    let publish = async |data: Value| {
        let body = json!({ "channel": "door", "data": data });
        assert_eq!(door.post("/v1/notifications", &body).await.status, 200);
    };
    let tail = tail(&house, &["door", "--json"]).await;
    publish(json!(1)).await;
    assert_eq!(told(&tail, 1).await, [json!(1)]);

    house.server.sigterm();
    assert!(house.server.exit().await.success());
    says(&tail, "the server is leaving", 1).await;
    publish(json!(2)).await;
    house.server = Daemon::server(&url).env("TRUNKLINE_LISTEN", &listen).start();
    house.server.wait_ready().await;
    says(&tail, "back where it was", 1).await;
    publish(json!(3)).await;
    assert_eq!(told(&tail, 3).await, [json!(1), json!(2), json!(3)]);

    house.server.sigkill();
    says(&tail, "coming back", 2).await;
    house.redis.cli(&["FLUSHALL"]);
    house.server = Daemon::server(&url).env("TRUNKLINE_LISTEN", &listen).start();
    house.server.wait_ready().await;
    says(&tail, "notifications are lost: {\"channels\":[\"door\"],\"reason\":\"epoch\"}", 1).await;
    publish(json!(4)).await;
    assert_eq!(told(&tail, 4).await[3], json!(4));

    house.server.sigkill();
    says(&tail, "coming back", 3).await;
    tail.sigint();
    assert_eq!(tail.exit().await.code(), Some(0));
}

#[tokio::test]
async fn config_shows_what_is_in_force_and_where_it_comes_from() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "queue = \"from-file\"\nnamespace = \"file\"\n").unwrap();
    let config = file.path().to_str().unwrap();
    let show = |arguments: &[&str]| {
        let launch = Daemon::tool().args(["config"]).args(arguments);
        launch
            .args(["--config", config])
            .env("TRUNKLINE_NAMESPACE", "env")
            .without_env("TRUNKLINE_ADMIN_LISTEN")
    };
    let (code, said) = run(show(&["server", "--max-payload=1MiB"])).await;
    assert_eq!(code, 0, "{said}");
    for (setting, value, origin) in [
        ("--queue ", "from-file", "file"),
        ("--namespace ", "env", "environment TRUNKLINE_NAMESPACE"),
        ("--max-payload ", "1MiB", "flag"),
        ("--admin-listen ", "127.0.0.1:9464", "default"),
        ("--redis-url ", "redis://127.0.0.1:6379", "default"),
    ] {
        let line = said.lines().find(|line| line.starts_with(setting)).unwrap();
        assert!(line.contains(value) && line.contains(origin), "{line}");
    }
    assert!(!said.contains("--concurrency"), "{said}");
    let (code, said) = run(show(&["worker"])).await;
    assert!(code == 0 && said.contains("--concurrency") && !said.contains("--listen"), "{said}");
}

#[tokio::test]
async fn config_check_says_whether_a_daemon_would_start() {
    let check = || Daemon::tool().args(["config", "--check"]);
    let (code, said) = run(check()).await;
    assert_eq!(code, 0, "{said}");
    assert_eq!(said.matches("the configuration is good").count(), 2, "{said}");
    let bad = check().env("TRUNKLINE_ENV", "production").env("TRUNKLINE_CONCURRENCY", "0");
    let (code, said) = run(bad).await;
    assert_eq!(code, 64, "{said}");
    for word in ["2 faults", "REDIS_PASSWORD", "TRUNKLINE_CONCURRENCY"] {
        assert!(said.contains(word), "{word} is not in\n{said}");
    }
}
