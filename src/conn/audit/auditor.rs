//! Asks all sides, time and again.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::{FromRedisValue, cmd};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, sleep_until};

use super::client_list::{self, Named};
use super::finding::{Count, Findings, Offender};
use super::fleet;
use super::grant::Grant;
use super::kernel;
use super::sockets::{Farewell, OpenSocket, plain};
use crate::conn::budget::Budget;
use crate::conn::error::Error;
use crate::conn::options::Options;
use crate::conn::shared::Shared;
use crate::conn::status::Status;
use crate::model::{AuditSide, Label, Role, Target};
use crate::telemetry::events::audit::{
    FleetConnectionsCounted, FleetConnectionsUnknown, ServerClientsCounted,
    ServerConnectionsCounted, ServerConnectionsUnknown, SocketsCounted,
};
use crate::telemetry::task::spawn_blocking;

/// From so many clients on their list is long enough to be felt (5,000 took Redis 13 ms), and only
/// the process that counts for all asks for it.
const CROWD: u64 = 2_000;

/// Compares the connections of one owner with what the kernel and Redis see.
pub(in crate::conn) struct Auditor<S> {
    options: Arc<Options>,
    budget: Budget,
    shared: Shared,
    /// The connections there are.
    statuses: S,
    findings: Arc<Mutex<Findings>>,
    /// The roles that this process may have.
    roles: Vec<Role>,
    beating: Grant,
    leasing: Grant,
    listing: Grant,
    informing: Grant,
    /// How many clients Redis had when it last said so, or when it last listed them.
    clients: Option<u64>,
    /// Whether Redis has listed our clients, and nothing has outdated that since.
    listed: bool,
    /// The same for the clients of the fleet, which only one process counts.
    counted_fleet: bool,
}

impl<S: Fn() -> Vec<watch::Receiver<Status>>> Auditor<S> {
    pub(in crate::conn) fn new(
        options: Arc<Options>,
        budget: Budget,
        shared: Shared,
        statuses: S,
        findings: Arc<Mutex<Findings>>,
    ) -> Self {
        let expected = |role: &Role| budget.expected(*role) > 0;
        let roles = Role::ALL.iter().copied().filter(expected).collect();
        Self {
            options,
            budget,
            shared,
            statuses,
            findings,
            roles,
            beating: Grant::default(),
            leasing: Grant::default(),
            listing: Grant::default(),
            informing: Grant::default(),
            clients: None,
            listed: false,
            counted_fleet: false,
        }
    }

    /// Gives signs of life and audits for ever, the first time once all connections are ready.
    pub(in crate::conn) async fn run(mut self, interval: Duration) {
        let statuses = (self.statuses)();
        let all_ready = async {
            for mut status in statuses {
                // An owner that is gone has no connections: the audit ends with it.
                let _ = status.wait_for(Status::is_ready).await;
            }
        };
        // Without Redis there are two sides left to ask.
        let _ = tokio::time::timeout(interval, all_ready).await;
        let mut beats = tokio::time::interval(self.options.heartbeat_interval);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut due = Instant::now();
        loop {
            tokio::select! {
                biased;
                _ = beats.tick() => self.beat().await,
                () = sleep_until(due) => {
                    self.audit(interval).await;
                    due = Instant::now() + interval.mul_f64(0.8 + fastrand::f64() * 0.4);
                }
            }
        }
    }

    async fn beat(&mut self) {
        if self.shared.status().is_ready() && self.beating.asks() {
            let beaten = fleet::beat(&self.shared, &self.options, &self.budget).await;
            self.beating.answered(&beaten);
        }
    }

    async fn audit(&mut self, interval: Duration) {
        self.count_guards();
        self.count_kernel().await;
        if !self.shared.status().is_ready() {
            return self.unknown();
        }
        self.count_clients().await;
        let holder = self.lease(interval).await;
        if !holder {
            self.fleet_unknown();
        }
        if !holder && self.clients.is_some_and(|clients| clients >= CROWD) {
            self.findings().elsewhere(AuditSide::Redis);
            return self.server_unknown(true);
        }
        match self.list().await {
            Some(Listed { named, before }) => {
                self.count_server(&named, &before);
                if holder {
                    self.count_fleet(named).await;
                }
            }
            None => self.unknown(),
        }
    }

