//! The one task per role that applies [`next`], publishes the state, and starts IO.
//!
//! State is assigned in exactly one place, so nothing changes unseen; IO starts from effects
//! and nowhere else.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Sleep;
use tokio_util::sync::CancellationToken;

use super::backoff;
use super::budget::Permit;
use super::dial::{DialError, Live, dial};
use super::heartbeat;
use super::line::{Handle, Line, Part, Request};
use super::outages::Outages;
use super::socket::Vitals;
use super::state::{Effect, Epoch, Event, State, next};
use super::status::Status;
use crate::model::{ConnectFailure, ConnectionState, SocketClose};
use crate::telemetry::events::connection::{
    ConnectionChanged, ConnectionLost, ConnectionReady, DialFailed, DialStarted, InitialState,
};

/// How long a connection must stay ready before the backoff starts afresh: five times the
/// longest wait, so that a flapping link never gets back to waiting for nothing.
const STABLE_AFTER: Duration = Duration::from_secs(10);
/// A failing dial is logged when it is the first, when its reason changes, and this often.
const LOG_AGAIN: Duration = Duration::from_secs(30);
/// Shows the liveness check that the crank still turns.
const TURN: Duration = Duration::from_secs(5);

/// What the supervisor waits for, besides requests.
enum Activity {
    Nothing,
    Dialling(Dialling),
    /// Between the end of the dial and [`Effect::Serve`].
    Confirmed(Live),
    Serving(Box<Serving>),
    Waiting {
        until: Pin<Box<Sleep>>,
        hurry: Option<watch::Receiver<Status>>,
    },
}

struct Dialling {
    task: JoinHandle<Result<Live, DialError>>,
    opened: Option<oneshot::Receiver<()>>,
    vitals: Arc<Vitals>,
    cancel: CancellationToken,
}

struct Serving {
    live: Live,
    hung: Pin<Box<dyn Future<Output = ()> + Send>>,
    stable: Option<Pin<Box<Sleep>>>,
}

pub(super) struct Supervisor {
    line: Arc<Line>,
    part: Arc<dyn Part>,
    permit: Arc<Permit>,
    requests: mpsc::Receiver<Request>,
    /// Set for the subscriber: when that connection becomes ready, there is no need to wait on.
    leader: Option<watch::Receiver<Status>>,
    outages: Arc<Mutex<Outages>>,
    state: State,
    activity: Activity,
    dialled: Instant,
    attempts: u64,
    logged: Option<(ConnectFailure, Instant)>,
}

impl Supervisor {
    pub(super) fn new(
        line: Arc<Line>,
        part: Arc<dyn Part>,
        permit: Permit,
        requests: mpsc::Receiver<Request>,
        leader: Option<watch::Receiver<Status>>,
        outages: Arc<Mutex<Outages>>,
    ) -> Self {
        InitialState { role: line.role }.emit();
        Self {
            line,
            part,
            permit: Arc::new(permit),
            requests,
            leader,
            outages,
            state: State::Idle,
            activity: Activity::Nothing,
            dialled: Instant::now(),
            attempts: 0,
            logged: None,
        }
    }

    /// Turns the crank until `end`, and closes the connection then.
    pub(super) async fn run(mut self, end: CancellationToken) {
        let mut turn = tokio::time::interval(TURN);
        loop {
            self.line.turned();
            let epoch = self.state.epoch();
            tokio::select! {
                biased;
                () = end.cancelled() => break,
                Some(request) = self.requests.recv() => match request {
                    Request::Connect(done) => {
                        self.apply(Event::Connect).await;
                        // The owner went away while waiting: then nobody needs to know.
                        let _ = done.send(());
                    }
                    Request::Wanted => self.apply(Event::Wanted).await,
                    Request::Lost { epoch, reason } => self.apply(Event::Lost { epoch, reason }).await,
                    Request::Close(done) => {
                        self.apply(Event::Close).await;
                        // As above.
                        let _ = done.send(());
                    }
                },
                event = happens(&mut self.activity, epoch) => {
                    let event = self.heard(event);
                    self.apply(event).await;
                }
                _ = turn.tick() => {}
            }
        }
        self.apply(Event::Close).await;
    }

