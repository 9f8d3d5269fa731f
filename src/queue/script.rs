//! The scripts: one for each change, atomic in Redis, harmless when repeated.
//!
//! The number in a file's name is the number of its KEYS.

use std::sync::LazyLock;

use redis::{FromRedisValue, Script, ScriptInvocation, ToRedisArgs};

use crate::conn::{Error, Shared, scripts};

scripts! {
    /// Puts jobs into the queue.
    ENQUEUE = "enqueue-7" + ["clock", "wake", "room", "partition"];
    /// Takes jobs, or parks.
    CLAIM = "claim-6" + ["clock", "entry", "wake", "due", "partition"];
    /// Finds jobs whose claim was never answered.
    RECOVER = "recover-1" + ["clock"];
    /// Takes over jobs whose lease ran out.
    RECLAIM = "reclaim-6" + ["clock", "entry", "wake", "lease", "partition", "dead"];
    /// Renews leases.
    RENEW = "renew-1" + ["lease"];
    /// Settles jobs that are done.
    DONE = "done-1" + ["lease"];
    /// The same for jobs that others wait behind.
    DONE_IN_ORDER = "done_in_order-4" + ["clock", "wake", "lease", "partition"];
    /// Puts jobs back.
    RETRY = "retry-4" + ["clock", "entry", "wake", "lease", "due", "partition"];
    /// Moves jobs to the dead letters.
    BURY = "bury-5" + ["clock", "entry", "wake", "lease", "partition", "dead"];
    /// Puts dead letters back.
    REQUEUE = "requeue-7" + ["clock", "wake", "partition"];
    /// Deletes dead letters.
    DISCARD = "discard-1" + [];
    /// Takes a worker's name off the queue.
    LEAVE = "leave-2" + ["clock", "wake"];
    /// Counts.
    INSPECT = "inspect-5" + ["clock", "entry"];
    /// Stores a schedule.
    SCHEDULE = "schedule-3" + ["clock", "wake"];
    /// Removes a schedule.
    UNSCHEDULE = "unschedule-2" + [];
    /// Finds schedules whose tick is due.
    DUE = "due-2" + ["clock", "due"];
    /// Moves schedules on, with the jobs of their ticks.
    FIRE = "fire-9" + ["clock", "wake", "room", "due", "partition"];
}

/// One call of a script.
pub(super) struct Call(ScriptInvocation<'static>);

impl Call {
    /// A call with its keys, as many as the script's name says.
    pub(super) fn new<const N: usize>(
        script: &'static LazyLock<Script>,
        keys: [String; N],
    ) -> Self {
        let mut call = script.prepare_invoke();
        call.key(&keys[..]);
        Self(call)
    }

    /// Adds an argument.
    pub(super) fn arg(mut self, argument: impl ToRedisArgs) -> Self {
        self.0.arg(argument);
        self
    }

    /// Sends it and waits for the answer.
    pub(super) async fn send<T: FromRedisValue>(self, shared: &Shared) -> Result<T, Error> {
        Ok(self.0.invoke_async(&mut shared.clone()).await?)
    }
}
