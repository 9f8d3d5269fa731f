//! The fleet, as Redis sees it: who holds which connections, and who lives.

use std::collections::BTreeMap;
use std::time::Duration;

use super::facts::Seen;
use super::finding::Severity::{Bad, Note, Warn};
use super::finding::{Check, Finding, count};
use super::place::Place;
use crate::config::Doctor;
use crate::conn::Budget;
use crate::conn::survey::{Client, ClientOwner};
use crate::model::{Component, Label, Role};

/// A redial awaits the end of the connection before: two that both are older were not in passing.
const SETTLED: Duration = Duration::from_secs(2);

/// Connections by whose they are.
type Held<'a> = BTreeMap<(&'a str, &'a str, &'a str), Vec<(&'a ClientOwner, &'a Client)>>;

/// All findings about the fleet's connections.
pub(super) fn check(seen: &Seen, told: &Doctor, place: &Place) -> Vec<Finding> {
    let clients = match &seen.survey.clients {
        Ok(clients) => clients,
        Err(refusal) => {
            let unknown = [Check::Connections, Check::Unnamed, Check::Owners, Check::Fleet];
            let mut findings: Vec<_> =
                unknown.map(|check| Finding::unknown(check, refusal, place)).into();
            findings.extend(
                seen.survey
                    .control_listeners
                    .as_ref()
                    .err()
                    .map(|refusal| Finding::unknown(Check::Subscriptions, refusal, place)),
            );
            return findings;
        }
    };
    let held = held(clients);
    vec![
        connections(&held, place),
        unnamed(clients, told, place),
        owners(seen, clients, place),
        fleet(&held, told),
        subscriptions(seen, &held, place),
    ]
}

/// The component of one of our daemons; the tool and services of others' own are none.
fn daemon(owner: &ClientOwner) -> Option<Component> {
    let daemons = [Component::Server, Component::Worker];
    daemons.into_iter().find(|component| component.label() == owner.component)
}

fn held(clients: &[Client]) -> Held<'_> {
    let mut held = Held::new();
    for client in clients {
        let Some(owner) =
            client.owner.as_ref().filter(|it| it.component != Component::Tool.label())
        else {
            continue;
        };
        let key = (owner.component.as_str(), owner.instance.as_str(), owner.role.label());
        held.entry(key).or_default().push((owner, client));
    }
    for connections in held.values_mut() {
        // The latest dial is the living one.
        connections.sort_by_key(|(owner, client)| (owner.generation, client.id));
    }
    held
}

fn connections(held: &Held<'_>, place: &Place) -> Finding {
    let mut surplus: Vec<&Client> = vec![];
    let mut settled = false;
    let mut missing = vec![];
    for connections in held.values() {
        let Some((owner, latest)) = connections.last() else { continue };
        // A service of somebody's own has one of each role, as its budget says.
        let expected =
            daemon(owner).map_or(1, |component| Budget::of(component).expected(owner.role));
        let excess = connections.len().saturating_sub(expected);
        surplus.extend(connections[..excess].iter().map(|(_, client)| *client));
        settled |= excess > 0 && (expected == 0 || latest.age >= SETTLED);
    }
    for ((component, instance, _), connections) in held {
        let Some((owner, _)) = connections.first() else { continue };
        let Some(kind) = daemon(owner) else { continue };
        for role in Role::ALL {
            let lacks = Budget::of(kind).expected(*role) > 0
                && !held.contains_key(&(*component, *instance, role.label()));
            let line = format!("{component} {instance} has no {role} connection");
            if lacks && !missing.contains(&line) {
                missing.push(line);
            }
        }
    }
    let total: usize = held.values().map(Vec::len).sum();
    if !surplus.is_empty() {
        let is =
            format!("{} more than the budget.", count(surplus.len(), "connection", "connections"));
        let (severity, means) = match settled {
            true => (
                Bad,
                "A process left it open, somebody uses its name, or the network lost its end: it takes room.",
            ),
            false => {
                (Note, "The latest of them is young: a reconnect may be under way; look again.")
            }
        };
        let kill =
            |client: &&Client| place.redis(&["CLIENT", "KILL", "ID", &client.id.to_string()]);
        let mut finding = Finding::new(Check::Connections, severity, is, means);
        finding.fix.extend(surplus.iter().map(kill));
        return finding.about(surplus.into_iter().map(line));
    }
    if !missing.is_empty() {
        let is =
            format!("{} fewer than the budget.", count(missing.len(), "connection", "connections"));
        let means = "That process is cut off, in part; its /status and its log say why.";
        return Finding::new(Check::Connections, Warn, is, means).about(missing);
    }
    Finding::ok(
        Check::Connections,
        format!("{}, as the budget says.", count(total, "connection", "connections")),
    )
}

