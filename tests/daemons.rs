//! The life of a daemon: refused, started, probed, drained.
#![cfg(feature = "bridge")]
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod support;

use std::net::TcpListener;
use std::time::{Duration, Instant};

use hyper::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use support::eventually::{eventually, within};
use support::house::{goodbye, heard, problem};
use support::http::{Http, Sse};
use support::port;
use support::process::{Daemon, Launch, field};
use support::redis::Redis;
use support::stalls::Stalls;

/// A Redis that nobody will ever answer as.
fn nobody() -> String {
    format!("redis://127.0.0.1:{}", port::free())
}

/// Both daemons, each about to start on a Redis.
fn both(url: &str) -> [Launch; 2] {
    [Daemon::server(url), Daemon::worker(url)]
}

/// How a program that refuses to start ends: its code and all it said.
async fn refused(launch: Launch) -> (Option<i32>, String) {
    let daemon = launch.start();
    let code = daemon.exit().await.code();
    (code, daemon.lines().join("\n"))
}

async fn missing(admin: &Http) -> (u16, Value) {
    let answer = admin.get("/readyz").await;
    (answer.status, answer.json()["missing"].clone())
}

#[tokio::test]
async fn a_bad_configuration_is_refused_with_every_fault_and_the_settings_names() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "nonsense = 1\nmax_payload = \"64 parsecs\"\n").unwrap();
    let config = ["--config".to_owned(), file.path().display().to_string()];
    let both_of = |how: &dyn Fn(Launch) -> Launch| both(&nobody()).map(how);
    let server = |how: &dyn Fn(Launch) -> Launch| vec![how(Daemon::server(&nobody()))];
    let cases: Vec<(Vec<Launch>, &[&str])> = vec![
        (
            both_of(&|it| {
                it.env("TRUNKLINE_ENV", "prod")
                    .env("TRUNKLINE_NAMESPACE", "No Spaces")
                    .env("TRUNKLINE_REDIS_COMMAND_TIMEOUT", "soon")
                    .env("TRUNKLINE_ADMIN_LISTEN", "here")
                    .env("REDIS_URL", "http://localhost")
            })
            .into(),
            &[
                "TRUNKLINE_ENV",
                "TRUNKLINE_NAMESPACE",
                "TRUNKLINE_REDIS_COMMAND_TIMEOUT",
                "TRUNKLINE_ADMIN_LISTEN",
                "REDIS_URL",
                "5 faults",
            ],
        ),
        (
            both_of(&|it| it.env("TRUNKLINE_ENV", "production")).into(),
            &["REDIS_URL", "REDIS_PASSWORD", "credentials", "1 fault"],
        ),
        (
            both_of(&|it| {
                it.env("QUEUE_WARNING_THRESHOLD", "5000").env("QUEUE_CRITICAL_THRESHOLD", "5000")
            })
            .into(),
            &[
                "QUEUE_WARNING_THRESHOLD",
                "QUEUE_RECOVERY_THRESHOLD",
                "recovery < warning < critical",
                "2 faults",
            ],
        ),
        (
            both_of(&|it| {
                it.env("TRUNKLINE_API_TOKENS", "t0ken").env("TRUNKLINE_JWT_ISSUER", "me")
            })
            .into(),
            &["TRUNKLINE_API_TOKENS", "TRUNKLINE_JWT_ISSUER", "not built", "2 faults"],
        ),
        (both_of(&|it| it.args(&config)).into(), &["nonsense", "--max-payload", "2 faults"]),
        (both_of(&|it| it.args(["--namespacce=x"])).into(), &["--namespacce", "--namespace"]),
        (
            both_of(&|it| it.args(["--config", "/nowhere.toml"])).into(),
            &["--config", "/nowhere.toml"],
        ),
        (
            server(&|it| it.env("TRUNKLINE_LISTEN", "0.0.0.0:0")),
            &["--listen", "TRUNKLINE_LISTEN", "outside loopback", "--insecure"],
        ),
        (
            server(&|it| it.env("TRUNKLINE_INSECURE", "true").env("TRUNKLINE_ENV", "production")),
            &["TRUNKLINE_INSECURE", "REDIS_PASSWORD", "2 faults"],
        ),
        (
            server(&|it| it.args(["--client-queue-bytes=1KiB", "--allowed-origins=app.example"])),
            &["--client-queue-bytes", "--max-payload", "--allowed-origins", "2 faults"],
        ),
    ];
    for (launches, expected) in cases {
        for launch in launches {
            let (code, said) = refused(launch).await;
            assert_eq!(code, Some(64), "{said}");
            for word in expected {
                assert!(said.contains(word), "{word} is not in:\n{said}");
            }
            assert!(!said.contains("panicked") && !said.contains("t0ken"), "{said}");
        }
    }
}

