//! What a supervisor shares with the handles of its connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwapOption;
use futures_util::future::BoxFuture;
use redis::PushInfo;
use redis::aio::MultiplexedConnection;
use tokio::sync::{mpsc, oneshot, watch};

use super::dial::DialError;
use super::error::Error;
use super::options::Options;
use super::socket::Vitals;
use super::state::Epoch;
use super::status::Status;
use crate::model::{ConnectionState, Role, SocketClose};

/// What handles and the owner may ask of a supervisor.
pub(super) enum Request {
    /// Dial, if idle or closed, and say when that is under way.
    Connect(oneshot::Sender<()>),
    /// Dial, if idle.
    Wanted,
    /// The connection of this epoch is no longer good.
    Lost { epoch: Epoch, reason: SocketClose },
    /// Close, and say when it is done.
    Close(oneshot::Sender<()>),
}

/// A connection that commands may use now.
pub(super) struct Handle {
    pub(super) connection: MultiplexedConnection,
    pub(super) epoch: Epoch,
    pub(super) vitals: Arc<Vitals>,
}

/// What makes one role differ from another.
pub(super) trait Part: Send + Sync + 'static {
    /// Redis said something without being asked. Runs on the driver: must not block.
    fn pushed(&self, push: PushInfo);
    /// The last step before ready: arm or subscribe whatever the role needs.
    fn prepare(
        self: Arc<Self>,
        connection: MultiplexedConnection,
        epoch: Epoch,
    ) -> BoxFuture<'static, Result<(), DialError>>;
    /// The connection is ready.
    fn ready(&self);
    /// The connection is gone, or the dial came to nothing after its preparation had begun.
    fn lost(&self);
}

/// One role's line: who may use it, and where it is.
pub(super) struct Line {
    pub(super) role: Role,
    pub(super) options: Arc<Options>,
    /// Present exactly while ready.
    pub(super) handle: ArcSwapOption<Handle>,
    pub(super) status: watch::Sender<Status>,
    /// The dial whose socket may be heard.
    pub(super) speaking: AtomicU64,
    requests: mpsc::Sender<Request>,
    /// Commands refused because the connection was not ready, since the process started.
    pub(super) refused: AtomicU64,
    /// Leave the next socket open instead of closing it: a fault for tests.
    abandon: AtomicBool,
    started: Instant,
    /// Milliseconds after `started` at which the supervisor last turned its crank.
    turned: AtomicU64,
}

impl Line {
    pub(super) fn new(role: Role, options: Arc<Options>) -> (Arc<Self>, mpsc::Receiver<Request>) {
        // Requests are few: one per caller of connect, one per READONLY answer until it is replaced.
        let (requests, receiver) = mpsc::channel(64);
        let line = Self {
            role,
            options,
            handle: ArcSwapOption::empty(),
            status: watch::Sender::new(Status::idle(role)),
            speaking: AtomicU64::new(0),
            requests,
            refused: AtomicU64::new(0),
            abandon: AtomicBool::new(false),
            started: Instant::now(),
            turned: AtomicU64::new(0),
        };
        (Arc::new(line), receiver)
    }

    /// Asks the supervisor for something it will see anyway if this is lost: a full queue holds
    /// the same request many times over.
    pub(super) fn hint(&self, request: Request) {
        // Noticed by nobody on purpose: see above.
        let _ = self.requests.try_send(request);
    }

    pub(super) async fn connect(&self) {
        self.ask(Request::Connect).await;
    }

    pub(super) async fn close(&self) {
        self.ask(Request::Close).await;
    }

    /// Asks the supervisor and awaits its answer; returns at once when it has ended.
    async fn ask(&self, request: fn(oneshot::Sender<()>) -> Request) {
        let (done, answered) = oneshot::channel();
        if self.requests.send(request(done)).await.is_ok() {
            // An error means that the supervisor has ended, and its connection with it.
            let _ = answered.await;
        }
    }

    /// The connection and its epoch, for one command.
    ///
    /// # Errors
    /// The refusal, when commands may not use it.
    pub(super) fn take(&self) -> Result<(MultiplexedConnection, Epoch), Error> {
        let usable = || {
            let handle = self.handle.load();
            // What a dead socket would be given could not be told from what it had sent before.
            let handle = handle.as_deref().filter(|handle| !handle.vitals.ended())?;
            Some((handle.connection.clone(), handle.epoch))
        };
        if let Some(taken) = usable() {
            return Ok(taken);
        }
        let status = self.status.borrow();
        // It may have become ready meanwhile. As long as the status is held it cannot, so who is
        // refused is counted before the end of the outage, and never after it.
        usable().ok_or_else(|| self.refuse(status))
    }

    /// The typed refusal of whoever finds no ready connection, counted for the outage.
    pub(super) fn refusal(&self) -> Error {
        self.refuse(self.status.borrow())
    }

    fn refuse(&self, status: watch::Ref<'_, Status>) -> Error {
        self.refused.fetch_add(1, Ordering::Relaxed);
        let (state, since) = (status.state, status.since);
        drop(status);
        match state {
            ConnectionState::Closed => return Error::Closed,
            ConnectionState::Idle => self.hint(Request::Wanted),
            // The socket has ended, and its supervisor is about to say so.
            ConnectionState::Ready => {
                let (role, state) = (self.role, ConnectionState::Backoff);
                return Error::NotReady { role, state, since: SystemTime::now() };
            }
            _ => {}
        }
        Error::NotReady { role: self.role, state, since }
    }

    /// Waits until ready.
    ///
    /// # Errors
    /// The refusal a command would get, when `deadline` passes first or the owner closes it.
    pub(super) async fn ready(&self, deadline: Duration) -> Result<(), Error> {
        let mut status = self.status.subscribe();
        if status.borrow().state == ConnectionState::Idle {
            self.hint(Request::Wanted);
        }
        let settled = async {
            let settled = status.wait_for(|s| s.is_ready() || s.state == ConnectionState::Closed);
            // Not handed out: a refusal that holds the status twice could wait for a writer that
            // waits for it.
            settled.await.is_ok_and(|status| status.is_ready())
        };
        match tokio::time::timeout(deadline, settled).await {
            Ok(true) => Ok(()),
            Err(_) if self.status.borrow().is_ready() => Ok(()),
            _ => Err(self.refusal()),
        }
    }

    pub(super) fn abandon_next(&self) {
        self.abandon.store(true, Ordering::Relaxed);
    }

    pub(super) fn take_abandon(&self) -> bool {
        self.abandon.swap(false, Ordering::Relaxed)
    }

    pub(super) fn turned(&self) {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.turned.store(now, Ordering::Relaxed);
    }

    /// How long ago the supervisor last turned its crank; it does so every few seconds.
    pub(super) fn stalled_for(&self) -> Duration {
        let turned = Duration::from_millis(self.turned.load(Ordering::Relaxed));
        self.started.elapsed().saturating_sub(turned)
    }
}
