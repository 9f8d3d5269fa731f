//! Another Redis takes over, as a Sentinel would have it, and gives back.

use std::time::Duration;

use tokio::task::block_in_place;
use tokio::time::sleep;

use crate::lab::{Lab, PATIENCE};
use crate::support::eventually::within;
use crate::support::redis::{Plan, Redis};
use crate::witness::Witness;

/// Serves a replica at once, without waiting for more to come.
pub fn quick(redis: Plan) -> Plan {
    redis.argument("repl-diskless-sync-delay", "0")
}

/// The connections that there are stay with the one that was the master and is a replica now; it
/// is for the fleet to notice. Nothing that was answered is lost on the way: whoever takes over
/// has everything before the other stops being the master.
pub async fn happens(lab: &Lab, lasts: Duration) {
    let old = &lab.redis;
    let source = format!("127.0.0.1 {}", old.port());
    let new = block_in_place(|| quick(Redis::plan().argument("replicaof", &source)).start());
    let before = lab.witness.published();
    // What is published here while the other does not follow yet is heard here alone.
    let witness = Witness::start(new.socket()).await;
    hand_over(lab, old, &new).await;
    sleep(lasts).await;
    hand_over(lab, &new, old).await;
    // Its own file is whole again only now: it must not crash before.
    within(PATIENCE, "what is stored is whole", async || {
        let info = |field| block_in_place(|| old.info("persistence", field));
        let state = ["aof_enabled", "aof_rewrite_in_progress", "aof_rewrite_scheduled"].map(info);
        if state == ["1", "0", "0"] { Ok(()) } else { Err(format!("{state:?}")) }
    })
    .await;
    // To its last moment it publishes what it is told to, by those who did not notice.
    witness.will_be_cut();
    block_in_place(|| new.kill9());
    witness.has_heard_the_end().await;
    lab.witness.joined_by(&witness, &before);
}

/// `to` follows `from`, and then the other way round.
async fn hand_over(lab: &Lab, from: &Redis, to: &Redis) {
    follows(from, to).await;
    // Neither writes nor publishes from here on, until it has another master.
    block_in_place(|| from.cli(&["CLIENT", "PAUSE", "60000", "WRITE"]));
    follows(from, to).await;
    block_in_place(|| {
        to.cli(&["REPLICAOF", "NO", "ONE"]);
        lab.gate.aim(to.port());
        from.cli(&["REPLICAOF", "127.0.0.1", &to.port().to_string()]);
        from.cli(&["CLIENT", "UNPAUSE"]);
    });
}

/// Waits until one has everything that the other has.
async fn follows(from: &Redis, to: &Redis) {
    within(PATIENCE, "the replica has everything", async || {
        let of = |redis: &Redis, field| block_in_place(|| redis.info("replication", field));
        if of(to, "role") != "slave" {
            return Err("it is none".to_owned());
        }
        let link = of(to, "master_link_status");
        let (there, here) = (of(from, "master_repl_offset"), of(to, "slave_repl_offset"));
        if link == "up" && there == here {
            Ok(())
        } else {
            Err(format!("{link}, {here} of {there}"))
        }
    })
    .await;
}
