//! A worker's side: all chains, as long as they are known to be the present ones.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use tokio::sync::Mutex;

use super::Keys;
use super::load::{Snapshot, scan, version};
use crate::conn::{Error, Shared, Signal};
use crate::telemetry::task;

/// How long a look at the version vouches for the copy. A change is seen by every worker
/// within a second, told of or not: half of it is left for everything else.
const FRESH: Duration = Duration::from_millis(500);

/// From this age on a copy that is asked for is looked after, so that no job waits for it.
const AGEING: Duration = Duration::from_millis(250);

/// Loads that may be overtaken by a change before it is given up.
const TRIES: usize = 5;

/// Why there is no copy to use.
#[derive(Clone, Debug, thiserror::Error)]
pub enum IndexError {
    /// Redis failed, so that the copy is not known to be the present one.
    #[error(transparent)]
    Redis(#[from] Error),
    /// The chains changed each time they were loaded.
    #[error("the rule chains change faster than they can be loaded")]
    Unsettled,
}

/// A copy of all chains. Cheap to clone; clones share the copy.
#[derive(Clone)]
pub struct ChainCache(Arc<Inner>);

struct Inner {
    shared: Shared,
    keys: Keys,
    /// Tells of changes at once where Redis can; the version is looked at all the same, since
    /// a connection that hangs tells of nothing.
    signal: Signal,
    checked: ArcSwapOption<Checked>,
    /// One looks at Redis, the others wait for what it finds.
    looking: Arc<Mutex<()>>,
}

/// A copy, and when it was last known to be the present one.
struct Checked {
    snapshot: Arc<Snapshot>,
    at: Instant,
    heard: u64,
}

impl ChainCache {
    /// A cache on the shared connection; nothing is loaded yet. The connection should have been
    /// given [`Keys::version`] among its signals.
    pub fn new(shared: Shared, keys: Keys) -> Self {
        let signal = shared.signal(&keys.version());
        let (checked, looking) = (ArcSwapOption::empty(), Arc::default());
        Self(Arc::new(Inner { shared, keys, signal, checked, looking }))
    }

    /// All chains, known to be the present ones half a second ago or later: no change was
    /// heard of since, and the version was looked at within that time or is looked at now. They
    /// are loaded again only when it has changed, so the pointer tells whether anything did.
    pub async fn snapshot(&self) -> Result<Arc<Snapshot>, IndexError> {
        if let Some((fresh, age)) = self.0.fresh() {
            if age > AGEING {
                self.look_ahead();
            }
            return Ok(fresh);
        }
        let _alone = self.0.looking.lock().await;
        match self.0.fresh() {
            Some((fresh, _)) => Ok(fresh),
            None => self.0.look().await,
        }
    }
}

impl ChainCache {
    /// Looks in the background, unless somebody does already.
    fn look_ahead(&self) {
        let Ok(alone) = Arc::clone(&self.0.looking).try_lock_owned() else { return };
        let inner = Arc::clone(&self.0);
        task::spawn("rule chains", async move {
            // Whoever needs a copy once this one is too old meets the same fault.
            let _ = inner.look().await;
            drop(alone);
        });
    }
}

impl Inner {
    fn fresh(&self) -> Option<(Arc<Snapshot>, Duration)> {
        let checked = self.checked.load();
        let Checked { snapshot, at, heard } = checked.as_deref()?;
        let age = at.elapsed();
        let fresh = age < FRESH && *heard == self.signal.count();
        fresh.then(|| (Arc::clone(snapshot), age))
    }

    async fn look(&self) -> Result<Arc<Snapshot>, IndexError> {
        // Both are taken before Redis is asked: what happens later makes the copy doubtful.
        let before = (Instant::now(), self.signal.count());
        let mut present = version(&self.shared, &self.keys).await?;
        if let Some(known) = self.checked.load_full()
            && known.snapshot.version == present
        {
            return Ok(self.vouch(Arc::clone(&known.snapshot), before));
        }
        for _ in 0..TRIES {
            let chains = scan(&self.shared, &self.keys).await?;
            let after = (Instant::now(), self.signal.count());
            let now = version(&self.shared, &self.keys).await?;
            if now == present {
                return Ok(self.vouch(Arc::new(Snapshot { version: now, chains }), after));
            }
            present = now;
        }
        Err(IndexError::Unsettled)
    }

    fn vouch(&self, snapshot: Arc<Snapshot>, (at, heard): (Instant, u64)) -> Arc<Snapshot> {
        let checked = Checked { snapshot: Arc::clone(&snapshot), at, heard };
        self.checked.store(Some(Arc::new(checked)));
        snapshot
    }
}
