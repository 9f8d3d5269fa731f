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
#[derive(Clone, Debug, Default)]
pub(super) struct Leases(Arc<Mutex<HashMap<EntryId, u32>>>);

impl Leases {
    /// Takes an entry into the hands when the clock of Redis shows `now_ms`; it leaves them
    /// when the lease is dropped.
    pub(super) fn hold(&self, id: EntryId, deliveries: u32, now_ms: u64) -> Lease {
        self.lock().insert(id, deliveries);
        let in_hand = JobTaken { waited: id.age(now_ms) }.emit();
        Lease { id, deliveries, since: Instant::now(), all: self.clone(), _in_hand: in_hand }
    }

    /// The entries and, for each, the count of deliveries it was leased under.
    pub(super) fn all(&self) -> Vec<(EntryId, u32)> {
        self.lock().iter().map(|(id, deliveries)| (*id, *deliveries)).collect()
    }

    /// Renews all of them, each time a third of the lease has passed. Ends only by being dropped.
    pub(super) async fn renew(
        &self,
        shared: &Shared,
        keys: &Keys,
        consumer: &str,
        lease: Duration,
    ) -> Infallible {
        // A quick repeat after a fault: a third of the lease later the next one may be too late.
        let (period, hurry) = (lease / 3, (lease / 30).min(Duration::from_secs(1)));
        let mut wait = period;
        loop {
            tokio::time::sleep(wait).await;
            wait = period;
            for batch in self.all().chunks(BATCH) {
                let mut call = Call::new(&RENEW, [keys.stream()]).arg(GROUP).arg(consumer);
                for (id, deliveries) in batch {
                    call = call.arg(id.to_string()).arg(*deliveries);
                }
                match call.send::<Vec<i64>>(shared).await {
                    Ok(codes) => self.forget_lost(batch, &codes),
                    // The connection counts and logs its own faults; the leases have time left.
                    Err(_) => wait = hurry,
                }
            }
        }
    }

    /// A lost lease is renewed no more; the settlement will find it lost, and count it.
    fn forget_lost(&self, batch: &[(EntryId, u32)], codes: &[i64]) {
        for ((id, deliveries), code) in batch.iter().zip(codes) {
            if Standing::of(*code) == Standing::Lost {
                self.let_go(*id, *deliveries);
            }
        }
    }

    /// Under a later lease the same entry may be in hand again: that one stays.
    fn let_go(&self, id: EntryId, deliveries: u32) {
        let mut all = self.lock();
        if all.get(&id) == Some(&deliveries) {
            all.remove(&id);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<EntryId, u32>> {
        // Nothing that holds it can panic halfway.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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

impl Drop for Lease {
    fn drop(&mut self) {
        self.all.let_go(self.id, self.deliveries);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losing_a_lease_does_not_end_a_later_one_of_the_same_entry() {
        let (leases, id) = (Leases::default(), "5-1".parse().unwrap());
        let first = leases.hold(id, 1, 0);
        let asked = leases.all();
        // The worker itself took the entry over while the renewal was on its way.
        let later = leases.hold(id, 2, 0);
        leases.forget_lost(&asked, &[0]);
        assert_eq!(leases.all(), [(id, 2)]);
        drop(first);
        assert_eq!(leases.all(), [(id, 2)]);
        drop(later);
        assert_eq!(leases.all(), []);
    }
}
