//! What the users of Redis may do, against what the programs do. ACL DRYRUN executes nothing.

use futures_util::future::try_join_all;

use super::finding::Severity::{Bad, Note};
use super::finding::{Check, Finding};
use super::place::Place;
use crate::config::Doctor;
use crate::conn::Shared;
use crate::conn::survey::{Answer, Lack, Survey, lacks};
use crate::index;
use crate::model::Component;
use crate::queue;

/// What every daemon says, each command with its keys and channels. `{q}` and `{chains}` begin
/// the keys of the queue and of the rule chains, `{ns}` is the namespace. A test holds these
/// against the ACL lines of `docs/redis.md`.
const BOTH: &[&str] = &[
    "HELLO 3",
    "PING",
    "ROLE",
    "EVALSHA 0 0",
    "SCRIPT LOAD 0",
    "TIME",
    "PUBLISH {ns}:notify:a b",
    "PUBLISH {ns}:ctl b",
    "GET {q}full",
    "SET {q}full 1",
    "DEL {q}full",
    "EXISTS {q}full",
    "XADD {q}stream * a b",
    "XLEN {q}stream",
    "XRANGE {q}stream - +",
    "XPENDING {q}stream workers",
    "ZADD {q}delayed 0 a",
    "ZCARD {q}delayed",
    "ZRANGE {q}delayed 0 0",
    "ZPOPMAX {q}idle",
    "ZREMRANGEBYSCORE {q}idle 0 0",
    "ZADD {q}ticks 0 a",
    "ZRANGE {q}ticks 0 0",
    "ZSCORE {q}ticks a",
    "ZREM {q}ticks a",
    "HMGET {q}partitions a",
    "HSET {q}partitions a b",
    "ZRANGE {q}blocked 0 0",
    "HSCAN {chains}all 0",
    "GET {chains}version",
    "HMGET {ns}:{history}:head epoch",
    "HSET {ns}:{history}:head epoch a",
    "XADD {ns}:{history}:stream:a * a b",
    "XTRIM {ns}:{history}:stream:a MINID 0",
    "XDEL {ns}:{history}:stream:a 0",
    "PEXPIRE {ns}:{history}:stream:a 1",
    "DEL {ns}:{history}:stream:a",
    "ZADD {ns}:{history}:channels 0 a",
    "ZSCORE {ns}:{history}:channels a",
    "ZRANGEBYSCORE {ns}:{history}:channels 0 0",
    "ZREM {ns}:{history}:channels a",
];

const SERVER: &[&str] = &[
    "SUBSCRIBE {ns}:notify:a",
    "SUBSCRIBE {ns}:probe:a",
    "SUBSCRIBE {ns}:ctl",
    "UNSUBSCRIBE",
    // Letter by letter what the documented line has; a prefix needs one of its own.
    "PSUBSCRIBE {ns}:notify:*",
    "PUNSUBSCRIBE",
    "PUBLISH {ns}:probe:a b",
    "HGET {q}schedules a",
    "HSET {q}schedules a b",
    "HDEL {q}schedules a",
    "HSCAN {q}schedules 0",
    "ZCARD {q}ticks",
    "HGET {chains}all a",
    "HSET {chains}all a b",
    "HDEL {chains}all a",
    "SET {chains}version 1",
    "XRANGE {ns}:{history}:stream:a - +",
    "HSET {ns}:{present}:next:a b 1",
    "RENAME {ns}:{present}:next:a {ns}:{present}:clients:a",
    "HDEL {ns}:{present}:clients:a b",
    "HMGET {ns}:{present}:clients:a b",
    "ZADD {ns}:{present}:servers 0 a",
];

const WORKER: &[&str] = &[
    "XDEL {q}stream 0",
    "XACK {q}stream workers 0",
    "XCLAIM {q}stream workers a 0 0",
    "XAUTOCLAIM {q}stream workers a 0 0",
    "XREADGROUP GROUP workers a STREAMS {q}stream >",
    "XGROUP CREATE {q}stream workers 0",
    "XGROUP DELCONSUMER {q}stream workers a",
    "XINFO CONSUMERS {q}stream workers",
    "ZREM {q}delayed a",
    "ZRANGEBYSCORE {q}delayed 0 0",
    "HMGET {q}schedules a",
    "ZRANGEBYSCORE {q}ticks 0 0",
    "HDEL {q}partitions a",
    "HRANDFIELD {q}partitions 1",
];

