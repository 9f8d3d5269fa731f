//! What a supervisor waits for between requests: a dial, the end of a connection, or time.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, Sleep, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

use super::budget::Permit;
use super::dial::{DialError, Live, OnPush, dial};
use super::hello;
use super::line::{Line, Part};
use super::socket::Vitals;
use super::state::{Epoch, Event};
use super::status::Status;
use crate::model::{ConnectFailure, SocketClose};
use crate::telemetry::events::connection::DialStarted;
use crate::telemetry::task::spawn;

/// What the supervisor waits for, besides requests.
pub(super) enum Activity {
    Nothing,
    Dialling(Dialling),
    /// Between the end of the dial and [`super::state::Effect::Serve`].
    Confirmed(Live),
    Serving(Box<Serving>),
    Waiting {
        until: Pin<Box<Sleep>>,
        leader: Option<Leader>,
    },
}

/// A dial under way.
pub(super) struct Dialling {
    task: JoinHandle<Result<Live, DialError>>,
    opened: Option<oneshot::Receiver<()>>,
    vitals: Arc<Vitals>,
    cancel: CancellationToken,
}

/// A ready connection.
pub(super) struct Serving {
    pub(super) live: Live,
    /// Resolves when the connection hangs.
    pub(super) hung: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// Until the connection has proved stable.
    pub(super) stable: Option<Pin<Box<Sleep>>>,
}

/// The connection that is to be ready before there is much point in dialling another.
#[derive(Clone)]
pub(super) struct Leader {
    status: watch::Receiver<Status>,
    /// Its generation, if it was ready when last looked at.
    seen: Option<Epoch>,
}

impl Leader {
    pub(super) fn new(status: watch::Receiver<Status>) -> Self {
        Self { status, seen: None }
    }

    /// Remembers which of its connections is ready now.
    pub(super) fn look(&mut self) {
        let status = self.status.borrow();
        self.seen = status.is_ready().then_some(status.generation);
    }

    /// Resolves when it is ready with another connection than the one that was seen: whatever
    /// failed since may go well now. It may still look ready after Redis has gone, which is
    /// why its readiness alone proves nothing.
    async fn ready_anew(&mut self) {
        let seen = self.seen;
        let anew = |status: &Status| status.is_ready() && Some(status.generation) != seen;
        if self.status.wait_for(anew).await.is_err() {
            std::future::pending().await
        }
    }
}

impl Dialling {
    pub(super) fn start(
        line: Arc<Line>,
        part: Arc<dyn Part>,
        permit: Arc<Permit>,
        epoch: Epoch,
    ) -> Self {
        let (told, opened) = oneshot::channel();
        let (vitals, cancel) = (Arc::<Vitals>::default(), CancellationToken::new());
        let dialling =
            attempt(line, part, permit, epoch, Arc::clone(&vitals), told, cancel.clone());
        let task = spawn("redis dial", dialling);
        Self { task, opened: Some(opened), vitals, cancel }
    }

    /// Gives the dial up; its socket is closed when this returns.
    pub(super) async fn abandon(self) {
        self.vitals.end(SocketClose::Shutdown);
        self.cancel.cancel();
        // A dial that fails has closed its socket; one that succeeds at the last moment has not.
        if let Ok(Ok(live)) = self.task.await {
            live.driver.stop().await;
        }
    }
}

/// One dial with everything before ready.
async fn attempt(
    line: Arc<Line>,
    part: Arc<dyn Part>,
    permit: Arc<Permit>,
    epoch: Epoch,
    vitals: Arc<Vitals>,
    opened: oneshot::Sender<()>,
    cancel: CancellationToken,
) -> Result<Live, DialError> {
    let abandoned = || DialError::new(ConnectFailure::Other, "abandoned");
    let turn = permit.dial()?;
    tokio::select! {
        () = sleep(turn) => {}
        () = cancel.cancelled() => return Err(abandoned()),
    }
    let (role, options) = (line.role, Arc::clone(&line.options));
    DialStarted { role, generation: epoch }.emit();
    let deadline = Instant::now() + options.connect_timeout;
    let ears = Arc::clone(&part);
    let on_push: OnPush = Arc::new(move |push| {
        // A socket that was given up and lives on must not be heard beside the new one.
        if line.speaking.load(Ordering::Relaxed) == epoch {
            ears.pushed(push);
        }
    });
    let dialling = dial(&options, role, epoch, &permit, vitals, opened, on_push);
    let live = tokio::select! {
        live = timeout_at(deadline, dialling) => live.unwrap_or_else(|_| Err(DialError::timed_out()))?,
        () = cancel.cancelled() => return Err(abandoned()),
    };
    let settling = async {
        let checking = hello::check(live.connection.clone(), options.any_role);
        timeout_at(deadline, checking).await.unwrap_or_else(|_| Err(DialError::timed_out()))?;
        Arc::clone(&part).prepare(live.connection.clone(), epoch).await
    };
    let settled = tokio::select! {
        settled = settling => settled,
        () = cancel.cancelled() => Err(abandoned()),
    };
    if let Err(error) = settled {
        // It may have been prepared half.
        part.lost();
        live.driver.stop().await;
        return Err(error);
    }
    Ok(live)
}

/// What happened by itself.
pub(super) enum Happening {
    Event(Event),
    Dialled(Epoch, Result<Live, DialError>),
}

/// The next thing that happens by itself. Cancel-safe: what is awaited stays in `activity`.
pub(super) async fn happens(activity: &mut Activity, epoch: Epoch) -> Happening {
    match activity {
        Activity::Nothing | Activity::Confirmed(_) => std::future::pending().await,
        Activity::Dialling(dialling) => {
            if let Some(opened) = &mut dialling.opened {
                let told = opened.await;
                dialling.opened = None;
                if told.is_ok() {
                    return Happening::Event(Event::Opened { epoch });
                }
            }
            let result = (&mut dialling.task).await.unwrap_or_else(|_panic| {
                Err(DialError::new(ConnectFailure::Other, "the dial ended by a panic"))
            });
            Happening::Dialled(epoch, result)
        }
        Activity::Serving(serving) => {
            let Serving { live, hung, stable } = serving.as_mut();
            let lost = |reason| Event::Lost { epoch, reason };
            Happening::Event(tokio::select! {
                () = live.driver.ended() => lost(live.vitals.ending()),
                () = hung.as_mut() => lost(SocketClose::Heartbeat),
                () = elapsed(stable) => {
                    *stable = None;
                    Event::Stable { epoch }
                }
            })
        }
        Activity::Waiting { until, leader } => {
            tokio::select! {
                () = until.as_mut() => {}
                () = ready_anew(leader) => {}
            }
            Happening::Event(Event::Due { epoch })
        }
    }
}

async fn elapsed(sleep: &mut Option<Pin<Box<Sleep>>>) {
    match sleep {
        Some(sleep) => sleep.as_mut().await,
        None => std::future::pending().await,
    }
}

async fn ready_anew(leader: &mut Option<Leader>) {
    match leader {
        Some(leader) => leader.ready_anew().await,
        None => std::future::pending().await,
    }
}