    /// Keeps what an event brought along and gives the bare event.
    fn heard(&mut self, happening: Happening) -> Event {
        match happening {
            Happening::Event(event) => event,
            Happening::Dialled(epoch, Ok(live)) => {
                self.activity = Activity::Confirmed(live);
                Event::Confirmed { epoch }
            }
            Happening::Dialled(epoch, Err(error)) => {
                self.activity = Activity::Nothing;
                self.dial_failed(epoch, &error);
                Event::Failed { epoch, failure: error.failure }
            }
        }
    }

    /// The only place where the state is assigned.
    async fn apply(&mut self, event: Event) {
        let (after, effects) = next(self.state, event);
        let (from, to) = (self.state.label(), after.label());
        // A handle is there before anyone hears of ready, and gone before anyone hears of its loss.
        for effect in &effects {
            match effect {
                Effect::Serve { epoch } => self.serve(*epoch),
                Effect::Retire { .. } => self.line.handle.store(None),
                Effect::Dial { .. } | Effect::Abandon { .. } | Effect::Wait { .. } => {}
            }
        }
        self.state = after;
        if effects.iter().any(|effect| matches!(effect, Effect::Dial { .. })) {
            self.attempts += 1;
        }
        if from != to {
            self.tell(from, to, reason_of(event));
        }
        for effect in effects {
            self.perform(effect).await;
        }
    }

    fn tell(&mut self, from: ConnectionState, to: ConnectionState, reason: Option<&'static str>) {
        let (role, generation) = (self.line.role, self.state.epoch());
        ConnectionChanged { role, from, to, generation, reason }.emit();
        let refused = self.line.refused.load(std::sync::atomic::Ordering::Relaxed);
        let mut outages = self.outages.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if to == ConnectionState::Ready {
            ConnectionReady { role, generation, elapsed: self.dialled.elapsed() }.emit();
            outages.end(role, self.attempts, refused);
            self.attempts = 0;
            self.logged = None;
        } else if from == ConnectionState::Ready && to == ConnectionState::Backoff {
            outages.begin(role, reason.unwrap_or("other"), refused);
        } else if to == ConnectionState::Closed {
            outages.forget(role);
        }
        outages.going_on(role, self.attempts, refused);
        drop(outages);
        self.line.status.send_modify(|status| {
            status.state = to;
            status.since = SystemTime::now();
            status.entered = Instant::now();
            status.generation = generation;
            status.attempts = self.attempts;
            status.last_reason = reason.or(status.last_reason);
        });
    }

    fn dial_failed(&mut self, generation: Epoch, error: &DialError) {
        let failure = error.failure;
        let known =
            |(last, at): (ConnectFailure, Instant)| last == failure && at.elapsed() < LOG_AGAIN;
        let log = !self.logged.is_some_and(known);
        if log {
            self.logged = Some((failure, Instant::now()));
        }
        let (role, elapsed) = (self.line.role, self.dialled.elapsed());
        DialFailed { role, generation, failure, detail: &error.detail, elapsed, log }.emit();
    }

    /// Lets commands through; not async, so that nothing can come between.
    fn serve(&mut self, epoch: Epoch) {
        let Activity::Confirmed(live) = std::mem::replace(&mut self.activity, Activity::Nothing)
        else {
            return;
        };
        live.vitals.serve();
        let connection = live.connection.clone();
        let hung = heartbeat::missed(connection.clone(), Arc::clone(&live.vitals));
        let stable = Some(Box::pin(tokio::time::sleep(STABLE_AFTER)));
        self.activity = Activity::Serving(Box::new(Serving { live, hung: Box::pin(hung), stable }));
        self.line.handle.store(Some(Arc::new(Handle { connection, epoch })));
        self.part.ready();
    }

