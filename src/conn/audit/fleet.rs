//! The fleet: a sign of life from every process, and one process at a time that counts for all.

use std::collections::BTreeSet;
use std::time::Duration;

use redis::{FromRedisValue, Value, cmd};

use super::client_list::Named;
use super::finding::{Count, Offender};
use crate::conn::budget::Budget;
use crate::conn::error::Error;
use crate::conn::options::Options;
use crate::conn::shared::Shared;
use crate::model::{Component, FleetConnection, FleetOwner, Label, Role};

/// A sign of life is good for this many heartbeats: two may be lost.
const HEARTBEATS_ALIVE: u32 = 3;
/// A connection of a process without a sign of life is left alone for this many heartbeats: it may
/// be about to give its first.
pub(in crate::conn) const HEARTBEATS_YOUNG: u32 = 4;
/// The lease of who counts for all lasts this many audits. They come up to a fifth late.
const AUDITS_LEASED: u32 = 2;
/// Processes asked after in one go.
const CHUNK: usize = 512;

/// Leaves a sign of life, with what connections this process should have.
pub(super) async fn beat(
    shared: &Shared,
    options: &Options,
    budget: &Budget,
) -> Result<Value, Error> {
    let roles = Role::ALL.iter().map(|role| format!("\"{role}\":{}", budget.expected(*role)));
    // The component is made of letters, digits and hyphens: nothing in it needs an escape.
    let expected = roles.collect::<Vec<_>>().join(",");
    let sign = format!("{{\"component\":\"{}\",\"expected\":{{{expected}}}}}", options.component);
    let mut set = cmd("SET");
    set.arg(options.heartbeat_key(&options.instance)).arg(sign);
    set.arg("PX").arg(millis(options.heartbeat_interval * HEARTBEATS_ALIVE));
    shared.call(&set).await
}

/// Whether this process is the one that counts for all until the next audit.
pub(super) async fn lease(
    shared: &Shared,
    options: &Options,
    interval: Duration,
) -> Result<bool, Error> {
    let (key, lasts) = (options.audit_key(), millis(interval * AUDITS_LEASED));
    let mut take = cmd("SET");
    take.arg(&key).arg(&options.instance).arg("NX").arg("GET").arg("PX").arg(lasts);
    let ours = |value: &Value| {
        let holder = String::from_redis_value_ref(value);
        holder.is_ok_and(|holder| holder == options.instance)
    };
    match shared.call(&take).await? {
        Value::Nil => Ok(true),
        holder if ours(&holder) => {
            let mut renew = cmd("GETEX");
            renew.arg(&key).arg("PX").arg(lasts);
            // It may have run out in between, and gone to another.
            Ok(ours(&shared.call(&renew).await?))
        }
        _ => Ok(false),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).max(1)
}

/// Those of these processes that give signs of life.
pub(in crate::conn) async fn living(
    shared: &Shared,
    options: &Options,
    instances: BTreeSet<String>,
) -> Result<BTreeSet<String>, Error> {
    let instances: Vec<String> = instances.into_iter().collect();
    let mut living = BTreeSet::new();
    for chunk in instances.chunks(CHUNK) {
        let mut pipeline = redis::pipe();
        for instance in chunk {
            pipeline.exists(options.heartbeat_key(instance));
        }
        let there: Vec<bool> = pipeline.query_async(&mut shared.clone()).await?;
        let both = chunk.iter().zip(there);
        living.extend(both.filter(|(_, there)| *there).map(|(instance, _)| instance.clone()));
    }
    Ok(living)
}

/// Whether a client belongs to a process that is to give signs of life: the operator's tool comes
/// and goes without.
pub(super) fn is_of_fleet(client: &Named) -> bool {
    client.component != Component::Tool.label()
}

/// Counts the fleet's connections by whether their process lives. Those of a dead one are too many:
/// Redis keeps them for as long as the kernel of its host answers for it.
pub(super) fn count(
    clients: &[Named],
    living: &BTreeSet<String>,
    heartbeat_interval: Duration,
) -> Count {
    let young = heartbeat_interval * HEARTBEATS_YOUNG;
    let owner = |client: &Named| match living.contains(&client.instance) || client.age <= young {
        true => FleetOwner::Live,
        false => FleetOwner::Dead,
    };
    let of = |kind: &FleetConnection| {
        clients.iter().filter(|it| it.role == kind.role && owner(it) == kind.owner).count()
    };
    let fleet: Vec<_> = FleetConnection::ALL.iter().map(|kind| (*kind, of(kind))).collect();
    let live = fleet.iter().filter(|(kind, _)| kind.owner == FleetOwner::Live);
    let dead = clients.iter().filter(|client| owner(client) == FleetOwner::Dead);
    Count {
        expected: live.map(|(_, count)| count).sum(),
        found: clients.len(),
        excess: dead.map(Named::offender).collect(),
        fleet,
    }
}

impl Named {
    /// What is known of a client that should not be there.
    pub(super) fn offender(&self) -> Offender {
        Offender {
            role: Some(self.role),
            generation: Some(self.generation),
            instance: Some(self.instance.clone()),
            id: Some(self.id),
            addr: Some(self.addr.clone()),
            age: Some(self.age),
            idle: Some(self.idle),
            cmd: Some(self.command.clone()),
            place: None,
            key: self.id,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn client(id: u64, instance: &str, role: Role, age: u64) -> Named {
        Named {
            component: "server".to_owned(),
            instance: instance.to_owned(),
            role,
            generation: 1,
            id,
            addr: "10.0.0.7:50000".to_owned(),
            age: Duration::from_secs(age),
            idle: Duration::ZERO,
            command: "ping".to_owned(),
        }
    }

    #[test]
    fn a_silent_process_is_dead_and_a_young_one_is_not() {
        let beat = Duration::from_secs(15);
        let clients = [
            client(1, "alive", Role::Shared, 9_999),
            client(2, "silent", Role::Subscriber, 61),
            client(3, "young", Role::Shared, 60),
        ];
        let living = BTreeSet::from(["alive".to_owned()]);
        let counted = count(&clients, &living, beat);
        assert_eq!((counted.expected, counted.found), (2, 3));
        let dead: Vec<_> = counted.excess.iter().map(|offender| offender.key).collect();
        assert_eq!(dead, [2]);
        let kind = FleetConnection { role: Role::Subscriber, owner: FleetOwner::Dead };
        assert!(counted.fleet.contains(&(kind, 1)));
    }

    #[test]
    fn the_tool_is_no_part_of_the_fleet() {
        let tool = Named { component: "tool".to_owned(), ..client(1, "here", Role::Shared, 9_999) };
        assert!(!is_of_fleet(&tool) && is_of_fleet(&client(1, "here", Role::Shared, 0)));
    }

    proptest! {
        #[test]
        fn every_connection_is_counted_once(clients in prop::collection::vec((any::<u64>(), "[ab]", any::<bool>(), 0u64..200), 0..30), alive: bool) {
            let clients: Vec<_> = clients.into_iter().map(|(id, instance, shared, age)| {
                client(id, &instance, if shared { Role::Shared } else { Role::Subscriber }, age)
            }).collect();
            let living: BTreeSet<_> = alive.then(|| "a".to_owned()).into_iter().collect();
            let counted = count(&clients, &living, Duration::from_secs(15));
            prop_assert_eq!(counted.fleet.iter().map(|(_, count)| count).sum::<usize>(), clients.len());
            prop_assert_eq!(counted.expected + counted.excess.len(), counted.found);
        }
    }
}
