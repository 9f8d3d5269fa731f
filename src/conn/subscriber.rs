//! The server's second connection: subscriptions in, messages out.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::desired::Verdict;
use super::error::{Code, Error};
use super::line::{Line, Request};
use super::status::Status;
use super::subscriptions::{Message, Subscriptions};
use crate::model::{ConnectionState, Subscription};

/// How long after a failed attempt the difference is brought over again, while the connection
/// itself holds: a Redis that is slow for a moment.
const AGAIN: Duration = Duration::from_millis(250);

/// The handle to the subscriber connection. Cheap to clone; cannot publish, cannot close.
///
/// What is subscribed is exactly the desired set, confirmed by Redis before the connection is
/// ready, and brought over again after every reconnect. What was published while there was no
/// connection is not heard: Redis does not keep it.
#[derive(Clone)]
pub struct Subscriber(Arc<Inner>);

struct Inner {
    line: Arc<Line>,
    subscriptions: Arc<Subscriptions>,
    messages: Mutex<Option<mpsc::Receiver<Message>>>,
}

impl Subscriber {
    pub(super) fn new(
        line: Arc<Line>,
        subscriptions: Arc<Subscriptions>,
        messages: mpsc::Receiver<Message>,
    ) -> Self {
        Self(Arc::new(Inner { line, subscriptions, messages: Mutex::new(Some(messages)) }))
    }

    /// Adds to the desired set and waits until Redis has confirmed it.
    ///
    /// Unless the ACL refuses it, the subscription stays desired when this fails or is
    /// cancelled: take it back with [`Subscriber::unsubscribe`].
    ///
    /// # Errors
    /// [`Error::Server`] when the ACL refuses it, which takes it out of the desired set;
    /// [`Error::NotReady`] or [`Error::Timeout`] when `deadline` passes; [`Error::Closed`] at
    /// once when the owner has closed the connection; [`Error::Other`] when somebody else takes
    /// it back meanwhile.
    pub async fn subscribe(
        &self,
        subscription: &Subscription,
        deadline: Duration,
    ) -> Result<(), Error> {
        let Inner { line, subscriptions, .. } = &*self.0;
        let mut status = line.status.subscribe();
        let pending = subscriptions.want(subscription);
        if status.borrow().state == ConnectionState::Idle {
            line.hint(Request::Wanted);
        }
        let Some(mut pending) = pending else { return Ok(()) };
        let settled = async {
            tokio::select! {
                biased;
                verdict = pending.wait_for(Option::is_some) => match verdict.as_deref() {
                    Ok(Some(Verdict::Confirmed)) => Ok(()),
                    Ok(_) => {
                        let text = "NOPERM the user may not subscribe to this channel".to_owned();
                        Err(Error::Server { code: Code::Noperm, text })
                    }
                    Err(_) => Err(Error::Other("the subscription was taken back".to_owned())),
                },
                _ = status.wait_for(|status| status.state == ConnectionState::Closed) => {
                    Err(Error::Closed)
                }
            }
        };
        tokio::time::timeout(deadline, settled).await.unwrap_or_else(|_| {
            let ready = line.status.borrow().is_ready();
            Err(if ready { Error::Timeout { after: deadline } } else { line.refusal() })
        })
    }

    /// Takes out of the desired set at once; Redis is told in the background.
    pub fn unsubscribe(&self, subscription: &Subscription) {
        self.0.subscriptions.leave(subscription);
    }

    /// Whether it is in the desired set.
    pub fn wants(&self, subscription: &Subscription) -> bool {
        self.0.subscriptions.wants(subscription)
    }

    /// Rises with every subscription that Redis' ACL refuses, after a reconnect too: then ask
    /// [`Subscriber::wants`] which of yours are no longer desired.
    pub fn refusals(&self) -> watch::Receiver<u64> {
        self.0.subscriptions.refusals.subscribe()
    }

    /// The receiving end of all messages. There is one: `None` after the first call.
    pub fn messages(&self) -> Option<Messages> {
        let mut slot = self.0.messages.lock().unwrap_or_else(PoisonError::into_inner);
        let messages = slot.take()?;
        let overflows = self.0.subscriptions.overflows.subscribe();
        Some(Messages { messages, status: self.watch(), overflows })
    }

    /// How many channels and prefixes are desired, and how many of them Redis has confirmed.
    pub fn subscriptions(&self) -> (usize, usize) {
        self.0.subscriptions.counts()
    }

    /// Where the connection is now.
    pub fn status(&self) -> Status {
        self.0.line.status.borrow().clone()
    }

    /// Follows the connection's state.
    pub fn watch(&self) -> watch::Receiver<Status> {
        self.0.line.status.subscribe()
    }
}

impl fmt::Debug for Subscriber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscriber").field("status", &self.status()).finish_non_exhaustive()
    }
}

/// What the subscriber hears, in the order of the socket, over all channels.
#[derive(Debug)]
pub struct Messages {
    messages: mpsc::Receiver<Message>,
    status: watch::Receiver<Status>,
    overflows: watch::Receiver<u64>,
}

impl Messages {
    /// Rises with every message that found no room: it is not among those to come.
    pub fn overflows(&self) -> watch::Receiver<u64> {
        self.overflows.clone()
    }

    /// Follows the state of the connection that they come by.
    pub fn watch(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// The next message; waits through outages, and is `None` once the owner has closed the
    /// connection and everything heard before was handed out. Cancel-safe.
    pub async fn next(&mut self) -> Option<Message> {
        let closed = self.status.wait_for(|status| status.state == ConnectionState::Closed);
        tokio::select! {
            biased;
            message = self.messages.recv() => message,
            _ = closed => None,
        }
    }

    /// The next message if it has come already. Whoever takes several at a time hands them on
    /// together.
    pub fn try_next(&mut self) -> Option<Message> {
        self.messages.try_recv().ok()
    }
}

/// Brings over what is wanted while the connection is ready, one difference at a time.
pub(super) async fn reconcile(subscriptions: Arc<Subscriptions>, end: CancellationToken) {
    let reconciling = async {
        loop {
            subscriptions.difference.notified().await;
            // The command's failure was counted; while the connection holds it is worth repeating.
            while subscriptions.reconcile().await.is_err() {
                tokio::time::sleep(AGAIN).await;
            }
        }
    };
    tokio::select! {
        () = reconciling => {}
        () = end.cancelled() => {}
    }
}