/// A worker that may not track its wake-up key polls.
const WAKING: &[&str] = &["CLIENT TRACKING ON BCAST"];

/// The audit of connections does without them, and says so.
const AUDIT: &[&str] = &[
    "INFO",
    "CLIENT LIST",
    "GETEX {ns}:alive:{a}",
    "SET {ns}:audit:{fleet} a",
    "EXISTS {ns}:alive:{a}",
];

/// What one user lacks for what one program does.
#[derive(Clone, Debug)]
pub(super) struct Rights {
    component: Component,
    user: String,
    /// Whether a process of the component is logged in as that user.
    in_use: bool,
    /// The rights, as an ACL line has them.
    lacking: Answer<Vec<String>>,
    /// The same for being woken.
    lacking_for_waking: Answer<Vec<String>>,
    /// The same for the audit.
    lacking_for_audit: Answer<Vec<String>>,
}

/// Asks for each user that a server or a worker is logged in as; without any, for our own.
pub(super) async fn gather(shared: &Shared, survey: &Survey, told: &Doctor) -> Vec<Rights> {
    let mut all = vec![];
    for component in [Component::Server, Component::Worker] {
        let mut users: Vec<&str> = survey
            .clients
            .iter()
            .flatten()
            .filter(|client| {
                client.owner.as_ref().is_some_and(|it| it.component == component.label())
            })
            .map(|client| client.user.as_str())
            .filter(|user| !user.is_empty())
            .collect();
        users.sort_unstable();
        users.dedup();
        let in_use = !users.is_empty();
        if !in_use {
            users.extend(survey.user.iter().map(String::as_str));
        }
        let own = if component == Component::Server { SERVER } else { WORKER };
        for user in users {
            let user = user.to_owned();
            let lacking = async |commands: &[&str]| lacking(shared, &user, commands, told).await;
            let (lacking, lacking_for_waking, lacking_for_audit) =
                (lacking(&[BOTH, own].concat()).await, lacking(WAKING).await, lacking(AUDIT).await);
            all.push(Rights {
                component,
                user,
                in_use,
                lacking,
                lacking_for_waking,
                lacking_for_audit,
            });
        }
    }
    all
}

async fn lacking(
    shared: &Shared,
    user: &str,
    commands: &[&str],
    told: &Doctor,
) -> Answer<Vec<String>> {
    // Side by side: over a slow line one after the other would take a while.
    let asked = commands.iter().map(|command| async move {
        let words = spelled(command, told);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let lack = lacks(shared, user, &words).await?;
        Ok(lack.map(|lack| (command_right(&words), lack)))
    });
    let mut rights = vec![];
    for (command, lack) in try_join_all(asked).await?.into_iter().flatten() {
        let right = match lack {
            Lack::Command => command,
            Lack::Key(key) => format!("~{}", pattern(&key, told)),
            Lack::Channel(channel) => format!("&{}", pattern(&channel, told)),
            Lack::Other(text) => text,
        };
        if !rights.contains(&right) {
            rights.push(right);
        }
    }
    Ok(rights)
}

/// A command with this fleet's names in it.
fn spelled(command: &str, told: &Doctor) -> Vec<String> {
    let namespace = told.namespace.as_str();
    // Both end with the name of a key, which is taken off.
    let of_queue = queue::Keys::new(namespace, told.queue.name.as_str()).stream();
    let of_chains = index::Keys::new(namespace).all();
    let words = command.split(' ').map(|word| {
        word.replace("{q}", of_queue.trim_end_matches("stream"))
            .replace("{chains}", of_chains.trim_end_matches("all"))
            .replace("{ns}", namespace)
    });
    words.collect()
}

/// The right to a command as an ACL line has it.
fn command_right(words: &[&str]) -> String {
    let parent = ["CLIENT", "SCRIPT", "XGROUP", "XINFO"].contains(&words[0]);
    let words = if parent { &words[..2] } else { &words[..1] };
    format!("+{}", words.join("|").to_lowercase())
}

