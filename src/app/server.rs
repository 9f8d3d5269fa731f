//! `trunkline-server`: assembled, run and drained.

use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime::{self, Handle};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::daemon::{Daemon, Ground, Refusal, thread};
use super::tasks::Tasks;
use super::watch::{self, Watch};
use super::{drain, links};
use crate::config::{self, CommonConfig, Parsed, ServerConfig, Surroundings};
use crate::conn::{Budget, Messages, Owner, Subscriber};
use crate::flow::ingest::Ingest;
use crate::flow::listen::Listen;
use crate::flow::notify::Notify;
use crate::flow::presence::{self, Audience};
use crate::flow::schedules::Schedules;
use crate::flow::{announce, fanout, refusals, sample};
use crate::history::History;
use crate::http::access::Access;
use crate::http::public::{Bodies, Public};
use crate::http::serve::{Door, Listener};
use crate::hub::{Bounds, Limits};
use crate::index::{self, ChainStore};
use crate::model::{Component, Fault, Label, Role};
use crate::presence::Presence;
use crate::queue::{Inspector, Keys, Producer, QueueOptions, ScheduleStore, Thresholds};

/// Clients one server takes, where it may open as many files.
const MAX_CONNECTIONS: usize = 65_536;
/// Files that clients must leave: the admin listener's connections, the links to Redis, what the
/// runtime needs. Without them a server full of clients could neither be asked how it is nor
/// find back to Redis.
const RESERVED_FILES: usize = watch::MAX_CONNECTIONS + 64;
/// Bytes of all the bodies that are in memory at one time: 64 of the largest batches.
const MAX_BODIES: usize = 256 * 1024 * 1024;
/// How long a client that begins to listen waits for Redis to confirm its channels.
const CONFIRM: Duration = Duration::from_secs(3);

/// A server that is connected and listens.
pub struct Server {
    stop: CancellationToken,
    tasks: Tasks,
    /// One thread hands notifications on and has the sockets of all who listen: a wake-up
    /// between threads costs as much as a write.
    clients: Handle,
    owner: Arc<Owner>,
    watch: Watch,
    doors: Arc<Public>,
    public: Listener,
    subscriber: Subscriber,
    messages: Messages,
    history: History,
    presence: Presence,
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

    /// Requests have work for every core; clients that listen are on a thread of their own.
    fn runtime() -> runtime::Builder {
        runtime::Builder::new_multi_thread()
    }

    fn common(config: &ServerConfig) -> &CommonConfig {
        &config.common
    }

