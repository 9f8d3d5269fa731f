//! A Prometheus that scrapes the daemons and an Alertmanager that tells this process.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::scaled::{self, SCALE};
use crate::support::children::Process;
use crate::support::eventually::within;
use crate::support::http::Http;
use crate::support::port;
use crate::support::programs::Program;

/// How long an alert may take to come or go: far more than any takes.
const PATIENCE: Duration = Duration::from_secs(150);
/// How long the first scrapes may take; Prometheus looks for targets every five seconds.
const START: Duration = Duration::from_secs(30);

/// A page to scrape, and the job it belongs to.
pub struct Target {
    pub job: &'static str,
    pub address: SocketAddr,
}

/// An alert with some of its labels.
#[derive(Clone, Debug)]
pub struct Alarm {
    pub name: &'static str,
    pub labels: Vec<(&'static str, String)>,
}

/// The alert of this name and these labels.
pub fn alarm(name: &'static str, labels: &[(&'static str, &str)]) -> Alarm {
    Alarm { name, labels: labels.iter().map(|(key, value)| (*key, (*value).to_owned())).collect() }
}

impl Alarm {
    fn is(&self, told: &Told) -> bool {
        let has = |key: &str, value: &str| told.labels.get(key).is_some_and(|it| it == value);
        has("alertname", self.name) && self.labels.iter().all(|(key, value)| has(key, value))
    }
}

impl fmt::Display for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.name, self.labels)
    }
}

/// What the Alertmanager told of one alert.
#[derive(Clone, Debug)]
pub struct Told {
    at: Instant,
    firing: bool,
    pub labels: BTreeMap<String, String>,
}

/// Both, running. They end with it.
pub struct Watch {
    pub prometheus: Http,
    told: Arc<Mutex<Vec<Told>>>,
    _children: [Process; 2],
    directory: TempDir,
}

impl Watch {
    /// Starts both; returns once the first samples of every target are there.
    pub async fn start(targets: &[Target]) -> Watch {
        let directory = TempDir::new().unwrap();
        let (told, hook) = receiver();
        let (prometheus, alertmanager) = (port::free(), port::free());
        let write = |name: &str, text: String| {
            std::fs::write(directory.path().join(name), text).unwrap();
        };
        write("rules.yml", scaled::file());
        write("prometheus.yml", scraping(targets, alertmanager).to_string());
        write("alertmanager.yml", routing(&hook).to_string());
        let children = [
            start(
                Program::Alertmanager.command(),
                directory.path(),
                &[
                    "--config.file=alertmanager.yml",
                    "--storage.path=alerts",
                    "--cluster.listen-address=",
                    &format!("--web.listen-address=127.0.0.1:{alertmanager}"),
                ],
            ),
            start(
                Program::Prometheus.command(),
                directory.path(),
                &[
                    "--config.file=prometheus.yml",
                    "--storage.tsdb.path=samples",
                    &format!("--web.listen-address=127.0.0.1:{prometheus}"),
                    // An alert that fires before the Alertmanager is found is told soon after.
                    "--rules.alert.resend-delay=1s",
                    // Five minutes, scaled as everything.
                    &format!("--query.lookback-delta={}s", 300 / SCALE),
                ],
            ),
        ];
        let prometheus = Http::at(SocketAddr::from(([127, 0, 0, 1], prometheus)));
        let watch = Watch { prometheus, told, _children: children, directory };
        within(START, "every target is scraped", async || {
            let up = watch.query("count(up == 1)").await;
            let count = up[0]["value"][1].as_str().unwrap_or("0").to_owned();
            if count == targets.len().to_string() {
                return Ok(());
            }
            Err(format!("{}\n{}", watch.query("up == 0").await, watch.log()))
        })
        .await;
        watch
    }

    /// The result of a query now; null when Prometheus does not answer.
    pub async fn query(&self, expr: &str) -> Value {
        let query: String =
            percent_encoding::utf8_percent_encode(expr, percent_encoding::NON_ALPHANUMERIC)
                .to_string();
        let path = format!("/api/v1/query?query={query}");
        let answer = self.prometheus.try_send(hyper::Method::GET, &path, &[], "").await;
        match answer {
            Ok(answer) if answer.status == 200 => answer.json()["data"]["result"].clone(),
            _ => Value::Null,
        }
    }