fn unnamed(clients: &[Client], told: &Doctor, place: &Place) -> Finding {
    let host = |client: &Client| {
        client.addr.rsplit_once(':').map(|(host, _)| host.to_owned()).unwrap_or_default()
    };
    let ours: Vec<String> = clients.iter().filter(|it| it.owner.is_some()).map(host).collect();
    // Replicas have no names either.
    let nameless = |client: &&Client| {
        client.name.is_empty()
            && !["psync", "replconf", "sync"].contains(&client.command.as_str())
            && ours.contains(&host(client))
    };
    let found: Vec<&Client> = clients.iter().filter(nameless).collect();
    if found.is_empty() {
        return Finding::ok(Check::Unnamed, "No client from our hosts is nameless.");
    }
    let is =
        format!("{} without a name on hosts of ours.", count(found.len(), "client", "clients"));
    // What has logged in does something else next; a dial has given up by then.
    let stuck = |client: &&Client| {
        ["hello", "auth", "NULL", ""].contains(&client.command.as_str())
            && client.age > told.redis.connect_timeout + SETTLED
    };
    let finding = match found.iter().any(stuck) {
        true => Finding::new(
            Check::Unnamed,
            Warn,
            is,
            "One never got past logging in: a failed handshake whose socket stayed open.",
        ),
        false => Finding::new(
            Check::Unnamed,
            Note,
            is,
            "Other programs on the same hosts, most likely: ours are named as they log in.",
        ),
    };
    let stuck: Vec<_> = found.iter().copied().filter(|client| stuck(client)).collect();
    let mut finding = finding.about(found.into_iter().map(line));
    finding.fix.extend(
        stuck.iter().map(|client| place.redis(&["CLIENT", "KILL", "ID", &client.id.to_string()])),
    );
    finding
}

fn owners(seen: &Seen, clients: &[Client], place: &Place) -> Finding {
    let living = match &seen.survey.living {
        Ok(living) => living,
        Err(refusal) => {
            let mut finding = Finding::unknown(Check::Owners, refusal, place);
            let key = format!("~{}:alive:{{*}}", seen.namespace);
            let rights = [refusal.right().unwrap_or_default(), key];
            if refusal.right().is_some() {
                finding.fix = vec![place.grant(&place.user, &rights)];
            }
            return finding;
        }
    };
    let of_daemons =
        |client: &&Client| client.owner.as_ref().is_some_and(|it| daemon(it).is_some());
    let lives = |client: &Client| {
        client.owner.as_ref().is_some_and(|owner| living.contains(&owner.instance))
    };
    let all: Vec<&Client> = clients.iter().filter(of_daemons).collect();
    let dead: Vec<&Client> =
        all.iter().copied().filter(|it| !lives(it) && it.age > seen.survey.young).collect();
    if dead.is_empty() {
        let is = match all.is_empty() {
            true => "No connection of a daemon, so none of a dead one.".to_owned(),
            false => format!(
                "{}, none of a dead process.",
                count(all.len(), "connection", "connections")
            ),
        };
        return Finding::ok(Check::Owners, is);
    }
    if dead.len() == all.len() {
        let is = "No process of this namespace gives signs of life.";
        let means = "Its users may lack the rights of the audit; then nobody can tell a dead process by its connections.";
        return Finding::new(Check::Owners, Warn, is, means)
            .about(dead.into_iter().map(line))
            .fix("# the lines to grant are in docs/redis.md, Least privilege");
    }
    let is = format!("{} of a dead process.", count(dead.len(), "connection", "connections"));
    let means = "It hangs, or its host is gone: the connection takes room, and its jobs wait for their leases to end.";
    let mut finding = Finding::new(Check::Owners, Bad, is, means);
    let kill = |client: &&Client| place.redis(&["CLIENT", "KILL", "ID", &client.id.to_string()]);
    finding.fix.extend(dead.iter().map(kill));
    finding.about(dead.into_iter().map(line))
}

