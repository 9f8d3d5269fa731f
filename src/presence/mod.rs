//! How many clients hear what on the other servers.
//!
//! Each server keeps in Redis how many of its clients have each of their subscriptions, and for how
//! long that is good unless it says so again. So a server that is gone without a word does not
//! count for long, and one that ends does not count at once. Whoever wants to know how many hear a
//! channel adds up what the servers say of all that covers it.

mod script;

use std::time::Duration;

use redis::ScriptInvocation;

use crate::conn::{Error, Shared, Status};
use crate::model::{ChannelName, Subscription};
use script::{CHANGE, COUNT, LEAVE, REPLACE};

/// Subscriptions of one script: it runs for less than a millisecond then.
const CHUNK: usize = 500;

/// A subscription and the number of clients that have it and none that is wider, so that a client
/// whose subscriptions overlap counts once for each channel.
pub type Number = (Subscription, u64);

/// The names of the keys. All carry the hash tag `{present}`.
#[derive(Clone, Debug)]
struct Keys {
    prefix: String,
}

impl Keys {
    /// Sorted set: instances of servers by the Unix ms until which their numbers count.
    fn servers(&self) -> String {
        format!("{}servers", self.prefix)
    }

    /// How the names of the hashes begin: subscription to number. The instance follows.
    fn numbers(&self) -> String {
        format!("{}clients:", self.prefix)
    }

    /// How the names of the hashes begin that are still being written.
    fn next(&self) -> String {
        format!("{}next:", self.prefix)
    }
}

/// What the servers of a namespace say of their clients, one of them being this.
#[derive(Clone)]
pub struct Presence {
    shared: Shared,
    keys: Keys,
    instance: String,
    lasts: Duration,
}

impl Presence {
    /// What the servers of `namespace` say. What this one, the `instance`, says counts for
    /// `lasts` unless it says something again.
    pub fn new(shared: Shared, namespace: &str, instance: &str, lasts: Duration) -> Self {
        let keys = Keys { prefix: format!("{namespace}:{{present}}:") };
        Self { shared, keys, instance: instance.to_owned(), lasts }
    }

    /// The connection over which all of this goes.
    pub fn status(&self) -> Status {
        self.shared.status()
    }

    /// Says what has changed, or with nothing, that what was said is still so. False when Redis
    /// has nothing of this server, before or after: then say everything.
    ///
    /// # Errors
    /// Those of a command on the shared connection. A part may have been written then.
    pub async fn change(&self, numbers: &[Number]) -> Result<bool, Error> {
        let mut rest = numbers;
        loop {
            let (chunk, more) = rest.split_at(rest.len().min(CHUNK));
            let mut call = CHANGE.key(self.keys.servers());
            call.key(self.numbers());
            self.say(&mut call, chunk, &[]);
            let there: bool = call.invoke_async(&mut self.shared.clone()).await?;
            if more.is_empty() || !there {
                return Ok(there);
            }
            rest = more;
        }
    }

    /// Says everything anew. What was said before counts until all of it is there. False when
    /// Redis lost a part of it meanwhile.
    ///
    /// # Errors
    /// Those of a command on the shared connection. What was said before counts on then, unless
    /// only the last answer was lost.
    pub async fn replace(&self, numbers: &[Number]) -> Result<bool, Error> {
        let parts = numbers.len().div_ceil(CHUNK);
        for (part, chunk) in (1..).zip(numbers.chunks(CHUNK)) {
            let mut call = REPLACE.key(self.keys.servers());
            call.key(self.numbers()).key(self.next());
            self.say(&mut call, chunk, &[part, parts]);
            let there: bool = call.invoke_async(&mut self.shared.clone()).await?;
            if !there {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Takes back all that this server has said.
    ///
    /// # Errors
    /// Those of a command on the shared connection.
    pub async fn leave(&self) -> Result<(), Error> {
        let mut call = LEAVE.key(self.keys.servers());
        call.key(self.numbers()).key(self.next()).arg(&self.instance);
        Ok(call.invoke_async(&mut self.shared.clone()).await?)
    }

    /// How many clients of each other server hear the channel, in one round trip. Servers without
    /// any may be left out.
    ///
    /// # Errors
    /// Those of a command on the shared connection. Asking again is harmless.
    pub async fn elsewhere(&self, channel: &ChannelName) -> Result<Vec<u64>, Error> {
        let mut call = COUNT.key(self.keys.servers());
        call.arg(self.keys.numbers());
        for subscription in Subscription::covering(channel) {
            call.arg(subscription.to_string());
        }
        let servers: Vec<(String, u64)> = call.invoke_async(&mut self.shared.clone()).await?;
        let others = servers.into_iter().filter(|(instance, _)| *instance != self.instance);
        Ok(others.map(|(_, clients)| clients).collect())
    }

    fn say(&self, call: &mut ScriptInvocation<'_>, chunk: &[Number], place: &[usize]) {
        let lasts = u64::try_from(self.lasts.as_millis()).unwrap_or(u64::MAX);
        call.arg(&self.instance).arg(lasts).arg(place);
        for (subscription, clients) in chunk {
            call.arg(subscription.to_string()).arg(clients);
        }
    }

    fn numbers(&self) -> String {
        format!("{}{}", self.keys.numbers(), self.instance)
    }

    fn next(&self) -> String {
        format!("{}{}", self.keys.next(), self.instance)
    }
}
