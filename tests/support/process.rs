//! Our own programs, run as an operator runs them.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, OnceLock};

use hyper::Method;
use rustix::process::Signal;
use serde_json::Value;

use super::children::Process;
use super::eventually::eventually;
use super::http::Http;
use super::metrics::Metric;

/// A program about to be started. Nothing of the environment that could configure it is passed
/// on: it knows what the test says, and that it shall pick free ports and log in JSON.
pub struct Launch {
    command: Command,
}

impl Launch {
    /// Sets an environment variable.
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Launch {
        self.command.env(name, value);
        self
    }

    /// Takes an environment variable away that the harness sets.
    pub fn without_env(mut self, name: &str) -> Launch {
        self.command.env_remove(name);
        self
    }

    /// Lets it wait long for an answer of Redis: where Redis is not hurt, a machine that stands
    /// still for a moment shall not make an outcome unknown, or an attempt fail.
    pub fn patient(self) -> Launch {
        self.env("TRUNKLINE_REDIS_COMMAND_TIMEOUT", "8s")
    }

    /// Adds arguments.
    pub fn args<S: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = S>) -> Launch {
        self.command.args(arguments);
        self
    }

    /// Starts it and waits for nothing.
    pub fn start(mut self) -> Daemon {
        self.command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let name = self.command.get_program().to_string_lossy().into_owned();
        let mut process = Process::start(self.command)
            .unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        let lines = Lines::default();
        let child = process.child();
        lines.collect(child.stdout.take().expect("a pipe"));
        lines.collect(child.stderr.take().expect("a pipe"));
        Daemon { name, process: Mutex::new(process), lines }
    }
}

/// A running program of ours. Killed when dropped; a failing test prints what it said.
pub struct Daemon {
    name: String,
    process: Mutex<Process>,
    lines: Lines,
}

impl Daemon {
    /// A `trunkline-server` on the Redis at this URL.
    pub fn server(redis_url: &str) -> Launch {
        let launch = Daemon::program(env!("CARGO_BIN_EXE_trunkline-server"));
        launch.env("TRUNKLINE_LISTEN", "127.0.0.1:0").env("REDIS_URL", redis_url)
    }

    /// A `trunkline-worker` on the Redis at this URL.
    pub fn worker(redis_url: &str) -> Launch {
        Daemon::program(env!("CARGO_BIN_EXE_trunkline-worker")).env("REDIS_URL", redis_url)
    }

    /// The operator's tool.
    pub fn tool() -> Launch {
        Daemon::program(env!("CARGO_BIN_EXE_trunkline"))
    }

    /// An example. `cargo test` has built it already unless it was asked for one file alone.
    pub fn example(name: &str) -> Launch {
        static PLACE: OnceLock<PathBuf> = OnceLock::new();
        let place = PLACE.get_or_init(|| {
            let mut build = Command::new(env!("CARGO"));
            build.current_dir(env!("CARGO_MANIFEST_DIR")).args(["build", "--quiet", "--examples"]);
            if !cfg!(debug_assertions) {
                build.arg("--release");
            }
            assert!(build.status().unwrap().success(), "the examples do not build");
            let test = std::env::current_exe().unwrap();
            test.ancestors().nth(2).unwrap().join("examples")
        });
        Daemon::program(place.join(name).to_str().unwrap())
    }

    /// Any program.
    pub fn program(path: &str) -> Launch {
        let mut command = Command::new(path);
        for (name, _) in std::env::vars_os().filter(|(name, _)| configures(name)) {
            command.env_remove(name);
        }
        command.env("TRUNKLINE_ADMIN_LISTEN", "127.0.0.1:0").env("TRUNKLINE_LOG_FORMAT", "json");
        Launch { command }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.lock().unwrap().pid()
    }

    /// All lines it has written so far, to both outputs.
    pub fn lines(&self) -> Vec<String> {
        self.lines.0.lock().unwrap().clone()
    }

