//! The test harness, proved on itself: what every other test takes for granted.
#![cfg(feature = "bridge")]
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod support;

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};

use support::DEADLINE;
use support::children::Process;
use support::eventually::{eventually, within};
use support::http::{Http, Sse};
use support::metrics::{Metric, parse};
use support::process::{Daemon, configures, field};
use support::proxy::{Direction, Proxy};
use support::redis::Redis;
use support::resp::Reply;

/// How long a test looks at something that must not happen.
const MOMENT: Duration = Duration::from_millis(100);

/// A client that knows nothing of the harness.
fn dial(port: u16) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(DEADLINE))?;
    Ok(stream)
}

fn ping(mut stream: impl Read + Write) -> std::io::Result<String> {
    stream.write_all(b"PING\r\n")?;
    let mut answer = [0; 7];
    stream.read_exact(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).trim_end().to_owned())
}

fn silent(stream: &TcpStream) -> bool {
    stream.set_read_timeout(Some(MOMENT)).unwrap();
    let answer = ping(stream).expect_err("an answer");
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    answer.kind() == ErrorKind::WouldBlock
}

/// Whether the process still runs: one that ended may stay a zombie until pid 1 sees it.
fn runs(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.lines().any(|line| line.starts_with("State:") && !line.contains('Z'))
}

#[test]
fn a_redis_lives_as_long_as_its_handle() {
    let redis = Redis::start();
    assert_eq!(ping(dial(redis.port()).unwrap()).unwrap(), "+PONG");
    assert_eq!(redis.cli(&["SET", "a", "1"]).text(), "OK");
    assert_eq!(redis.cli(&["INCR", "a"]).integer(), 2);
    assert_eq!(redis.cli(&["MGET", "a", "b"]).list(), [Reply::Text("2".into()), Reply::Nil]);
    assert!(redis.ask(&["NONSENSE"]).text().starts_with("ERR unknown command"));
    let (pid, port) = (redis.pid(), redis.port());
    drop(redis);
    assert!(!runs(pid));
    assert_eq!(dial(port).unwrap_err().kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn a_redis_outlives_the_thread_that_started_it() {
    let redis = std::thread::spawn(Redis::start).join().unwrap();
    std::thread::sleep(MOMENT);
    assert!(runs(redis.pid()));
}

#[test]
#[ignore = "is run, and killed, by the test below"]
fn a_test_run_that_hangs() {
    println!("\npid {}", Redis::start().pid());
    let redis = Redis::start();
    println!("pid {}", redis.pid());
    loop {
        std::thread::park();
    }
}

#[tokio::test]
async fn a_killed_test_run_leaves_no_redis_behind() {
    let leftovers = tempfile::tempdir().unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "a_test_run_that_hangs", "--ignored", "--nocapture"]);
    command.env("TMPDIR", leftovers.path()).stdout(Stdio::piped());
    let mut run = Process::start(command).unwrap();
    let output = BufReader::new(run.child().stdout.take().unwrap());
    let lines = output.lines().map_while(Result::ok);
    let mut pids = lines.filter_map(|line| line.strip_prefix("pid ")?.parse::<u32>().ok());
    let (dropped, orphan) = (pids.next().unwrap(), pids.next().unwrap());
    assert!(!runs(dropped) && runs(orphan));
    run.kill();
    eventually("the orphan is killed", async || if runs(orphan) { Err("it runs") } else { Ok(()) })
        .await;
}

