//! The jobs in this worker's hands, and the task that keeps them there.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::BATCH;
use super::job::EntryId;
use super::keys::{GROUP, Keys};
use super::script::{Call, RENEW};
use crate::conn::Shared;
use crate::telemetry::events::job::{JobInHand, JobTaken};

/// What a script says of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It was ours.
    Held,
    /// Another consumer has the entry, or this one under a later lease.
    Lost,
    /// The entry is pending for nobody: settled, or flushed.
    Gone,
}

impl Standing {
    pub(super) fn of(code: i64) -> Self {
        match code {
            1 => Standing::Held,
            0 => Standing::Lost,
            _ => Standing::Gone,
        }
    }
}

/// All leases of one consumer. Its size is bounded by the consumer's slots and its backlog
/// of settlements.
#[derive(Clone, Debug)]
pub(super) struct Leases {
    /// How long a lease lasts without being renewed.
    lease: Duration,
    held: Arc<Mutex<HashMap<EntryId, Holding>>>,
}

/// What is known of an entry in hand.
#[derive(Clone, Copy, Debug)]
struct Holding {
    /// The count of deliveries it is held under.
    deliveries: u32,
    /// Until then nobody else takes it over, by our own clock. A renewal counts from before Redis
    /// was asked, the taking from its answer: that much, one command, it may be late.
    until: Instant,
}

impl Leases {
    /// Leases of one length; none yet.
    pub(super) fn new(lease: Duration) -> Self {
        Self { lease, held: Arc::default() }
    }

    /// Takes an entry into the hands when the clock of Redis shows `now_ms`; it leaves them
    /// when the lease is dropped.
    pub(super) fn hold(&self, id: EntryId, deliveries: u32, now_ms: u64) -> Lease {
        let holding = Holding { deliveries, until: Instant::now() + self.lease };
        self.lock().insert(id, holding);
        let in_hand = JobTaken { waited: id.age(now_ms) }.emit();
        Lease { id, deliveries, since: Instant::now(), all: self.clone(), _in_hand: in_hand }
    }

    /// The entries and, for each, the count of deliveries it was leased under.
    pub(super) fn all(&self) -> Vec<(EntryId, u32)> {
        self.lock().iter().map(|(id, holding)| (*id, holding.deliveries)).collect()
    }

    /// Renews all of them, each time a third of the lease has passed. Ends only by being dropped.
    pub(super) async fn renew(&self, shared: &Shared, keys: &Keys, consumer: &str) -> Infallible {
        // A quick repeat after a fault: a third of the lease later the next one may be too late.
        let (period, hurry) = (self.lease / 3, (self.lease / 30).min(Duration::from_secs(1)));
        let mut wait = period;
        loop {
            tokio::time::sleep(wait).await;
            wait = period;
            let mut all = self.all();
            // The script looks at the range from the first to the last.
            all.sort_unstable();
            for batch in all.chunks(BATCH) {
                let mut call = Call::new(&RENEW, [keys.stream()]).arg(GROUP).arg(consumer);
                for (id, deliveries) in batch {
                    call = call.arg(id.to_string()).arg(*deliveries);
                }
                let asked = Instant::now();
                match call.send::<Vec<i64>>(shared).await {
                    Ok(codes) => self.renewed(batch, &codes, asked),
                    // The connection counts and logs its own faults; the leases have time left.
                    Err(_) => wait = hurry,
                }
            }
        }
    }

    /// A lost lease is renewed no more; the settlement will find it lost, and count it.
    fn renewed(&self, batch: &[(EntryId, u32)], codes: &[i64], asked: Instant) {
        for ((id, deliveries), code) in batch.iter().zip(codes) {
            match Standing::of(*code) {
                Standing::Held => self.extend(*id, *deliveries, asked),
                Standing::Lost => self.let_go(*id, *deliveries),
                // Settled this very moment, or flushed.
                Standing::Gone => {}
            }
        }
    }

    fn extend(&self, id: EntryId, deliveries: u32, asked: Instant) {
        if let Some(holding) = self.lock().get_mut(&id).filter(|it| it.deliveries == deliveries) {
            holding.until = asked + self.lease;
        }
    }

    /// Under a later lease the same entry may be in hand again: that one stays.
    fn let_go(&self, id: EntryId, deliveries: u32) {
        let mut all = self.lock();
        if all.get(&id).is_some_and(|it| it.deliveries == deliveries) {
            all.remove(&id);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<EntryId, Holding>> {
        // Nothing that holds it can panic halfway.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One job in hand.
pub(super) struct Lease {
    /// Its entry.
    pub(super) id: EntryId,
    /// The count of deliveries it is held under.
    pub(super) deliveries: u32,
    /// When it was taken.
    pub(super) since: Instant,
    all: Leases,
    _in_hand: JobInHand,
}

impl Lease {
    /// Whether nobody else can have taken the entry over before this moment.
    pub(super) fn held_at(&self, moment: Instant) -> bool {
        let held = self.all.lock();
        let holding = held.get(&self.id).filter(|it| it.deliveries == self.deliveries);
        holding.is_some_and(|it| moment < it.until)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.all.let_go(self.id, self.deliveries);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(30);

    #[test]
    fn losing_a_lease_does_not_end_a_later_one_of_the_same_entry() {
        let (leases, id) = (Leases::new(LEASE), "5-1".parse().unwrap());
        let first = leases.hold(id, 1, 0);
        let asked = leases.all();
        // The worker itself took the entry over while the renewal was on its way.
        let later = leases.hold(id, 2, 0);
        leases.renewed(&asked, &[0], Instant::now());
        assert_eq!(leases.all(), [(id, 2)]);
        drop(first);
        assert_eq!(leases.all(), [(id, 2)]);
        drop(later);
        assert_eq!(leases.all(), []);
    }

    #[test]
    fn a_lease_lasts_from_the_last_time_it_was_renewed() {
        let (leases, id) = (Leases::new(LEASE), "5-1".parse().unwrap());
        let lease = leases.hold(id, 1, 0);
        let taken = Instant::now();
        assert!(lease.held_at(taken) && !lease.held_at(taken + LEASE));
        leases.renewed(&[(id, 1)], &[1], taken + LEASE / 2);
        assert!(lease.held_at(taken + LEASE) && !lease.held_at(taken + LEASE / 2 + LEASE));
        leases.renewed(&[(id, 1)], &[0], taken + LEASE);
        assert!(!lease.held_at(taken), "another has it");
    }
}