    async fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Serve { .. } => {}
            Effect::Dial { epoch } => self.dial(epoch),
            Effect::Abandon { .. } => {
                if let Activity::Dialling(dialling) = self.rest() {
                    dialling.vitals.end(SocketClose::Shutdown);
                    dialling.cancel.cancel();
                    // Whatever became of the dial, its socket is closed now.
                    drop(dialling.task.await);
                }
            }
            Effect::Retire { epoch, reason } => {
                if let Activity::Serving(serving) = self.rest() {
                    if reason != SocketClose::Shutdown {
                        let (role, detail) = (self.line.role, "dialling again");
                        ConnectionLost { role, generation: epoch, reason, detail }.emit();
                    }
                    serving.live.vitals.end(reason);
                    if self.line.take_abandon() {
                        serving.live.abandon();
                    } else {
                        serving.live.driver.stop().await;
                    }
                    self.part.lost();
                }
            }
            Effect::Wait { attempt, pace, .. } => {
                let (role, limits) = (self.line.role, self.line.options.backoff);
                let delay = backoff::delay(role, pace, attempt, fastrand::f64(), limits);
                let hurry = self.leader.clone().filter(|leader| !leader.borrow().is_ready());
                let until = Box::pin(tokio::time::sleep(delay));
                self.activity = Activity::Waiting { until, hurry };
            }
        }
    }

    fn rest(&mut self) -> Activity {
        std::mem::replace(&mut self.activity, Activity::Nothing)
    }

    fn dial(&mut self, epoch: Epoch) {
        let (told, opened) = oneshot::channel();
        let (vitals, cancel) = (Arc::<Vitals>::default(), CancellationToken::new());
        let dialling = attempt(
            Arc::clone(&self.line),
            Arc::clone(&self.part),
            Arc::clone(&self.permit),
            epoch,
            Arc::clone(&vitals),
            told,
        );
        let cancelled = cancel.clone();
        let task = tokio::spawn(async move {
            tokio::select! {
                result = dialling => result,
                () = cancelled.cancelled() => Err(DialError::new(ConnectFailure::Other, "abandoned")),
            }
        });
        self.dialled = Instant::now();
        self.activity = Activity::Dialling(Dialling { task, opened: Some(opened), vitals, cancel });
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
) -> Result<Live, DialError> {
    tokio::time::sleep(permit.dial()?).await;
    DialStarted { role: line.role, generation: epoch }.emit();
    let ears = Arc::clone(&part);
    let on_push = Arc::new(move |push| ears.pushed(push));
    let live = dial(&line.options, line.role, epoch, &permit, vitals, opened, on_push).await?;
    match part.prepare(live.connection.clone(), epoch).await {
        Ok(()) => Ok(live),
        Err(error) => {
            live.driver.stop().await;
            Err(error)
        }
    }
}

fn reason_of(event: Event) -> Option<&'static str> {
    match event {
        Event::Failed { failure, .. } => Some(failure.label()),
        Event::Lost { reason, .. } => Some(reason.label()),
        _ => None,
    }
}

enum Happening {
    Event(Event),
    Dialled(Epoch, Result<Live, DialError>),
}

/// The next thing that happens by itself. Cancel-safe: what is awaited stays in `activity`.
async fn happens(activity: &mut Activity, epoch: Epoch) -> Happening {
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
        Activity::Waiting { until, hurry } => {
            tokio::select! {
                () = until.as_mut() => {}
                () = becomes_ready(hurry) => {}
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

async fn becomes_ready(leader: &mut Option<watch::Receiver<Status>>) {
    let Some(leader) = leader else { return std::future::pending().await };
    if leader.wait_for(Status::is_ready).await.is_err() {
        std::future::pending().await
    }
}
