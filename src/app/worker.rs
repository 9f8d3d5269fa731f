//! `trunkline-worker`: assembled, run and drained.

use std::ffi::OsString;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime;
use tokio_util::sync::CancellationToken;

use super::daemon::{Daemon, Ground, Refusal};
use super::tasks::Tasks;
use super::watch::Watch;
use super::{drain, links};
use crate::config::{self, CommonConfig, Parsed, Surroundings, WorkerConfig};
use crate::conn::{Budget, Owner};
use crate::flow::process::Process;
use crate::flow::sample;
use crate::index::{self, ChainCache};
use crate::model::{Component, Fault};
use crate::queue::{
    Consumer, ConsumerOptions, Drained, Inspector, Keys, Limits, Retention, Thresholds,
};

/// How often a parked worker looks although nobody called: covers whatever got lost on the way.
const SAFETY_POLL: Duration = Duration::from_secs(5);

/// A worker that is connected.
pub struct Worker {
    stop: CancellationToken,
    tasks: Tasks,
    watch: Watch,
    consumer: Consumer<Process>,
    inspector: Inspector,
    thresholds: Thresholds,
    sample: Duration,
}

impl Daemon for Worker {
    type Config = WorkerConfig;
    const COMPONENT: Component = Component::Worker;

    fn read(
        arguments: impl IntoIterator<Item = OsString>,
        around: &Surroundings<'_>,
    ) -> Parsed<WorkerConfig> {
        config::worker(arguments, around)
    }

    /// One thread, the line: between the tasks that publish and the one that writes to the
    /// socket there is then no lock and no wake-up. What computes has threads of its own.
    fn runtime() -> runtime::Builder {
        runtime::Builder::new_current_thread()
    }

    fn common(config: &WorkerConfig) -> &CommonConfig {
        &config.common
    }

    async fn start(config: WorkerConfig, ground: Ground) -> Result<Self, Refusal> {
        let common = &config.common;
        let keys = Keys::new(common.namespace.as_str(), common.queue.name.as_str());
        let chain_keys = index::Keys::new(common.namespace.as_str());
        let mut options = links::options(common, Self::COMPONENT, &ground.instance)?;
        options.signals = vec![keys.wake(&ground.instance), chain_keys.version()];
        let prefix = options.notify_channel("");
        let owner = Owner::new(options, &Budget::of(Self::COMPONENT)).map_err(links::redis)?;
        let owner = Arc::new(owner);

        let thresholds = links::thresholds(&common.queue);
        let consumer = ConsumerOptions {
            instance: ground.instance.to_string(),
            concurrency: config.concurrency,
            limits: Limits { attempts: config.job_attempts, backoff: config.job_backoff },
            lease: config.job_lease,
            retention: Retention { max: config.dead_letters_max, age: config.dead_letters_age },
            safety_poll: SAFETY_POLL,
            thresholds,
        };
        let chains = ChainCache::new(owner.shared(), chain_keys);
        let history = links::history(common, &owner, prefix);
        let process = Process::new(chains, history).map_err(|error| no_thread(&error))?;
        let watch = Watch::bind(Self::COMPONENT, &ground, &owner, None, common)
            .map_err(|fault| Refusal::Unavailable(vec![fault]))?;
        owner.connect().await;
        Ok(Self {
            consumer: Consumer::new(owner.shared(), keys.clone(), consumer, process),
            inspector: Inspector::new(owner.shared(), keys, thresholds),
            sample: common.intervals.sample,
            stop: ground.stop,
            tasks: ground.tasks,
            watch,
            thresholds,
        })
    }

    fn owner(&self) -> &Arc<Owner> {
        self.watch.owner()
    }

    async fn run(self) -> bool {
        let (tasks, jobs_stop) = (self.tasks, CancellationToken::new());
        let watching = self.watch.begin(&tasks);
        tasks.spawn("sample", sample::run(self.inspector, self.thresholds, self.sample));
        let working = self.consumer.run(jobs_stop.clone(), drain::IN_FLIGHT);
        let jobs = tasks.spawn("consumer", working);
        let told = tasks.until_stop_or_end(&self.stop).await;

        let began = watching.drain();
        jobs_stop.cancel();
        let finished = matches!(jobs.await, Ok(Drained { handed_back: 0, left: 0, .. }));
        watching.end(began, told && finished).await;
        told
    }
}

/// The threads for the rules are there from the start, or the worker is not.
fn no_thread(error: &io::Error) -> Refusal {
    let message = format!("no thread for the rules: {error}");
    Refusal::Unavailable(vec![Fault { path: "rules".to_owned(), message }])
}
