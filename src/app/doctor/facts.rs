//! Gathers everything the findings are made of. Nothing waits longer than its limit, and nothing
//! is changed anywhere.

use std::time::Duration;

use super::place::Place;
use super::rights::{self, Rights};
use super::status::Asked;
use crate::app::links::dialled;
use crate::config::Doctor;
use crate::conn::Owner;
use crate::conn::survey::Survey;
use crate::http::client::Client;
use crate::queue::{Keys, QueueSurvey};

/// How long a daemon may take to tell its status.
const STATUS_TIMEOUT: Duration = Duration::from_secs(2);

/// Everything that was found out in one look.
#[derive(Debug)]
pub(super) struct Facts {
    /// Redis, or why it could not be looked at, as the metrics name the reason.
    pub(super) seen: Result<Seen, &'static str>,
    /// The daemons that were named.
    pub(super) daemons: Vec<Asked>,
    /// How many files a process started here may open; `None` is no limit.
    pub(super) open_files: Option<u64>,
}

/// What Redis said.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) namespace: String,
    pub(super) survey: Survey,
    pub(super) queue: QueueSurvey,
    pub(super) rights: Vec<Rights>,
}

impl Facts {
    /// Looks once.
    pub(super) async fn gather(owner: &Owner, told: &Doctor, place: &mut Place) -> Self {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        let (seen, daemons) = tokio::join!(look(owner, told), statuses(told));
        if let Ok(Seen { survey: Survey { user: Ok(user), .. }, .. }) = &seen {
            place.user.clone_from(user);
        }
        Self { seen, daemons, open_files: limit }
    }
}

async fn look(owner: &Owner, told: &Doctor) -> Result<Seen, &'static str> {
    dialled(owner).await?;
    let shared = owner.shared();
    let keys = Keys::new(told.namespace.as_str(), told.queue.name.as_str());
    let survey = Survey::take(&shared).await;
    let queue = QueueSurvey::take(&shared, &keys).await;
    let rights = rights::gather(&shared, &survey, told).await;
    // Lost on the way: what is missing is missing for that reason, and for no other.
    dialled(owner).await?;
    Ok(Seen { namespace: told.namespace.to_string(), survey, queue, rights })
}

async fn statuses(told: &Doctor) -> Vec<Asked> {
    let ask = |url: url::Url| async move {
        let asking = Client::new(url.clone());
        let answer = tokio::time::timeout(STATUS_TIMEOUT, asking.get("/status")).await;
        let silent = || format!("no answer within {STATUS_TIMEOUT:?}");
        let answer = answer.map_err(|_| silent()).and_then(|it| it.map_err(|it| it.to_string()));
        (url.to_string(), answer)
    };
    futures_util::future::join_all(told.admins.iter().map(|admin| ask(admin.url().clone()))).await
}