#[tokio::test]
async fn a_port_that_is_taken_is_named_with_its_setting() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let url = nobody();
    let listen = Daemon::server(&url).env("TRUNKLINE_LISTEN", &address);
    let admin = both(&url).map(|it| it.env("TRUNKLINE_ADMIN_LISTEN", &address));
    for (launch, setting) in
        [(listen, "--listen: ")].into_iter().chain(admin.map(|it| (it, "--admin-listen: ")))
    {
        let (code, said) = refused(launch).await;
        assert_eq!(code, Some(69), "{said}");
        assert!(said.contains(&format!("{setting}cannot listen on {address}")), "{said}");
    }
}

#[tokio::test]
async fn help_and_version_are_answered_by_every_program() {
    for (program, about) in [
        (Daemon::server as fn(&str) -> Launch, "--allowed-origins"),
        (Daemon::worker, "--concurrency"),
        (|_: &str| Daemon::tool(), "dev"),
    ] {
        let (code, help) = refused(program("").args(["--help"])).await;
        assert_eq!(code, Some(0));
        assert!(help.contains("Usage: ") && help.contains(about), "{help}");
        let (code, version) = refused(program("").args(["--version"])).await;
        assert!(code == Some(0) && version.contains(env!("CARGO_PKG_VERSION")), "{version}");
    }
}

#[tokio::test]
async fn without_redis_a_daemon_lives_and_says_what_is_missing_and_comes_to_be_ready_by_itself() {
    let redis = Redis::start();
    redis.kill9();
    let (server, worker) =
        (Daemon::server(&redis.url()).start(), Daemon::worker(&redis.url()).start());
    for (daemon, lacks) in
        [(&server, json!(["shared", "subscriber", "probe"])), (&worker, json!(["shared"]))]
    {
        let admin = daemon.admin().await;
        assert_eq!(admin.get("/livez").await.status, 200);
        assert_eq!(missing(&admin).await, (503, lacks.clone()));
        let verbose = admin.get("/readyz?verbose").await.json();
        assert_eq!(verbose["checks"]["drain"], true);
        // Its first dial has come to an end, so it has started.
        eventually("it has started", async || match admin.get("/startupz").await.status {
            200 => Ok(()),
            other => Err(other),
        })
        .await;
    }
    let refused = server.public().await.get("/v1/stream?channel=a").await;
    assert_eq!(problem(&refused), (503, "redis-unavailable".into()));
    redis.restart();
    server.wait_ready().await;
    worker.wait_ready().await;
}

#[tokio::test]
async fn a_daemon_has_not_started_before_its_first_dial_has_ended() {
    let redis = Redis::start();
    redis.stop();
    for launch in both(&redis.url()) {
        let daemon = launch.env("TRUNKLINE_REDIS_CONNECT_TIMEOUT", "30s").start();
        let admin = daemon.admin().await;
        assert_eq!(admin.get("/startupz").await.status, 503);
        assert_eq!(admin.get("/livez").await.status, 200);
        redis.cont();
        daemon.wait_ready().await;
        assert_eq!(admin.get("/startupz").await.status, 200);
        redis.stop();
        assert_eq!(admin.get("/startupz").await.status, 200, "once started, always started");
    }
    redis.cont();
}

