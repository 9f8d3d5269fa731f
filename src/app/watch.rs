//! What a server and a worker show of themselves: readiness, liveness, the admin listener.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::daemon::Ground;
use super::drain;
use super::tasks::Tasks;
use crate::config::CommonConfig;
use crate::conn::{Owner, Subscriber};
use crate::health::{Facts, Monitor, Progress, Report, started};
use crate::http::admin::{Admin, Sources};
use crate::http::serve::{Door, Listener};
use crate::model::{Component, Fault};
use crate::telemetry::events::process::ProcessStopped;

/// Probes and scrapers; more at once are none of ours.
pub(super) const MAX_CONNECTIONS: usize = 256;

/// Readiness, liveness and the admin listener, bound and not yet answering.
pub(super) struct Watch {
    owner: Arc<Owner>,
    draining: Arc<AtomicBool>,
    progress: Progress,
    monitor: Arc<Monitor>,
    listener: Listener,
    admin: Arc<Admin>,
    /// Where it is done, lest a line that is busy leaves questions about it unanswered.
    runtime: Handle,
}

impl Watch {
    /// # Errors
    /// When the address of the admin listener cannot be bound.
    pub(super) fn bind(
        component: Component,
        ground: &Ground,
        owner: &Arc<Owner>,
        subscriber: Option<Subscriber>,
        config: &CommonConfig,
    ) -> Result<Self, Fault> {
        let address = config.admin_listen;
        let runtime = ground.watch.clone();
        let bound = {
            // The listener's socket belongs to the runtime that it is bound on.
            let _on = runtime.enter();
            Listener::bind(Door::Admin, address, MAX_CONNECTIONS)
        };
        let listener = bound.map_err(|error| cannot_bind("--admin-listen", address, &error))?;
        let draining = Arc::new(AtomicBool::new(false));
        let monitor = Arc::new(Monitor::new({
            let (owner, draining) = (Arc::clone(owner), Arc::clone(&draining));
            let interval = config.intervals.probe;
            move || {
                let draining = draining.load(Ordering::Relaxed);
                Facts::new(component, &owner, subscriber.as_ref(), interval, draining)
            }
        }));
        let progress = Progress::default();
        let supervisors = Arc::clone(owner);
        progress.watch_others("supervisors", move || supervisors.stalled_for());
        let (first, now) = (Arc::clone(owner), Arc::clone(owner));
        let (instance, telemetry) = (Arc::clone(&ground.instance), ground.telemetry.clone());
        let sources = Sources {
            started: Box::new(move || started(&first)),
            report: Box::new(move || Report::new(component, &instance, &now)),
            metrics: Box::new(move |wanted| {
                let telemetry = telemetry.clone();
                Box::pin(async move { telemetry.render(wanted).await })
            }),
        };
        let admin = Admin::new(component, progress.clone(), Arc::clone(&monitor), sources);
        let (owner, admin) = (Arc::clone(owner), Arc::new(admin));
        Ok(Self { owner, draining, progress, monitor, listener, admin, runtime })
    }

    /// Whose connections it watches.
    pub(super) fn owner(&self) -> &Arc<Owner> {
        &self.owner
    }

    /// The heartbeats of this process.
    pub(super) fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Begins to look and to answer.
    pub(super) fn begin(self, tasks: &Tasks) -> Watching {
        let Self { owner, draining, progress, monitor, listener, admin, runtime } = self;
        let looking = Arc::clone(&monitor);
        tasks.spawn_on(&runtime, "readiness", async move { looking.run().await });
        // This one beats where the work is done: it is what the others watch.
        tasks.spawn("runtime", async move { progress.watch_runtime().await });
        let stop = CancellationToken::new();
        let answering = listener.serve(admin, runtime.clone(), stop.clone(), drain::ADMIN);
        let serving = tasks.spawn_on(&runtime, "admin", answering);
        Watching { owner, draining, monitor, stop, serving }
    }
}

/// The watch over a running process.
pub(super) struct Watching {
    owner: Arc<Owner>,
    draining: Arc<AtomicBool>,
    monitor: Arc<Monitor>,
    stop: CancellationToken,
    serving: JoinHandle<usize>,
}

impl Watching {
    /// The process is not ready any more, and will not be again. Returns when that was.
    pub(super) fn drain(&self) -> Instant {
        self.draining.store(true, Ordering::Relaxed);
        // The gauge and the log need not wait for the next look.
        self.monitor.readiness();
        Instant::now()
    }

    /// Everything else has ended: closes the connections to Redis, and the admin listener last.
    /// `clean` says whether all that was in flight when the drain `began` was finished.
    pub(super) async fn end(self, began: Instant, clean: bool) {
        self.owner.close(drain::COMMANDS).await;
        ProcessStopped { elapsed: began.elapsed(), clean }.emit();
        self.stop.cancel();
        // What the admin listener could not finish is a scrape of a process that is gone.
        let _ = self.serving.await;
    }
}

/// The fault of a listener whose address is taken or not ours.
pub(super) fn cannot_bind(setting: &str, address: SocketAddr, error: &std::io::Error) -> Fault {
    let message = format!("cannot listen on {address}: {error}; choose another address");
    Fault { path: setting.to_owned(), message }
}
