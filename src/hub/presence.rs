//! How many clients hear what, and of what that has changed.
//!
//! Nothing of this is on the way of a notification: subscriptions note that they have changed when
//! clients come and go, and whoever wants to know counts then.

use std::collections::HashSet;

use super::{Hub, State};
use crate::model::{ChannelName, Subscription};

/// Changes that are remembered one by one; beyond that, everything has changed.
const MOST: usize = 65_536;

/// Of which subscriptions the number of clients may be another than it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    /// Of all of them, which are these: nobody kept up, or too much has changed.
    All(Vec<Subscription>),
    /// Of these. Some may be heard by nobody any more.
    These(Vec<Subscription>),
}

/// What has changed since somebody asked. Nothing is remembered while nobody does.
#[derive(Default)]
pub(super) enum Changes {
    #[default]
    All,
    These(HashSet<Subscription>),
}

impl Changes {
    /// A client hears these now, or does not any more. `others` is what it has besides: what is
    /// within a prefix that comes or goes counts differently then.
    pub(super) fn note<'a>(
        &mut self,
        changed: &[Subscription],
        others: impl IntoIterator<Item = &'a Subscription> + Clone,
    ) {
        let Self::These(noted) = self else { return };
        for subscription in changed {
            noted.insert(subscription.clone());
            if let Subscription::Prefix(prefix) = subscription {
                let within = others.clone().into_iter().filter(|other| other.is_within(prefix));
                noted.extend(within.cloned());
            }
        }
        if noted.len() > MOST {
            *self = Self::All;
        }
    }
}

impl State {
    fn take_changed(&mut self) -> Changed {
        match std::mem::replace(&mut self.changes, Changes::These(HashSet::new())) {
            Changes::All => Changed::All(self.registry.heard()),
            Changes::These(noted) => Changed::These(noted.into_iter().collect()),
        }
    }
}

impl Hub {
    /// How many clients hear this channel now, by whichever subscriptions, each once.
    pub fn hearing(&self, channel: &ChannelName) -> u64 {
        let state = self.0.lock();
        Subscription::covering(channel).map(|it| state.registry.outermost(&it)).sum()
    }

    /// What has changed since this was called last; everything, the first time and after
    /// [`Hub::forget_changed`]. Meant for one caller.
    pub fn take_changed(&self) -> Changed {
        self.0.lock().take_changed()
    }

    /// What [`Hub::take_changed`] gave was of no use: everything has changed until it is called
    /// again, and until then nothing is remembered.
    pub fn forget_changed(&self) {
        self.0.lock().changes = Changes::All;
    }