    /// Our guards against the budget: a socket that is not of the present dial was given up.
    fn count_guards(&self) {
        let statuses: Vec<_> = (self.statuses)().iter().map(|it| it.borrow().clone()).collect();
        let sockets = self.budget.sockets();
        let given_up = |socket: &&OpenSocket| !statuses.iter().any(|status| socket.is_of(status));
        self.findings().counted(
            AuditSide::Guards,
            Count {
                expected: self.roles.iter().map(|role| self.budget.expected(*role)).sum(),
                found: sockets.len(),
                excess: sockets.iter().filter(given_up).map(OpenSocket::offender).collect(),
                ..Count::default()
            },
        );
    }

    /// The kernel against our guards.
    async fn count_kernel(&self) {
        if let Target::Unix(_) = self.options.target {
            let reason = "redis is reached over a unix socket, and the kernel lists those of TCP";
            return self.findings().unsupported(AuditSide::Kernel, reason.to_owned());
        }
        let (peers, before) = (self.budget.record().peers(), self.budget.sockets());
        if peers.is_empty() {
            return;
        }
        // A panic was counted; there will be another audit.
        let Some(asked) = spawn_blocking("kernel audit", move || kernel::sockets_to(&peers)).await
        else {
            return;
        };
        let found = match asked {
            Ok(found) => found,
            Err(error) => {
                let reason = format!("the kernel's list of sockets in /proc: {error}");
                return self.findings().unsupported(AuditSide::Kernel, reason);
            }
        };
        // What was opened or closed while the kernel was asked is in one of the two.
        let after = self.budget.sockets();
        let known = before.iter().chain(&after).filter_map(|socket| socket.local.map(plain));
        let known: BTreeSet<_> = known.collect();
        let unknown = found.iter().filter(|entry| !known.contains(&entry.local));
        let offender = |entry: &kernel::Entry| Offender {
            addr: Some(entry.local.to_string()),
            key: entry.inode,
            ..Offender::default()
        };
        SocketsCounted { count: found.len() }.emit();
        let (expected, found, excess) = (after.len(), found.len(), unknown.map(offender).collect());
        let count = Count { expected, found, excess, ..Count::default() };
        self.findings().counted(AuditSide::Kernel, count);
    }

    /// How many clients Redis has, if it says.
    async fn count_clients(&mut self) {
        if !self.informing.asks() {
            return;
        }
        let answer = self.text(&["INFO", "clients"]).await;
        self.informing.answered(&answer);
        // A failed command was counted where it was sent, and a refusal leaves the metric out.
        let Ok(info) = answer else { return };
        if let Some(clients) = client_list::number(&info, "connected_clients") {
            let maxclients = client_list::number(&info, "maxclients");
            ServerClientsCounted { clients, maxclients }.emit();
            self.clients = Some(clients);
        }
    }

    /// Whether this process counts for the whole fleet. One that may not give signs of life does
    /// not judge others by theirs, and one that may not list them leaves it to those that may.
    async fn lease(&mut self, interval: Duration) -> bool {
        let beat = self.options.heartbeat_key(&self.options.instance);
        if self.beating.is_refused() {
            self.findings().unsupported(AuditSide::Fleet, refusal(&format!("SET {beat}")));
            return false;
        }
        if self.listing.is_refused() {
            self.findings().unsupported(AuditSide::Fleet, refusal("use CLIENT LIST"));
            return false;
        }
        if !self.leasing.asks() {
            return false;
        }
        let leased = fleet::lease(&self.shared, &self.options, interval).await;
        if self.leasing.answered(&leased) {
            let lease = format!("SET and GETEX {}", self.options.audit_key());
            self.findings().unsupported(AuditSide::Fleet, refusal(&lease));
        } else if matches!(leased, Ok(false)) {
            self.findings().elsewhere(AuditSide::Fleet);
        }
        // Why it failed was counted where it was sent.
        leased.unwrap_or(false)
    }

