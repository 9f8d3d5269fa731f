//! Child processes that do not outlive the test, however it ends.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::sync::OnceLock;
use std::sync::mpsc::{SyncSender, sync_channel};

use rustix::process::{Pid, Signal, getpid, getppid, kill_process};
use rustix::process::{set_parent_process_death_signal, waitpid};

/// A running child, killed when dropped, and by the kernel when the test process is killed.
pub struct Process {
    child: Child,
}

impl Process {
    /// Starts the command.
    pub fn start(command: Command) -> io::Result<Process> {
        let (answer, started) = sync_channel(1);
        spawner().send((command, answer)).expect("the spawner lives as long as the process");
        let child = started.recv().expect("the spawner answers")?;
        Ok(Process { child })
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The child itself, to take its pipes.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Sends a signal; a child that has ended already gets none.
    pub fn signal(&mut self, signal: Signal) {
        if self.exited().is_none() {
            kill_process(self.rustix_pid(), signal).expect("a child that was not waited for");
        }
    }

    /// Stops the child (SIGSTOP) and returns once all its threads stand still.
    pub fn stop(&mut self) {
        self.signal(Signal::STOP);
        let options = rustix::process::WaitOptions::UNTRACED;
        let status = waitpid(Some(self.rustix_pid()), options).expect("a child of ours");
        assert!(status.is_some_and(|(_, status)| status.stopped()), "ended instead of stopping");
    }

    /// How the child ended, if it has.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child of ours")
    }

    /// Kills the child (SIGKILL) and returns once it is gone.
    pub fn kill(&mut self) {
        self.child.kill().expect("a child of ours");
        self.child.wait().expect("a child of ours");
    }

    fn rustix_pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

type Order = (Command, SyncSender<io::Result<Child>>);

/// The thread that starts every child. The kernel's death signal follows the *thread* that
/// forked, and a test's own thread ends with the test: a child shared between tests would die.
fn spawner() -> &'static SyncSender<Order> {
    static SPAWNER: OnceLock<SyncSender<Order>> = OnceLock::new();
    SPAWNER.get_or_init(|| {
        let (orders, inbox) = sync_channel::<Order>(16);
        let serve = move || {
            for (mut command, answer) in inbox {
                die_with_parent(&mut command);
                // A test that gave up waiting has panicked; it notices nothing and misses nothing.
                let _ = answer.send(command.spawn());
            }
        };
        std::thread::Builder::new().name("spawner".into()).spawn(serve).expect("a thread");
        orders
    })
}

#[allow(unsafe_code, reason = "std offers no safe way to set the death signal")]
fn die_with_parent(command: &mut Command) {
    let parent = getpid();
    let ask_for_it = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // The parent may have died before the kernel was asked.
        if getppid() == Some(parent) { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
    };
    // SAFETY: the closure runs between fork and exec. It makes two system calls, allocates
    // nothing and takes no lock.
    unsafe {
        command.pre_exec(ask_for_it);
    }
}