    /// How many clients hear each of these and nothing wider. Summed over all that covers a
    /// channel, in the order of [`Subscription::covering`] or any other, each client counts once.
    pub fn count(&self, subscriptions: &[Subscription]) -> Vec<u64> {
        let state = self.0.lock();
        subscriptions.iter().map(|it| state.registry.outermost(it)).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::hub::{Bounds, Client, Frame, Limits};
    use crate::model::Transport;

    const TEXTS: [&str; 7] = ["a", "a.b", "a.b.c", "a.*", "a.b.*", "a.b.c.*", "d.*"];
    const CHANNELS: [&str; 6] = ["a", "a.b", "a.b.c", "a.b.c.d", "d.e", "nobody"];

    fn hub() -> Hub {
        Hub::new(Limits::new(Bounds { messages: 4, bytes: 4_096 }), |_| ())
    }

    fn word() -> Frame {
        Frame::announcement(Bytes::from_static(b"word"))
    }

    fn all(texts: &[&str]) -> Vec<Subscription> {
        texts.iter().map(|text| Subscription::parse(text).unwrap()).collect()
    }

    fn name(text: &str) -> ChannelName {
        ChannelName::parse(text).unwrap()
    }

    fn subscribe(client: &mut Client, wanted: &[Subscription]) {
        let wanted = client.want(wanted).unwrap();
        client.hear(&wanted);
    }

    /// What somebody knows of the numbers who only hears of changes.
    #[derive(Default)]
    struct Reader(HashMap<Subscription, u64>);

    impl Reader {
        fn keep_up(&mut self, hub: &Hub) {
            let changed = match hub.take_changed() {
                Changed::All(all) => {
                    self.0.clear();
                    all
                }
                Changed::These(these) => these,
            };
            let numbers = hub.count(&changed);
            self.0.extend(changed.into_iter().zip(numbers));
        }
        fn hearing(&self, channel: &ChannelName) -> u64 {
            Subscription::covering(channel).filter_map(|it| self.0.get(&it)).sum()
        }
    }

    #[test]
    fn nothing_is_remembered_for_nobody_and_nothing_is_told_twice() {
        let hub = hub();
        let mut client = hub.join(Transport::Sse).unwrap();
        subscribe(&mut client, &all(&["a", "a.*"]));
        let Changed::All(found) = hub.take_changed() else { panic!("some") };
        assert_eq!(found.len(), 2);
        assert_eq!(hub.take_changed(), Changed::These(vec![]));
        subscribe(&mut client, &all(&["d.*"]));
        assert_eq!(hub.take_changed(), Changed::These(all(&["d.*"])));
        hub.forget_changed();
        client.forget(&all(&["d.*"]), word());
        assert!(matches!(hub.take_changed(), Changed::All(_)));
    }

    #[test]
    fn more_changes_than_are_remembered_are_all() {
        let many =
            |first: usize| (first..).map(|number| Subscription::Exact(name(&format!("a{number}"))));
        let mut changes = Changes::These(HashSet::new());
        changes.note(&many(0).take(MOST).collect::<Vec<_>>(), []);
        assert!(matches!(changes, Changes::These(_)));
        changes.note(&many(MOST).take(1).collect::<Vec<_>>(), []);
        assert!(matches!(changes, Changes::All));
    }

    #[test]
    fn what_is_wanted_and_not_confirmed_is_not_counted() {
        let hub = hub();
        let mut client = hub.join(Transport::Sse).unwrap();
        client.want(&all(&["a"])).unwrap();
        assert_eq!(hub.hearing(&name("a")), 0);
        client.hear(&all(&["a"]));
        assert_eq!(hub.hearing(&name("a")), 1);
    }

    proptest! {
        #[test]
        fn whoever_follows_the_changes_knows_how_many_hear_each_channel(
            steps in prop::collection::vec(
                (0usize..3, 0u8..12, prop::sample::subsequence(TEXTS.to_vec(), 1..4)), 1..40),
        ) {
            let hub = hub();
            let mut clients: [Option<Client>; 3] = [None, None, None];
            let mut every: [HashSet<Subscription>; 3] = Default::default();
            let mut reader = Reader::default();
            for (who, what, texts) in steps {
                let (client, heard) = (&mut clients[who], &mut every[who]);
                match what {
                    0..=3 => {
                        let client = client.get_or_insert_with(|| hub.join(Transport::Sse).unwrap());
                        subscribe(client, &all(&texts));
                        heard.extend(all(&texts));
                    }
                    4..=6 => if let Some(client) = client {
                        client.forget(&all(&texts), word());
                        all(&texts).iter().for_each(|text| { heard.remove(text); });
                    },
                    7 => {
                        *client = None;
                        heard.clear();
                    }
                    8 | 9 => reader.keep_up(&hub),
                    10 => hub.forget_changed(),
                    _ => {
                        let gone = &all(&texts)[0];
                        hub.refuse(gone, |_| word());
                        every.iter_mut().for_each(|heard| { heard.remove(gone); });
                    }
                }
            }
            reader.keep_up(&hub);
            for channel in CHANNELS.map(name) {
                let hears = |heard: &&HashSet<Subscription>| heard.iter().any(|it| it.matches(&channel));
                let expected = every.iter().filter(hears).count() as u64;
                prop_assert_eq!(hub.hearing(&channel), expected, "{}", &channel);
                prop_assert_eq!(reader.hearing(&channel), expected, "{}", &channel);
            }
        }
    }
}