    async fn list(&mut self) -> Option<Listed> {
        if !self.listing.asks() {
            return None;
        }
        let before = self.budget.sockets();
        let answer = self.text(&["CLIENT", "LIST"]).await;
        if self.listing.answered(&answer) {
            self.findings().unsupported(AuditSide::Redis, refusal("use CLIENT LIST"));
        }
        let (text, namespace) = (answer.ok()?, self.options.namespace.clone());
        let read = move || (text.lines().count(), client_list::of_namespace(&text, &namespace));
        let (clients, named) = spawn_blocking("client list", read).await?;
        self.clients = u64::try_from(clients).ok();
        Some(Listed { named, before })
    }

    /// Redis against our guards.
    fn count_server(&mut self, clients: &[Named], before: &[OpenSocket]) {
        let Options { component, instance, .. } = &*self.options;
        let ours: Vec<&Named> = clients
            .iter()
            .filter(|client| client.component == *component && client.instance == *instance)
            .collect();
        let counts = self.roles.iter().map(|role| {
            let of_role = ours.iter().filter(|client| client.role == *role);
            (*role, of_role.count())
        });
        let counts: Vec<_> = counts.collect();
        // What was opened or closed while Redis was asked is in one of the two.
        let after = self.budget.sockets();
        let known = before.iter().chain(&after).filter_map(|socket| socket.client_id);
        let known: BTreeSet<_> = known.collect();
        let farewells = self.budget.record().farewells();
        // Redis may not have noticed yet that we closed it.
        let closed = |client: &Named| {
            let farewell = Farewell { client_id: client.id, generation: client.generation };
            farewells.contains(&farewell)
        };
        let unknown = ours.iter().filter(|it| !known.contains(&it.id) && !closed(it));
        ServerConnectionsCounted { counts: &counts }.emit();
        self.listed = true;
        let count = Count {
            expected: after.len(),
            found: ours.len(),
            excess: unknown.map(|client| client.offender()).collect(),
            ..Count::default()
        };
        self.findings().counted(AuditSide::Redis, count);
    }

    async fn count_fleet(&mut self, mut clients: Vec<Named>) {
        clients.retain(fleet::is_of_fleet);
        let instances = clients.iter().map(|client| client.instance.clone()).collect();
        match fleet::living(&self.shared, &self.options, instances).await {
            Ok(living) => {
                let count = fleet::count(&clients, &living, self.options.heartbeat_interval);
                FleetConnectionsCounted { counts: &count.fleet }.emit();
                self.counted_fleet = true;
                self.findings().counted(AuditSide::Fleet, count);
            }
            Err(error) => {
                if Grant::default().answered::<()>(&Err(error)) {
                    let reason = refusal("use EXISTS on the fleet's signs of life");
                    self.findings().unsupported(AuditSide::Fleet, reason);
                }
                self.fleet_unknown();
            }
        }
    }

    /// What Redis said before does not hold any more. The findings keep it, with its time.
    fn unknown(&mut self) {
        self.server_unknown(false);
        self.fleet_unknown();
    }

    fn server_unknown(&mut self, elsewhere: bool) {
        if std::mem::take(&mut self.listed) {
            ServerConnectionsUnknown { roles: &self.roles, elsewhere }.emit();
        }
    }

    fn fleet_unknown(&mut self) {
        if std::mem::take(&mut self.counted_fleet) {
            FleetConnectionsUnknown.emit();
        }
    }

    async fn text(&self, words: &[&str]) -> Result<String, Error> {
        let mut command = cmd(words[0]);
        command.arg(&words[1..]);
        let answer = self.shared.call(&command).await?;
        Ok(String::from_redis_value(answer).map_err(redis::RedisError::from)?)
    }

    fn findings(&self) -> MutexGuard<'_, Findings> {
        self.findings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why something is not audited, and where it says what to do about it.
fn refusal(what: &str) -> String {
    format!("the user of redis may not {what}: see docs/redis.md")
}

/// What Redis listed of the namespace, and the sockets there were when it was asked.
struct Listed {
    named: Vec<Named>,
    before: Vec<OpenSocket>,
}
