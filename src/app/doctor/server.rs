//! Redis itself: what it is, and how it is set up.

use std::collections::HashMap;

use super::finding::Severity::{Bad, Note, Warn};
use super::finding::{Check, Finding, count};
use super::place::Place;
use crate::conn::survey::{Info, Survey};

/// Bytes a subscriber may be behind at once before Redis may cut it off: above a hundred of the
/// largest notifications, with room for the burst that a reconnecting crowd of clients makes.
const LEAST_HARD_LIMIT: u64 = 8 << 20;
/// The same for a while.
const LEAST_SOFT_LIMIT: u64 = 1 << 20;
/// A quiet connection of ours says something every second or so.
const SHORTEST_TIMEOUT: u64 = 5;
/// What Redis calls a good value, and comes with.
const LONGEST_KEEPALIVE: u64 = 300;

/// All findings about Redis itself.
pub(super) fn check(survey: &Survey, place: &Place) -> Vec<Finding> {
    let mut findings = vec![];
    match &survey.info {
        Ok(info) => {
            let about = [version, role, eviction, memory, maxclients];
            findings.extend(about.iter().map(|check| check(info, place)));
            let fsync = survey.settings.iter().find_map(|settings| settings.get("appendfsync"));
            findings.push(persistence(info, fsync.map(String::as_str), place));
        }
        Err(refusal) => {
            use Check::{Eviction, Maxclients, Memory, Persistence, Role, Version};
            let unknown = [Version, Role, Eviction, Memory, Persistence, Maxclients];
            findings.extend(unknown.map(|check| Finding::unknown(check, refusal, place)));
        }
    }
    match &survey.settings {
        Ok(settings) => {
            let slow = survey.clients.iter().flatten().map(|client| client.output).max();
            findings.push(output_buffers(settings, slow.unwrap_or(0), place));
            findings.push(keepalive(settings, place));
            findings.push(timeout(settings, place));
        }
        Err(refusal) => {
            let unknown = [Check::OutputBuffers, Check::Keepalive, Check::Timeout];
            findings.extend(unknown.map(|check| Finding::unknown(check, refusal, place)));
        }
    }
    findings
}

fn version(info: &Info, place: &Place) -> Finding {
    let (name, version) = match info.text("valkey_version") {
        Some(version) => ("Valkey", version),
        None => ("Redis", info.text("redis_version").unwrap_or("of an unknown version")),
    };
    if info.number("cluster_enabled") == Some(1) {
        let is = format!("{name} {version} is a node of a cluster.");
        let means = "What lives on other nodes is refused as MOVED; give us a Redis of our own.";
        return Finding::new(Check::Version, Bad, is, means)
            .fix(place.redis(&["CLUSTER", "NODES"]));
    }
    // Without RESP3 we would not be here.
    Finding::ok(Check::Version, format!("{name} {version}, RESP3."))
}

fn role(info: &Info, place: &Place) -> Finding {
    if info.text("role") == Some("master") {
        let replicas = info.number("connected_slaves").unwrap_or(0) as usize;
        let is = format!("A master with {}.", count(replicas, "replica", "replicas"));
        return Finding::ok(Check::Role, is);
    }
    let field = |name| info.text(name).unwrap_or("?");
    let (host, port) = (field("master_host"), field("master_port"));
    let is = format!("A replica of {host}:{port}.");
    let means = "No daemon takes it: jobs cannot be written here.";
    Finding::new(Check::Role, Bad, is, means)
        .fix(format!("export REDIS_URL=redis://{host}:{port}"))
        .fix(format!(
            "# or, if this one is to take over: {}",
            place.redis(&["REPLICAOF", "NO", "ONE"])
        ))
}

fn eviction(info: &Info, place: &Place) -> Finding {
    match info.text("maxmemory_policy") {
        Some("noeviction") => Finding::ok(Check::Eviction, "maxmemory-policy is noeviction."),
        policy => {
            let is = format!("maxmemory-policy is {}.", policy.unwrap_or("not told"));
            let means =
                "When memory is short Redis drops jobs that were answered 202, without a word.";
            let finding = Finding::new(Check::Eviction, Bad, is, means);
            finding.fix(place.set("maxmemory-policy", "noeviction"))
        }
    }
}

