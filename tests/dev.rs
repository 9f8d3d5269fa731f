//! `trunkline dev`: everything in one command, and nothing of it left behind, however it ends.
#![cfg(feature = "bridge")]
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod support;

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::{Duration, Instant};

use hyper::Method;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use support::eventually::eventually;
use support::house::goodbye;
use support::http::{Http, Sse};
use support::port;
use support::process::{Daemon, Launch};
use support::redis::Redis;
use tempfile::TempDir;

/// One run, on ports and in a temporary directory of its own.
struct Dev {
    tool: Daemon,
    place: TempDir,
    ports: [u16; 3],
}

impl Dev {
    fn start(arguments: &[&str]) -> Dev {
        Dev::with(arguments, |launch| launch)
    }

    fn with(arguments: &[&str], how: impl FnOnce(Launch) -> Launch) -> Dev {
        Dev::in_place(tempfile::tempdir().unwrap(), arguments, how)
    }

    fn in_place(place: TempDir, arguments: &[&str], how: impl FnOnce(Launch) -> Launch) -> Dev {
        let ports = [port::free(), port::free(), port::free()];
        let flags = ["--listen", "--admin-listen", "--worker-admin-listen"];
        let listen = flags.iter().zip(ports).map(|(flag, port)| format!("{flag}=127.0.0.1:{port}"));
        let launch = Daemon::tool().args(["dev"]).args(listen).args(arguments);
        let tool = how(launch.env("TMPDIR", place.path())).start();
        Dev { tool, place, ports }
    }

    fn at(&self, listener: usize) -> Http {
        Http::at(SocketAddr::from(([127, 0, 0, 1], self.ports[listener])))
    }

    /// Waits for a line of its output.
    async fn says(&self, what: &str) -> String {
        eventually(&format!("dev says {what:?}"), async || {
            let lines = self.tool.lines();
            let found = lines.iter().find(|line| line.contains(what)).cloned();
            found.ok_or(lines.join("\n"))
        })
        .await
    }

    /// The ids of its children and what they are: Redis, the server and the worker.
    fn children(&self) -> Vec<(Pid, String)> {
        children(self.tool.pid())
    }

    /// Waits until all of it is gone.
    async fn leaves_nothing(&self, children: &[(Pid, String)]) {
        eventually("the children are gone", async || {
            let left: Vec<_> = children.iter().filter(|(pid, _)| runs(*pid)).collect();
            if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
        })
        .await;
        assert_eq!(entries(self.place.path()), [] as [String; 0]);
        for port in self.ports {
            TcpListener::bind(("127.0.0.1", port)).unwrap();
        }
    }
}

/// The state and the parent of a process, and its name.
fn stat(pid: &str) -> Option<(String, u32, String)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (head, tail) = stat.rsplit_once(')')?;
    let mut fields = tail.split_ascii_whitespace();
    let (state, parent) = (fields.next()?.to_owned(), fields.next()?.parse().ok()?);
    Some((state, parent, head.split_once('(')?.1.to_owned()))
}

fn children(of: u32) -> Vec<(Pid, String)> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let all = processes.filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        let (_, parent, program) = stat(&name).filter(|(state, ..)| state != "Z")?;
        (parent == of).then_some((Pid::from_raw(name.parse().ok()?)?, program))
    });
    let mut all: Vec<_> = all.collect();
    all.sort_by(|one, other| one.1.cmp(&other.1));
    all
}

fn runs(pid: Pid) -> bool {
    let stat = stat(&pid.as_raw_nonzero().to_string());
    stat.is_some_and(|(state, ..)| state != "Z" && state != "X")
}

