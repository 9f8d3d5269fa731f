//! The three ways in which a worker comes by entries.

use std::time::Duration;

use redis::{Value, cmd};

use super::job::{Entry, EntryId, job_type_of};
use super::keys::{GROUP, Keys};
use super::retry::{MAX_DELIVERIES, Retention};
use super::script::{CLAIM, Call, LEAVE, RECLAIM, RECOVER};
use crate::conn::{Error, Shared};
use crate::model::{JobType, WakeupMode};

/// Delayed jobs that one claim moves into the stream at most; the next claim goes on.
const PROMOTIONS: u32 = 128;

/// Partitions that one takeover looks after at most, and as many again at random.
const SWEPT: u32 = 64;

/// Idle consumers that hold nothing are forgotten after this: each start of a worker is one.
const FORGET_AFTER: Duration = Duration::from_secs(3600);

/// How a worker is to be woken once it finds nothing.
pub(super) struct Parking {
    /// Its member of the idle set; empty when it is not to be woken.
    pub(super) member: String,
    /// How long it counts as parked.
    pub(super) lasts: Duration,
}

/// What a claim brought.
pub(super) struct Claimed {
    /// Redis' clock, in Unix milliseconds.
    pub(super) now_ms: u64,
    /// Milliseconds until the next delayed job is due; negative when there is none.
    pub(super) next_due: i64,
    /// The same of the next tick of a schedule.
    pub(super) next_tick: i64,
    /// What was taken.
    pub(super) entries: Vec<Entry>,
}

/// What a takeover brought.
pub(super) struct Reclaimed {
    /// Redis' clock, in Unix milliseconds.
    pub(super) now_ms: u64,
    /// Where the next takeover goes on.
    pub(super) cursor: String,
    /// What was taken over.
    pub(super) entries: Vec<Entry>,
    /// The jobs that were given up.
    pub(super) buried: Vec<Buried>,
    /// Dead letters that were dropped: too many, and too old.
    pub(super) dropped: (u64, u64),
    /// Where the next sweep of the partitions goes on.
    pub(super) swept: String,
    /// Partitions that went on because the job they waited for was gone.
    pub(super) mended: u64,
}

/// What the script of a takeover answers, in the order of [`Reclaimed`].
type ReclaimAnswer = (u64, String, Vec<Value>, Vec<Value>, (u64, u64), (String, u64));

/// A job that was delivered too often.
pub(super) struct Buried {
    /// Its id, or its entry's.
    pub(super) job: String,
    /// What made it.
    pub(super) job_type: JobType,
}

/// Asks Redis for entries in a consumer's name.
#[derive(Clone)]
pub(super) struct Claims {
    pub(super) shared: Shared,
    pub(super) keys: Keys,
    pub(super) consumer: String,
}

impl Claims {
    /// How this consumer is woken: by a change of its key, by a message, or not at all.
    pub(super) fn parking(&self, mode: WakeupMode, lasts: Duration) -> Parking {
        let wake = self.keys.wake(&self.consumer);
        let member = match mode {
            WakeupMode::Tracking => format!("t:{wake}"),
            WakeupMode::Subscribe => format!("p:{wake}"),
            WakeupMode::Polling => String::new(),
        };
        Parking { member, lasts }
    }

    /// Takes up to `count` new entries; parks when there are fewer.
    pub(super) async fn claim(&self, count: usize, parking: &Parking) -> Result<Claimed, Error> {
        let keys = &self.keys;
        let names = [
            keys.stream(),
            keys.delayed(),
            keys.idle(),
            keys.ticks(),
            keys.partitions(),
            keys.blocked(),
        ];
        let call = Call::new(&CLAIM, names)
            .arg(GROUP)
            .arg(&self.consumer)
            .arg(count)
            .arg(&parking.member)
            .arg(parking.lasts.as_millis() as u64)
            .arg(PROMOTIONS);
        let (now_ms, next_due, next_tick, entries): (u64, i64, i64, Vec<Value>) =
            call.send(&self.shared).await?;
        Ok(Claimed { now_ms, next_due, next_tick, entries: read(entries, Entry::first)? })
    }

