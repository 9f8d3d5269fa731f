//! `trunkline-server`: assembled, run and drained.

use std::ffi::OsString;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::daemon::{Daemon, Ground};
use super::{drain, links, watch};
use crate::config::{self, CommonConfig, Parsed, ServerConfig, Surroundings};
use crate::conn::{Budget, Messages, Owner, Subscriber};
use crate::flow::ingest::Ingest;
use crate::flow::listen::Listen;
use crate::flow::notify::Notify;
use crate::flow::{announce, fanout, refusals, sample};
use crate::health::{Facts, Monitor, Progress};
use crate::http::access::Access;
use crate::http::public::Public;
use crate::http::serve::{Door, Listener};
use crate::hub::{Bounds, Limits};
use crate::index::{self, ChainStore};
use crate::model::{Component, Fault, Role};
use crate::queue::{Inspector, Keys, Producer, QueueOptions, Thresholds};
use crate::telemetry::events::process::ProcessStopped;
use crate::telemetry::task::spawn;

/// Clients one server takes; each is a socket, so the limit on open files may come first.
const MAX_CONNECTIONS: usize = 65_536;
/// How long a client that begins to listen waits for Redis to confirm its channels.
const CONFIRM: Duration = Duration::from_secs(3);

/// A server that is connected and listens.
pub struct Server {
    ground: Ground,
    owner: Arc<Owner>,
    draining: Arc<AtomicBool>,
    progress: Progress,
    monitor: Arc<Monitor>,
    doors: Arc<Public>,
    public: Listener,
    admin: watch::AdminDoor,
    subscriber: Subscriber,
    messages: Messages,
    inspector: Inspector,
    thresholds: Thresholds,
    config: ServerConfig,
}

impl Daemon for Server {
    type Config = ServerConfig;
    const COMPONENT: Component = Component::Server;

    fn read(
        arguments: impl IntoIterator<Item = OsString>,
        around: &Surroundings<'_>,
    ) -> Parsed<ServerConfig> {
        config::server(arguments, around)
    }

    fn common(config: &ServerConfig) -> &CommonConfig {
        &config.common
    }

    async fn start(config: ServerConfig, ground: Ground) -> Result<Self, Vec<Fault>> {
        let common = &config.common;
        let options = links::options(common, Self::COMPONENT, &ground.instance)
            .map_err(|error| vec![links::fault("--redis-tls", &error)])?;
        let prefix = options.notify_channel("");
        let owner = Owner::new(options, &Budget::of(Self::COMPONENT));
        let owner = Arc::new(owner.map_err(|error| vec![links::fault("redis", &error)])?);
        let subscriber = owner.subscriber().map_err(|error| vec![links::fault("redis", &error)])?;
        let messages =
            subscriber.messages().ok_or_else(|| vec![links::fault("redis", &"taken")])?;

        let thresholds = links::thresholds(common);
        let keys = Keys::new(common.namespace.as_str(), common.queue.name.as_str());
        let queue =
            QueueOptions { keys: keys.clone(), thresholds, dedup_window: config.dedup_window };
        let origins = config.allowed_origins.iter().map(|origin| origin.as_str());
        let max_payload = common.max_payload.bytes();
        let bounds =
            Bounds { messages: config.client_queue, bytes: config.client_queue_bytes.bytes() };
        let listen = Listen::new(Limits::new(bounds), Arc::new(subscriber.clone()), CONFIRM);
        let doors = Arc::new(Public {
            access: Access::new(origins, config.allowed_hosts.iter().cloned()),
            ingest: Ingest::new(Producer::new(owner.shared(), queue), max_payload),
            notify: Notify::new(owner.publisher(), prefix),
            chains: Arc::new(ChainStore::new(
                owner.shared(),
                index::Keys::new(common.namespace.as_str()),
            )),
            listen,
            max_payload,
            heartbeat: common.intervals.heartbeat,
        });

        let draining = Arc::new(AtomicBool::new(false));
        let monitor = {
            let (owner, draining) = (Arc::clone(&owner), Arc::clone(&draining));
            let subscriber = subscriber.clone();
            let interval = common.intervals.probe;
            Arc::new(Monitor::new(move || {
                let draining = draining.load(Ordering::Relaxed);
                Facts::new(Component::Server, &owner, Some(&subscriber), interval, draining)
            }))
        };
        let progress = Progress::default();
        let admin = watch::AdminDoor::bind(
            Self::COMPONENT,
            common.admin_listen,
            &ground,
            &owner,
            &progress,
            &monitor,
        )?;
        let public = Listener::bind(Door::Public, config.listen, MAX_CONNECTIONS)
            .map_err(|error| vec![watch::cannot_bind("--listen", config.listen, &error)])?;
        owner.connect().await;
        Ok(Self {
            inspector: Inspector::new(owner.shared(), keys, thresholds),
            ground,
            owner,
            draining,
            progress,
            monitor,
            doors,
            public,
            admin,
            subscriber,
            messages,
            thresholds,
            config,
        })
    }

    async fn run(self) -> bool {
        let Self { ground, owner, draining, progress, monitor, doors, public, .. } = self;
        let hub = doors.listen.hub().clone();
        let common = &self.config.common;

        let heartbeat = progress.watch("fanout");
        let fanning = fanout::run(self.messages, hub.clone(), heartbeat);
        let statuses =
            [Role::Shared, Role::Subscriber].into_iter().filter_map(|it| owner.watch(it));
        let background = [
            spawn("refusals", refusals::run(self.subscriber, hub.clone())),
            spawn("announce", announce::run(statuses.collect(), hub.clone())),
            spawn("sample", sample::run(self.inspector, self.thresholds, common.intervals.sample)),
            spawn("readiness", async move { monitor.run().await }),
            spawn("runtime", async move { progress.watch_runtime().await }),
        ];
        let admin_stop = CancellationToken::new();
        let admin = spawn("admin", self.admin.serve(admin_stop.clone()));
        let mut fanout = spawn("fanout", fanning);

        let doors_stop = CancellationToken::new();
        let serving = spawn("public", public.serve(doors, doors_stop.clone(), drain::IN_FLIGHT));
        let told = watch::until_stop_or_end(&ground.stop, &mut fanout).await;

        let began = Instant::now();
        draining.store(true, Ordering::Relaxed);
        doors_stop.cancel();
        // Clients are told while requests in flight are answered: neither waits for the other.
        hub.close();
        let cut = serving.await.unwrap_or(0);
        owner.close(drain::COMMANDS).await;
        fanout.abort();
        background.iter().for_each(JoinHandle::abort);
        ProcessStopped { elapsed: began.elapsed(), clean: told && cut == 0 }.emit();
        admin_stop.cancel();
        // What the admin listener could not finish is a scrape of a process that is gone.
        let _ = admin.await;
        told
    }
}
