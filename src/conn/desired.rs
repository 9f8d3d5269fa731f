//! Which subscriptions are wanted, and where each of them stands: pure, no IO.

use std::collections::{HashMap, HashSet};

use tokio::sync::watch;

use crate::model::Subscription;

/// What Redis said to a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Confirmed,
    /// The ACL does not allow it.
    Refused,
}

/// Becomes `Some` when Redis has answered; ends without when the subscription is taken back.
pub(super) type Pending = watch::Receiver<Option<Verdict>>;

/// Every subscription is in one of three sets at most, and the sets say what is known and not
/// what was sent. So a command whose answer never came needs no memory of its own: what is
/// missing is asked for again, what is surplus is taken back again.
#[derive(Default)]
pub(super) struct Desired {
    /// Wanted, and not known to be subscribed; with those who wait for it.
    missing: HashMap<Subscription, watch::Sender<Option<Verdict>>>,
    /// Wanted, and subscribed.
    confirmed: HashSet<Subscription>,
    /// Not wanted, and perhaps subscribed.
    surplus: HashSet<Subscription>,
}

impl Desired {
    /// Adds a subscription; `None` when Redis has confirmed it already.
    pub(super) fn want(&mut self, subscription: &Subscription) -> Option<Pending> {
        if self.confirmed.contains(subscription) {
            return None;
        }
        // An UNSUBSCRIBE may be on its way: what counts is the SUBSCRIBE that follows it.
        self.surplus.remove(subscription);
        let missing = self.missing.entry(subscription.clone());
        Some(missing.or_insert_with(|| watch::Sender::new(None)).subscribe())
    }

    /// Takes a subscription back.
    pub(super) fn leave(&mut self, subscription: &Subscription) {
        // A SUBSCRIBE may be on its way, so what was missing may be there.
        if self.missing.remove(subscription).is_some() || self.confirmed.remove(subscription) {
            self.surplus.insert(subscription.clone());
        }
    }

    /// Whether a subscription is wanted.
    pub(super) fn wants(&self, subscription: &Subscription) -> bool {
        self.confirmed.contains(subscription) || self.missing.contains_key(subscription)
    }

    /// How many are wanted, and how many of those are confirmed.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.missing.len() + self.confirmed.len(), self.confirmed.len())
    }

    /// At most so many that are missing, and as many that are surplus.
    pub(super) fn difference(&self, most: usize) -> (Vec<Subscription>, Vec<Subscription>) {
        let missing = self.missing.keys().take(most).cloned().collect();
        let surplus = self.surplus.iter().take(most).cloned().collect();
        (missing, surplus)
    }

    /// Redis has subscribed a group.
    pub(super) fn subscribed(&mut self, group: &[Subscription]) {
        for subscription in group {
            // What was taken back meanwhile is surplus, and stays so.
            if let Some(waiting) = self.missing.remove(subscription) {
                waiting.send_replace(Some(Verdict::Confirmed));
                self.confirmed.insert(subscription.clone());
            }
        }
    }

    /// Redis has unsubscribed a group.
    pub(super) fn unsubscribed(&mut self, group: &[Subscription]) {
        for subscription in group {
            self.surplus.remove(subscription);
        }
    }

    /// Redis does not allow a subscription: it is wanted no longer.
    pub(super) fn refused(&mut self, subscription: &Subscription) {
        if let Some(waiting) = self.missing.remove(subscription) {
            waiting.send_replace(Some(Verdict::Refused));
        }
    }

    /// The connection is gone, and with it whatever was subscribed.
    pub(super) fn lost(&mut self) {
        self.surplus.clear();
        let missing = self.confirmed.drain().map(|s| (s, watch::Sender::new(None)));
        self.missing.extend(missing);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel(name: &str) -> Subscription {
        Subscription::parse(name).expect("a valid name")
    }

    /// What is sent for the difference: SUBSCRIBE and UNSUBSCRIBE.
    fn difference(desired: &Desired) -> (usize, usize) {
        let (add, drop) = desired.difference(10);
        (add.len(), drop.len())
    }

    #[test]
    fn a_channel_taken_back_and_wanted_again_is_confirmed_anew() {
        let (mut desired, a) = (Desired::default(), channel("a"));
        let first = desired.want(&a).expect("not there yet");
        desired.subscribed(std::slice::from_ref(&a));
        assert_eq!(*first.borrow(), Some(Verdict::Confirmed));
        assert!(desired.want(&a).is_none(), "it is there");

        desired.leave(&a);
        assert_eq!(difference(&desired), (0, 1));
        let again = desired.want(&a).expect("an UNSUBSCRIBE may be on its way");
        desired.unsubscribed(std::slice::from_ref(&a));
        assert_eq!((difference(&desired), *again.borrow()), ((1, 0), None));
    }

    #[test]
    fn a_channel_taken_back_before_its_answer_is_unsubscribed_after_it() {
        let (mut desired, a) = (Desired::default(), channel("a"));
        let waiting = desired.want(&a).expect("not there yet");
        desired.leave(&a);
        assert!(waiting.has_changed().is_err(), "nobody will answer");
        desired.subscribed(std::slice::from_ref(&a));
        assert_eq!((desired.counts(), difference(&desired)), ((0, 0), (0, 1)));
        desired.unsubscribed(&[a]);
        assert_eq!(difference(&desired), (0, 0));
    }

    #[test]
    fn a_refused_channel_leaves_and_takes_no_room() {
        let (mut desired, a) = (Desired::default(), channel("a"));
        let waiting = desired.want(&a).expect("not there yet");
        desired.refused(&a);
        assert_eq!(*waiting.borrow(), Some(Verdict::Refused));
        assert!(!desired.wants(&a));
        assert_eq!((desired.counts(), difference(&desired)), ((0, 0), (0, 0)));
    }

    #[test]
    fn all_that_was_confirmed_is_missing_on_a_new_connection_and_nothing_is_surplus() {
        let (mut desired, a, b) = (Desired::default(), channel("a"), channel("b.*"));
        for subscription in [&a, &b] {
            desired.want(subscription);
        }
        desired.subscribed(&[a.clone(), b]);
        desired.leave(&a);
        desired.lost();
        assert_eq!((desired.counts(), difference(&desired)), ((1, 0), (1, 0)));
    }
}