    /// Takes up to `count` new entries and does nothing else: for a worker that has just found
    /// all it asked for, and so is not parked. It spares Redis turning every field over twice
    /// for Lua.
    ///
    /// Fewer than asked for says nothing: the script has to look again, and parks.
    pub(super) async fn read(&self, count: usize) -> Result<Vec<Entry>, Error> {
        let mut command = cmd("XREADGROUP");
        command.arg("GROUP").arg(GROUP).arg(&self.consumer).arg("COUNT").arg(count);
        command.arg("STREAMS").arg(self.keys.stream()).arg(">");
        let entries = match self.shared.call(&command).await? {
            Value::Map(streams) => streams.into_iter().next().map(|(_, entries)| entries),
            _ => None,
        };
        match entries {
            Some(Value::Array(entries)) => read(entries, Entry::first),
            _ => Ok(Vec::new()),
        }
    }

    /// Finds up to `count` entries that are ours and not among those in hand: the claim's
    /// answer was lost.
    pub(super) async fn recover(
        &self,
        count: usize,
        in_hand: &[(EntryId, u32)],
    ) -> Result<(u64, Vec<Entry>), Error> {
        let call = Call::new(&RECOVER, [self.keys.stream()]);
        let call = call.arg(GROUP).arg(&self.consumer).arg(count);
        let call = in_hand.iter().fold(call, |call, (id, _)| call.arg(id.to_string()));
        let (now_ms, entries): (u64, Vec<Value>) = call.send(&self.shared).await?;
        Ok((now_ms, read(entries, Entry::again)?))
    }

    /// Takes over up to `count` entries whose lease ran out, and looks after some of the
    /// partitions. Both go on where they ended.
    pub(super) async fn reclaim(
        &self,
        count: usize,
        lease: Duration,
        (cursor, swept): (&str, &str),
        parking: &Parking,
        retention: Retention,
    ) -> Result<Reclaimed, Error> {
        let keys = &self.keys;
        let names = [
            keys.stream(),
            keys.dead(),
            keys.idle(),
            keys.delayed(),
            keys.partitions(),
            keys.blocked(),
        ];
        let call = Call::new(&RECLAIM, names)
            .arg(GROUP)
            .arg(&self.consumer)
            .arg(lease.as_millis() as u64)
            .arg(cursor)
            .arg(count)
            .arg(MAX_DELIVERIES)
            .arg(retention.max)
            .arg(FORGET_AFTER.as_millis() as u64)
            .arg(&parking.member)
            .arg(retention.age.as_millis() as u64)
            .arg(swept)
            .arg(SWEPT);
        let (now_ms, cursor, entries, buried, dropped, (swept, mended)) =
            call.send::<ReclaimAnswer>(&self.shared).await?;
        let entries = read(entries, Entry::again)?;
        let buried = buried.into_iter().filter_map(|value| {
            let (job, word): (String, String) = redis::from_redis_value(value).ok()?;
            // An entry that somebody else put there has no type of ours.
            Some(Buried { job, job_type: job_type_of(&word).unwrap_or(JobType::Event) })
        });
        let buried = buried.collect();
        Ok(Reclaimed { now_ms, cursor, entries, buried, dropped, swept, mended })
    }

    /// Parks no more; once nothing is pending the consumer's name goes too.
    pub(super) async fn leave(&self, parking: &Parking) -> Result<(), Error> {
        let keys = [self.keys.stream(), self.keys.idle()];
        let call = Call::new(&LEAVE, keys).arg(GROUP).arg(&self.consumer).arg(&parking.member);
        call.send(&self.shared).await
    }
}

fn read(values: Vec<Value>, one: fn(Value) -> Option<Entry>) -> Result<Vec<Entry>, Error> {
    values
        .into_iter()
        .map(one)
        .collect::<Option<_>>()
        .ok_or_else(|| Error::Other("a claim script gave another answer".to_owned()))
}