#[tokio::test]
async fn a_loss_is_forgiven_for_ten_seconds_and_then_shows_until_redis_is_back() {
    let redis = Redis::start();
    let (server, worker) =
        (Daemon::server(&redis.url()).start(), Daemon::worker(&redis.url()).start());
    for daemon in [&server, &worker] {
        daemon.wait_ready().await;
    }
    let lost = Instant::now();
    redis.kill9();
    let loss = async |daemon: &Daemon| {
        // What is measured has no grace.
        let shared = daemon.metric("trunkline_ready").await.label("check", "shared");
        shared.settles(0.0).await;
        let admin = daemon.admin().await;
        let (status, lacks) = missing(&admin).await;
        assert!(status == 200 && lacks[0] == "shared", "{status} {lacks}");
        within(Duration::from_secs(15), "the loss shows", async || match missing(&admin).await {
            (503, lacks) if lacks[0] == "shared" => Ok(()),
            (status, lacks) => Err(format!("{status} {lacks}")),
        })
        .await;
        // The last look at which everything held may have been a moment before the loss.
        assert!(lost.elapsed() >= Duration::from_secs(8), "{:?}", lost.elapsed());
        assert_eq!(admin.get("/livez").await.status, 200);
    };
    tokio::join!(loss(&server), loss(&worker));
    redis.restart();
    server.wait_ready().await;
    worker.wait_ready().await;
}

/// A request in flight: the server has its head and has asked for its body.
struct Begun(BufReader<TcpStream>);

const BODY: &str = r#"{"type":"t"}"#;

impl Begun {
    async fn on(public: &Http) -> Begun {
        let mut stream = BufReader::new(TcpStream::connect(public.address()).await.unwrap());
        let head = format!(
            "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nExpect: 100-continue\r\n\r\n",
            BODY.len()
        );
        stream.get_mut().write_all(head.as_bytes()).await.unwrap();
        let mut line = String::new();
        stream.read_line(&mut line).await.unwrap();
        assert_eq!(line, "HTTP/1.1 100 Continue\r\n");
        stream.read_line(&mut line).await.unwrap();
        Begun(stream)
    }

    /// Sends the rest, and reads the answer until the server closes.
    async fn finish(mut self) -> String {
        self.0.get_mut().write_all(BODY.as_bytes()).await.unwrap();
        let mut answer = String::new();
        self.0.read_to_string(&mut answer).await.unwrap();
        answer
    }
}

#[tokio::test]
async fn a_server_that_is_asked_to_end_finishes_what_is_in_flight_and_says_goodbye() {
    let redis = Redis::start();
    let server = Daemon::server(&redis.url()).patient().env("RUST_LOG", "debug").start();
    server.wait_ready().await;
    let (public, admin) = (server.public().await, server.admin().await);
    let mut streams = vec![];
    for _ in 0..3 {
        streams.push(Sse::open(&public, "/v1/stream?channel=a").await);
    }
    public.post("/v1/notifications", &json!({ "channel": "a", "data": "last" })).await;
    // Its answer is Redis'; the way back from there to the clients takes a moment more.
    let enqueued = server.metric("trunkline_client_messages_enqueued_total").await;
    enqueued.label("transport", "sse").reaches(3.0).await;
    let post = Begun::on(&public).await;

    server.sigterm();
    server.logged("draining", |_| true).await;
    // The log says it a moment before it is so.
    eventually("draining has no grace", async || match missing(&admin).await {
        told if told == (503, json!(["drain"])) => Ok(()),
        told => Err(format!("{told:?}")),
    })
    .await;
    eventually("the door is shut", async || {
        match public.try_send(Method::GET, "/", &[], "").await {
            Ok(answer) => Err(answer.status),
            Err(_) => Ok(()),
        }
    })
    .await;
    let mut hints = vec![];
    for stream in &mut streams {
        assert_eq!(heard(stream).await["data"], "last");
        let closing = goodbye(stream).await;
        assert_eq!(closing["reason"], "shutdown");
        hints.push(closing["reconnect"].as_u64().unwrap());
        assert!(stream.next_event(support::DEADLINE).await.is_err(), "the stream has ended");
    }
    assert!(hints.iter().all(|hint| (1_000..5_000).contains(hint)), "{hints:?}");
    assert!(hints.windows(2).any(|pair| pair[0] != pair[1]), "not all at once: {hints:?}");
    assert!(server.is_running(), "a request is in flight");
    let answer = post.finish().await;
    assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
    assert_eq!(server.exit().await.code(), Some(0));
    redis.is_left().await;
    server.logged("stopped", |_| true).await;
    let closed = server.logs().into_iter().filter(|line| field(line, "to") == "closed").count();
    assert_eq!(
        closed, 2,
        "its connections were closed in order, and not by the end of the process"
    );
}

