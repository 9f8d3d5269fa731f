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
async fn tail_prints_what_arrives_until_it_is_told_to_end_or_the_server_leaves() {
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
    house.server.sigterm();
    assert_eq!(for_machines.exit().await.code(), Some(1));
    assert!(
        for_machines.lines()[2].contains("the server is leaving"),
        "{:?}",
        for_machines.lines()
    );
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