    /// Waits until the alert was told as firing, and says how long after `began` that was.
    pub async fn fires(&self, alarm: &Alarm, began: Instant) -> Duration {
        self.tells(alarm, true, began).await
    }

    /// Waits until the alert was told as resolved, and says how long after `ended` that was.
    pub async fn resolves(&self, alarm: &Alarm, ended: Instant) -> Duration {
        self.tells(alarm, false, ended).await
    }

    async fn tells(&self, alarm: &Alarm, firing: bool, since: Instant) -> Duration {
        let word = if firing { "fires" } else { "resolves" };
        within(PATIENCE, &format!("{alarm} {word}"), async || {
            let wanted = |told: &Told| told.firing == firing && told.at > since && alarm.is(told);
            if let Some(told) = self.told().into_iter().find(wanted) {
                return Ok(told.at - since);
            }
            let alerts = self.query(&format!("ALERTS{{alertname=\"{}\"}}", alarm.name)).await;
            Err(format!("{alerts}\n{}", self.log()))
        })
        .await
    }

    /// Everything that was told so far.
    pub fn told(&self) -> Vec<Told> {
        self.told.lock().unwrap().clone()
    }

    /// What both have logged.
    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }
}

fn start(mut command: Command, directory: &Path, arguments: &[&str]) -> Process {
    let log = std::fs::File::options().append(true).create(true).open(directory.join("log"));
    command.args(arguments).arg("--log.level=warn").current_dir(directory);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log.unwrap());
    Process::start(command).expect("it starts")
}

fn scraping(targets: &[Target], alertmanager: u16) -> Value {
    let mut jobs = BTreeMap::<&str, Vec<String>>::new();
    for target in targets {
        jobs.entry(target.job).or_default().push(target.address.to_string());
    }
    let jobs = jobs.into_iter().map(
        |(job, targets)| json!({ "job_name": job, "static_configs": [{ "targets": targets }] }),
    );
    let jobs: Vec<Value> = jobs.collect();
    let alertmanager = format!("127.0.0.1:{alertmanager}");
    json!({
        "global": { "scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s" },
        "rule_files": ["rules.yml"],
        "alerting": { "alertmanagers": [{ "static_configs": [{ "targets": [alertmanager] }] }] },
        "scrape_configs": jobs,
    })
}

/// The shipped configuration, with this process for a pager and no time to lose.
fn routing(hook: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/alertmanager.yml");
    let text = std::fs::read_to_string(path).unwrap();
    let mut routing: Value = serde_yaml_ng::from_str(&text).unwrap();
    routing["route"]["group_wait"] = json!("0s");
    routing["route"]["group_interval"] = json!("1s");
    for receiver in routing["receivers"].as_array_mut().unwrap() {
        receiver["webhook_configs"] = json!([{ "url": hook, "send_resolved": true }]);
    }
    routing
}

/// Keeps what the Alertmanager tells, for as long as this process lives.
fn receiver() -> (Arc<Mutex<Vec<Told>>>, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let hook = format!("http://{}/", listener.local_addr().unwrap());
    let told = Arc::<Mutex<Vec<Told>>>::default();
    let kept = Arc::clone(&told);
    let accept = move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let Some(message) = read(&stream) else { continue };
            let at = Instant::now();
            for alert in message["alerts"].as_array().into_iter().flatten() {
                let labels = serde_json::from_value(alert["labels"].clone()).unwrap();
                kept.lock().unwrap().push(Told { at, firing: alert["status"] == "firing", labels });
            }
            let answer = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            // One that is gone needs no answer.
            let _ = (&stream).write_all(answer.as_bytes());
        }
    };
    std::thread::Builder::new().name("pager".into()).spawn(accept).expect("a thread");
    (told, hook)
}

fn read(stream: &TcpStream) -> Option<Value> {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        reader.read_line(&mut head).ok().filter(|bytes| *bytes > 0)?;
    }
    let length = head.to_lowercase().split("content-length: ").nth(1)?.lines().next()?.parse();
    let mut body = vec![0; length.ok()?];
    reader.read_exact(&mut body).ok()?;
    serde_json::from_slice(&body).ok()
}