/// The pattern of `docs/redis.md` that a key or a channel belongs to.
fn pattern(name: &str, told: &Doctor) -> String {
    let namespace = told.namespace.as_str();
    let patterns = [
        ("{q:", "{q:*}:*"),
        ("{chains}:", "{chains}:*"),
        ("{history}:", "{history}:*"),
        ("{present}:", "{present}:*"),
        ("alive:", "alive:{*}"),
        ("notify:", "notify:*"),
        ("probe:", "probe:*"),
    ];
    let rest = name.strip_prefix(namespace).and_then(|rest| rest.strip_prefix(':'));
    let known = rest.and_then(|rest| patterns.iter().find(|(start, _)| rest.starts_with(start)));
    known.map_or_else(|| name.to_owned(), |(_, pattern)| format!("{namespace}:{pattern}"))
}

/// One finding for each user and program.
pub(super) fn check(survey: &Survey, rights: &[Rights], place: &Place) -> Vec<Finding> {
    if let Err(refusal) = &survey.user
        && rights.is_empty()
    {
        return vec![Finding::unknown(Check::Rights, refusal, place)];
    }
    let refused = |it: &Rights| it.lacking.as_ref().err().cloned();
    if let Some(refusal) = rights.iter().find_map(refused) {
        return vec![Finding::unknown(Check::Rights, &refusal, place)];
    }
    let mut findings = vec![];
    for one in rights {
        let Rights { component, user, in_use, .. } = one;
        let lacking = one.lacking.as_deref().unwrap_or_default();
        let for_waking = one.lacking_for_waking.as_deref().unwrap_or_default();
        let for_audit = one.lacking_for_audit.as_deref().unwrap_or_default();
        if !lacking.is_empty() {
            let is = format!("User {user} lacks {} for a {component}.", lacking.join(" "));
            let (severity, means) = match in_use {
                true => (Bad, "What needs it fails as noperm, now or when it comes to it."),
                false => (
                    Note,
                    "No such process is logged in as that user, so it may be meant for something else.",
                ),
            };
            let finding = Finding::new(Check::Rights, severity, is, means);
            findings.push(finding.fix(place.grant(user, lacking)));
        } else if !for_waking.is_empty() && *component == Component::Worker {
            let is = format!("User {user} lacks {} to be woken by.", for_waking.join(" "));
            let means =
                "A worker hears of jobs by a subscription then, or polls four times a second.";
            let finding = Finding::new(Check::Rights, Note, is, means);
            findings.push(finding.fix(place.grant(user, for_waking)));
        } else if !for_audit.is_empty() {
            let is = format!(
                "User {user} lacks {} for the audit of a {component}.",
                for_audit.join(" ")
            );
            let means = "A leak that only Redis can see is not found, and this process counts as dead to those that may.";
            let finding = Finding::new(Check::Rights, Note, is, means);
            findings.push(finding.fix(place.grant(user, for_audit)));
        } else {
            let is = format!("User {user} may do all that a {component} does.");
            findings.push(Finding::ok(Check::Rights, is));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The commands of an ACL line.
    fn granted(line: &str) -> BTreeSet<String> {
        line.split(' ').filter(|word| word.starts_with('+')).map(str::to_owned).collect()
    }

    fn asked(commands: &[&[&str]]) -> BTreeSet<String> {
        let right = |command: &&str| command_right(&command.split(' ').collect::<Vec<_>>());
        commands.concat().iter().map(right).collect()
    }

    #[test]
    fn what_is_asked_is_what_the_documentation_grants() {
        let page = include_str!("../../../docs/redis.md");
        let lines: Vec<_> = page.lines().filter(|line| line.starts_with("user ")).collect();
        assert_eq!(asked(&[BOTH, SERVER, WAKING]), granted(lines[0]));
        assert_eq!(asked(&[BOTH, WORKER, WAKING]), granted(lines[1]));
        let audit = page.lines().find(|line| line.starts_with("+info ")).unwrap_or_default();
        let of_daemons = granted(lines[0]);
        let only_audit: BTreeSet<_> =
            asked(&[AUDIT]).into_iter().filter(|right| !of_daemons.contains(right)).collect();
        assert_eq!(only_audit, granted(audit));
    }
}