#[tokio::test]
async fn an_idle_daemon_ends_at_once_on_either_signal_and_leaves_redis() {
    let redis = Redis::start();
    for (launch, signal) in
        both(&redis.url()).into_iter().zip([Daemon::sigterm as fn(&Daemon), Daemon::sigint])
    {
        let daemon = launch.patient().start();
        daemon.wait_ready().await;
        assert!(!redis.client_list().is_empty());
        let asked = Stalls::watch();
        signal(&daemon);
        assert_eq!(daemon.exit().await.code(), Some(0));
        asked.less_than(Duration::from_secs(3), "the end of an idle daemon");
        redis.is_left().await;
        let warned: Vec<_> = daemon.logs().into_iter().filter(|it| it["level"] != "INFO").collect();
        assert!(warned.is_empty(), "{warned:?}");
    }
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    let redis = Redis::start();
    let server = Daemon::server(&redis.url()).start();
    server.wait_ready().await;
    let _post = Begun::on(&server.public().await).await;
    server.sigterm();
    server.logged("draining", |_| true).await;
    assert!(server.is_running());
    server.sigterm();
    assert_eq!(server.exit().await.code(), Some(1));
}

#[tokio::test]
async fn a_password_is_nowhere_to_be_read() {
    const PASSWORD: &str = "hunter2%2Fsecret";
    const PLAIN: &str = "hunter2/secret";
    let redis = Redis::plan().password(PLAIN).start();
    let url = |password: &str| format!("redis://:{password}@127.0.0.1:{}", redis.port());
    let mut everything = vec![];
    for (password, ready) in [(PASSWORD, true), ("hunter2-wrong", false)] {
        for launch in both(&url(password)) {
            let daemon = launch.env("RUST_LOG", "trace").start();
            let admin = daemon.admin().await;
            if ready {
                daemon.wait_ready().await;
            } else {
                // It is a visible state, and no crash.
                eventually("the reason is known", async || {
                    let status = admin.get("/status").await.json();
                    let connection = &status["connections"][0];
                    (connection["last_reason"] == "auth").then_some(()).ok_or(status)
                })
                .await;
                assert_eq!(missing(&admin).await.0, 503);
            }
            for path in ["/status", "/metrics", "/readyz?verbose"] {
                everything.push(admin.get(path).await.text().to_owned());
            }
            daemon.sigterm();
            assert_eq!(daemon.exit().await.code(), Some(0));
            everything.extend(daemon.lines());
        }
    }
    for program in ["server", "worker"] {
        for extra in [None, Some("--check")] {
            let arguments = ["config", program].into_iter().chain(extra);
            let config = Daemon::tool().args(arguments).env("REDIS_URL", url(PASSWORD));
            let (code, said) = refused(config).await;
            assert_eq!(code, Some(0), "{said}");
            everything.push(said);
        }
    }
    let broken = Daemon::server(&format!("{}/x?y", url(PASSWORD)));
    everything.push(refused(broken).await.1);
    for text in &everything {
        assert!(!text.contains("hunter2"), "{text}");
    }
    assert!(everything.iter().any(|text| text.contains("***")), "the configuration shows a mask");
}
