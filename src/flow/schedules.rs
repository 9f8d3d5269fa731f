//! Schedules in and out of the queue that they feed.

use serde_json::{Value, json};

use super::stored::StoreError;
use crate::model::{Fault, Schedule, tick_time};
use crate::queue::{MAX_SCHEDULES, ScheduleStore, Scheduled, TooManySchedules};
use crate::telemetry::task::spawn_blocking;

/// A schedule that is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredSchedule {
    /// The schedule as it is kept, and `next`, its next tick.
    pub document: Value,
    /// There was none of this id before.
    pub created: bool,
}

/// Stores, shows and removes schedules. Cheap to clone.
#[derive(Clone)]
pub struct Schedules {
    store: ScheduleStore,
    max_payload: usize,
}

impl Schedules {
    /// The schedules of the queue of `store`; the event of one may be `max_payload` bytes of JSON
    /// long, not counting what a tick fills in.
    pub fn new(store: ScheduleStore, max_payload: usize) -> Self {
        Self { store, max_payload }
    }

    /// Stores a schedule under `id`. What is there already keeps the tick that it waits for; a
    /// changed one goes by its own from now on. Dropped while it waits, it may still be stored.
    pub async fn put(&self, id: &str, document: Value) -> Result<StoredSchedule, StoreError> {
        let schedule = self.read(id, document).await.map_err(StoreError::Invalid)?;
        let now_ms = self.store.now_ms().await?;
        let never = || invalid("$.cron", "has no tick that is still to come".to_owned());
        let tick = schedule.next_after(now_ms).ok_or_else(never)?;
        let json = schedule.document();
        match self.store.put(id, json.to_string().as_bytes(), tick).await? {
            Ok((created, tick)) => {
                Ok(StoredSchedule { document: with_next(json, Some(tick)), created })
            }
            Err(TooManySchedules) => {
                let message = "{} schedules are in this queue already, and it takes no more; \
                               delete one first";
                Err(invalid("$", message.replace("{}", &MAX_SCHEDULES.to_string())))
            }
        }
    }

    /// Off the threads that do IO: a day that never comes is looked for in three thousand years.
    async fn read(&self, id: &str, document: Value) -> Result<Schedule, Vec<Fault>> {
        let id = id.to_owned();
        let reading = spawn_blocking("schedules", move || Schedule::parse(&id, document));
        let cannot = || vec![fault("$", "cannot be read".to_owned())];
        let schedule = reading.await.unwrap_or_else(|| Err(cannot()))?;
        match schedule.event_bytes() {
            bytes if bytes > self.max_payload => {
                let most = self.max_payload;
                let message = format!("is {bytes} bytes long; at most {most} are allowed");
                Err(vec![fault("$.event", message)])
            }
            _ => Ok(schedule),
        }
    }

    /// The schedule of this id.
    pub async fn get(&self, id: &str) -> Result<Option<Value>, StoreError> {
        Ok(self.store.get(id).await?.and_then(shown))
    }

    /// Every schedule, by id.
    pub async fn list(&self) -> Result<Vec<Value>, StoreError> {
        Ok(self.store.list().await?.into_values().filter_map(shown).collect())
    }

    /// Removes it. Says whether there was one.
    pub async fn delete(&self, id: &str) -> Result<bool, StoreError> {
        Ok(self.store.delete(id).await?)
    }
}

fn fault(path: &str, message: String) -> Fault {
    Fault { path: path.to_owned(), message }
}

fn invalid(path: &str, message: String) -> StoreError {
    StoreError::Invalid(vec![fault(path, message)])
}

/// What another hand has stored may not be JSON; a worker rejects and logs it.
fn shown(scheduled: Scheduled) -> Option<Value> {
    let document = serde_json::from_slice(&scheduled.json).ok()?;
    Some(with_next(document, scheduled.next))
}

fn with_next(mut document: Value, next: Option<u64>) -> Value {
    if let Value::Object(members) = &mut document {
        members.insert("next".to_owned(), json!(next.and_then(tick_time)));
    }
    document
}
