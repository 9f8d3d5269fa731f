//! How many clients hear a channel now, on all servers.

use std::time::{Duration, Instant};

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::conn::{Error, Sent};
use crate::hub::{Changed, Hub};
use crate::model::{ChannelName, Subscription};
use crate::presence::{Number, Presence};

/// How long others may not know yet what has changed here. All that changes meanwhile is written
/// in one go.
const PACE: Duration = Duration::from_secs(1);
/// What a server says counts for this many of its heartbeats: two may be lost.
const HEARTBEATS: u32 = 3;

/// How long what a server says is good that gives a sign of life this often.
pub fn lasts(heartbeat: Duration) -> Duration {
    heartbeat * HEARTBEATS
}

/// Who hears a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Present {
    /// Clients of all servers.
    pub clients: u64,
    /// Servers that have at least one of them.
    pub servers: u64,
    /// Clients of this server.
    pub here: u64,
}

/// Knows who hears a channel. Clones are the same.
#[derive(Clone)]
pub struct Audience {
    presence: Presence,
    hub: Hub,
}

impl Audience {
    /// What the other servers say, and the clients of this one.
    pub fn new(presence: Presence, hub: Hub) -> Self {
        Self { presence, hub }
    }

    /// Who hears the channel: of this server now, of the others by what they said last.
    ///
    /// # Errors
    /// Those of a command on the shared connection. There is no number without the others'.
    pub async fn of(&self, channel: &ChannelName) -> Result<Present, Error> {
        let elsewhere = self.presence.elsewhere(channel).await?;
        let here = self.hub.hearing(channel);
        let some = elsewhere.iter().filter(|clients| **clients > 0).count() as u64;
        Ok(Present {
            clients: elsewhere.iter().sum::<u64>() + here,
            servers: some + u64::from(here > 0),
            here,
        })
    }
}

/// What Redis has of this server.
enum Kept {
    /// Nobody knows.
    Unknown,
    /// Nothing, and there is nothing to say.
    Nothing,
    /// What the hub had when it was asked last; it has to be renewed at some time.
    All { renew: Instant },
}

/// Tells the other servers how many clients of this one hear what, until it is told to stop.
struct Teller {
    presence: Presence,
    hub: Hub,
    heartbeat: Duration,
    kept: Kept,
    /// By which dial of the connection.
    generation: u64,
    /// Redis said no: it is not asked again before.
    pause: Option<Instant>,
}

/// Tells the other servers how many clients hear what here: what has changed, at most once a
/// second, and every `heartbeat` that it is still so. Ends when `stop` is cancelled, and takes back
/// what was said. What fails was counted where it was sent, and everything is said anew then.
pub async fn run(presence: Presence, hub: Hub, heartbeat: Duration, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(PACE.min(heartbeat));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (kept, generation, pause) = (Kept::Unknown, 0, None);
    let mut teller = Teller { presence, hub, heartbeat, kept, generation, pause };
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            _ = ticks.tick() => {}
        }
        teller.keep_up(Instant::now()).await;
    }
    if !matches!(teller.kept, Kept::Nothing) {
        // Failed, it is over after a few heartbeats.
        let _ = teller.presence.leave().await;
    }
}

impl Teller {
    async fn keep_up(&mut self, now: Instant) {
        let status = self.presence.status();
        let other = std::mem::replace(&mut self.generation, status.generation) != self.generation;
        if other || !status.is_ready() {
            // Another Redis may answer next, or the same with other data.
            self.begin_anew();
            self.pause = None;
        }
        // While there is no connection a command would only count as refused.
        if !status.is_ready() || self.pause.is_some_and(|until| now < until) {
            return;
        }
        let told = match self.hub.take_changed() {
            Changed::All(all) => self.tell_all(all, now).await,
            Changed::These(these) => self.tell(these, now).await,
        };
        self.pause = None;
        if let Err(error) = told {
            self.begin_anew();
            if error.sent() == Sent::Refused {
                self.pause = Some(now + self.heartbeat);
            }
        }
    }

    fn begin_anew(&mut self) {
        self.hub.forget_changed();
        self.kept = Kept::Unknown;
    }

    async fn tell_all(&mut self, all: Vec<Subscription>, now: Instant) -> Result<(), Error> {
        let mut numbers = self.count(all);
        numbers.retain(|(_, clients)| *clients > 0);
        if numbers.is_empty() {
            if !matches!(self.kept, Kept::Nothing) {
                self.presence.leave().await?;
            }
            self.begin_anew();
            self.kept = Kept::Nothing;
        } else if self.presence.replace(&numbers).await? {
            self.kept = Kept::All { renew: now + self.heartbeat };
        } else {
            self.begin_anew();
        }
        Ok(())
    }

    async fn tell(&mut self, changed: Vec<Subscription>, now: Instant) -> Result<(), Error> {
        let due = matches!(self.kept, Kept::All { renew } if renew <= now);
        if changed.is_empty() && !due {
            return Ok(());
        }
        let numbers = self.count(changed);
        if self.presence.change(&numbers).await? {
            self.kept = Kept::All { renew: now + self.heartbeat };
        } else {
            self.begin_anew();
        }
        Ok(())
    }

    /// Counts in small steps: notifications are handed on in between.
    fn count(&self, subscriptions: Vec<Subscription>) -> Vec<Number> {
        let mut numbers = Vec::with_capacity(subscriptions.len());
        for step in subscriptions.chunks(STEP) {
            numbers.extend(self.hub.count(step));
        }
        subscriptions.into_iter().zip(numbers).collect()
    }
}

/// Subscriptions that are counted under one lock.
const STEP: usize = 64;
