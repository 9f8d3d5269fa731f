//! Hands each notification to the clients of this server that want it.
//!
//! The hub never waits: not for a client, whose [`Outbox`] takes a frame or closes, and not
//! for Redis, whose confirmation the caller of [`Client::hear`] has awaited. What a client
//! brings up comes down when its [`Client`] is dropped.

mod cursor;
#[cfg(test)]
pub(crate) mod fake;
mod frame;
mod hold;
mod outbox;
mod presence;
mod queue;
mod registry;
mod room;
mod touched;

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::model::{ChannelName, ClientClose, DeliveryRule, Position, Subscription, Transport};
use crate::telemetry::events::client::Enqueued;

pub use frame::{Encoded, Frame, event, id, sse_event, ws_message};
pub use outbox::{Bounds, Outbox, Refused, Rest, Sink, Written};
pub use presence::Changed;
use presence::Changes;
use registry::{ClientId, Registry};
pub use touched::Touched;

/// What this server takes upon itself.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Subscriptions of one client.
    pub subscriptions: usize,
    /// Distinct prefixes of the whole server: Redis tries each of them on each PUBLISH.
    pub prefixes: usize,
    /// What may wait for one client.
    pub outbox: Bounds,
    /// What becomes of what waits beyond that; the client is closed unless a rule says otherwise.
    pub delivery: Vec<DeliveryRule>,
}

impl Limits {
    /// The limits of the contract, with the outbox as configured.
    pub fn new(outbox: Bounds) -> Self {
        Self { subscriptions: 128, prefixes: 1_000, outbox, delivery: Vec::new() }
    }
}

/// Why a client or its subscription was not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It asked for more than one client may have.
    #[error("a client may have at most {limit} subscriptions")]
    TooManySubscriptions {
        /// How many it may have.
        limit: usize,
    },
    /// All clients together would have too many prefixes.
    #[error("this server has its {limit} distinct prefixes already; subscribe to exact channels")]
    TooManyPrefixes {
        /// How many there may be.
        limit: usize,
    },
    /// The hub is closed.
    #[error("this server is shutting down")]
    Draining,
}

/// Is told, without being waited for, that the last client of a subscription has left.
type Unwanted = dyn Fn(&Subscription) + Send + Sync;

/// The meeting point of notifications and clients. Clones are the same hub.
#[derive(Clone)]
pub struct Hub(Arc<Inner>);

struct Inner {
    limits: Limits,
    unwanted: Box<Unwanted>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    registry: Registry,
    clients: BTreeMap<ClientId, Arc<Outbox>>,
    arrivals: ClientId,
    dispatched: u64,
    /// Up to here everything was handed to all who hear it.
    position: Option<Position>,
    closed: bool,
    announced: Option<Frame>,
    /// Of which subscriptions the number of clients may have changed.
    changes: Changes,
}

impl Hub {
    /// An empty hub. `unwanted` is called under the hub's lock, so that it cannot overtake a
    /// client that comes back to the same subscription; it must neither block nor call the hub.
    pub fn new(limits: Limits, unwanted: impl Fn(&Subscription) + Send + Sync + 'static) -> Self {
        Self(Arc::new(Inner { limits, unwanted: Box::new(unwanted), state: Mutex::default() }))
    }

    /// Admits a client, with no subscription yet.
    pub fn join(&self, transport: Transport) -> Result<Client, Refusal> {
        let mut state = self.0.lock();
        if state.closed {
            return Err(Refusal::Draining);
        }
        state.arrivals += 1;
        let id = state.arrivals;
        let outbox = Outbox::new(transport, self.0.limits.outbox);
        state.clients.insert(id, Arc::clone(&outbox));
        Ok(Client { hub: self.clone(), id, outbox, subscriptions: HashSet::new() })
    }

