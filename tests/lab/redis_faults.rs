//! How the faults of Redis begin and end.

use std::time::Duration;

use tokio::task::block_in_place;
use tokio::time::sleep;

use crate::failover;
use crate::lab::Lab;
use crate::plan::RedisFault;
use crate::support::redis::ClientEntry;

/// Lets one happen, and ends it.
pub async fn befall(lab: &Lab, fault: RedisFault, lasts: Duration) {
    let redis = &lab.redis;
    match fault {
        RedisFault::Crash => return crash(lab, lasts).await,
        RedisFault::Flush => return flush(lab).await,
        RedisFault::Failover => return failover::happens(lab, lasts).await,
        _ => {}
    }
    block_in_place(|| begin(lab, fault, lasts));
    sleep(lasts).await;
    block_in_place(|| match fault {
        RedisFault::Freeze => redis.cont(),
        RedisFault::MaxClients(_) => set(lab, "maxclients", "10000"),
        RedisFault::NoMemory => set(lab, "maxmemory", "0"),
        RedisFault::SmallBuffers => set(lab, BUFFERS, "pubsub 33554432 8388608 60"),
        _ => {}
    });
}

/// The setting that bounds what may wait for a subscriber.
const BUFFERS: &str = "client-output-buffer-limit";

fn begin(lab: &Lab, fault: RedisFault, lasts: Duration) {
    let redis = &lab.redis;
    match fault {
        RedisFault::Crash | RedisFault::Flush | RedisFault::Failover => {}
        RedisFault::Freeze => redis.stop(),
        RedisFault::Kill(name) => kill(lab, name),
        RedisFault::KillOne(lot) => {
            let mut all = ours(lab);
            if !all.is_empty() {
                kill_these(lab, &[all.swap_remove(lot % all.len())]);
            }
        }
        RedisFault::Pause(what) => {
            redis.cli(&["CLIENT", "PAUSE", &lasts.as_millis().to_string(), what]);
        }
        RedisFault::MaxClients(some) => {
            // Beside the harness and the witness.
            set(lab, "maxclients", &(some + 2).to_string());
            kill(lab, ":");
        }
        RedisFault::NoMemory => set(lab, "maxmemory", "1"),
        RedisFault::SmallBuffers => {
            set(lab, BUFFERS, "pubsub 131072 0 0");
            let burst =
                "for _ = 1, 60 do redis.call('PUBLISH', KEYS[1], string.rep('x', 10000)) end";
            redis.cli(&["EVAL", burst, "1", "trunkline:notify:burst"]);
        }
        RedisFault::NoScripts => _ = redis.cli(&["SCRIPT", "FLUSH"]),
    }
}

fn set(lab: &Lab, setting: &str, to: &str) {
    lab.redis.cli(&["CONFIG", "SET", setting, to]);
}

async fn crash(lab: &Lab, lasts: Duration) {
    let redis = &lab.redis;
    block_in_place(|| {
        lab.gate.refuse();
        lab.witness.will_be_cut();
        redis.kill9();
    });
    sleep(lasts).await;
    block_in_place(|| redis.restart());
    // Nobody else is let in before: what the witness does not hear is not published.
    lab.witness.listens().await;
    block_in_place(|| lab.witness.reads_what_was_kept(redis));
    block_in_place(|| lab.gate.forward());
}

/// What would be lost by it is settled before, so that whatever is missing is missing for another
/// reason.
async fn flush(lab: &Lab) {
    let _hush = lab.load.hush().await;
    lab.is_drained().await;
    lab.redis.cli(&["FLUSHALL"]);
    lab.store_chain().await;
    // Promised: by then every worker knows the chain.
    sleep(Duration::from_secs(1)).await;
}

/// CLIENT KILL of the fleet's connections whose name contains this.
fn kill(lab: &Lab, name: &str) {
    let mut named = ours(lab);
    named.retain(|client| client.name.contains(name));
    kill_these(lab, &named);
}

fn kill_these(lab: &Lab, clients: &[ClientEntry]) {
    for client in clients {
        // It may have ended by itself.
        lab.redis.ask(&["CLIENT", "KILL", "ID", &client.id.to_string()]);
    }
}

/// The fleet's connections, as Redis lists them.
fn ours(lab: &Lab) -> Vec<ClientEntry> {
    let mut clients = lab.redis.client_list();
    clients.retain(|client| client.name.starts_with("trunkline:"));
    clients
}
