//! `trunkline-worker`: assembled, run and drained.

use std::ffi::OsString;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::daemon::{Daemon, Ground};
use super::{drain, links, watch};
use crate::config::{self, CommonConfig, Parsed, Surroundings, WorkerConfig};
use crate::conn::{Budget, Owner};
use crate::flow::process::Process;
use crate::flow::sample;
use crate::health::{Facts, Monitor, Progress};
use crate::index::{self, ChainCache};
use crate::model::{Component, Fault};
use crate::queue::{Consumer, ConsumerOptions, Inspector, Keys, Limits, Thresholds};
use crate::telemetry::events::process::ProcessStopped;
use crate::telemetry::task::spawn;

/// How often a parked worker looks although nobody called: covers whatever got lost on the way.
const SAFETY_POLL: Duration = Duration::from_secs(5);

/// A worker that is connected.
pub struct Worker {
    ground: Ground,
    owner: Arc<Owner>,
    draining: Arc<AtomicBool>,
    progress: Progress,
    monitor: Arc<Monitor>,
    admin: watch::AdminDoor,
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

    fn common(config: &WorkerConfig) -> &CommonConfig {
        &config.common
    }

    async fn start(config: WorkerConfig, ground: Ground) -> Result<Self, Vec<Fault>> {
        let common = &config.common;
        let keys = Keys::new(common.namespace.as_str(), common.queue.name.as_str());
        let chain_keys = index::Keys::new(common.namespace.as_str());
        let mut options = links::options(common, Self::COMPONENT, &ground.instance)
            .map_err(|error| vec![links::fault("--redis-tls", &error)])?;
        options.signals = vec![keys.wake(&ground.instance), chain_keys.version()];
        let prefix = options.notify_channel("");
        let owner = Owner::new(options, &Budget::of(Self::COMPONENT));
        let owner = Arc::new(owner.map_err(|error| vec![links::fault("redis", &error)])?);

        let thresholds = links::thresholds(common);
        let consumer = ConsumerOptions {
            instance: ground.instance.to_string(),
            concurrency: config.concurrency,
            limits: Limits { attempts: config.job_attempts, backoff: config.job_backoff },
            lease: config.job_lease,
            safety_poll: SAFETY_POLL,
        };
        let chains = ChainCache::new(owner.shared(), chain_keys);
        let process = Process::new(chains, owner.publisher(), prefix);
        let draining = Arc::new(AtomicBool::new(false));
        let monitor = {
            let (owner, draining) = (Arc::clone(&owner), Arc::clone(&draining));
            let interval = common.intervals.probe;
            Arc::new(Monitor::new(move || {
                let draining = draining.load(Ordering::Relaxed);
                Facts::new(Component::Worker, &owner, None, interval, draining)
            }))
        };
        let progress = Progress::default();
        let address = common.admin_listen;
        let admin =
            watch::AdminDoor::bind(Self::COMPONENT, address, &ground, &owner, &progress, &monitor)?;
        owner.connect().await;
        Ok(Self {
            consumer: Consumer::new(owner.shared(), keys.clone(), consumer, process),
            inspector: Inspector::new(owner.shared(), keys, thresholds),
            sample: common.intervals.sample,
            ground,
            owner,
            draining,
            progress,
            monitor,
            admin,
            thresholds,
        })
    }

    async fn run(self) -> bool {
        let Self { ground, owner, draining, progress, monitor, admin, consumer, .. } = self;
        let background = [
            spawn("sample", sample::run(self.inspector, self.thresholds, self.sample)),
            spawn("readiness", async move { monitor.run().await }),
            spawn("runtime", async move { progress.watch_runtime().await }),
        ];
        let (admin_stop, jobs_stop) = (CancellationToken::new(), CancellationToken::new());
        let admin = spawn("admin", admin.serve(admin_stop.clone()));
        let mut jobs = spawn("consumer", consumer.run(jobs_stop.clone(), drain::IN_FLIGHT));
        let told = watch::until_stop_or_end(&ground.stop, &mut jobs).await;

        let began = Instant::now();
        draining.store(true, Ordering::Relaxed);
        jobs_stop.cancel();
        let clean = told && jobs.await.is_ok();
        owner.close(drain::COMMANDS).await;
        background.iter().for_each(JoinHandle::abort);
        ProcessStopped { elapsed: began.elapsed(), clean }.emit();
        admin_stop.cancel();
        // What the admin listener could not finish is a scrape of a process that is gone.
        let _ = admin.await;
        told
    }
}