    /// Hands a notification to everybody who hears its channel by any subscription, once, and
    /// remembers in `touched` whose sockets have to be written next. Says how many clients those
    /// are; `None` when nobody hears the channel.
    ///
    /// By which subscription Redis sent it makes no difference. So a client that goes from one
    /// subscription to another misses nothing that is on its way through this server, as long as
    /// it hears the new one before it leaves the old one.
    pub fn dispatch(
        &self,
        channel: &ChannelName,
        notification: &mut Encoded,
        touched: &mut Touched,
    ) -> Option<u64> {
        let mut state = self.0.lock();
        state.dispatched += 1;
        let number = state.dispatched;
        let position = notification.position();
        let policy = DeliveryRule::policy(&self.0.limits.delivery, channel);
        notification.by(channel, policy);
        let (mut enqueued, mut clients) = (Enqueued::default(), 0);
        let (mut heard, audience) = (false, state.registry.audience(channel));
        for outbox in audience {
            heard = true;
            let frame = || notification.frame(outbox.transport());
            clients += u64::from(outbox.push_once(number, position, frame, &mut enqueued, touched));
        }
        if !notification.is_late() {
            state.position = position.or(state.position);
        }
        heard.then_some(clients)
    }

    /// Tells every client that listens by server-sent events something about this server, and
    /// keeps it for those to come.
    pub fn announce(&self, frame: Frame) {
        let mut state = self.0.lock();
        let listening = state.clients.values();
        listening
            .filter(|outbox| outbox.transport() == Transport::Sse)
            .for_each(|outbox| outbox.push(frame.clone()));
        state.announced = Some(frame);
    }

    /// What was announced last.
    pub fn announced(&self) -> Option<Frame> {
        self.0.lock().announced.clone()
    }

    /// The subscriptions that clients hear, each of which Redis had confirmed.
    pub fn heard(&self) -> Vec<Subscription> {
        self.0.lock().registry.heard()
    }

    /// Redis no longer lets us hear this: those who did are told so, and hear the rest of what
    /// they want as before. `told` says it once for each transport.
    pub fn refuse(&self, subscription: &Subscription, told: impl Fn(Transport) -> Frame) {
        let mut state = self.0.lock();
        for outbox in state.registry.silence(subscription) {
            outbox.push(told(outbox.transport()));
        }
        // Rare, and it would take a look at every client to say of what else the number changed.
        state.changes = Changes::All;
    }

    /// Admits nobody any more and tells every client goodbye; each still gets what waits for it.
    pub fn close(&self) {
        let mut state = self.0.lock();
        state.closed = true;
        state.clients.values().for_each(|outbox| outbox.close(ClientClose::Shutdown));
    }

    /// Those who hear any of these are told something, each once, and how many that are. `word`
    /// says it once for each transport and what the client hears of it.
    pub fn tell(
        &self,
        subscriptions: &[Subscription],
        word: impl Fn(Transport, &[Subscription]) -> Frame,
    ) -> u64 {
        let state = self.0.lock();
        let mut told: BTreeMap<ClientId, (Arc<Outbox>, Vec<Subscription>)> = BTreeMap::new();
        for subscription in subscriptions {
            for (id, outbox) in state.registry.hearers(subscription) {
                let (_, heard) = told.entry(id).or_insert_with(|| (Arc::clone(outbox), vec![]));
                heard.push(subscription.clone());
            }
        }
        told.values().for_each(|(outbox, heard)| outbox.push(word(outbox.transport(), heard)));
        told.len() as u64
    }

    /// The history has lost its end, and goes on from `head`: what comes at a place that those who
    /// hear any of these had already is news to them.
    pub fn goes_back(&self, subscriptions: &[Subscription], head: Position) {
        let state = self.0.lock();
        let hearers = subscriptions.iter().flat_map(|it| state.registry.hearers(it));
        hearers.for_each(|(_, outbox)| outbox.begin_at(head));
    }

    /// What may wait for one client.
    pub fn bounds(&self) -> Bounds {
        self.0.limits.outbox
    }

