//! A client begins to listen: it joins the hub, Redis confirms what it wants, then it hears.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{BoxFuture, join_all};

use super::resume::Resumption;
use crate::conn;
use crate::history::History;
use crate::hub::{Client, Hub, Limits, Refusal};
use crate::model::{Position, Subscription, Transport};

/// What subscriptions are confirmed by: the subscriber connection.
pub trait Upstream: Send + Sync + 'static {
    /// Resolves when Redis has confirmed the subscription; asking twice is harmless.
    fn subscribe<'a>(
        &'a self,
        subscription: &'a Subscription,
        deadline: Duration,
    ) -> BoxFuture<'a, Result<(), conn::Error>>;

    /// Nobody wants it any more. Neither waits nor fails.
    fn unsubscribe(&self, subscription: &Subscription);
}

impl Upstream for conn::Subscriber {
    fn subscribe<'a>(
        &'a self,
        subscription: &'a Subscription,
        deadline: Duration,
    ) -> BoxFuture<'a, Result<(), conn::Error>> {
        Box::pin(conn::Subscriber::subscribe(self, subscription, deadline))
    }

    fn unsubscribe(&self, subscription: &Subscription) {
        conn::Subscriber::unsubscribe(self, subscription);
    }
}

/// Why a client may not listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The hub does not admit it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The ACL of Redis refuses these.
    #[error("the ACL of redis refuses {} subscriptions", .0.len())]
    Denied(Vec<Subscription>),
    /// Redis did not confirm in time, or cannot be asked.
    #[error(transparent)]
    Redis(conn::Error),
}

/// What Redis said to the subscriptions of a client.
#[derive(Debug, Default)]
pub struct Verdicts {
    /// These it hears from now on.
    pub confirmed: Vec<Subscription>,
    /// These the ACL refuses.
    pub denied: Vec<Subscription>,
    /// For these there was no answer in time, or nobody to ask: why the first one failed.
    pub failed: Option<(Vec<Subscription>, conn::Error)>,
    /// Where the history was before Redis was asked; what comes after that is heard.
    pub at: Option<Position>,
}

/// From where on a client is to hear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// From now on, and it learns where that is.
    Now,
    /// From the end of what it has heard already.
    After(Position),
    /// From now on. It has other subscriptions, whose cursor is that of the new ones too.
    Later,
}

/// Tells a client what it has missed. It must be polled with the client until it is ready.
pub type Returning = BoxFuture<'static, ()>;

/// A client that listens.
pub struct Opened {
    /// Who listens.
    pub client: Client,
    /// Where it begins, unless it comes back.
    pub at: Option<Position>,
    /// There when it comes back.
    pub returning: Option<Returning>,
}

/// Lets clients in. Clones are the same.
#[derive(Clone)]
pub struct Listen {
    hub: Hub,
    upstream: Arc<dyn Upstream>,
    deadline: Duration,
    history: History,
    resumption: Resumption,
}

impl Listen {
    /// A hub over `upstream`, which is asked to confirm within `deadline`. Who comes back is told
    /// from `history` what it has missed.
    pub fn new(
        limits: Limits,
        upstream: Arc<dyn Upstream>,
        deadline: Duration,
        history: History,
    ) -> Self {
        let hub = Hub::new(limits, {
            let upstream = Arc::clone(&upstream);
            move |unwanted| upstream.unsubscribe(unwanted)
        });
        let resumption = Resumption::new(history.clone());
        Self { hub, upstream, deadline, history, resumption }
    }

    /// The hub the clients join.
    pub fn hub(&self) -> &Hub {
        &self.hub
    }

    /// Admits a client and returns when Redis has confirmed everything it wants: what is
    /// published from now on it hears. Dropped or failed, nothing of it stays.
    pub async fn open(
        &self,
        transport: Transport,
        subscriptions: &[Subscription],
        since: Since,
    ) -> Result<Opened, ListenError> {
        let mut client = self.hub.join(transport)?;
        let wanted = client.want(subscriptions)?;
        let Verdicts { confirmed, denied, failed, at } = self.confirm(wanted, since).await;
        match failed {
            _ if !denied.is_empty() => Err(ListenError::Denied(denied)),
            Some((_, error)) => Err(ListenError::Redis(error)),
            None => {
                let returning = self.begin(&client, &confirmed, since, at);
                client.hear(&confirmed);
                Ok(Opened { client, at, returning })
            }
        }
    }

    /// Prepares a client for what is confirmed, before it hears anything of that.
    pub fn begin(
        &self,
        client: &Client,
        confirmed: &[Subscription],
        since: Since,
        at: Option<Position>,
    ) -> Option<Returning> {
        let outbox = client.outbox();
        match (since, at) {
            (Since::After(position), _) => {
                outbox.hold();
                let (outbox, wanted) = (Arc::clone(outbox), confirmed.to_vec());
                return Some(Box::pin(self.resumption.clone().run(outbox, wanted, position)));
            }
            (Since::Now, Some(at)) => outbox.begin_at(at),
            (Since::Now | Since::Later, _) => {}
        }
        None
    }

    /// Waits until Redis has answered for each of these, at most for the deadline. They are a
    /// client's by [`Client::want`]; what is not confirmed it should forget.
    pub fn confirm(
        &self,
        wanted: Vec<Subscription>,
        since: Since,
    ) -> impl Future<Output = Verdicts> + Send + use<> {
        let (upstream, deadline) = (Arc::clone(&self.upstream), self.deadline);
        // Asked before anything is subscribed, so that nothing is in between.
        let history = Some(self.history.clone()).filter(|it| it.is_on() && since == Since::Now);
        async move {
            let mut verdicts = Verdicts::default();
            if let Some(history) = history {
                match history.head().await {
                    Ok(head) => verdicts.at = Some(head),
                    Err(error) => {
                        verdicts.failed = Some((wanted, error));
                        return verdicts;
                    }
                }
            }
            let asked = wanted.iter().map(|wanted| upstream.subscribe(wanted, deadline));
            let answers = join_all(asked).await;
            for (subscription, answer) in wanted.into_iter().zip(answers) {
                match answer {
                    Ok(()) => verdicts.confirmed.push(subscription),
                    Err(conn::Error::Server { code: conn::Code::Noperm, .. }) => {
                        verdicts.denied.push(subscription);
                    }
                    Err(error) => {
                        let (failed, _) = verdicts.failed.get_or_insert((Vec::new(), error));
                        failed.push(subscription);
                    }
                }
            }
            verdicts
        }
    }

    /// What the hub announced last, for a client that has just come.
    pub fn announced(&self) -> Option<Bytes> {
        self.hub.announced().map(|frame| frame.bytes().clone())
    }
}