fn entries(place: &Path) -> Vec<String> {
    let all = fs::read_dir(place).unwrap().flatten();
    all.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

#[tokio::test]
async fn it_shows_live_notifications_and_ends_by_itself_with_nothing_left() {
    let started = Instant::now();
    let dev = Dev::with(&["--for", "8s"], |launch| {
        // What is meant for daemons elsewhere does not reach these.
        launch
            .env("REDIS_URL", "nonsense")
            .env("REDIS_HOST", "127.0.0.9")
            .env("TRUNKLINE_NAMESPACE", "Not Ours")
            .env("QUEUE_WARNING_THRESHOLD", "1")
    });
    let pulse = dev.says("host.pulse").await;
    assert!(pulse.contains("load ") && pulse.contains("memory "), "{pulse}");
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());

    let children = dev.children();
    let programs: Vec<_> = children.iter().map(|(_, program)| program.as_str()).collect();
    // The kernel cuts a name after fifteen letters.
    let ours = ["trunkline-serve", "trunkline-worke"];
    assert!(programs.len() == 3 && ours.iter().all(|it| programs.contains(it)), "{programs:?}");
    let said = dev.tool.lines().join("\n");
    for (listener, path) in [(0, "/"), (1, "/metrics"), (2, "/metrics"), (1, "/status")] {
        let url = format!("http://127.0.0.1:{}{path}", dev.ports[listener]);
        assert!(said.contains(&url), "{url} is not in\n{said}");
        assert_eq!(dev.at(listener).get(path).await.status, 200, "{url}");
    }
    let private = dev.place.path().join(&entries(dev.place.path())[0]);
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&fs::metadata(private).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o700);

    // The line to paste does what it is there for.
    let curl = said.lines().find_map(|line| line.split_once("curl -s ")).unwrap().1;
    let body = curl.split('\'').nth(3).unwrap();
    let json_header = [("content-type", "application/json")];
    let path = "/v1/notifications";
    assert!(curl.starts_with(&format!("http://127.0.0.1:{}{path} ", dev.ports[0])), "{curl}");
    let answer = dev.at(0).send(Method::POST, path, &json_header, body.to_owned()).await;
    assert_eq!((answer.status, &answer.json()["receivers"]), (200, &json!(1)));
    dev.says("hello").await;

    assert_eq!(dev.tool.exit().await.code(), Some(0));
    let lasted = started.elapsed();
    assert!(lasted > Duration::from_secs(8), "{lasted:?}");
    dev.leaves_nothing(&children).await;
    let noise: Vec<_> = dev.tool.lines().into_iter().filter(|line| is_noise(line)).collect();
    assert!(noise.is_empty(), "{noise:?}");
    let pulses = dev.tool.lines().iter().filter(|line| line.contains("host.pulse")).count();
    // One each second.
    let most = lasted.as_secs() as usize + 2;
    assert!((3..=most).contains(&pulses), "{pulses} in {lasted:?}");
}

/// That a machine stood still, and Redis with it, may be said.
fn is_noise(line: &str) -> bool {
    let noise = ["WARN", "ERROR", "panicked", "fault"].iter().any(|noise| line.contains(noise));
    noise && !line.contains("reason=\"timeout\"")
}

#[tokio::test]
async fn a_signal_ends_it_in_order() {
    for signal in [Daemon::sigint as fn(&Daemon), Daemon::sigterm] {
        let dev = Dev::start(&["--no-feed"]);
        dev.says("try this").await;
        let children = dev.children();
        assert_eq!(children.len(), 3);
        // The chain is there and nothing feeds it: of what we post we hear, and of no more.
        for load in [71.5, 72.5, 73.5] {
            let data = json!({ "load1": load, "cores": 99, "memory_percent": 1.5,
                "disk_percent": 1.5, "received_kb": 1.5, "sent_kb": 1.5 });
            let event = json!({ "type": "telemetry.host", "data": data });
            assert_eq!(dev.at(0).post("/v1/events", &event).await.status, 202);
            dev.says(&format!("load {load}")).await;
        }
        let mut client = Sse::open(&dev.at(0), "/v1/stream?channel=a").await;
        signal(&dev.tool);
        assert_eq!(goodbye(&mut client).await["reason"], "shutdown");
        assert_eq!(dev.tool.exit().await.code(), Some(0));
        dev.leaves_nothing(&children).await;
        let lines = dev.tool.lines();
        let pulses = lines.iter().filter(|line| line.contains("host.pulse")).count();
        assert!(pulses == 3 && !lines.iter().any(|line| is_noise(line)), "{lines:?}");
    }
}

