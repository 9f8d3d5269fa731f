//! Opens and closes; nobody else can.

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::audit::{Auditor, Finding, Findings};
use super::budget::Budget;
use super::error::Error;
use super::line::{Line, Request};
use super::options::Options;
use super::outages::Outages;
use super::probe::{self, Ear};
use super::publisher::Publisher;
use super::shared::Shared;
use super::signals::Signals;
use super::status::{Outage, Status};
use super::subscriber::{self, Subscriber};
use super::subscriptions::Subscriptions;
use super::supervisor::Supervisor;
use crate::model::{Role, SocketClose};
use crate::telemetry::task::spawn;

/// Owns the connections of one process: the only one who can open and close them.
///
/// Consumers get handles from it that cannot close anything, and may outlive it: then they
/// answer [`Error::Closed`]. Keep the owner where your `main` ends. Dropping it closes
/// everything in the background, and gives its permits back when that is done; [`Owner::close`]
/// waits for it.
///
/// Nothing is dialled before [`Owner::connect`] or the first command.
#[must_use = "dropping the owner closes its connections"]
pub struct Owner {
    options: Arc<Options>,
    budget: Budget,
    shared: Shared,
    shared_line: Arc<Line>,
    subscriber: Arc<OnceLock<(Subscriber, Ear)>>,
    /// Held while the subscriber is made: who asks at the same time gets the same one.
    making: Mutex<()>,
    outages: Arc<Mutex<Outages>>,
    probing: OnceLock<()>,
    findings: Arc<Mutex<Findings>>,
    auditing: OnceLock<()>,
    end: CancellationToken,
    _ends_with_owner: DropGuard,
}