    /// Those of them that are JSON.
    pub fn logs(&self) -> Vec<Value> {
        self.lines().iter().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Waits for a log line with this message that satisfies the condition.
    pub async fn logged(&self, message: &str, condition: impl Fn(&Value) -> bool) -> Value {
        eventually(&format!("{} logs {message:?}", self.name), async || {
            let wanted = |line: &Value| field(line, "message") == message && condition(line);
            match self.logs().into_iter().find(wanted) {
                Some(line) => Ok(line),
                None => Err(self.ending()),
            }
        })
        .await
    }

    /// Waits until it listens, as its log says with `listener` and `address`, and returns where.
    pub async fn address(&self, listener: &str) -> SocketAddr {
        let line = self.logged("listening", |line| field(line, "listener") == listener).await;
        let address = field(&line, "address");
        address.parse().unwrap_or_else(|_| panic!("an address in {line}"))
    }

    /// A client of the public listener.
    pub async fn public(&self) -> Http {
        Http::at(self.address("public").await)
    }

    /// A client of the admin listener.
    pub async fn admin(&self) -> Http {
        Http::at(self.address("admin").await)
    }

    /// A metric of its admin listener.
    pub async fn metric(&self, name: &str) -> Metric {
        Metric::new(self.admin().await, name)
    }

    /// Waits until `/readyz` says 200.
    pub async fn wait_ready(&self) {
        let admin = self.admin().await;
        eventually(&format!("{} is ready", self.name), async || {
            match admin.try_send(Method::GET, "/readyz", &[], "").await {
                Ok(answer) if answer.status == 200 => Ok(()),
                Ok(answer) => Err(format!("{} {:?}", answer.status, answer.body)),
                Err(error) => Err(format!("{error}; {}", self.ending())),
            }
        })
        .await;
    }

    /// Waits until nothing is missing for readiness, without the grace that `/readyz` gives.
    pub async fn wait_nothing_missing(&self) {
        let admin = self.admin().await;
        eventually(&format!("{} misses nothing", self.name), async || {
            match admin.try_send(Method::GET, "/readyz", &[], "").await {
                Ok(answer) if answer.json()["missing"] == serde_json::json!([]) => Ok(()),
                Ok(answer) => Err(format!("{} {:?}", answer.status, answer.body)),
                Err(error) => Err(format!("{error}; {}", self.ending())),
            }
        })
        .await;
    }

    /// What `/status` says now.
    pub async fn status(&self) -> Value {
        self.admin().await.get("/status").await.json()
    }

    /// What `/status` says now of the connection of this role.
    pub async fn connection(&self, role: &str) -> Value {
        let status = self.status().await;
        let connections = status["connections"].as_array().cloned().unwrap_or_default();
        let found = connections.into_iter().find(|connection| connection["role"] == role);
        found.unwrap_or_else(|| panic!("no {role} in {status}"))
    }

    /// Asks it to end, as an operator does.
    pub fn sigterm(&self) {
        self.process.lock().unwrap().signal(Signal::TERM);
    }

    /// Asks it to end, as Ctrl-C does.
    pub fn sigint(&self) {
        self.process.lock().unwrap().signal(Signal::INT);
    }

    /// Kills it as a crash would.
    pub fn sigkill(&self) {
        self.process.lock().unwrap().kill();
    }

    /// Makes it stand still.
    pub fn sigstop(&self) {
        self.process.lock().unwrap().stop();
    }

    /// Lets it go on.
    pub fn sigcont(&self) {
        self.process.lock().unwrap().signal(Signal::CONT);
    }

    /// Whether it runs.
    pub fn is_running(&self) -> bool {
        self.exited().is_none()
    }

    /// Waits until it has ended by itself and all it said is collected, and says how it ended.
    pub async fn exit(&self) -> ExitStatus {
        eventually(&format!("{} ends", self.name), async || match self.exited() {
            Some(status) if self.lines.complete() => Ok(status),
            _ => Err("it runs"),
        })
        .await
    }

    fn exited(&self) -> Option<ExitStatus> {
        self.process.lock().unwrap().exited()
    }

    fn ending(&self) -> String {
        let said = self.lines();
        let last = said.last().map_or("said nothing", String::as_str);
        match self.exited() {
            Some(status) => format!("it ended with {status}; last line: {last}"),
            None => format!("it runs; last line: {last}"),
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("---- what {} said ----\n{}", self.name, self.lines().join("\n"));
        }
    }
}

/// A field of a log line, wherever the log format puts it.
pub fn field<'a>(line: &'a Value, name: &str) -> &'a str {
    let fields = line.get("fields").unwrap_or(line);
    fields.get(name).or(line.get(name)).and_then(Value::as_str).unwrap_or_default()
}

/// Whether a variable of the environment could configure the program.
pub fn configures(name: impl AsRef<OsStr>) -> bool {
    let name = name.as_ref().to_string_lossy();
    let prefixes = ["REDIS_", "TRUNKLINE_", "OTEL_", "QUEUE_", "RUST_LOG"];
    prefixes.iter().any(|prefix| name.starts_with(prefix))
}

/// Lines of several pipes in the order they came. The threads that read hold it too: once they
/// have let go of it, it is complete.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    fn collect(&self, pipe: impl Read + Send + 'static) {
        let lines = self.clone();
        let read = move || {
            for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
                lines.0.lock().unwrap().push(String::from_utf8_lossy(&line).into_owned());
            }
        };
        std::thread::Builder::new().name("output".into()).spawn(read).expect("a thread");
    }

    fn complete(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }
}