    async fn start(config: ServerConfig, ground: Ground) -> Result<Self, Refusal> {
        let common = &config.common;
        let options = links::options(common, Self::COMPONENT, &ground.instance)?;
        let prefix = options.notify_channel("");
        let owner = Owner::new(options, &Budget::of(Self::COMPONENT)).map_err(links::redis)?;
        let owner = Arc::new(owner);
        let subscriber = owner.subscriber().map_err(links::redis)?;
        let messages = subscriber.messages().expect("nobody else has asked for them");

        let thresholds = links::thresholds(&common.queue);
        let keys = Keys::new(common.namespace.as_str(), common.queue.name.as_str());
        let queue =
            QueueOptions { keys: keys.clone(), thresholds, dedup_window: config.dedup_window };
        let origins = config.allowed_origins.iter().map(|origin| origin.as_str());
        let max_payload = common.max_payload.bytes();
        let bounds =
            Bounds { messages: config.client_queue, bytes: config.client_queue_bytes.bytes() };
        let history = links::history(common, &owner, prefix);
        let upstream = Arc::new(subscriber.clone());
        let limits = Limits { delivery: config.delivery.clone(), ..Limits::new(bounds) };
        let listen = Listen::new(limits, upstream, CONFIRM, history.clone());
        let presence = Presence::new(
            owner.shared(),
            common.namespace.as_str(),
            &ground.instance,
            presence::lasts(common.intervals.heartbeat),
        );
        let doors = Arc::new(Public {
            access: Access::new(origins, config.allowed_hosts.iter().cloned()),
            ingest: Ingest::new(Producer::new(owner.shared(), queue), max_payload),
            notify: Notify::new(history.clone()),
            chains: Arc::new(ChainStore::new(
                owner.shared(),
                index::Keys::new(common.namespace.as_str()),
            )),
            schedules: Schedules::new(
                ScheduleStore::new(owner.shared(), keys.clone()),
                max_payload,
            ),
            audience: Audience::new(presence.clone(), listen.hub().clone()),
            listen,
            max_payload,
            bodies: Bodies::with_room(MAX_BODIES),
            heartbeat: common.intervals.heartbeat,
        });

        let ear = Some(subscriber.clone());
        let watch = Watch::bind(Self::COMPONENT, &ground, &owner, ear, common);
        let public = Listener::bind(Door::Public, config.listen, room_for_clients())
            .map_err(|error| watch::cannot_bind("--listen", config.listen, &error));
        let (watch, public) = match (watch, public) {
            (Ok(watch), Ok(public)) => (watch, public),
            (watch, public) => {
                let faults = watch.err().into_iter().chain(public.err());
                return Err(Refusal::Unavailable(faults.collect()));
            }
        };
        let clients = thread("clients").map_err(|error| {
            let message = format!("no thread for the clients: {error}");
            Refusal::Unavailable(vec![Fault { path: "runtime".to_owned(), message }])
        })?;
        owner.connect().await;
        Ok(Self {
            clients,
            inspector: Inspector::new(owner.shared(), keys, thresholds),
            stop: ground.stop,
            tasks: ground.tasks,
            owner,
            watch,
            doors,
            public,
            subscriber,
            messages,
            history,
            presence,
            thresholds,
            config,
        })
    }

    fn owner(&self) -> &Arc<Owner> {
        &self.owner
    }

    async fn run(self) -> bool {
        let Self { tasks, clients, owner, watch, doors, public, subscriber, .. } = self;
        let hub = doors.listen.hub().clone();
        let heartbeat = watch.progress().watch("fanout");
        let handing_on = fanout::run(self.messages, hub.clone(), self.history, heartbeat);
        tasks.spawn_on(&clients, "fanout", handing_on);
        let watching = watch.begin(&tasks);
        let statuses = Role::ALL.iter().filter_map(|role| owner.watch(*role)).collect();
        tasks.spawn("announce", announce::run(statuses, hub.clone()));
        tasks.spawn("refusals", refusals::run(subscriber, hub.clone()));
        let intervals = &self.config.common.intervals;
        let present_stop = CancellationToken::new();
        let telling =
            presence::run(self.presence, hub.clone(), intervals.heartbeat, present_stop.clone());
        let telling = tasks.spawn("presence", telling);
        let every = intervals.sample;
        tasks.spawn("sample", sample::run(self.inspector, self.thresholds, every));
        let doors_stop = CancellationToken::new();
        let answering = public.serve(doors, clients, doors_stop.clone(), drain::IN_FLIGHT);
        let serving = tasks.spawn("public", answering);
        let told = tasks.until_stop_or_end(&self.stop).await;

        let began = watching.drain();
        doors_stop.cancel();
        present_stop.cancel();
        // Clients are told while requests in flight are answered: neither waits for the other.
        hub.close();
        let (served, _) = tokio::join!(serving, timeout(drain::COMMANDS, telling));
        let finished = matches!(served, Ok(0));
        watching.end(began, told && finished).await;
        told
    }
}

/// How many clients fit. The usual soft limit of 1,024 open files is for the sake of programs
/// that use select(2), so it is raised to the hard one first.
fn room_for_clients() -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_ok();
    let files = if raised { maximum } else { current };
    let files = files.and_then(|files| usize::try_from(files).ok()).unwrap_or(usize::MAX);
    files.saturating_sub(RESERVED_FILES).max(files / 4).min(MAX_CONNECTIONS)
}