#[test]
fn a_killed_redis_refuses_and_comes_back_on_the_same_port() {
    let redis = Redis::plan().argument("appendonly", "yes").start();
    redis.cli(&["SET", "kept", "yes"]);
    let mut client = dial(redis.port()).unwrap();
    redis.kill9();
    assert_eq!(client.read(&mut [0; 1]).unwrap_or(0), 0, "its connections end");
    assert_eq!(dial(redis.port()).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    redis.restart();
    assert_eq!(ping(dial(redis.port()).unwrap()).unwrap(), "+PONG");
    assert_eq!(redis.cli(&["GET", "kept"]).text(), "yes");
}

#[test]
fn a_stopped_redis_accepts_and_does_not_answer() {
    let redis = Redis::start();
    redis.stop();
    let client = dial(redis.port()).expect("the kernel still accepts");
    assert!(silent(&client));
    redis.cont();
    redis.wait_ready();
    let mut answer = String::new();
    BufReader::new(&client).read_line(&mut answer).unwrap();
    assert_eq!(answer, "+PONG\r\n");
}

#[test]
fn the_harness_keeps_a_user_and_one_connection_for_itself() {
    let app = "user app on >secret ~app:* &* +@all";
    let redis = Redis::plan().users(&["user default off", app]).start();
    let mut client = dial(redis.port()).unwrap();
    let mut say = |command: &str| {
        client.write_all(format!("{command}\r\n").as_bytes()).unwrap();
        let mut answer = String::new();
        BufReader::new(&client).read_line(&mut answer).unwrap();
        answer
    };
    assert!(say("PING").starts_with("-NOAUTH"));
    assert_eq!(say("AUTH app secret"), "+OK\r\n");
    assert_eq!(say("CLIENT SETNAME it"), "+OK\r\n");
    assert!(say("GET other").starts_with("-NOPERM"));
    let clients = redis.client_list();
    assert_eq!(clients.len(), 1);
    let (name, user, cmd) = (&*clients[0].name, &*clients[0].user, &*clients[0].cmd);
    assert_eq!((name, user, cmd), ("it", "app", "get"));
    let connections = redis.info("stats", "total_connections_received");
    redis.cli(&["PING"]);
    assert_eq!(redis.info("stats", "total_connections_received"), connections);
}

#[test]
fn a_redis_on_a_unix_socket_has_no_port() {
    let redis = Redis::plan().unix().start();
    assert_eq!(redis.info("server", "tcp_port"), "0");
    let socket = redis.url().strip_prefix("unix://").map(ToOwned::to_owned).unwrap();
    assert_eq!(ping(UnixStream::connect(socket).unwrap()).unwrap(), "+PONG");
}

#[test]
fn a_redis_with_tls_is_vouched_for_by_its_authority() {
    let redis = Redis::plan().tls().start();
    let authority = redis.certificates().join("authority.pem");
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let session = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let stream = rustls::StreamOwned::new(session, dial(redis.port()).unwrap());
    assert_eq!(ping(stream).unwrap(), "+PONG");
}

#[tokio::test]
async fn a_proxy_forwards_falls_silent_and_recovers() {
    let redis = Redis::start();
    let proxy = Proxy::to(redis.port());
    let client = dial(proxy.port()).unwrap();
    assert_eq!(ping(&client).unwrap(), "+PONG");
    proxy.silence_one(Direction::ToClient);
    assert!(silent(&client));
    proxy.forward();
    let mut answer = [0; 7];
    (&client).read_exact(&mut answer).expect("what was held back arrives");
    proxy.silence();
    assert!(silent(&dial(proxy.port()).expect("dialling still succeeds")));
    assert_eq!(proxy.accepted(), 2);
    proxy.forward();
    eventually("the second is gone", async || (proxy.open() == 1).then_some(()).ok_or("open"))
        .await;
    proxy.filter(Arc::new(|_, piece| if piece.starts_with(b"+") { vec![] } else { piece }));
    assert!(silent(&client), "what the filter swallowed never comes");
}

#[test]
fn a_proxy_refuses_resets_and_closes() {
    let redis = Redis::start();
    let proxy = Proxy::to(redis.port());
    let mut client = dial(proxy.port()).unwrap();
    proxy.refuse();
    assert_eq!(dial(proxy.port()).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    assert_eq!(ping(&client).unwrap(), "+PONG", "open connections stay");
    proxy.reset();
    assert_eq!(client.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    proxy.forward();
    let mut client = dial(proxy.port()).unwrap();
    assert_eq!(ping(&client).unwrap(), "+PONG");
    proxy.close();
    assert_eq!(client.read(&mut [0; 1]).unwrap(), 0);
}

#[test]
fn a_proxy_closes_one_direction_and_leaves_the_other() {
    let redis = Redis::start();
    let proxy = Proxy::to(redis.port());
    let mut client = dial(proxy.port()).unwrap();
    assert_eq!(ping(&client).unwrap(), "+PONG");
    proxy.half_close(Direction::ToClient);
    assert_eq!(client.read(&mut [0; 1]).unwrap(), 0);
    client.write_all(b"SET heard yes\r\n").unwrap();
    let deadline = Instant::now() + DEADLINE;
    while redis.cli(&["GET", "heard"]).text() != "yes" {
        assert!(Instant::now() < deadline, "what the client says still arrives");
    }

    let mut client = dial(proxy.port()).unwrap();
    assert_eq!(ping(&client).unwrap(), "+PONG");
    proxy.half_close(Direction::ToServer);
    assert_eq!(client.read(&mut [0; 1]).unwrap(), 0, "redis hears the end, and ends it too");
}

#[test]
fn a_proxy_is_aimed_at_another_server_and_leaves_connections_where_they_are() {
    let (first, second) = (Redis::start(), Redis::start());
    let proxy = Proxy::to(first.port());
    let old = dial(proxy.port()).unwrap();
    assert_eq!(ping(&old).unwrap(), "+PONG");
    proxy.aim(second.port());
    first.kill9();
    let new = dial(proxy.port()).unwrap();
    assert_eq!(ping(&new).unwrap(), "+PONG");
    assert!(ping(&old).is_err(), "it was the first one's");
}

#[tokio::test]
async fn a_daemon_knows_only_what_the_test_says_and_is_heard() {
    for name in ["REDIS_URL", "TRUNKLINE_LISTEN", "OTEL_SERVICE_NAME", "QUEUE_X", "RUST_LOG"] {
        assert!(configures(name), "{name} is not passed on");
    }
    let script = r#"
        echo "to standard error, $REDIS_URL$TRUNKLINE_NAMESPACE" >&2
        echo '{"level":"INFO","fields":{"message":"listening","listener":"admin","address":"127.0.0.1:7"}}'
        trap 'echo drained; exit 3' TERM
        while :; do sleep 0.01; done"#;
    let launch = Daemon::program("/bin/sh").args(["-c", script]);
    let daemon = launch.env("TRUNKLINE_NAMESPACE", "told").start();
    assert_eq!(daemon.address("admin").await, SocketAddr::from(([127, 0, 0, 1], 7)));
    assert_eq!(field(&daemon.logs()[0], "message"), "listening");
    daemon.sigstop();
    daemon.sigterm();
    tokio::time::sleep(MOMENT).await;
    assert!(daemon.is_running(), "a signal waits while it stands still");
    daemon.sigcont();
    assert_eq!(daemon.exit().await.code(), Some(3));
    let lines = daemon.lines();
    assert!(lines.contains(&"to standard error, told".to_owned()), "{lines:?}");
    assert_eq!(lines.last().unwrap(), "drained");
}

/// Answers every request with the same bytes.
fn server(answer: &'static str) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let request = BufReader::new(&stream).lines().map_while(Result::ok);
            request.take_while(|line| !line.is_empty()).for_each(drop);
            (&stream).write_all(answer.as_bytes()).unwrap();
        }
    });
    address
}

