//! How often each process dials while nothing answers it.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hyper::Method;
use tokio::task::JoinHandle;

use crate::fleet::{Fleet, Place};
use crate::support::metrics::Page;

/// What is promised, in one second.
const BOUND: f64 = 12.0;
/// From one look to the next.
const EVERY: Duration = Duration::from_secs(1);
/// A page may be a second old.
const AGE: Duration = Duration::from_secs(1);

/// Looks at the page of every process again and again until this is dropped.
pub struct Dials {
    too_many: Arc<Mutex<Vec<String>>>,
    looking: Vec<JoinHandle<()>>,
}

impl Dials {
    /// Begins to look.
    pub fn watch(fleet: &Arc<Fleet>) -> Dials {
        let too_many = Arc::<Mutex<Vec<String>>>::default();
        let look = |place| tokio::spawn(look(Arc::clone(fleet), place, Arc::clone(&too_many)));
        Dials { looking: Place::all().map(look).collect(), too_many }
    }

    /// Those that dialled more often than they may.
    pub fn too_many(&self) -> Vec<String> {
        self.too_many.lock().unwrap().clone()
    }
}

impl Drop for Dials {
    fn drop(&mut self) {
        self.looking.iter().for_each(JoinHandle::abort);
    }
}

async fn look(fleet: Arc<Fleet>, place: Place, too_many: Arc<Mutex<Vec<String>>>) {
    let mut last = None;
    loop {
        let (member, asked) = (fleet.at(place), Instant::now());
        // One that stands still, or is gone, says nothing.
        let answer = member.admin.try_send(Method::GET, "/metrics", &[], "").await;
        if let Some(page) = answer.ok().filter(|answer| answer.status == 200) {
            let page = Page::parse(page.text());
            let dials = page.sum("trunkline_redis_connect_attempts_total", &[]);
            let pid = member.daemon.pid();
            if let Some((of, when, before)) = last.replace((pid, asked, dials))
                && of == pid
            {
                let (more, lasted) = (dials - before, when.elapsed() + AGE);
                if more > BOUND * (lasted.as_secs_f64() + 1.0) {
                    let what = format!("{place:?} dialled {more} times in {lasted:?} at most");
                    too_many.lock().unwrap().push(what);
                }
            }
        }
        tokio::time::sleep(EVERY).await;
    }
}
