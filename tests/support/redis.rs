//! A real Redis of one's own.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;

use super::certificates::Certificates;
use super::children::Process;
use super::eventually::eventually;
use super::programs::Program;
use super::resp::{Connection, Reply};
use super::{DEADLINE, port};

/// The name of the harness' own connection in CLIENT LIST.
pub const ADMIN: &str = "test:admin";

/// A redis-server child with a directory of its own. It stores nothing unless asked to, and
/// ends with the test.
///
/// Whatever its clients use, the harness talks to it over a unix socket, on one connection
/// that is kept: so a test that counts connections finds exactly one that is not its own.
pub struct Redis {
    process: Mutex<Process>,
    admin: Mutex<Option<Connection>>,
    plan: Plan,
    port: u16,
    directory: TempDir,
}

/// What a Redis is started with.
#[derive(Clone, Default)]
pub struct Plan {
    listen: Listen,
    arguments: Vec<String>,
    users: Vec<String>,
    environment: Vec<(String, OsString)>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Listen {
    #[default]
    Tcp,
    Tls,
    Unix,
}

impl Plan {
    /// TLS on the port, with the files of [`Redis::certificates`] and no client certificate
    /// asked for; `.argument("tls-auth-clients", "yes")` asks for one.
    pub fn tls(mut self) -> Plan {
        self.listen = Listen::Tls;
        self
    }

    /// A unix socket and no port.
    pub fn unix(mut self) -> Plan {
        self.listen = Listen::Unix;
        self
    }

    /// A setting as in redis.conf, e.g. `("appendonly", "yes")`; the last one wins.
    pub fn argument(mut self, name: &str, value: &str) -> Plan {
        self.arguments.extend([format!("--{name}"), value.to_owned()]);
        self
    }

    /// Lines of an ACL file, e.g. `user default off`. The harness keeps a user for itself.
    pub fn users(mut self, lines: &[&str]) -> Plan {
        self.users.extend(lines.iter().map(|&line| line.to_owned()));
        self
    }

    /// An environment variable.
    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Plan {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    /// A password for everybody, as `requirepass` has it.
    pub fn password(self, password: &str) -> Plan {
        self.users(&[&format!("user default on >{password} ~* &* +@all")])
    }

    /// Starts it and returns when it answers.
    pub fn start(self) -> Redis {
        let directory = tempfile::Builder::new().prefix("redis-").tempdir().unwrap();
        if self.listen == Listen::Tls {
            Certificates::write(directory.path());
        }
        if !self.users.is_empty() {
            let own = format!("user {ADMIN} on nopass ~* &* +@all\n");
            let lines = self.users.join("\n") + "\n" + &own;
            std::fs::write(directory.path().join("users.acl"), lines).unwrap();
        }
        let started = Instant::now();
        loop {
            let port = port::free();
            match launch(&self, port, directory.path(), started) {
                Ok((process, admin)) => {
                    let (process, admin) = (Mutex::new(process), Mutex::new(Some(admin)));
                    return Redis { process, admin, plan: self, port, directory };
                }
                Err(PortTaken) => continue,
            }
        }
    }
}

impl Redis {
    /// One that listens on a free port of 127.0.0.1, with no password.
    pub fn start() -> Redis {
        Redis::plan().start()
    }

    /// One to be described further.
    pub fn plan() -> Plan {
        Plan::default()
    }

    /// Where its clients find it, as `REDIS_URL` takes it, without credentials.
    pub fn url(&self) -> String {
        match self.plan.listen {
            Listen::Tcp => format!("redis://127.0.0.1:{}", self.port),
            Listen::Tls => format!("rediss://localhost:{}", self.port),
            Listen::Unix => format!("unix://{}", self.socket().display()),
        }
    }

    /// Its port. Panics for one on a unix socket.
    pub fn port(&self) -> u16 {
        assert!(self.plan.listen != Listen::Unix, "listens on a unix socket only");
        self.port
    }

    /// Its unix socket, which is always there.
    pub fn socket(&self) -> PathBuf {
        socket(self.directory.path())
    }

