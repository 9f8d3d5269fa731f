//! How each fault begins and ends.

use std::time::Duration;

use tokio::task::block_in_place;
use tokio::time::sleep;

use crate::failover;
use crate::fleet::Place;
use crate::lab::Lab;
use crate::plan::{FleetFault, LineFault, Step};
use crate::support::redis::ClientEntry;

/// Lets these happen to Redis and the way to it, one after another.
pub async fn line(lab: &Lab, steps: &[Step<LineFault>]) {
    for step in steps {
        sleep(step.after).await;
        lab.note(format!("begins: {:?} for {:?}", step.fault, step.lasts));
        befall_line(lab, step.fault, step.lasts).await;
        lab.note(format!("ended: {:?}", step.fault));
    }
}

/// Lets these happen to the processes, one after another.
pub async fn fleet(lab: &Lab, steps: &[Step<FleetFault>]) {
    for step in steps {
        sleep(step.after).await;
        lab.note(format!("begins: {:?} for {:?}", step.fault, step.lasts));
        befall_fleet(lab, step.fault, step.lasts).await;
        lab.note(format!("ended: {:?}", step.fault));
    }
}

async fn befall_line(lab: &Lab, fault: LineFault, lasts: Duration) {
    let (redis, proxy) = (&lab.redis, &lab.proxy);
    match fault {
        LineFault::Crash => return crash(lab, lasts).await,
        LineFault::Flush => return flush(lab).await,
        LineFault::Failover => return failover::happens(lab, lasts).await,
        _ => {}
    }
    block_in_place(|| begin(lab, fault, lasts));
    sleep(lasts).await;
    block_in_place(|| match fault {
        LineFault::Freeze => redis.cont(),
        LineFault::MaxClients(_) => set(lab, "maxclients", "10000"),
        LineFault::NoMemory => set(lab, "maxmemory", "0"),
        LineFault::SmallBuffers => set(lab, BUFFERS, "pubsub 33554432 8388608 60"),
        _ => proxy.forward(),
    });
}

/// The setting that bounds what may wait for a subscriber.
const BUFFERS: &str = "client-output-buffer-limit";

fn begin(lab: &Lab, fault: LineFault, lasts: Duration) {
    let (redis, proxy) = (&lab.redis, &lab.proxy);
    match fault {
        LineFault::Crash | LineFault::Flush | LineFault::Failover => {}
        LineFault::Freeze => redis.stop(),
        LineFault::Kill(name) => kill(lab, name),
        LineFault::KillOne(lot) => {
            let mut all = ours(lab);
            if !all.is_empty() {
                kill_these(lab, &[all.swap_remove(lot % all.len())]);
            }
        }
        LineFault::Pause(what) => {
            redis.cli(&["CLIENT", "PAUSE", &lasts.as_millis().to_string(), what]);
        }
        LineFault::Silence(directions) => directions.iter().for_each(|&it| proxy.silence_one(it)),
        LineFault::Delay(millis) => proxy.delay(Duration::from_millis(millis)),
        LineFault::Reset => proxy.reset(),
        LineFault::Close => proxy.close(),
        LineFault::HalfClose(direction) => proxy.half_close(direction),
        LineFault::Refuse => {
            proxy.refuse();
            proxy.reset();
        }
        LineFault::MaxClients(some) => {
            // Beside the harness and the witness.
            set(lab, "maxclients", &(some + 2).to_string());
            kill(lab, ":");
        }
        LineFault::NoMemory => set(lab, "maxmemory", "1"),
        LineFault::SmallBuffers => {
            set(lab, BUFFERS, "pubsub 131072 0 0");
            let burst =
                "for _ = 1, 60 do redis.call('PUBLISH', KEYS[1], string.rep('x', 10000)) end";
            redis.cli(&["EVAL", burst, "1", "trunkline:notify:burst"]);
        }
        LineFault::NoScripts => _ = redis.cli(&["SCRIPT", "FLUSH"]),
    }
}

fn set(lab: &Lab, setting: &str, to: &str) {
    lab.redis.cli(&["CONFIG", "SET", setting, to]);
}

async fn crash(lab: &Lab, lasts: Duration) {
    block_in_place(|| {
        lab.proxy.refuse();
        lab.witness.will_be_cut();
        lab.redis.kill9();
    });
    sleep(lasts).await;
    block_in_place(|| lab.redis.restart());
    // Nobody else is let in before: what the witness does not hear is not published.
    lab.witness.listens().await;
    block_in_place(|| lab.proxy.forward());
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

async fn befall_fleet(lab: &Lab, fault: FleetFault, lasts: Duration) {
    match fault {
        FleetFault::Kill(place) => {
            block_in_place(|| lab.fleet.kill(place));
            sleep(lasts).await;
            lab.fleet.renew(place).await;
        }
        FleetFault::Freeze(place) => {
            let member = lab.fleet.at(place);
            block_in_place(|| member.daemon.sigstop());
            sleep(lasts).await;
            member.daemon.sigcont();
        }
        FleetFault::Roll => {
            for place in Place::all() {
                lab.fleet.replace(place).await;
            }
        }
    }
}