#[tokio::test]
async fn killed_it_takes_its_children_along_and_the_next_start_sweeps_up() {
    let dev = Dev::start(&["--no-feed"]);
    dev.says("try this").await;
    let children = dev.children();
    assert_eq!(children.len(), 3);
    dev.tool.sigkill();
    eventually("the children are gone", async || {
        let left: Vec<_> = children.iter().filter(|(pid, _)| runs(*pid)).collect();
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .await;
    let Dev { place, .. } = dev;
    let left = entries(place.path());
    assert_eq!(left.len(), 1, "{left:?}");
    // What is another's is not touched, nor what belongs to a process that runs.
    let others =
        ["trunkline-dev-notes".to_owned(), format!("trunkline-dev-{}", std::process::id())];
    for name in &others {
        fs::create_dir(place.path().join(name)).unwrap();
    }
    let next = Dev::in_place(place, &["--no-feed", "--for", "100ms"], |launch| launch);
    assert_eq!(next.tool.exit().await.code(), Some(0));
    let mut kept = entries(next.place.path());
    kept.sort_by_key(|name| name != &others[0]);
    assert_eq!(kept, others);
}

#[tokio::test]
async fn addresses_that_are_taken_are_told_by_their_flags_and_nothing_is_started() {
    let taken = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let [admin, worker] = taken.each_ref().map(|it| it.local_addr().unwrap());
    let dev = Dev::with(&[], |_| {
        Daemon::tool().args([
            "dev".to_owned(),
            format!("--listen=127.0.0.1:{}", port::free()),
            format!("--admin-listen={admin}"),
            format!("--worker-admin-listen={worker}"),
        ])
    });
    assert_eq!(dev.tool.exit().await.code(), Some(1));
    let said = dev.tool.lines().join("\n");
    for flag in [
        format!("--admin-listen: cannot listen on {admin}"),
        format!("--worker-admin-listen: cannot listen on {worker}"),
    ] {
        assert!(said.contains(&flag), "{flag} is not in\n{said}");
    }
    assert!(!said.contains("running"), "{said}");
    dev.leaves_nothing(&[]).await;
}

#[tokio::test]
async fn when_a_part_of_it_dies_all_of_it_ends_and_says_which() {
    for (program, name) in
        [("trunkline-serve", "the server"), ("trunkline-worke", "the worker"), ("redis", "redis")]
    {
        let dev = Dev::start(&[]);
        dev.says("host.pulse").await;
        let children = dev.children();
        let ours = |it: &&(Pid, String)| it.1.starts_with("trunkline") == (program != "redis");
        let victim = children.iter().filter(ours).find(|it| program == "redis" || it.1 == program);
        kill_process(victim.unwrap().0, Signal::KILL).unwrap();
        assert_eq!(dev.tool.exit().await.code(), Some(1), "{program}");
        dev.says(&format!("{name} ended by itself")).await;
        dev.leaves_nothing(&children).await;
    }
}

#[tokio::test]
async fn it_uses_another_redis_only_when_told_on_the_command_line() {
    let redis = Redis::start();
    let dev = Dev::start(&["--redis-url", &redis.url()]);
    dev.says("host.pulse").await;
    assert_eq!(dev.children().len(), 2);
    assert_eq!(entries(dev.place.path()), [] as [String; 0]);
    let names: Vec<_> = redis.client_list().into_iter().map(|client| client.name).collect();
    assert_eq!(names.len(), 3, "{names:?}");
    assert!(names.iter().all(|name| name.starts_with("trunkline-dev:")), "{names:?}");
    let said = dev.tool.lines().join("\n");
    assert!(said.contains("trunkline-dev: stay in that Redis"), "{said}");
    dev.tool.sigint();
    assert_eq!(dev.tool.exit().await.code(), Some(0));
    redis.is_left().await;
    let keys = redis.cli(&["KEYS", "*"]).texts();
    assert!(keys.iter().all(|key| key.starts_with("trunkline-dev:")), "{keys:?}");
}

#[tokio::test]
async fn what_cannot_work_is_refused_in_words() {
    let missing = ("TRUNKLINE_REDIS_SERVER", "/nowhere/redis-server");
    for (environment, arguments, code, word) in [
        (Some(("TRUNKLINE_ENV", "production")), vec![], 64, "TRUNKLINE_ENV"),
        (None, vec!["--for", "soon"], 64, "--for"),
        (None, vec!["--redis-url", "http://x"], 64, "--redis-url"),
        (Some(missing), vec![], 1, "/nowhere/redis-server"),
    ] {
        let dev = Dev::with(&arguments, |launch| match environment {
            Some((name, value)) => launch.env(name, value),
            None => launch,
        });
        assert_eq!(dev.tool.exit().await.code(), Some(code));
        let said = dev.tool.lines().join("\n");
        assert!(said.contains(word) && !said.contains("panicked"), "{said}");
        dev.leaves_nothing(&[]).await;
    }
    let outside = Daemon::tool().args(["dev", "--listen", "0.0.0.0:0"]).start();
    assert_eq!(outside.exit().await.code(), Some(64));
    assert!(outside.lines().join("\n").contains("--insecure"));
}
