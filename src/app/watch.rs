//! The admin door, and what ends a daemon besides a signal.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::daemon::Ground;
use super::drain;
use crate::conn::Owner;
use crate::health::{Monitor, Progress, Report, started};
use crate::http::admin::{Admin, Sources};
use crate::http::serve::{Door, Listener};
use crate::model::{Component, Fault};
use crate::telemetry::events::process::DrainStarted;

/// Probes and scrapers; more at once are none of ours.
const MAX_CONNECTIONS: usize = 256;

/// The admin listener, bound.
pub(super) struct AdminDoor {
    listener: Listener,
    admin: Arc<Admin>,
}

impl AdminDoor {
    /// # Errors
    /// When the address cannot be bound.
    pub(super) fn bind(
        component: Component,
        address: SocketAddr,
        ground: &Ground,
        owner: &Arc<Owner>,
        progress: &Progress,
        monitor: &Arc<Monitor>,
    ) -> Result<Self, Vec<Fault>> {
        let listener = Listener::bind(Door::Admin, address, MAX_CONNECTIONS)
            .map_err(|error| vec![cannot_bind("--admin-listen", address, &error)])?;
        let supervisors = Arc::clone(owner);
        progress.watch_others("supervisors", move || supervisors.stalled_for());
        let (first, now) = (Arc::clone(owner), Arc::clone(owner));
        let (instance, telemetry) = (Arc::clone(&ground.instance), ground.telemetry.clone());
        let sources = Sources {
            started: Box::new(move || started(&first)),
            report: Box::new(move || Report::new(component, &instance, &now)),
            metrics: Box::new(move || {
                let telemetry = telemetry.clone();
                Box::pin(async move { telemetry.render().await })
            }),
        };
        let admin = Admin::new(component, progress.clone(), Arc::clone(monitor), sources);
        Ok(Self { listener, admin: Arc::new(admin) })
    }

    /// Answers until `stop`.
    pub(super) async fn serve(self, stop: CancellationToken) -> usize {
        self.listener.serve(self.admin, stop, drain::GOODBYE).await
    }
}

/// The fault of a listener whose address is taken or not ours.
pub(super) fn cannot_bind(setting: &str, address: SocketAddr, error: &std::io::Error) -> Fault {
    let message = format!("cannot listen on {address}: {error}; choose another address");
    Fault { path: setting.to_owned(), message }
}

/// Waits until the process is told to end, or a task ends that it cannot do without: then a
/// restart is better than a process that looks alive. Returns whether it was told to.
pub(super) async fn until_stop_or_end<T>(
    stop: &CancellationToken,
    needed: &mut JoinHandle<T>,
) -> bool {
    tokio::select! {
        () = stop.cancelled() => true,
        _ = needed => {
            DrainStarted { cause: "a task ended that should not" }.emit();
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::task::spawn;
    use std::future::pending;

    #[tokio::test]
    async fn a_task_that_ends_or_panics_ends_the_process_and_a_signal_does_too() {
        let stop = CancellationToken::new();
        let mut ended = spawn("ended", async {});
        assert!(!until_stop_or_end(&stop, &mut ended).await);
        let mut panicked = spawn("panicked", async { panic!("of this test") });
        assert!(!until_stop_or_end(&stop, &mut panicked).await);
        let mut running = spawn("running", pending::<()>());
        stop.cancel();
        assert!(until_stop_or_end(&stop, &mut running).await);
    }
}
