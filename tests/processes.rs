//! The programs as an operator meets them: how they refuse to start, how they end, and what they
//! bear meanwhile.
#![cfg(feature = "bridge")]
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use futures_util::future::join_all;
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::process::Signal;
use serde_json::json;

use support::children::Process;
use support::eventually::{eventually, within};
use support::http::Http;
use support::metrics::Metric;
use support::port;
use support::process::{Daemon, Launch};
use support::redis::Redis;

/// Nobody listens there.
const NOWHERE: &str = "redis://127.0.0.1:1";

async fn refused(launch: Launch, code: i32) -> String {
    let daemon = launch.start();
    let ended = daemon.exit().await;
    let said = daemon.lines().join("\n");
    assert_eq!(ended.code(), Some(code), "{said}");
    said
}

#[tokio::test]
async fn every_address_that_is_taken_is_told_at_once() {
    let taken = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let [public, admin] = taken.each_ref().map(|it| it.local_addr().unwrap().to_string());
    let server = Daemon::server(NOWHERE);
    let server = server.env("TRUNKLINE_LISTEN", public).env("TRUNKLINE_ADMIN_LISTEN", admin);
    let said = refused(server, 69).await;
    for setting in ["--listen: cannot listen on", "--admin-listen: cannot listen on"] {
        assert!(said.contains(setting), "{said}");
    }
}

#[tokio::test]
async fn a_certificate_that_cannot_be_read_is_a_fault_of_its_setting() {
    let worker = Daemon::worker("rediss://127.0.0.1:1");
    let said = refused(worker.env("TRUNKLINE_REDIS_TLS_CA", "/nowhere.pem"), 64).await;
    assert!(said.contains("--redis-tls-ca: /nowhere.pem"), "{said}");
}

#[tokio::test]
async fn a_variable_that_is_no_text_is_a_fault_and_not_unset() {
    use std::os::unix::ffi::OsStrExt;
    let bytes = std::ffi::OsStr::from_bytes(b"h\xffnter2");
    let said = refused(Daemon::worker(NOWHERE).env("TRUNKLINE_QUEUE", bytes), 64).await;
    assert!(said.contains("TRUNKLINE_QUEUE") && said.contains("not UTF-8"), "{said}");
    let said = refused(Daemon::server(NOWHERE).env("TRUNKLINE_API_TOKENS", bytes), 64).await;
    assert!(said.contains("TRUNKLINE_API_TOKENS: is set"), "{said}");
}

#[tokio::test]
async fn clients_leave_a_server_files_enough_to_answer_for_its_health() {
    let launch = Daemon::program("/bin/sh").env("TRUNKLINE_LISTEN", "127.0.0.1:0");
    let script = "ulimit -n 400; exec \"$0\"";
    let server = launch.args(["-c", script, env!("CARGO_BIN_EXE_trunkline-server")]).start();
    let address = server.address("public").await;
    let crowd: Vec<_> = (0..450).map(|_| TcpStream::connect(address).unwrap()).collect();
    server.metric("trunkline_http_connections_refused_total").await.reaches(300.0).await;
    assert_eq!(server.admin().await.get("/livez").await.status, 200);
    drop(crowd);
}

#[tokio::test]
async fn a_log_that_nobody_reads_ends_nothing() {
    for format in ["text", "json"] {
        let admin = format!("127.0.0.1:{}", port::free());
        let mut command = Command::new(env!("CARGO_BIN_EXE_trunkline-worker"));
        command.env("REDIS_URL", NOWHERE).env("TRUNKLINE_ADMIN_LISTEN", &admin);
        command.env("TRUNKLINE_LOG_FORMAT", format).env("RUST_LOG", "debug");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut worker = Process::start(command).unwrap();
        drop((worker.child().stdout.take(), worker.child().stderr.take()));
        let admin = Http::at(admin.parse().unwrap());
        let health = || admin.try_send(hyper::Method::GET, "/livez", &[], "");
        eventually("it answers", async || health().await.map(drop)).await;
        Metric::new(admin.clone(), "trunkline_redis_connect_attempts_total").reaches(5.0).await;
        Metric::new(admin.clone(), "trunkline_task_panics_total").settles(0.0).await;
    }
}

