//! SIGTERM and SIGINT.

use std::io;

use futures_util::{Stream, stream};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The two signals that ask a process to end.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// From now on neither ends the process by itself, and none is missed: not by a process that
    /// is still starting, and not by pid 1 of a container, which has no default to fall back on.
    ///
    /// # Errors
    /// When the system does not let us handle them.
    pub(super) fn catch() -> io::Result<Self> {
        let terminate = signal(SignalKind::terminate())?;
        Ok(Self { terminate, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for the next one and says its name. Cancel-safe.
    pub(super) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }

    /// The names of all that come from now on.
    pub(super) fn stream(self) -> impl Stream<Item = &'static str> + Send {
        stream::unfold(self, async |mut signals| Some((signals.next().await, signals)))
    }
}