const PAGE: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n\
    # HELP x_total Some.\n# TYPE x_total counter\n\
    x_total{role=\"shared\",reason=\"a \\\"b\\\\\"} 2\nx_total{role=\"subscriber\",} 3\nup +Inf\n";

#[tokio::test]
async fn a_metric_is_read_as_prometheus_reads_it() {
    let source = Http::at(server(PAGE));
    let page = source.get("/metrics").await;
    let series = parse(page.text());
    assert_eq!(series[0].labels["reason"], "a \"b\\");
    assert_eq!(series[2].value, f64::INFINITY);
    let metric = || Metric::new(source.clone(), "x_total");
    assert_eq!(metric().value().await, Some(5.0), "the sum");
    assert_eq!(metric().label("role", "shared").reaches(2.0).await, 2.0);
    metric().label("role", "subscriber").settles(3.0).await;
    assert_eq!(metric().label("role", "nobody").value().await, None);
    assert_eq!(Metric::new(source.clone(), "x").value().await, None);
}

#[tokio::test]
async fn a_stream_of_events_is_read_one_by_one() {
    let http = Http::at(server(concat!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n",
        "retry: 1500\n\n: still here\n\nid: 7\nevent: notification\ndata: {\"a\":\ndata: 1}\n\n",
    )));
    let mut stream = Sse::open(&http, "/v1/stream").await;
    assert_eq!(stream.next_event(DEADLINE).await.unwrap().retry, Some(1500));
    let comment = stream.next_event(DEADLINE).await.unwrap().comment;
    assert_eq!(comment.as_deref(), Some("still here"));
    let event = stream.event().await;
    assert_eq!((&*event.event, event.id.as_deref()), ("notification", Some("7")));
    assert_eq!(event.json()["a"], 1);
    assert_eq!(stream.next_event(DEADLINE).await.unwrap_err(), "the stream ended");
}

#[tokio::test]
#[should_panic(expected = "two of them\n  seen instead: 1")]
async fn a_witness_that_does_not_come_is_reported_with_what_was_seen() {
    within(MOMENT, "two of them", async || Err::<(), _>(1)).await;
}
