//! How the faults of a plan happen, but for those of Redis itself.

use std::fmt::Debug;
use std::time::Duration;

use tokio::task::block_in_place;
use tokio::time::sleep;

use crate::fleet::Place;
use crate::lab::Lab;
use crate::plan::{FleetFault, NetworkFault, Step};

/// Lets these happen one after another.
pub async fn happen<F: Copy + Debug>(
    lab: &Lab,
    steps: &[Step<F>],
    befall: impl AsyncFn(&Lab, F, Duration),
) {
    for step in steps {
        sleep(step.after).await;
        lab.note(format!("begins: {:?} for {:?}", step.fault, step.lasts));
        befall(lab, step.fault, step.lasts).await;
        lab.note(format!("ended: {:?}", step.fault));
    }
}

/// On the way between the fleet and Redis.
pub async fn network(lab: &Lab, fault: NetworkFault, lasts: Duration) {
    let network = &lab.network;
    block_in_place(|| match fault {
        NetworkFault::Silence(directions) => {
            directions.iter().for_each(|&direction| network.silence_one(direction));
        }
        NetworkFault::Delay(millis) => network.delay(Duration::from_millis(millis)),
        NetworkFault::Reset => network.reset(),
        NetworkFault::Close => network.close(),
        NetworkFault::HalfClose(direction) => network.half_close(direction),
        NetworkFault::Refuse => {
            network.refuse();
            network.reset();
        }
    });
    sleep(lasts).await;
    block_in_place(|| network.forward());
}

/// In the fleet.
pub async fn fleet(lab: &Lab, fault: FleetFault, lasts: Duration) {
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
