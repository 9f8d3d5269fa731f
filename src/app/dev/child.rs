//! Processes that do not outlive the one that started them.

use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, getppid};
use rustix::process::{kill_process, set_parent_process_death_signal, waitid};
use tokio::process::Command;

/// A child process. Dropped, it is killed; and it dies with us, however we end.
pub(super) struct Child {
    process: tokio::process::Child,
}

impl Child {
    /// Starts a program. Call it on the thread that lives as long as the process: the kernel
    /// sends the parent's death signal when the *thread* that started a child ends.
    pub(super) fn start(mut command: Command, death: Signal) -> std::io::Result<Self> {
        let parent = std::process::id();
        // Its own group: Ctrl-C reaches us alone, and we end the children in order.
        command.process_group(0).kill_on_drop(true).stdin(Stdio::null());
        let die_with_parent = move || {
            set_parent_process_death_signal(Some(death))?;
            // The parent may have died before the kernel was told.
            let orphaned = getppid().is_none_or(|pid| pid.as_raw_nonzero().get() as u32 != parent);
            if orphaned { Err(std::io::ErrorKind::BrokenPipe.into()) } else { Ok(()) }
        };
        // SAFETY: between fork and exec the closure makes two system calls and builds an error
        // without allocating; it takes no lock.
        #[allow(unsafe_code)]
        unsafe {
            command.pre_exec(die_with_parent);
        }
        Ok(Self { process: command.spawn()? })
    }

    /// Starts one of our daemons from beside this program, or from the PATH.
    pub(super) fn daemon(
        name: &str,
        namespace: &str,
        redis_url: &str,
        flags: Vec<String>,
    ) -> Result<Self, String> {
        let mut command = Command::new(beside_us(name));
        for (variable, _) in std::env::vars_os() {
            let text = variable.to_string_lossy();
            if ["REDIS_", "TRUNKLINE_", "QUEUE_"].iter().any(|family| text.starts_with(family)) {
                command.env_remove(&variable);
            }
        }
        if std::env::var_os("RUST_LOG").is_none() {
            command.env("RUST_LOG", "warn");
        }
        command
            // In the environment, where `ps` does not show its password.
            .env("REDIS_URL", redis_url)
            .arg(format!("--namespace={namespace}"))
            .arg("--log-format=text")
            .args(flags);
        Self::start(command, Signal::TERM).map_err(|error| {
            format!("{name} cannot be started: {error}; build it with `cargo build --bins`")
        })
    }

    /// Resolves when it has ended, with how. Cancel-safe.
    pub(super) async fn ended(&mut self) -> String {
        told(self.process.wait().await)
    }

    /// Whether it has ended.
    pub(super) fn has_ended(&mut self) -> bool {
        // What cannot be asked for any more is gone.
        !matches!(self.process.try_wait(), Ok(None))
    }

    /// Kills it, and returns when it is gone: that takes a moment, in which it could still write.
    pub(super) fn kill(&mut self) {
        // It has ended by itself, then.
        let Some(pid) = self.pid().filter(|_| self.process.start_kill().is_ok()) else { return };
        // Whoever reaps it is not our concern, and a child that is gone already is no fault.
        let _ = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
    }

    /// Asks it to end, and kills it after `patience`.
    pub(super) async fn stop(mut self, patience: Duration) {
        if let Some(pid) = self.pid() {
            // It may have ended by itself just now; then there is nothing to ask.
            let _ = kill_process(pid, Signal::TERM);
        }
        let _ = tokio::time::timeout(patience, self.process.wait()).await;
    }

    /// Its id until it was waited for.
    fn pid(&self) -> Option<Pid> {
        self.process.id().and_then(|id| Pid::from_raw(id as i32))
    }
}

fn told(ended: std::io::Result<ExitStatus>) -> String {
    ended.map_or_else(|error| error.to_string(), |status| status.to_string())
}

fn beside_us(name: &str) -> PathBuf {
    let beside = std::env::current_exe().ok().map(|us| us.with_file_name(name));
    beside.filter(|path| path.exists()).unwrap_or_else(|| name.into())
}
