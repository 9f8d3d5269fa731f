//! An owner of a connection, and what a test asks of it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use trunkline::conn::{Budget, Options, Owner, Status, Target};
use trunkline::model::{Component, ConnectionState, Role, Subscription};

use crate::support::DEADLINE;
use crate::support::eventually::eventually;
use crate::support::redis::{ClientEntry, Redis};

/// First part of every name of ours.
pub(crate) const NAMESPACE: &str = "test";

/// A server's options for a port of 127.0.0.1, with an instance of its own. They are patient: a
/// machine that stands still for a moment fails neither a dial nor a command.
pub(crate) fn options(port: u16) -> Options {
    options_for(Target::Tcp { host: "127.0.0.1".to_owned(), port })
}

/// The same for any target.
pub(crate) fn options_for(target: Target) -> Options {
    static STARTS: AtomicUsize = AtomicUsize::new(0);
    let mut options = Options::new(target, NAMESPACE, Component::Server);
    options.connect_timeout = Duration::from_secs(5);
    options.command_timeout = Duration::from_secs(5);
    options.instance = format!("i{}", STARTS.fetch_add(1, Ordering::Relaxed));
    options
}

/// The owner of a server's budget.
pub(crate) fn owner(options: Options) -> Owner {
    Owner::new(options, &Budget::of(Component::Server)).unwrap()
}

/// An owner whose shared connection is ready.
pub(crate) async fn ready_owner(options: Options) -> Owner {
    let owner = owner(options);
    owner.connect().await;
    is_ready(&owner, Role::Shared).await;
    owner
}

/// An owner whose shared and subscriber connections are ready.
pub(crate) async fn ready_server(options: Options) -> Owner {
    let owner = owner(options);
    owner.subscriber().unwrap();
    owner.connect().await;
    is_ready(&owner, Role::Shared).await;
    is_ready(&owner, Role::Subscriber).await;
    owner
}

/// The status of a role at this moment.
pub(crate) fn status(owner: &Owner, role: Role) -> Status {
    owner.watch(role).unwrap().borrow().clone()
}

/// Waits until the role's status is as described, and returns it.
pub(crate) async fn becomes(
    owner: &Owner,
    role: Role,
    what: &str,
    wanted: impl FnMut(&Status) -> bool,
) -> Status {
    let mut watch = owner.watch(role).unwrap();
    match tokio::time::timeout(DEADLINE, watch.wait_for(wanted)).await {
        Ok(status) => status.unwrap().clone(),
        Err(_) => panic!("not within {DEADLINE:?}: {role} {what}: {:?}", status(owner, role)),
    }
}

/// Waits until the role is ready.
pub(crate) async fn is_ready(owner: &Owner, role: Role) -> Status {
    becomes(owner, role, "is ready", Status::is_ready).await
}

/// Waits until the role is ready with a later connection than `generation`.
pub(crate) async fn is_ready_after(owner: &Owner, role: Role, generation: u64) -> Status {
    let later = |status: &Status| status.is_ready() && status.generation > generation;
    becomes(owner, role, "is ready anew", later).await
}

/// Waits until a dial has failed for this reason.
pub(crate) async fn fails(owner: &Owner, role: Role, reason: &str) -> Status {
    let failed = |status: &Status| {
        status.state == ConnectionState::Backoff && status.last_reason == Some(reason)
    };
    becomes(owner, role, reason, failed).await
}

/// Our connections in CLIENT LIST.
pub(crate) fn ours(redis: &Redis) -> Vec<ClientEntry> {
    let all = redis.client_list().into_iter();
    all.filter(|client| client.name.starts_with(&format!("{NAMESPACE}:"))).collect()
}

/// Waits until Redis has so many connections of ours: it may learn of an end a moment after it.
pub(crate) async fn has_of_ours(redis: &Redis, count: usize) {
    eventually(&format!("{count} connections of ours"), async || match ours(redis).len() {
        seen if seen == count => Ok(()),
        other => Err(other),
    })
    .await;
}

/// Our one connection of a role. Panics if there is another number of them.
pub(crate) fn connection(redis: &Redis, role: &str) -> ClientEntry {
    let mut found = ours(redis);
    found.retain(|client| client.name.split(':').nth(3) == Some(role));
    match found.len() {
        1 => found.remove(0),
        _ => panic!("not one {role} connection: {found:?}"),
    }
}

/// Kills a connection by its id.
pub(crate) fn kill(redis: &Redis, client: &ClientEntry) {
    redis.cli(&["CLIENT", "KILL", "ID", &client.id.to_string()]);
}

/// A channel or a prefix.
pub(crate) fn channel(name: &str) -> Subscription {
    Subscription::parse(name).unwrap()
}

/// A moment that is longer than anything on this machine takes, for what must not happen.
pub(crate) const MOMENT: Duration = Duration::from_millis(150);
