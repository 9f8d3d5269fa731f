//! The dead letters, for somebody who operates on them: looking, putting back, deleting.

use redis::{FromRedisValue, cmd};

use super::BATCH;
use super::keys::Keys;
use super::script::{Call, DISCARD, REQUEUE};
use crate::conn::{Error, Shared};

/// Reasons of earlier deaths that a job carries along. Each is a line of about 500 bytes at most.
const HISTORY_KEPT: usize = 10;

/// The fields of an entry. Their values need not be text.
type Fields = Vec<(String, Vec<u8>)>;

/// A job that was given up, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Letter {
    /// The letter's own id, by which it is asked for: `<Unix ms>-<sequence>`.
    pub(crate) id: String,
    /// All it has, in order. Another hand may have put it there, so any name may be missing.
    pub(crate) fields: Fields,
}

impl Letter {
    /// The first field of this name, as text; empty where there is none.
    pub(crate) fn text(&self, name: &str) -> String {
        let field = self.fields.iter().find(|(field, _)| field == name);
        field.map(|(_, value)| String::from_utf8_lossy(value).into_owned()).unwrap_or_default()
    }
}

/// What became of one letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// What was asked for.
    Done,
    /// There is no such letter: it never was, or it went back or was deleted before.
    Missing,
    /// It stays where it is: it carries no job that could be done.
    NoJob,
    /// It stays where it is: the queue has reached its critical threshold.
    Full,
}

impl Fate {
    fn of(code: i64) -> Option<Self> {
        Some(match code {
            1 => Self::Done,
            0 => Self::NoJob,
            -1 => Self::Missing,
            -2 => Self::Full,
            _ => return None,
        })
    }
}

/// What is to be done with letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    /// Back into the queue, at the first attempt, unless that has so many unfinished jobs.
    Requeue { critical: u64 },
    /// Away, for good.
    Delete,
}

/// What became of all letters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sweep {
    /// Those with which it was done.
    pub(crate) done: u64,
    /// Those that stay because they carry no job.
    pub(crate) no_job: u64,
    /// Whether it ended early because the queue is full.
    pub(crate) full: bool,
}

/// The dead letters of one queue.
#[derive(Clone)]
pub(crate) struct Letters {
    shared: Shared,
    keys: Keys,
}

impl Letters {
    /// On the shared connection.
    pub(crate) fn new(shared: Shared, keys: Keys) -> Self {
        Self { shared, keys }
    }

    /// The letters, the last first, at most so many.
    pub(crate) async fn newest(&self, limit: usize) -> Result<Vec<Letter>, Error> {
        let mut letters: Vec<Letter> = Vec::new();
        while letters.len() < limit {
            let end = letters.last().map_or("+".to_owned(), |last| format!("({}", last.id));
            let count = BATCH.min(limit - letters.len());
            let batch = self.range("XREVRANGE", &end, "-", count).await?;
            let ended = batch.len() < count;
            letters.extend(batch);
            if ended {
                break;
            }
        }
        Ok(letters)
    }

    /// One letter, if it is there.
    pub(crate) async fn one(&self, id: &str) -> Result<Option<Letter>, Error> {
        Ok(self.range("XRANGE", id, id, 1).await?.into_iter().next())
    }

    /// Does it with these letters, and tells of each, in order.
    ///
    /// When the answer is lost it may have been done; repeating it is safe, and then finds the
    /// letters missing.
    pub(crate) async fn each(&self, deed: Deed, ids: &[String]) -> Result<Vec<Fate>, Error> {
        let mut fates = Vec::with_capacity(ids.len());
        while fates.len() < ids.len() {
            let rest = &ids[fates.len()..];
            let batch = &rest[..rest.len().min(BATCH)];
            let codes: Vec<i64> = self.call(deed, batch).send(&self.shared).await?;
            let told: Option<Vec<Fate>> = codes.into_iter().map(Fate::of).collect();
            match told {
                Some(told) if (1..=batch.len()).contains(&told.len()) => fates.extend(told),
                _ => return Err(Error::Other("a script gave another answer".to_owned())),
            }
        }
        Ok(fates)
    }

    /// Does it with all letters that are there at the start, the oldest first, in batches.
    /// `progress` hears how many so far: it knows them also when an error ends this early.
    pub(crate) async fn all(
        &self,
        deed: Deed,
        mut progress: impl FnMut(Sweep),
    ) -> Result<Sweep, Error> {
        let mut left: usize = self.ask(cmd("XLEN").arg(self.keys.dead())).await?;
        let (mut sweep, mut start) = (Sweep::default(), "-".to_owned());
        // A job that dies again meanwhile comes after those there were, so this ends.
        while left > 0 && !sweep.full {
            let batch = self.range("XRANGE", &start, "+", BATCH.min(left)).await?;
            let Some(last) = batch.last() else { break };
            start = format!("({}", last.id);
            left -= batch.len().min(left);
            let ids: Vec<String> = batch.into_iter().map(|letter| letter.id).collect();
            for fate in self.each(deed, &ids).await? {
                match fate {
                    Fate::Done => sweep.done += 1,
                    Fate::NoJob => sweep.no_job += 1,
                    Fate::Full => sweep.full = true,
                    // Somebody else did it at the same time.
                    Fate::Missing => {}
                }
            }
            progress(sweep);
        }
        Ok(sweep)
    }

    fn call(&self, deed: Deed, ids: &[String]) -> Call {
        let keys = &self.keys;
        let call = match deed {
            Deed::Delete => Call::new(&DISCARD, [keys.dead()]),
            Deed::Requeue { critical } => {
                let names = [
                    keys.stream(),
                    keys.dead(),
                    keys.delayed(),
                    keys.idle(),
                    keys.full(),
                    keys.partitions(),
                    keys.blocked(),
                ];
                Call::new(&REQUEUE, names).arg(critical).arg(HISTORY_KEPT)
            }
        };
        ids.iter().fold(call, |call, id| call.arg(id))
    }

    async fn range(
        &self,
        command: &str,
        from: &str,
        to: &str,
        count: usize,
    ) -> Result<Vec<Letter>, Error> {
        let mut range = cmd(command);
        range.arg(self.keys.dead()).arg(from).arg(to).arg("COUNT").arg(count);
        let letters: Vec<(String, Fields)> = self.ask(&range).await?;
        Ok(letters.into_iter().map(|(id, fields)| Letter { id, fields }).collect())
    }

    async fn ask<T: FromRedisValue>(&self, question: &redis::Cmd) -> Result<T, Error> {
        let answer = self.shared.call(question).await?;
        T::from_redis_value(answer).map_err(|error| Error::Other(error.to_string()))
    }
}
