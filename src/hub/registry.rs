//! Who hears what: pure bookkeeping, no clock, no socket.
//!
//! A subscription is *wanted* from the moment a client asks for it, which is what this server
//! must be subscribed to in Redis, and *heard* by a client once Redis has confirmed it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::Refusal;
use super::outbox::Outbox;
use crate::model::{ChannelName, Subscription};

/// A client of this server, by the order of arrival.
pub(super) type ClientId = u64;

#[derive(Default)]
pub(super) struct Registry {
    topics: HashMap<Subscription, Topic>,
    prefixes: usize,
}

#[derive(Default)]
struct Topic {
    wanted: usize,
    hearers: BTreeMap<ClientId, Arc<Outbox>>,
}

impl Registry {
    /// One more client wants these; all of them or, when refused, none.
    pub(super) fn want(
        &mut self,
        subscriptions: &[Subscription],
        max_prefixes: usize,
    ) -> Result<(), Refusal> {
        let fresh = |wanted: &&Subscription| {
            matches!(wanted, Subscription::Prefix(_)) && !self.topics.contains_key(wanted)
        };
        let fresh = subscriptions.iter().filter(fresh).count();
        if fresh > 0 && self.prefixes + fresh > max_prefixes {
            return Err(Refusal::TooManyPrefixes { limit: max_prefixes });
        }
        self.prefixes += fresh;
        for subscription in subscriptions {
            self.topics.entry(subscription.clone()).or_default().wanted += 1;
        }
        Ok(())
    }

    /// Redis confirmed what this client wants.
    pub(super) fn hear(&mut self, id: ClientId, outbox: &Arc<Outbox>, heard: &[Subscription]) {
        for subscription in heard {
            if let Some(topic) = self.topics.get_mut(subscription) {
                topic.hearers.insert(id, Arc::clone(outbox));
            }
        }
    }

    /// One client less wants these. Says which of them nobody wants any more.
    pub(super) fn forget<'a>(
        &mut self,
        id: ClientId,
        subscriptions: &'a [Subscription],
    ) -> Vec<&'a Subscription> {
        let mut orphaned = Vec::new();
        for subscription in subscriptions {
            let Some(topic) = self.topics.get_mut(subscription) else { continue };
            topic.hearers.remove(&id);
            topic.wanted -= 1;
            if topic.wanted == 0 {
                self.topics.remove(subscription);
                self.prefixes -= usize::from(matches!(subscription, Subscription::Prefix(_)));
                orphaned.push(subscription);
            }
        }
        orphaned
    }

    /// What is heard by anyone: confirmed by Redis at some time.
    pub(super) fn heard(&self) -> Vec<Subscription> {
        let heard = self.topics.iter().filter(|(_, topic)| !topic.hearers.is_empty());
        heard.map(|(subscription, _)| subscription.clone()).collect()
    }

    /// Those who hear this.
    pub(super) fn hearers(
        &self,
        subscription: &Subscription,
    ) -> impl Iterator<Item = (ClientId, &Arc<Outbox>)> {
        let topic = self.topics.get(subscription);
        topic.into_iter().flat_map(|topic| topic.hearers.iter().map(|(id, outbox)| (*id, outbox)))
    }

    /// Nobody hears this any more, although it may still be wanted. Says who did.
    pub(super) fn silence(&mut self, subscription: &Subscription) -> Vec<Arc<Outbox>> {
        let topic = self.topics.get_mut(subscription);
        let hearers = topic.map(|topic| std::mem::take(&mut topic.hearers)).unwrap_or_default();
        hearers.into_values().collect()
    }

    /// Those who hear the channel, once for each subscription they hear it by.
    pub(super) fn audience(&self, channel: &ChannelName) -> impl Iterator<Item = &Arc<Outbox>> {
        // Without prefixes there is one name to look for, and no text to be made of the others.
        let most = if self.prefixes == 0 { 1 } else { usize::MAX };
        let topics = Subscription::covering(channel).take(most);
        let topics = topics.filter_map(|subscription| self.topics.get(&subscription));
        topics.flat_map(|topic| topic.hearers.values())
    }

    /// How many hear this and nothing wider. Of what one client hears, whatever covers a channel
    /// lies one within the other, so exactly one of it is the widest: the sum of this over all
    /// that covers a channel is the number of clients that hear it, each once.
    pub(super) fn outermost(&self, subscription: &Subscription) -> u64 {
        let Some(topic) = self.topics.get(subscription) else { return 0 };
        let most = if self.prefixes == 0 { 0 } else { usize::MAX };
        let wider = subscription.wider().take(most);
        let wider = wider.filter_map(|wider| self.topics.get(&wider));
        let wider: Vec<_> = wider.filter(|topic| !topic.hearers.is_empty()).collect();
        if wider.is_empty() {
            return topic.hearers.len() as u64;
        }
        let alone = |id: &&ClientId| !wider.iter().any(|wider| wider.hearers.contains_key(id));
        topic.hearers.keys().filter(alone).count() as u64
    }

    /// Whether this client hears it: confirmed, and not refused since.
    pub(super) fn hears(&self, id: ClientId, subscription: &Subscription) -> bool {
        self.topics.get(subscription).is_some_and(|topic| topic.hearers.contains_key(&id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::Bounds;
    use crate::model::Transport;

    fn outbox() -> Arc<Outbox> {
        let bounds = Bounds { messages: 1, bytes: 1 };
        Outbox::new(Transport::Sse, bounds)
    }
    fn all(texts: &[&str]) -> Vec<Subscription> {
        texts.iter().map(|text| Subscription::parse(text).unwrap()).collect()
    }

    #[test]
    fn the_last_of_its_clients_takes_a_subscription_along() {
        let mut registry = Registry::default();
        let (both, one) = (all(&["a", "b.*"]), all(&["a"]));
        registry.want(&both, 9).unwrap();
        registry.want(&one, 9).unwrap();
        assert_eq!(registry.forget(1, &both), [&both[1]]);
        assert_eq!(registry.forget(2, &one), [&one[0]]);
        assert!(registry.topics.is_empty() && registry.prefixes == 0);
    }

    #[test]
    fn a_prefix_over_the_limit_is_refused_and_nothing_of_the_request_stays() {
        let mut registry = Registry::default();
        registry.want(&all(&["a.*"]), 2).unwrap();
        let refusal = registry.want(&all(&["x", "b.*", "c.*"]), 2).unwrap_err();
        assert_eq!(refusal, Refusal::TooManyPrefixes { limit: 2 });
        assert_eq!(registry.topics.len(), 1);
        registry.want(&all(&["x", "b.*", "a.*"]), 2).unwrap();
    }

    #[test]
    fn what_is_wanted_and_not_yet_confirmed_is_not_heard() {
        let mut registry = Registry::default();
        let wanted = all(&["a"]);
        registry.want(&wanted, 9).unwrap();
        let channel = ChannelName::parse("a").unwrap();
        assert!(registry.audience(&channel).next().is_none() && !registry.hears(1, &wanted[0]));
        registry.hear(1, &outbox(), &wanted);
        assert_eq!(registry.audience(&channel).count(), 1);
        assert!(registry.hears(1, &wanted[0]) && !registry.hears(2, &wanted[0]));
    }
}
