//! How full the queue is.

use std::time::Duration;

use super::keys::{GROUP, Keys};
use super::producer::Thresholds;
use super::script::{Call, INSPECT};
use crate::conn::{Error, Shared};

/// What is in a queue at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depths {
    /// In the stream, not taken by any worker.
    pub waiting: u64,
    /// In workers' hands.
    pub active: u64,
    /// Waiting for their time.
    pub delayed: u64,
    /// Waiting behind another of their partition.
    pub blocked: u64,
    /// In the dead letters.
    pub dead: u64,
    /// How long the oldest unfinished job has been there, or a delayed one is overdue; zero
    /// when there is none. A blocked one is looked at once it is its turn.
    pub oldest: Duration,
    /// Whether the queue refuses jobs.
    pub full: bool,
}

/// How a depth compares with the thresholds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pressure {
    /// Below the warning threshold.
    Normal,
    /// At the warning threshold or above.
    Warning,
    /// Jobs are refused.
    Full,
}

impl Depths {
    /// Jobs that are neither done nor given up, which is what the thresholds are about.
    pub fn unfinished(&self) -> u64 {
        self.waiting + self.active + self.delayed + self.blocked
    }

    /// How bad it is.
    pub fn pressure(&self, thresholds: Thresholds) -> Pressure {
        match self.unfinished() {
            _ if self.full => Pressure::Full,
            jobs if jobs >= thresholds.warning => Pressure::Warning,
            _ => Pressure::Normal,
        }
    }
}

/// Counts what is in a queue, in one cheap call.
#[derive(Clone)]
pub struct Inspector {
    shared: Shared,
    keys: Keys,
    thresholds: Thresholds,
}

impl Inspector {
    /// An inspector on the shared connection.
    pub fn new(shared: Shared, keys: Keys, thresholds: Thresholds) -> Self {
        Self { shared, keys, thresholds }
    }

    /// Counts now. It also opens a full queue that has come down to recovery: the queue would
    /// otherwise read full until somebody posts again.
    pub async fn depths(&self) -> Result<Depths, Error> {
        self.count(&self.thresholds.recovery.to_string()).await
    }

    /// Counts now and changes nothing.
    pub(crate) async fn look(&self) -> Result<Depths, Error> {
        // No queue has come down to less than nothing.
        self.count("-1").await
    }

    async fn count(&self, recovery: &str) -> Result<Depths, Error> {
        let Self { keys, .. } = self;
        let names = [keys.stream(), keys.delayed(), keys.dead(), keys.full(), keys.blocked()];
        let call = Call::new(&INSPECT, names).arg(GROUP).arg(recovery);
        let counted: (u64, u64, u64, u64, u64, u64, bool) = call.send(&self.shared).await?;
        let (entries, active, delayed, blocked, dead, oldest_ms, full) = counted;
        Ok(Depths {
            // An operator may have deleted an entry that a worker holds.
            waiting: entries.saturating_sub(active),
            active,
            delayed,
            blocked,
            dead,
            oldest: Duration::from_millis(oldest_ms),
            full,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pressure_counts_every_unfinished_job() {
        let thresholds = Thresholds { warning: 10, critical: 20, recovery: 5 };
        let (waiting, active, delayed, blocked, dead) = (3, 3, 3, 1, 99);
        let depths = Depths { waiting, active, delayed, blocked, dead, ..Depths::default() };
        assert_eq!(depths.pressure(thresholds), Pressure::Warning);
        assert_eq!(Depths { blocked: 0, ..depths }.pressure(thresholds), Pressure::Normal);
        assert_eq!(Depths { full: true, ..depths }.pressure(thresholds), Pressure::Full);
    }
}
