//! The one task per role that applies [`next`], publishes the state, and starts IO.
//!
//! State is assigned in exactly one place, so nothing changes unseen; IO starts from effects
//! and nowhere else.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::activity::{Activity, Dialling, Happening, Leader, Serving, happens};
use super::backoff;
use super::budget::Permit;
use super::dial::DialError;
use super::heartbeat;
use super::line::{Handle, Line, Part, Request};
use super::outages::Outages;
use super::state::{Effect, Epoch, Event, State, next};
use super::status::{Outage, Status};
use crate::model::{ConnectFailure, ConnectionState, SocketClose};
use crate::telemetry::events::connection::{
    ConnectionChanged, ConnectionLost, ConnectionReady, DialFailed, InitialState, OutageEnded,
};

/// How long a connection must stay ready before the backoff starts afresh: five times the
/// longest wait, so that a flapping link never gets back to waiting for nothing.
const STABLE_AFTER: Duration = Duration::from_secs(10);
/// A failing dial is logged the first time for each reason, and then this often.
const LOG_AGAIN: Duration = Duration::from_secs(30);
/// Shows the liveness check that the crank still turns.
const TURN: Duration = Duration::from_secs(5);

pub(super) struct Supervisor {
    line: Arc<Line>,
    part: Arc<dyn Part>,
    permit: Arc<Permit>,
    requests: mpsc::Receiver<Request>,
    /// Set for the subscriber: when that connection becomes ready, there is no need to wait on.
    leader: Option<Leader>,
    outages: Arc<Mutex<Outages>>,
    state: State,
    activity: Activity,
    dialled: Instant,
    attempts: u64,
    /// Why dials failed since the last ready, and when each reason was last logged.
    logged: Vec<(ConnectFailure, Instant)>,
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
            leader: leader.map(Leader::new),
            outages,
            state: State::Idle,
            activity: Activity::Nothing,
            dialled: Instant::now(),
            attempts: 0,
            logged: Vec::new(),
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
        // A handle is there before anyone hears of ready; nothing rests on a connection when
        // anyone hears of its loss.
        for effect in &effects {
            match effect {
                Effect::Serve { epoch } => self.serve(*epoch),
                Effect::Retire { .. } => self.part.lost(),
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
        use ConnectionState::{Backoff, Closed, Ready};
        let (role, generation) = (self.line.role, self.state.epoch());
        ConnectionChanged { role, from, to, generation, reason }.emit();
        let attempts = self.attempts;
        if to == Ready {
            ConnectionReady { role, generation, elapsed: self.dialled.elapsed() }.emit();
            self.logged.clear();
        }
        if to == Ready || to == Closed {
            self.attempts = 0;
        }
        let mut ended = None;
        self.line.status.send_modify(|status| {
            // One step: whoever finds no handle finds the state that says why, and is counted to
            // the outage that goes with it.
            if from == Ready {
                self.line.handle.store(None);
            }
            let refused = self.line.refused.load(Ordering::Relaxed);
            let mut outages = self.outages.lock().unwrap_or_else(PoisonError::into_inner);
            match (from, to) {
                (_, Ready) => ended = outages.end(role, attempts, refused),
                (Ready, Backoff) => outages.begin(role, reason.unwrap_or("other")),
                (_, Closed) => outages.forget(role),
                _ => {}
            }
            outages.going_on(role, self.attempts, refused);
            status.state = to;
            status.since = SystemTime::now();
            status.entered = Instant::now();
            status.generation = generation;
            status.attempts = self.attempts;
            status.last_reason = reason.or(status.last_reason);
        });
        if let Some(Outage { duration, reason, attempts, refused, .. }) = ended {
            OutageEnded { role, duration, reason, attempts, refused }.emit();
        }
    }

    fn dial_failed(&mut self, generation: Epoch, error: &DialError) {
        let failure = error.failure;
        let log =
            !self.logged.iter().any(|(last, at)| *last == failure && at.elapsed() < LOG_AGAIN);
        if log {
            self.logged.retain(|(last, _)| *last != failure);
            self.logged.push((failure, Instant::now()));
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
        if let Some(leader) = &mut self.leader {
            leader.look();
        }
        let connection = live.connection.clone();
        let vitals = Arc::clone(&live.vitals);
        let hung = heartbeat::missed(connection.clone(), Arc::clone(&vitals));
        let stable = Some(Box::pin(tokio::time::sleep(STABLE_AFTER)));
        self.activity = Activity::Serving(Box::new(Serving { live, hung: Box::pin(hung), stable }));
        self.line.handle.store(Some(Arc::new(Handle { connection, epoch, vitals })));
        self.part.ready();
    }

    async fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Serve { .. } => {}
            Effect::Dial { epoch } => self.dial(epoch),
            Effect::Abandon { .. } => {
                if let Activity::Dialling(dialling) = self.rest() {
                    dialling.abandon().await;
                }
                // It may have been prepared at the last moment.
                self.part.lost();
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
                }
            }
            Effect::Wait { attempt, pace, .. } => {
                let (role, limits) = (self.line.role, self.line.options.backoff);
                let delay = backoff::delay(role, pace, attempt, fastrand::f64(), limits);
                let until = Box::pin(tokio::time::sleep(delay));
                self.activity = Activity::Waiting { until, leader: self.leader.clone() };
            }
        }
    }

    fn rest(&mut self) -> Activity {
        std::mem::replace(&mut self.activity, Activity::Nothing)
    }

    fn dial(&mut self, epoch: Epoch) {
        self.line.speaking.store(epoch, Ordering::Relaxed);
        if let Some(leader) = &mut self.leader {
            leader.look();
        }
        let (line, part) = (Arc::clone(&self.line), Arc::clone(&self.part));
        let dialling = Dialling::start(line, part, Arc::clone(&self.permit), epoch);
        self.dialled = Instant::now();
        self.activity = Activity::Dialling(dialling);
    }
}

impl Drop for Supervisor {
    /// Whoever ends otherwise than closed ends by a panic: nobody may use what it leaves behind.
    fn drop(&mut self) {
        self.line.status.send_modify(|status| {
            self.line.handle.store(None);
            status.state = ConnectionState::Closed;
        });
    }
}

fn reason_of(event: Event) -> Option<&'static str> {
    match event {
        Event::Failed { failure, .. } => Some(failure.label()),
        Event::Lost { reason, .. } => Some(reason.label()),
        _ => None,
    }
}