impl Owner {
    /// Takes the budget's permit for the shared connection and starts its supervisor.
    ///
    /// # Errors
    /// [`Error::Options`] with all that is wrong with these, and [`Error::OverBudget`] when the
    /// budget's shared connection has an owner already.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub fn new(options: Options, budget: &Budget) -> Result<Self, Error> {
        let faults = options.faults();
        if !faults.is_empty() {
            return Err(Error::Options { faults });
        }
        let permit = budget.permit(Role::Shared)?;
        let options = Arc::new(options);
        let (line, requests) = Line::new(Role::Shared, Arc::clone(&options));
        let signals = Signals::new(&options.signals);
        let (outages, end) = (Arc::<Mutex<Outages>>::default(), CancellationToken::new());
        let part = Arc::clone(&signals);
        let supervisor =
            Supervisor::new(Arc::clone(&line), part, permit, requests, None, Arc::clone(&outages));
        spawn("shared supervisor", supervisor.run(end.clone()));
        Ok(Self {
            options,
            budget: budget.clone(),
            shared: Shared::new(Arc::clone(&line), signals),
            shared_line: line,
            subscriber: Arc::default(),
            making: Mutex::default(),
            outages,
            probing: OnceLock::new(),
            findings: Arc::default(),
            auditing: OnceLock::new(),
            _ends_with_owner: end.clone().drop_guard(),
            end,
        })
    }

    /// The shared connection's handle; the same one every time.
    pub fn shared(&self) -> Shared {
        self.shared.clone()
    }

    /// A publisher on the shared connection.
    pub fn publisher(&self) -> Publisher {
        Publisher::new(self.shared())
    }

    /// The subscriber's handle; the same one every time.
    ///
    /// # Errors
    /// [`Error::OverBudget`], counted, where the budget has no subscriber: a worker's.
    pub fn subscriber(&self) -> Result<Subscriber, Error> {
        let _making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((subscriber, _)) = self.subscriber.get() {
            return Ok(subscriber.clone());
        }
        let permit = self.budget.permit(Role::Subscriber)?;
        let (line, requests) = Line::new(Role::Subscriber, Arc::clone(&self.options));
        let (subscriptions, messages) = Subscriptions::new(Arc::clone(&self.options));
        let part = Arc::clone(&subscriptions);
        let leader = Some(self.shared.watch());
        let outages = Arc::clone(&self.outages);
        let supervisor =
            Supervisor::new(Arc::clone(&line), part, permit, requests, leader, outages);
        spawn("subscriber supervisor", supervisor.run(self.end.clone()));
        spawn("subscriptions", subscriber::reconcile(Arc::clone(&subscriptions), self.end.clone()));
        let handle = Subscriber::new(Arc::clone(&line), Arc::clone(&subscriptions), messages);
        let ear = Ear { line, subscriptions, heard: watch::Sender::new(None) };
        Ok(self.subscriber.get_or_init(|| (handle, ear)).0.clone())
    }

    /// Starts dialling every connection that was asked for and is idle or closed; anywhere else
    /// it does nothing. Returns once the dials are under way, not when they are ready: follow
    /// [`Owner::watch`] or wait with [`Shared::ready`].
    pub async fn connect(&self) {
        self.shared_line.connect().await;
        if let Some((_, ear)) = self.subscriber.get() {
            ear.line.connect().await;
        }
        if let Some(interval) = self.options.probe_interval {
            self.begin(&self.probing, "probe", || {
                let subscriber = Arc::clone(&self.subscriber);
                let ear = move || subscriber.get().map(|(_, ear)| ear.clone());
                probe::run(self.shared(), ear, interval)
            });
        }
        if let Some(interval) = self.options.audit_interval {
            self.begin(&self.auditing, "audit", || {
                let (shared, subscriber) = (self.shared_line.clone(), self.subscriber.clone());
                let statuses = move || {
                    let subscriber = subscriber.get().map(|(_, ear)| &ear.line);
                    let lines = [Some(&shared), subscriber].into_iter().flatten();
                    lines.map(|line| line.status.subscribe()).collect()
                };
                let (options, budget) = (Arc::clone(&self.options), self.budget.clone());
                let findings = Arc::clone(&self.findings);
                let auditor = Auditor::new(options, budget, self.shared(), statuses, findings);
                async move { auditor.run(interval).await }
            });
        }
    }

    /// Starts a task that ends with this owner: once, however often it is connected.
    fn begin<F>(&self, begun: &OnceLock<()>, name: &'static str, task: impl FnOnce() -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        begun.get_or_init(|| {
            let (task, end) = (task(), self.end.clone());
            // Cancelled or done makes no difference.
            spawn(name, async move { end.run_until_cancelled(task).await.unwrap_or_default() });
        });
    }

    /// Closes everything: lets commands in flight finish for at most `drain`, then closes the
    /// sockets and returns when they are gone. Handles answer [`Error::Closed`] afterwards,
    /// until [`Owner::connect`]. Cancelling it leaves the connections as far as it came.
    pub async fn close(&self, drain: Duration) {
        let idle = async {
            while self.shared.in_flight() > 0 {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        // What is still in flight when the time is up fails as disconnected, counted.
        let _ = tokio::time::timeout(drain, idle).await;
        if let Some((_, ear)) = self.subscriber.get() {
            ear.line.close().await;
        }
        self.shared_line.close().await;
    }

    /// Follows the state of one connection; `None` if it was never asked for.
    pub fn watch(&self, role: Role) -> Option<watch::Receiver<Status>> {
        self.line(role).map(|line| line.status.subscribe())
    }

    /// The connections this process may have.
    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Outages going on, then past ones, the latest first.
    pub fn outages(&self) -> Vec<Outage> {
        self.outages.lock().unwrap_or_else(PoisonError::into_inner).recent()
    }

    /// What the audits of all sides have found, where [`Options::audit_interval`] asks for them.
    pub fn findings(&self) -> Vec<Finding> {
        self.findings.lock().unwrap_or_else(PoisonError::into_inner).all()
    }

    /// When the last self-probe came back; `None` before the first, and without a subscriber.
    pub fn probed(&self) -> Option<Instant> {
        self.subscriber.get().and_then(|(_, ear)| *ear.heard.borrow())
    }

    /// How long the slowest supervisor has not turned its crank. It does so every five seconds,
    /// whatever Redis does: much more means that the process is stuck.
    pub fn stalled_for(&self) -> Duration {
        let lines = [Role::Shared, Role::Subscriber].into_iter().filter_map(|role| self.line(role));
        lines.map(|line| line.stalled_for()).max().unwrap_or_default()
    }

    /// Replaces a connection and leaves its old socket open, as a bug would: for tests of what
    /// sees it.
    #[doc(hidden)]
    pub fn abandon(&self, role: Role) {
        if let Some(line) = self.line(role) {
            line.abandon_next();
            let epoch = line.status.borrow().generation;
            line.hint(Request::Lost { epoch, reason: SocketClose::Replaced });
        }
    }

    fn line(&self, role: Role) -> Option<&Arc<Line>> {
        match role {
            Role::Shared => Some(&self.shared_line),
            Role::Subscriber => self.subscriber.get().map(|(_, ear)| &ear.line),
        }
    }
}

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let subscriber = self.subscriber.get().map(|(subscriber, _)| subscriber);
        f.debug_struct("Owner")
            .field("shared", &self.shared)
            .field("subscriber", &subscriber)
            .finish_non_exhaustive()
    }
}