fn memory(info: &Info, place: &Place) -> Finding {
    let used = info.number("used_memory").unwrap_or(0);
    let most = info.number("maxmemory").unwrap_or(0);
    if most == 0 {
        let is = format!("{} in use, and no maxmemory.", size(used));
        let means =
            "It grows until the kernel ends it; with a limit it would refuse, and we would say so.";
        let limit = info.number("total_system_memory").map_or(1 << 30, |all| all / 4 * 3);
        return Finding::new(Check::Memory, Note, is, means)
            .fix(place.set("maxmemory", &format!("{}mb", limit >> 20)));
    }
    let percent = used.saturating_mul(100) / most;
    let is = format!("{} of {} in use, {percent} %.", size(used), size(most));
    let means =
        "At the limit every write fails as OOM: events are refused, jobs cannot be settled.";
    let finding = match percent {
        95.. => Finding::new(Check::Memory, Bad, is, means),
        80.. => Finding::new(Check::Memory, Warn, is, means),
        _ => return Finding::ok(Check::Memory, is),
    };
    finding
        .fix(place.redis(&["MEMORY", "STATS"]))
        .fix(place.set("maxmemory", &format!("{}mb", (most >> 19).max(1))))
}

fn persistence(info: &Info, fsync: Option<&str>, place: &Place) -> Finding {
    let aof = info.number("aof_enabled") == Some(1);
    let failed = |field: &str| info.text(field).is_some_and(|status| status != "ok");
    let aof_failed = aof && failed("aof_last_write_status");
    if aof_failed || failed("rdb_last_bgsave_status") {
        let what = if aof_failed { "append-only file" } else { "snapshot" };
        let is = format!("The last write of the {what} failed.");
        let means =
            "Redis refuses writes, or will lose what it took; look at its log and its disk.";
        return Finding::new(Check::Persistence, Bad, is, means)
            .fix(place.redis(&["INFO", "persistence"]));
    }
    if aof {
        let is = match fsync {
            Some("always") => {
                "Append-only file, written at once: what was answered 202 is on disk."
            }
            Some("no") => {
                let is = "Append-only file, written when the kernel likes: appendfsync is no.";
                let means =
                    "A host that fails takes with it what was answered 202 for half a minute.";
                return Finding::new(Check::Persistence, Note, is, means)
                    .fix(place.set("appendfsync", "everysec"));
            }
            _ => {
                "Append-only file: what was answered 202 outlives Redis; a host that fails takes a second."
            }
        };
        return Finding::ok(Check::Persistence, is);
    }
    let seconds = |field| info.number(field);
    let age = match (seconds("rdb_last_save_time"), seconds("server_time_usec")) {
        (Some(saved), Some(now)) => format!(" {} s ago", (now / 1_000_000).saturating_sub(saved)),
        _ => " some time ago".to_owned(),
    };
    let is = format!("No append-only file. The last snapshot, or the start, was{age}.");
    let means =
        "When Redis ends, what it took since then is lost, jobs that were answered 202 included.";
    Finding::new(Check::Persistence, Warn, is, means)
        .fix(place.set("appendonly", "yes"))
        .fix(place.redis(&["CONFIG", "REWRITE"]))
}

fn maxclients(info: &Info, place: &Place) -> Finding {
    let used = info.number("connected_clients").unwrap_or(0);
    let Some(most) = info.number("maxclients").filter(|most| *most > 0) else {
        return Finding::ok(Check::Maxclients, format!("{used} clients; no limit is told."));
    };
    let percent = used.saturating_mul(100) / most;
    let rejected = match info.number("rejected_connections").unwrap_or(0) {
        0 => String::new(),
        rejected => format!(" {rejected} were turned away since it started."),
    };
    let is = format!("{used} of {most} clients, {percent} %.{rejected}");
    let means = "Beyond that Redis turns us away: who loses a connection does not get it back.";
    let finding = match percent {
        95.. => Finding::new(Check::Maxclients, Bad, is, means),
        80.. => Finding::new(Check::Maxclients, Warn, is, means),
        _ => return Finding::ok(Check::Maxclients, is),
    };
    finding
        .fix(place.redis(&["CLIENT", "LIST"]))
        .fix(place.set("maxclients", &(most * 2).to_string()))
}