#[tokio::test]
async fn a_log_whose_reader_stalls_holds_up_nothing_and_its_lost_lines_are_counted() {
    for format in ["text", "json"] {
        let redis = Redis::start();
        let [public, admin] = [(); 2].map(|()| format!("127.0.0.1:{}", port::free()));
        let mut command = Command::new(env!("CARGO_BIN_EXE_trunkline-server"));
        command.env("REDIS_URL", redis.url()).env("TRUNKLINE_LISTEN", &public);
        command.env("TRUNKLINE_ADMIN_LISTEN", &admin).env("RUST_LOG", "debug");
        command.env("TRUNKLINE_LOG_FORMAT", format).env("TRUNKLINE_REDIS_COMMAND_TIMEOUT", "8s");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut server = Process::start(command).unwrap();
        // Both pipes stay open, and nobody reads them.
        let [public, admin] = [public, admin].map(|it| Http::at(it.parse().unwrap()));
        let ready = || admin.try_send(hyper::Method::GET, "/readyz", &[], "");
        eventually("it is ready", async || match ready().await {
            Ok(answer) if answer.status == 200 => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
        let dropped = Metric::new(admin.clone(), "trunkline_log_lines_dropped_total");
        let knock = json!({ "channel": "door", "data": "knock" });
        // Thousands of lines have to be written before one is left out, which takes its time.
        within(Duration::from_secs(60), "lines are left out", async || {
            for _ in 0..10 {
                let many = (0..20).map(|_| public.post("/v1/notifications", &knock));
                for answer in join_all(many).await {
                    assert_eq!(answer.status, 200);
                }
            }
            match dropped.value().await {
                Some(lines) if lines > 0.0 => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
        assert_eq!(admin.get("/livez").await.status, 200);
        server.signal(Signal::TERM);
        let ended = eventually("it ends", async || server.exited().ok_or("it runs")).await;
        assert!(ended.success(), "{ended}");
    }
}

#[tokio::test]
async fn a_second_signal_ends_a_process_whose_main_thread_is_stuck() {
    // It cannot start, and the pipe it says so on is full: a write that never ends.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let (_unread, mut full) = std::io::pipe().unwrap();
    fcntl_setfl(&full, OFlags::NONBLOCK).unwrap();
    while full.write(&[b'x'; 4_096]).is_ok() {}
    while full.write(b"x").is_ok() {}
    fcntl_setfl(&full, OFlags::empty()).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_trunkline-worker"));
    command.env("REDIS_URL", NOWHERE).env("TRUNKLINE_LOG_FORMAT", "json");
    command.env("TRUNKLINE_ADMIN_LISTEN", taken.local_addr().unwrap().to_string());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(full);
    let mut worker = Process::start(command).unwrap();
    let status = format!("/proc/{}/status", worker.pid());
    eventually("it handles SIGTERM", async || {
        let status = std::fs::read_to_string(&status).unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap().trim();
        let caught = u64::from_str_radix(caught, 16).unwrap();
        if caught & 1 << (Signal::TERM.as_raw() - 1) == 0 { Err(status) } else { Ok(()) }
    })
    .await;
    worker.signal(Signal::TERM);
    let stdout = BufReader::new(worker.child().stdout.take().unwrap());
    let draining = tokio::task::spawn_blocking(move || {
        stdout.lines().map_while(Result::ok).any(|line| line.contains("draining"))
    });
    let heard = tokio::time::timeout(support::DEADLINE, draining).await;
    assert!(heard.expect("it does not hear the first").unwrap());
    assert_eq!(worker.exited(), None, "it is stuck, and has not ended by itself");
    worker.signal(Signal::TERM);
    let ended = eventually("it ends", async || worker.exited().ok_or("it runs")).await;
    assert_eq!(ended.code(), Some(1));
}

#[tokio::test]
async fn tail_ends_quietly_when_its_reader_has_left() {
    let redis = Redis::start();
    let server = Daemon::server(&redis.url()).patient().start();
    server.wait_ready().await;
    let public = server.public().await;
    let mut command = Command::new(env!("CARGO_BIN_EXE_trunkline"));
    command.args(["tail", "door", "--server", &format!("http://{}", public.address())]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut tail = Process::start(command).unwrap();
    server.metric("trunkline_clients_connected").await.label("transport", "sse").reaches(1.0).await;
    let knock = json!({ "channel": "door", "data": "knock" });
    public.post("/v1/notifications", &knock).await;
    let mut line = String::new();
    BufReader::new(tail.child().stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.ends_with("knock\n"), "{line}");
    let ended = eventually("tail ends", async || {
        public.post("/v1/notifications", &knock).await;
        tail.exited().ok_or("it runs")
    })
    .await;
    let mut said = String::new();
    tail.child().stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(ended.success() && said.is_empty(), "{ended}: {said}");
}

/// `trunkline dev` with the addresses of `ports`, and its temporary files in `directory`.
fn dev(ports: [u16; 3], directory: &Path) -> Launch {
    let flags = ["--listen", "--admin-listen", "--worker-admin-listen"];
    let addresses = ports.map(|port| format!("127.0.0.1:{port}"));
    let flags = flags.iter().zip(&addresses).flat_map(|(flag, address)| [*flag, address]);
    let arguments: Vec<&str> = std::iter::once("dev").chain(flags).collect();
    Daemon::tool().args(arguments).env("TMPDIR", directory)
}

fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

#[tokio::test]
async fn dev_interrupted_while_it_starts_leaves_nothing_behind() {
    use std::os::unix::fs::PermissionsExt;
    // The one is interrupted while it waits for its Redis, the other a little later.
    let programs = tempfile::tempdir().unwrap();
    let slow = programs.path().join("redis-server");
    std::fs::write(&slow, "#!/bin/sh\nexec sleep 60\n").unwrap();
    std::fs::set_permissions(&slow, PermissionsExt::from_mode(0o700)).unwrap();
    for redis in [slow.as_os_str(), "".as_ref()] {
        let directory = tempfile::tempdir().unwrap();
        let dev = dev([(); 3].map(|()| port::free()), directory.path());
        let dev = dev.env("TRUNKLINE_REDIS_SERVER", redis).start();
        eventually("its directory is there", async || match names(directory.path()) {
            names if names.is_empty() => Err("nothing"),
            _ => Ok(()),
        })
        .await;
        dev.sigint();
        assert!(dev.exit().await.success());
        assert_eq!(names(directory.path()), [""; 0]);
    }
}

#[tokio::test]
async fn a_second_dev_says_that_there_is_a_first_and_does_not_touch_it() {
    // A name that is no URL.
    let directory = tempfile::Builder::new().prefix("50% of #1? ").tempdir().unwrap();
    let ports = [(); 3].map(|()| port::free());
    let first = dev(ports, directory.path()).start();
    eventually("it runs", async || {
        let said = first.lines();
        if said.iter().any(|line| line.contains("is running")) {
            Ok(())
        } else {
            Err(said.join("\n"))
        }
    })
    .await;
    let public = Http::at(([127, 0, 0, 1], ports[0]).into());
    assert_eq!(public.delete("/v1/rule-chains/host-pulse").await.status, 204);

    let second = dev(ports, directory.path()).start();
    assert_eq!(second.exit().await.code(), Some(1));
    let said = second.lines().join("\n");
    assert!(said.contains("another trunkline") || said.contains("cannot listen"), "{said}");
    assert_eq!(public.get("/v1/rule-chains/host-pulse").await.status, 404);
    first.sigint();
    assert!(first.exit().await.success());
    assert_eq!(names(directory.path()), [""; 0]);
}

#[tokio::test]
async fn a_crowd_at_a_workers_admin_listener_makes_no_series_that_only_a_server_has() {
    let worker = Daemon::worker(NOWHERE).start();
    let address = worker.address("admin").await;
    let crowd: Vec<_> = (0..300).map(|_| TcpStream::connect(address).unwrap()).collect();
    let refusal = "too many http connections: one was refused";
    worker.logged(refusal, |line| line["listener"] == "admin").await;
    drop(crowd);
    let admin = worker.admin().await;
    let page = eventually("it answers again", async || {
        admin.try_send(hyper::Method::GET, "/metrics", &[], "").await
    })
    .await;
    assert!(page.text().contains("trunkline_task_panics_total 0"));
    assert!(!page.text().contains("trunkline_http_connections"), "{}", page.text());
}