/// How many processes of a component there are.
fn processes(held: &Held<'_>, component: Component) -> usize {
    let mut instances: Vec<&str> = held
        .keys()
        .filter(|(name, ..)| *name == component.label())
        .map(|(_, instance, _)| *instance)
        .collect();
    instances.dedup();
    instances.len()
}

fn fleet(held: &Held<'_>, told: &Doctor) -> Finding {
    let (servers, workers) =
        (processes(held, Component::Server), processes(held, Component::Worker));
    let is = format!(
        "{} and {}.",
        count(servers, "server", "servers"),
        count(workers, "worker", "workers")
    );
    let fix = format!("# compare REDIS_URL and TRUNKLINE_NAMESPACE (here: {})", told.namespace);
    match (servers, workers) {
        (0, 0) => {
            let means =
                "The fleet is not started, or it is on another Redis or in another namespace.";
            Finding::new(Check::Fleet, Note, is, means).fix(fix)
        }
        (_, 0) => {
            let means = "Events are accepted, and nobody works on them.";
            Finding::new(Check::Fleet, Warn, is, means).fix("trunkline-worker").fix(fix)
        }
        (0, _) => {
            let means = "Nobody takes events, and nobody hears what the workers publish.";
            Finding::new(Check::Fleet, Warn, is, means).fix("trunkline-server").fix(fix)
        }
        _ => Finding::ok(Check::Fleet, is),
    }
}

fn subscriptions(seen: &Seen, held: &Held<'_>, place: &Place) -> Finding {
    let listeners = match &seen.survey.control_listeners {
        Ok(listeners) => *listeners,
        Err(refusal) => return Finding::unknown(Check::Subscriptions, refusal, place),
    };
    let servers = processes(held, Component::Server) as u64;
    let channel = format!("{}:ctl", seen.namespace);
    let is = format!("{listeners} of {servers} servers listen to {channel}.");
    if listeners < servers {
        let means =
            "A server that does not listen there hears nothing at all, and neither do its clients.";
        return Finding::new(Check::Subscriptions, Bad, is, means)
            .fix(place.redis(&["CLIENT", "LIST", "TYPE", "pubsub"]))
            .fix("# restart the server without a subscriber; see docs/runbook.md, TrunklineSubscriberSilent");
    }
    if listeners > servers {
        let is = format!("{listeners} listen to {channel}, of which {servers} are servers.");
        let means = "Somebody else listens as a server does, such as redis-cli.";
        return Finding::new(Check::Subscriptions, Note, is, means)
            .fix(place.redis(&["CLIENT", "LIST", "TYPE", "pubsub"]));
    }
    Finding::ok(Check::Subscriptions, is)
}

/// A client in one line.
fn line(client: &Client) -> String {
    let Client { id, addr, name, command, .. } = client;
    let (age, idle) = (client.age.as_secs(), client.idle.as_secs());
    let name = if name.is_empty() { "(no name)" } else { name };
    format!("{name}  id={id} addr={addr} age={age} idle={idle} cmd={command}")
}
