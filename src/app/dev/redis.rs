//! A Redis nobody else can see: a unix socket in a directory of ours, no persistence, no port.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use rustix::process::{Pid, Signal, getpid, test_kill_process};
use tokio::net::UnixStream;
use tokio::process::Command;

use super::child::Child;

/// How long it may take to start: milliseconds on any machine.
const PATIENCE: Duration = Duration::from_secs(10);
/// Directories of ours begin with this, and end with the process they belong to.
const DIRECTORY: &str = "trunkline-dev-";

/// What a URL's path does not hold as it is.
const BEYOND_A_PATH: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'.').remove(b'_');

const INSTALL: &str = "no redis-server or valkey-server 7.0 or newer found.\n  \
    apt-get install --no-install-recommends redis-server\n  \
    or name one: TRUNKLINE_REDIS_SERVER=/path/to/redis-server\n  \
    or use one that runs: trunkline dev --redis-url redis://host:6379";

/// The child and its directory; both are gone when this is dropped.
pub(super) struct PrivateRedis {
    child: Child,
    directory: Directory,
}

struct Directory(PathBuf);

impl Drop for Directory {
    fn drop(&mut self) {
        // What cannot be removed now is swept by the next start.
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Drop for PrivateRedis {
    fn drop(&mut self) {
        // Before its directory goes: a process that still runs could put a file there meanwhile.
        self.child.kill();
    }
}

impl PrivateRedis {
    pub(super) async fn start() -> Result<Self, String> {
        let told = |error: std::io::Error| format!("redis cannot be started: {error}");
        sweep(&std::env::temp_dir());
        // A unix socket's path must be short, so the directory is directly below the temporary one.
        let path = std::env::temp_dir().join(format!("{DIRECTORY}{}", std::process::id()));
        fs::DirBuilder::new().mode(0o700).create(&path).map_err(told)?;
        let directory = Directory(path);
        let log = fs::File::create(directory.0.join("redis.log")).map_err(told)?;
        let mut command = server()?;
        command
            .current_dir(&directory.0)
            .args(["--port", "0", "--unixsocketperm", "700", "--save", "", "--appendonly", "no"])
            .args(["--daemonize", "no", "--maxmemory", "256mb", "--maxmemory-policy", "noeviction"])
            .arg("--unixsocket")
            .arg(directory.0.join("redis.sock"))
            .stdout(log.try_clone().map_err(told)?)
            .stderr(log);
        let program = command.as_std().get_program().to_owned();
        let child = Child::start(command, Signal::KILL)
            .map_err(|error| format!("{} cannot be started: {error}", program.display()))?;
        let mut redis = Self { child, directory };
        let socket = redis.socket();
        let listening = async {
            while UnixStream::connect(&socket).await.is_err() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let ended = tokio::select! {
            listening = tokio::time::timeout(PATIENCE, listening) => {
                listening.err().map(|_| "it does not listen".to_owned())
            }
            how = redis.child.ended() => Some(how),
        };
        match ended {
            None => Ok(redis),
            Some(how) => {
                let log = fs::read_to_string(redis.directory.0.join("redis.log"));
                Err(format!("redis did not start ({how}):\n{}", log.unwrap_or_default()))
            }
        }
    }

    pub(super) fn url(&self) -> String {
        // The directory for temporary files may be called anything.
        let socket = self.socket();
        let path = percent_encode(socket.as_os_str().as_encoded_bytes(), BEYOND_A_PATH);
        format!("redis+unix://{path}")
    }

    pub(super) async fn ended(&mut self) -> String {
        self.child.ended().await
    }

    pub(super) fn has_ended(&mut self) -> bool {
        self.child.has_ended()
    }

    fn socket(&self) -> PathBuf {
        self.directory.0.join("redis.sock")
    }
}

/// The program to run, found where `tools/bootstrap` looks too.
fn server() -> Result<Command, String> {
    if let Some(chosen) = std::env::var_os("TRUNKLINE_REDIS_SERVER").filter(|path| !path.is_empty())
    {
        return Ok(invocation(Path::new(&chosen)));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = |name: &str| {
        std::env::split_paths(&path)
            .map(|directory| directory.join(name))
            .find(|file| file.is_file())
    };
    let fetched = || Some(PathBuf::from(".tools/bin/redis-server")).filter(|file| file.is_file());
    let found = ["redis-server", "valkey-server"].into_iter().find_map(on_path);
    let found = found.or_else(fetched).or_else(|| on_path(UNDER_ANOTHER_NAME));
    Ok(invocation(&found.ok_or(INSTALL)?))
}

/// Debian's redis-tools holds the server under this name. It goes by how it is called, so a link
/// to it is not followed.
const UNDER_ANOTHER_NAME: &str = "redis-check-rdb";

fn invocation(program: &Path) -> Command {
    // It is started in a directory of its own. A bare name is looked for on the PATH.
    let bare = program.components().count() == 1;
    let absolute = std::path::absolute(program).ok().filter(|_| !bare);
    let mut command = Command::new(absolute.as_deref().unwrap_or(program));
    if program.ends_with(UNDER_ANOTHER_NAME) {
        command.arg0("redis-server");
    }
    command
}

/// Removes what a killed predecessor left behind.
fn sweep(temporary: &Path) {
    let Ok(entries) = fs::read_dir(temporary) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix(DIRECTORY));
        let Some(owner) = owner.and_then(|pid| pid.parse().ok()).and_then(Pid::from_raw) else {
            continue;
        };
        // Our own id was another's before us: the first processes of a container get the same
        // ones at every start.
        if owner == getpid() || test_kill_process(owner) == Err(rustix::io::Errno::SRCH) {
            // Another start may be sweeping it too; one of us succeeds.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_called_by_the_name_it_goes_by_and_found_from_any_directory() {
        let called = |program: &str| format!("{:?}", invocation(Path::new(program)).as_std());
        let here = std::env::current_dir().unwrap();
        let link = called(".tools/bin/redis-server");
        assert_eq!(link, format!("{:?}", here.join(".tools/bin/redis-server")));
        assert!(called("/usr/bin/redis-check-rdb").contains("\"redis-server\""));
        assert_eq!(called("redis-server"), "\"redis-server\"");
    }

    #[test]
    fn what_a_dead_predecessor_left_is_swept_also_one_of_our_own_id() {
        let temporary = tempfile::tempdir().unwrap();
        let put = |name: &str| {
            let path = temporary.path().join(name);
            fs::create_dir(&path).unwrap();
            path
        };
        // No process has the highest id there can be, and init always runs.
        let gone =
            [put("trunkline-dev-4194304"), put(&format!("{DIRECTORY}{}", std::process::id()))];
        let kept = [put("trunkline-dev-1"), put("trunkline-dev-x"), put("other")];
        sweep(temporary.path());
        assert_eq!(gone.map(|path| path.exists()), [false; 2]);
        assert_eq!(kept.map(|path| path.exists()), [true; 3]);
    }
}
