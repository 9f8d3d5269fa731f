//! How each fault begins and ends.

use std::time::Duration;

use tokio::task::block_in_place;
use tokio::time::sleep;

use crate::fleet::Place;
use crate::lab::Lab;
use crate::plan::{FleetFault, LineFault, Step};

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
    match fault {
        LineFault::Crash => {
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
        LineFault::KillAll => {
            kill(lab, ":");
            sleep(lasts).await;
        }
    }
}

/// CLIENT KILL of the fleet's connections whose name contains this.
fn kill(lab: &Lab, name: &str) {
    block_in_place(|| {
        for client in lab.redis.client_list() {
            if client.name.starts_with("trunkline:") && client.name.contains(name) {
                // It may have ended by itself.
                lab.redis.ask(&["CLIENT", "KILL", "ID", &client.id.to_string()]);
            }
        }
    });
}

async fn befall_fleet(lab: &Lab, fault: FleetFault, lasts: Duration) {
    match fault {
        FleetFault::Kill(place) => {
            block_in_place(|| lab.fleet.at(place).daemon.sigkill());
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
