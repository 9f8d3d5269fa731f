//! The composed stack without containers: the programs it names, run natively with the very
//! commands, environments and configuration files that the containers would get. What differs is
//! said here: paths of a container become paths of this checkout, names of services and their
//! ports become free ports of this machine, and Prometheus scrapes each second.
#![cfg(feature = "bridge")]
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod support;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use support::children::Process;
use support::collector::Collector;
use support::eventually::within;
use support::http::Http;
use support::port;
use support::process::Daemon;
use support::programs::Program;
use support::redis::Redis;

/// Prometheus looks for new targets every five seconds, and Alertmanager is one of them.
const PATIENCE: Duration = Duration::from_secs(30);

/// What compose would start, and where it runs here.
struct Stack {
    compose: Value,
    redis: Redis,
    traces: Collector,
    directory: TempDir,
}

fn repository(relative: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(relative)
}

fn yaml(relative: &str) -> Value {
    let text = std::fs::read_to_string(repository(relative)).unwrap();
    let mut value: serde_yaml_ng::Value = serde_yaml_ng::from_str(&text).unwrap();
    value.apply_merge().unwrap();
    serde_json::to_value(value).unwrap()
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

impl Stack {
    fn new() -> Stack {
        let directory = tempfile::Builder::new().prefix("stack-").tempdir().unwrap();
        std::fs::create_dir(directory.path().join("deploy")).unwrap();
        std::os::unix::fs::symlink(repository("alerts"), directory.path().join("alerts")).unwrap();
        let compose = yaml("docker-compose.yml");
        Stack { compose, redis: Redis::start(), traces: Collector::start(), directory }
    }

    fn service(&self, name: &str) -> &Value {
        &self.compose["services"][name]
    }

    /// The replicas of a service of ours, with the environment it has in the stack.
    fn daemons(&self, name: &str) -> Vec<Daemon> {
        let service = self.service(name);
        let replicas = service["deploy"]["replicas"].as_u64().unwrap();
        let start = |_| {
            let url = self.redis.url();
            let mut launch =
                if name == "server" { Daemon::server(&url) } else { Daemon::worker(&url) };
            for (variable, value) in service["environment"].as_object().unwrap() {
                launch = launch.env(variable, self.here(value.as_str().unwrap()));
            }
            launch.start()
        };
        (0..replicas).map(start).collect()
    }

    /// A value of an environment, with the addresses of this machine.
    fn here(&self, value: &str) -> String {
        match value.split_once("0.0.0.0:") {
            Some(_) => "127.0.0.1:0".to_owned(),
            None => value
                .replace("redis://redis:6379", &self.redis.url())
                .replace("http://jaeger:4318", self.traces.endpoint()),
        }
    }

    /// A program that is not ours, with the command it has in the stack, on a port of its own.
    fn start(&self, name: &str, program: Program, port: u16) -> Process {
        let mut command = program.command();
        for argument in texts(&self.service(name)["command"]) {
            let home = self.directory.path().display();
            let argument = argument.replace("/etc/trunkline", &home.to_string());
            // Where its volume would be mounted.
            command.arg(argument.replace(&format!("=/{name}"), &format!("={home}/{name}")));
        }
        command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
        let log = std::fs::File::create(self.directory.path().join(format!("{name}.log"))).unwrap();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        Process::start(command).unwrap()
    }

    /// Writes a configuration file where its program will look for it.
    fn configure(&self, file: &str, value: &Value) {
        // JSON is YAML too.
        std::fs::write(self.directory.path().join(file), value.to_string()).unwrap();
    }

    fn said(&self, name: &str) -> String {
        let log = self.directory.path().join(format!("{name}.log"));
        std::fs::read_to_string(log).unwrap_or_default()
    }

    /// How the health check of a service judges a process of its at this port.
    fn is_healthy(&self, name: &str, port: u16) -> bool {
        let test = texts(&self.service(name)["healthcheck"]["test"]);
        let admin = self.service(name)["environment"]["TRUNKLINE_ADMIN_LISTEN"].as_str().unwrap();
        let (_, inside) = admin.rsplit_once(':').unwrap();
        // In a compose file a dollar sign is written twice.
        let arguments = test.iter().skip(1).map(|it| it.replace("$$", "$"));
        let mut arguments = arguments.map(|it| it.replace(inside, &port.to_string()));
        let mut command = Command::new(arguments.next().unwrap());
        command.args(arguments).stderr(Stdio::null()).status().unwrap().success()
    }
}

/// The configuration of Prometheus, with these targets for the names of services.
fn scraping(jobs: &[(&str, Vec<SocketAddr>)], alertmanager: u16) -> Value {
    let mut config = yaml("deploy/prometheus.yml");
    for setting in ["scrape_interval", "scrape_timeout", "evaluation_interval"] {
        config["global"][setting] = json!("1s");
    }
    config["alerting"]["alertmanagers"][0]["static_configs"] =
        json!([{ "targets": [format!("127.0.0.1:{alertmanager}")] }]);
    for scrape in config["scrape_configs"].as_array_mut().unwrap() {
        let found = jobs.iter().find(|(name, _)| scrape["job_name"] == *name);
        // Redis' own exporter is not among the programs here.
        let targets = found.map_or(&[][..], |(_, targets)| targets);
        let targets: Vec<String> = targets.iter().map(SocketAddr::to_string).collect();
        scrape.as_object_mut().unwrap().remove("dns_sd_configs");
        scrape["static_configs"] = json!([{ "targets": targets }]);
    }
    config
}

/// Waits until a program answers this path with something that satisfies the condition.
async fn answers(stack: &Stack, name: &str, at: &Http, path: &str, good: impl Fn(&Value) -> bool) {
    within(PATIENCE, &format!("{name} answers {path}"), async || {
        let answer = at.try_send(hyper::Method::GET, path, &[], "").await;
        let answer = answer.map_err(|error| format!("{error}\n{}", stack.said(name)))?;
        let answer = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
        if good(&answer) { Ok(()) } else { Err(answer.to_string()) }
    })
    .await;
}

fn count(value: &Value) -> usize {
    value.as_array().map_or(0, Vec::len)
}

#[tokio::test]
async fn the_composed_stack_comes_up_watches_itself_and_sends_its_traces() {
    let stack = Stack::new();
    let (servers, workers) = (stack.daemons("server"), stack.daemons("worker"));
    let mut jobs = vec![];
    for (name, job, daemons) in
        [("server", "trunkline-server", &servers), ("worker", "trunkline-worker", &workers)]
    {
        let mut targets = vec![];
        for daemon in daemons {
            daemon.wait_ready().await;
            let admin = daemon.address("admin").await;
            assert!(stack.is_healthy(name, admin.port()), "{name}: its health check fails");
            targets.push(admin);
        }
        assert!(!stack.is_healthy(name, port::free()), "{name}: healthy, and nobody is there");
        jobs.push((job, targets));
    }

    let (at, alertmanager) = (port::free(), port::free());
    stack.configure("deploy/prometheus.yml", &scraping(&jobs, alertmanager));
    stack.configure("deploy/alertmanager.yml", &yaml("deploy/alertmanager.yml"));
    let _alertmanager = stack.start("alertmanager", Program::Alertmanager, alertmanager);
    let _prometheus = stack.start("prometheus", Program::Prometheus, at);
    let http = |port| Http::at((Ipv4Addr::LOCALHOST, port).into());
    let (prometheus, alertmanager) = (http(at), http(alertmanager));

    for (job, targets) in &jobs {
        let path = format!("/api/v1/query?query=up%7Bjob%3D%22{job}%22%7D%20%3D%3D%201");
        answers(&stack, "prometheus", &prometheus, &path, |answer| {
            count(&answer["data"]["result"]) == targets.len()
        })
        .await;
    }
    let files = ["alerts/trunkline.recording.yml", "alerts/trunkline.alerts.yml"];
    let groups = files.iter().map(|file| count(&yaml(file)["groups"])).sum::<usize>();
    answers(&stack, "prometheus", &prometheus, "/api/v1/rules", |answer| {
        let loaded = count(&answer["data"]["groups"]) >= groups;
        let mut rules = answer["data"]["groups"].as_array().into_iter().flatten();
        loaded && rules.all(|group| group["rules"][0]["health"] == "ok")
    })
    .await;
    answers(&stack, "prometheus", &prometheus, "/api/v1/alertmanagers", |answer| {
        count(&answer["data"]["activeAlertmanagers"]) == 1
    })
    .await;
    answers(&stack, "alertmanager", &alertmanager, "/api/v2/status", |answer| {
        answer["config"]["original"].as_str().is_some_and(|it| it.contains("working-hours"))
    })
    .await;

    // One server publishes, the other one hands on, and both tell the same trace.
    let notification = json!({ "channel": "door", "data": "open" });
    let answer = servers[0].public().await.post("/v1/notifications", &notification).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let asked = stack.traces.span("POST /v1/notifications", |_| true).await;
    assert_eq!(asked.service(), "trunkline-server");
}
