//! Every Redis key of a queue. `docs/redis.md` has the same table for operators.

/// The consumer group that all workers of a queue share.
pub const GROUP: &str = "workers";

/// The names of one queue's keys.
///
/// All carry the hash tag `{q:<queue>}`, so a script may touch them together, and on a
/// cluster a queue lives in one slot.
#[derive(Clone, Debug)]
pub struct Keys {
    prefix: String,
}

impl Keys {
    /// The keys of a queue in a namespace.
    pub fn new(namespace: &str, queue: &str) -> Self {
        Self { prefix: format!("{namespace}:{{q:{queue}}}:") }
    }

    /// Stream: jobs that wait for a worker or are in a worker's hands.
    pub fn stream(&self) -> String {
        self.of("stream")
    }

    /// Sorted set: packed jobs by the Unix millisecond at which they are due.
    pub fn delayed(&self) -> String {
        self.of("delayed")
    }

    /// Hash: where the job of a partition is that may be done next.
    pub fn partitions(&self) -> String {
        self.of("partitions")
    }

    /// Sorted set: packed jobs that wait behind another of their partition, in order.
    pub fn blocked(&self) -> String {
        self.of("blocked")
    }

    /// Stream: jobs that were given up, with the reason.
    pub fn dead(&self) -> String {
        self.of("dead")
    }

    /// Sorted set: parked workers by the Unix millisecond at which they count as gone.
    pub fn idle(&self) -> String {
        self.of("idle")
    }

    /// String: there while the queue refuses jobs.
    pub fn full(&self) -> String {
        self.of("full")
    }

    /// Hash: schedules' JSON by id.
    pub fn schedules(&self) -> String {
        self.of("schedules")
    }

    /// Sorted set: ids of schedules by the Unix millisecond of their next tick.
    pub fn ticks(&self) -> String {
        self.of("ticks")
    }

    /// What the dedup keys begin with; a hash of source and id follows.
    pub fn dedup(&self) -> String {
        self.of("dedup:")
    }

    /// String, or channel: changed, or published on, to wake the worker of this instance.
    ///
    /// It ends in a colon because client tracking matches prefixes: without one, waking
    /// `w1` would wake `w10` to `w19` too.
    pub fn wake(&self, instance: &str) -> String {
        self.of(&format!("wake:{instance}:"))
    }

    fn of(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_keys_of_a_queue_share_one_hash_tag() {
        let keys = Keys::new("trunkline", "rule-engine-events");
        let all = [keys.stream(), keys.delayed(), keys.dead(), keys.idle(), keys.full()];
        let others = [keys.dedup(), keys.wake("9f2c"), keys.schedules(), keys.ticks()];
        let ordered = [keys.partitions(), keys.blocked()];
        for key in all.into_iter().chain(others).chain(ordered) {
            assert!(key.starts_with("trunkline:{q:rule-engine-events}:"), "{key}");
        }
    }

    #[test]
    fn no_wake_key_is_the_start_of_another() {
        let keys = Keys::new("trunkline", "q");
        assert!(!keys.wake("w10").starts_with(&keys.wake("w1")));
    }
}