fn output_buffers(settings: &HashMap<String, String>, slowest: u64, place: &Place) -> Finding {
    const SETTING: &str = "client-output-buffer-limit";
    let limits = settings.get(SETTING).map(String::as_str).unwrap_or_default();
    let words: Vec<&str> = limits.split_whitespace().collect();
    let at = words.iter().position(|word| *word == "pubsub");
    let number = |offset: usize| words.get(at? + offset)?.parse::<u64>().ok();
    let (Some(hard), Some(soft), Some(seconds)) = (number(1), number(2), number(3)) else {
        let is = format!("Redis does not tell its {SETTING} for pubsub.");
        let means = "It may cut a server off that is slow for a moment.";
        return Finding::new(Check::OutputBuffers, Note, is, means);
    };
    let told = |limit| if limit == 0 { "any number of bytes".to_owned() } else { size(limit) };
    let is = format!(
        "Subscribers may be {} behind, {} for {seconds} s; most waiting now: {}.",
        told(hard),
        told(soft),
        size(slowest)
    );
    let good = place.set(SETTING, "pubsub 32mb 8mb 60");
    let limited = |limit: u64, least: u64| limit > 0 && limit < least;
    if limited(hard, LEAST_HARD_LIMIT) || limited(soft, LEAST_SOFT_LIMIT) {
        let means = "A burst is enough for Redis to cut a server off, and its clients miss what comes meanwhile.";
        return Finding::new(Check::OutputBuffers, Warn, is, means).fix(good);
    }
    if soft > 0 && slowest > soft / 2 {
        let means = "A client reads slower than it is told and will be cut off; add servers, or raise the limit.";
        return Finding::new(Check::OutputBuffers, Warn, is, means)
            .fix(place.redis(&["CLIENT", "LIST", "TYPE", "pubsub"]));
    }
    if hard == 0 {
        let means = "A server that hangs makes Redis keep all it is to hear, in memory, until we replace it.";
        return Finding::new(Check::OutputBuffers, Note, is, means).fix(good);
    }
    Finding::ok(Check::OutputBuffers, is)
}

fn keepalive(settings: &HashMap<String, String>, place: &Place) -> Finding {
    let seconds = settings.get("tcp-keepalive").and_then(|it| it.parse::<u64>().ok()).unwrap_or(0);
    let fix = place.set("tcp-keepalive", "60");
    match seconds {
        0 => {
            let means = "A connection whose host is gone stays in Redis for ever and takes room.";
            Finding::new(Check::Keepalive, Warn, "tcp-keepalive is 0: off.", means).fix(fix)
        }
        seconds if seconds > LONGEST_KEEPALIVE => {
            let is = format!("tcp-keepalive is {seconds} s.");
            let means = format!(
                "A connection whose host is gone stays in Redis for up to {} s.",
                2 * seconds
            );
            Finding::new(Check::Keepalive, Note, is, means).fix(fix)
        }
        seconds => Finding::ok(Check::Keepalive, format!("tcp-keepalive is {seconds} s.")),
    }
}

fn timeout(settings: &HashMap<String, String>, place: &Place) -> Finding {
    let seconds = settings.get("timeout").and_then(|it| it.parse::<u64>().ok()).unwrap_or(0);
    let fix = place.set("timeout", "0");
    let is = format!("timeout is {seconds} s.");
    match seconds {
        0 => Finding::ok(Check::Timeout, "timeout is 0: quiet clients are left alone."),
        1..SHORTEST_TIMEOUT => {
            let means = "Redis closes connections of ours that are quiet between two heartbeats.";
            Finding::new(Check::Timeout, Warn, is, means).fix(fix)
        }
        _ => {
            let means = "Ours are never quiet for that long; other clients are closed.";
            Finding::new(Check::Timeout, Note, is, means)
        }
    }
}

/// Bytes, as people say them.
fn size(bytes: u64) -> String {
    match bytes {
        0..0x400 => format!("{bytes} B"),
        0x400..0x10_0000 => format!("{} KiB", bytes >> 10),
        0x10_0000..0x4000_0000 => format!("{} MiB", bytes >> 20),
        _ => format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30)),
    }
}