    /// How many clients there are.
    pub fn clients(&self) -> usize {
        self.0.lock().clients.len()
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic under this lock leaves at worst a client half joined, whose guard removes it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A client of the hub. Dropped, it leaves: its subscriptions go, and what waits is dropped.
pub struct Client {
    hub: Hub,
    id: ClientId,
    outbox: Arc<Outbox>,
    subscriptions: HashSet<Subscription>,
}

impl Client {
    /// Wants these too, all or none; what it hears already is left out. They must be confirmed
    /// by Redis next, and then heard. Returns what Redis has to confirm.
    pub fn want(&mut self, wanted: &[Subscription]) -> Result<Vec<Subscription>, Refusal> {
        let limits = &self.hub.0.limits;
        let mut fresh: Vec<_> = Vec::with_capacity(wanted.len());
        for subscription in wanted {
            if !self.subscriptions.contains(subscription) && !fresh.contains(subscription) {
                fresh.push(subscription.clone());
            }
            if self.subscriptions.len() + fresh.len() > limits.subscriptions {
                return Err(Refusal::TooManySubscriptions { limit: limits.subscriptions });
            }
        }
        let mut state = self.hub.0.lock();
        state.registry.want(&fresh, limits.prefixes)?;
        // What Redis refused meanwhile is had and not heard: it may be allowed again.
        let again = wanted.iter().filter(|it| self.subscriptions.contains(*it));
        let again = again.filter(|it| !state.registry.hears(self.id, it)).cloned();
        let unheard = fresh.iter().cloned().chain(again).collect();
        drop(state);
        self.subscriptions.extend(fresh);
        Ok(unheard)
    }

    /// Hears these from now on: Redis has confirmed them. The first call, be it with nothing,
    /// makes it count as connected.
    pub fn hear(&self, confirmed: &[Subscription]) {
        let mut state = self.hub.0.lock();
        self.outbox.open();
        state.registry.hear(self.id, &self.outbox, confirmed);
        state.changes.note(confirmed, &self.subscriptions);
    }

    /// The same, with a word that comes before their first notification.
    pub fn hear_after(&self, word: Frame, confirmed: &[Subscription]) {
        let mut state = self.hub.0.lock();
        self.outbox.push(word);
        state.registry.hear(self.id, &self.outbox, confirmed);
        state.changes.note(confirmed, &self.subscriptions);
    }

    /// Wants these no longer, with a word that comes after their last notification. What it
    /// does not have is passed over.
    pub fn forget(&mut self, unwanted: &[Subscription], word: Frame) {
        let had = unwanted.iter().filter(|it| self.subscriptions.remove(*it)).cloned();
        let had: Vec<_> = had.collect();
        let mut state = self.hub.0.lock();
        for orphaned in state.registry.forget(self.id, &had) {
            (self.hub.0.unwanted)(orphaned);
        }
        state.changes.note(&had, &self.subscriptions);
        self.outbox.push(word);
    }

    /// What waits for this client.
    pub fn outbox(&self) -> &Arc<Outbox> {
        &self.outbox
    }

    /// A sign of life for a client that resumes from where its server is, should it have heard
    /// nothing since: `word` says where that is. False when it knows that already.
    pub fn advance(&self, word: impl FnOnce(Position) -> Frame) -> bool {
        // First this, then the outbox: what is handed on in between is after it.
        let position = self.hub.0.lock().position;
        position.is_some_and(|position| self.outbox.advance(position, || word(position)))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let subscriptions: Vec<_> = self.subscriptions.drain().collect();
        let mut state = self.hub.0.lock();
        state.clients.remove(&self.id);
        for orphaned in state.registry.forget(self.id, &subscriptions) {
            (self.hub.0.unwanted)(orphaned);
        }
        state.changes.note(&subscriptions, []);
        drop(state);
        self.outbox.abandon();
    }
}

#[cfg(test)]
#[path = "hub_tests.rs"]
mod tests;