    /// The PEM files of one with TLS, each under the directory returned: `authority.pem`, and
    /// `client.pem` with `client.key`.
    pub fn certificates(&self) -> &Path {
        assert!(self.plan.listen == Listen::Tls, "was started without TLS");
        self.directory.path()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.lock().unwrap().pid()
    }

    /// What it has written to its log, over all its starts.
    pub fn log(&self) -> String {
        log(self.directory.path())
    }

    /// Kills it as a crash would; its port refuses from now on.
    pub fn kill9(&self) {
        self.process.lock().unwrap().kill();
        *self.admin.lock().unwrap() = None;
    }

    /// Starts it again in the same place, killing it before if it runs, and returns when it
    /// answers. What it stored is there again if it was asked to store.
    pub fn restart(&self) {
        self.kill9();
        let started = Instant::now();
        loop {
            match launch(&self.plan, self.port, self.directory.path(), started) {
                Ok((process, admin)) => {
                    *self.process.lock().unwrap() = process;
                    *self.admin.lock().unwrap() = Some(admin);
                    return;
                }
                Err(PortTaken) => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    /// Stops it (SIGSTOP): connecting still succeeds, answers no longer come.
    pub fn stop(&self) {
        self.process.lock().unwrap().stop();
    }

    /// Lets it go on (SIGCONT).
    pub fn cont(&self) {
        self.process.lock().unwrap().signal(Signal::CONT);
    }

    /// Returns when it answers again, e.g. after [`Redis::cont`]. Starting waits by itself.
    pub fn wait_ready(&self) {
        self.cli(&["PING"]);
    }

    /// Runs a command and returns the answer. Panics on an error.
    pub fn cli(&self, command: &[&str]) -> Reply {
        match self.ask(command) {
            Reply::Error(error) => panic!("{command:?}: {error}"),
            reply => reply,
        }
    }

    /// Runs a command and returns the answer, errors too. Panics if none comes.
    pub fn ask(&self, command: &[&str]) -> Reply {
        let mut admin = self.admin.lock().unwrap();
        if let Some(reply) = admin.as_mut().and_then(|kept| kept.call(command).ok()) {
            return reply;
        }
        // A test may have killed the connection, or the server: once more on a new one.
        let mut fresh = admin_connection(&self.plan, self.directory.path())
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let reply = fresh.call(command).unwrap_or_else(|error| panic!("{command:?}: {error}"));
        *admin = Some(fresh);
        reply
    }

    /// CLIENT LIST without the harness' own connection.
    pub fn client_list(&self) -> Vec<ClientEntry> {
        let list = self.cli(&["CLIENT", "LIST"]).text();
        list.lines().map(ClientEntry::parse).filter(|client| client.name != ADMIN).collect()
    }

    /// Waits until so many are connected beside the harness. A program that has ended has closed
    /// its connections; Redis sees each end when it comes to it.
    pub async fn has_connections(&self, count: usize) {
        eventually(&format!("redis has {count} connections"), async || match self.client_list() {
            clients if clients.len() == count => Ok(()),
            clients => Err(format!("{clients:?}")),
        })
        .await;
    }

    /// Waits until nobody but the harness is connected.
    pub async fn is_left(&self) {
        self.has_connections(0).await;
    }

    /// One field of INFO, e.g. `("stats", "total_connections_received")`.
    pub fn info(&self, section: &str, field: &str) -> String {
        let info = self.cli(&["INFO", section]).text();
        let found = info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        found.unwrap_or_else(|| panic!("no {field} in:\n{info}")).to_owned()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("---- the log of the redis of this test ----\n{}", self.log());
        }
    }
}

/// A line of CLIENT LIST.
#[derive(Clone, Debug)]
pub struct ClientEntry {
    /// Rises with every connection.
    pub id: u64,
    /// The client's end.
    pub addr: String,
    /// Empty if it gave none.
    pub name: String,
    /// Seconds since it connected.
    pub age: u64,
    /// Seconds since it said something.
    pub idle: u64,
    /// Number of channels subscribed to.
    pub sub: u64,
    /// Number of patterns subscribed to.
    pub psub: u64,
    /// The last command, e.g. `xreadgroup` or `client|list`.
    pub cmd: String,
    /// Who it is logged in as.
    pub user: String,
    /// Version of the protocol.
    pub resp: u8,
}

impl ClientEntry {
    fn parse(line: &str) -> ClientEntry {
        let field = |name: &str| {
            let mut pairs = line.split(' ').filter_map(|pair| pair.split_once('='));
            let found = pairs.find(|(key, _)| *key == name);
            found.unwrap_or_else(|| panic!("no {name} in {line:?}")).1.to_owned()
        };
        let number = |name: &str| field(name).parse().unwrap();
        // Below zero where the clock went back since.
        let seconds = |name: &str| field(name).parse::<i64>().unwrap().max(0) as u64;
        ClientEntry {
            id: number("id"),
            addr: field("addr"),
            name: field("name"),
            age: seconds("age"),
            idle: seconds("idle"),
            sub: number("sub"),
            psub: number("psub"),
            cmd: field("cmd"),
            user: field("user"),
            resp: number("resp") as u8,
        }
    }
}

struct PortTaken;

/// Starts the server and waits until it answers. Panics with its log if it does not, but a
/// port that somebody else took is reported until the deadline.
fn launch(
    plan: &Plan,
    port: u16,
    directory: &Path,
    started: Instant,
) -> Result<(Process, Connection), PortTaken> {
    let mut command = Program::Redis.command();
    let place = |name: &str| directory.join(name).into_os_string();
    command.args(["--bind", "127.0.0.1", "--daemonize", "no", "--save", "", "--appendonly", "no"]);
    command.arg("--dir").arg(directory).arg("--logfile").arg(place("redis.log"));
    command.arg("--unixsocket").arg(socket(directory)).args(["--unixsocketperm", "700"]);
    let (tcp, tls) = match plan.listen {
        Listen::Tcp => (port, 0),
        Listen::Tls => (0, port),
        Listen::Unix => (0, 0),
    };
    command.arg("--port").arg(tcp.to_string());
    if tls != 0 {
        command.arg("--tls-port").arg(tls.to_string()).args(["--tls-auth-clients", "no"]);
        command.arg("--tls-ca-cert-file").arg(place("authority.pem"));
        command.arg("--tls-cert-file").arg(place("server.pem"));
        command.arg("--tls-key-file").arg(place("server.key"));
    }
    if !plan.users.is_empty() {
        command.arg("--aclfile").arg(place("users.acl"));
    }
    // What it says before it has opened its log, e.g. of a wrong setting, belongs there too.
    let log_file = File::options().append(true).create(true).open(place("redis.log")).unwrap();
    command.envs(plan.environment.iter().cloned());
    command.args(&plan.arguments).stdin(Stdio::null());
    command.stdout(log_file.try_clone().unwrap()).stderr(log_file);
    let said_before = log(directory).len();
    let mut process = Process::start(command).expect("redis-server starts");
    loop {
        let answer = admin_connection(plan, directory);
        if let Ok(admin) = answer {
            return Ok((process, admin));
        }
        let exited = process.exited();
        let said = log(directory).split_off(said_before);
        if started.elapsed() > DEADLINE {
            panic!("redis-server is not ready within {DEADLINE:?}:\n{said}");
        }
        match exited {
            Some(_) if said.contains("Address already in use") => return Err(PortTaken),
            Some(status) => panic!("redis-server ended with {status} at its start:\n{said}"),
            None => std::thread::sleep(Duration::from_millis(2)),
        }
    }
}

/// A named connection to a server that answers and has loaded what it stored.
fn admin_connection(plan: &Plan, directory: &Path) -> io::Result<Connection> {
    let mut connection = Connection::open(&socket(directory), DEADLINE)?;
    let user = if plan.users.is_empty() { "default" } else { ADMIN };
    for command in [&["HELLO", "2", "AUTH", user, "", "SETNAME", ADMIN][..], &["PING"]] {
        if let Reply::Error(error) = connection.call(command)? {
            return Err(io::Error::other(error));
        }
    }
    Ok(connection)
}

fn socket(directory: &Path) -> PathBuf {
    directory.join("redis.sock")
}

fn log(directory: &Path) -> String {
    std::fs::read_to_string(directory.join("redis.log")).unwrap_or_default()
}
