//! A real Prometheus of one's own.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use serde_json::Value;
use tempfile::TempDir;

use super::children::Process;
use super::eventually::eventually;
use super::http::Http;
use super::port;
use super::programs::Program;

/// A Prometheus that scrapes, and evaluates its rules, once a second. Ends with the test.
pub struct Prometheus {
    http: Http,
    began: SystemTime,
    _process: Process,
    _directory: TempDir,
}

/// A series of an answer: its labels, and what it was at each step that it existed.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// The labels, `__name__` among them where the expression keeps it.
    pub labels: BTreeMap<String, String>,
    /// The values, oldest first.
    pub values: Vec<f64>,
}

impl Prometheus {
    /// Starts one that scrapes these targets under the names of their jobs and loads these files
    /// of rules; returns when it has scraped all of them.
    pub async fn start(jobs: &[(&str, Vec<SocketAddr>)], rules: &[&Path]) -> Prometheus {
        let directory = tempfile::Builder::new().prefix("prometheus-").tempdir().unwrap();
        std::fs::write(directory.path().join("prometheus.yml"), configuration(jobs, rules))
            .unwrap();
        let began = SystemTime::now();
        let (process, http) = launch(directory.path()).await;
        let prometheus = Prometheus { http, began, _process: process, _directory: directory };
        let targets: usize = jobs.iter().map(|(_, targets)| targets.len()).sum();
        eventually(&format!("{targets} targets are scraped"), async || {
            let up = prometheus.query("up == 1").await?;
            if up.len() == targets { Ok(()) } else { Err(format!("{up:?}")) }
        })
        .await;
        prometheus
    }

    /// What an expression is now.
    pub async fn query(&self, expr: &str) -> Result<Vec<Line>, String> {
        self.ask(&format!("/api/v1/query?query={}", encoded(expr))).await
    }

    /// What an expression was at each second since the start.
    pub async fn query_range(&self, expr: &str) -> Result<Vec<Line>, String> {
        let (query, window) = (encoded(expr), window(self.began));
        self.ask(&format!("/api/v1/query_range?query={query}&{window}&step=1")).await
    }

    /// Waits until an expression has a series, and returns what it is then.
    pub async fn shows(&self, expr: &str) -> Vec<Line> {
        eventually(&format!("Prometheus shows {expr}"), async || match self.query(expr).await {
            Ok(lines) if lines.is_empty() => Err("no series".to_owned()),
            answer => answer,
        })
        .await
    }

    /// The traces that a metric's exemplars lead to, since the start.
    pub async fn exemplars(&self, metric: &str) -> Vec<String> {
        // What is exposed may be from before it was started.
        let window = window(self.began - Duration::from_secs(60));
        let path = format!("/api/v1/query_exemplars?query={metric}&{window}");
        let answer = self.http.get(&path).await.json();
        assert_eq!(answer["status"], "success", "{answer}");
        let series = answer["data"].as_array().cloned().unwrap_or_default();
        let all =
            series.iter().flat_map(|it| it["exemplars"].as_array().cloned().unwrap_or_default());
        all.map(|it| it["labels"]["trace_id"].as_str().unwrap().to_owned()).collect()
    }

    async fn ask(&self, path: &str) -> Result<Vec<Line>, String> {
        let answer = self.http.get(path).await.json();
        if answer["status"] != "success" {
            return Err(answer["error"].to_string());
        }
        let lines = answer["data"]["result"].as_array().cloned().unwrap_or_default();
        Ok(lines.iter().map(line).collect())
    }
}

/// Reads a series of a vector, which has one `value`, or of a matrix, which has `values`.
fn line(series: &Value) -> Line {
    let labels = serde_json::from_value(series["metric"].clone()).expect("labels");
    let one = series["value"].is_array().then(|| &series["value"]);
    let pairs = series["values"].as_array().into_iter().flatten().chain(one);
    let values = pairs.map(|pair| pair[1].as_str().expect("a number").parse().expect("a number"));
    Line { labels, values: values.collect() }
}

fn configuration(jobs: &[(&str, Vec<SocketAddr>)], rules: &[&Path]) -> String {
    let mut text = String::from("global: {scrape_interval: 1s, evaluation_interval: 1s}\n");
    let _ = writeln!(text, "rule_files: {rules:?}\nscrape_configs:");
    for (name, targets) in jobs {
        let targets: Vec<String> = targets.iter().map(SocketAddr::to_string).collect();
        let _ =
            writeln!(text, "- {{job_name: {name}, static_configs: [{{targets: {targets:?}}}]}}");
    }
    text
}

/// Starts it on a free port, on another one if somebody took that, and waits until it is ready.
async fn launch(directory: &Path) -> (Process, Http) {
    let log = std::fs::File::create(directory.join("log")).unwrap();
    for _ in 0..5 {
        let port = port::free();
        let mut command = Program::Prometheus.command();
        command.arg("--config.file").arg(directory.join("prometheus.yml"));
        command.arg("--enable-feature=exemplar-storage");
        command.arg("--storage.tsdb.path").arg(directory.join("data"));
        command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log.try_clone().unwrap());
        let mut process = Process::start(command).expect("prometheus starts");
        let http = Http::at((Ipv4Addr::LOCALHOST, port).into());
        let ready = eventually("Prometheus is ready", async || {
            if process.exited().is_some() {
                return Ok(false);
            }
            match http.try_send(hyper::Method::GET, "/-/ready", &[], "").await {
                Ok(answer) if answer.status == 200 => Ok(true),
                Ok(answer) => Err(answer.status.to_string()),
                Err(error) => Err(error),
            }
        });
        if ready.await {
            return (process, http);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let said = std::fs::read_to_string(directory.join("log")).unwrap_or_default();
    panic!("prometheus does not start:\n{said}");
}

fn encoded(expr: &str) -> String {
    percent_encoding::utf8_percent_encode(expr, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// From then until now, as a query's parameters.
fn window(from: SystemTime) -> String {
    let unix = |at: SystemTime| at.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    // The second that has begun counts, so that what `query` says now is in it.
    format!("start={}&end={}", unix(from), unix(SystemTime::now()) + 1)
}
