//! Which faults happen when: drawn from a seed, so that a run can be had again.

use std::fmt;
use std::time::Duration;

use fastrand::Rng;

use crate::clock::{ClockFault, Whose};
use crate::fleet::{LEASE, Place};
use crate::support::proxy::Direction;

/// What befalls Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RedisFault {
    /// It is killed, and started again with the data it had.
    Crash,
    /// It stands still (SIGSTOP), and goes on.
    Freeze,
    /// CLIENT KILL of the fleet's connections whose name contains this.
    Kill(&'static str),
    /// CLIENT KILL of one of the fleet's connections, counting them round and round.
    KillOne(usize),
    /// CLIENT PAUSE of what it names.
    Pause(&'static str),
    /// All connections are killed, and only so many are let in again.
    MaxClients(usize),
    /// There is no memory for anything that is written.
    NoMemory,
    /// There is a small buffer for each subscriber, and somebody publishes more at once.
    SmallBuffers,
    /// SCRIPT FLUSH.
    NoScripts,
    /// FLUSHALL of an idle Redis; the chain is stored again.
    Flush,
    /// Another Redis takes over with the same data, and gives back. Whoever does not notice
    /// speaks to one that must not be written to.
    Failover,
}

/// What befalls the way between the fleet and Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkFault {
    /// Nothing passes in these directions, and nobody is told.
    Silence(&'static [Direction]),
    /// Every piece is held back for so many milliseconds.
    Delay(u64),
    /// All connections are reset.
    Reset,
    /// All connections are closed in good order.
    Close,
    /// All connections are closed in one direction.
    HalfClose(Direction),
    /// All connections are reset and none is let in.
    Refuse,
}

/// What befalls a process of the fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FleetFault {
    /// kill -9, and another in its place.
    Kill(Place),
    /// SIGSTOP, and SIGCONT: beyond its lease if it is a worker and it lasts.
    Freeze(Place),
    /// SIGTERM for each, one after another, and another in its place when it has ended.
    Roll,
}

/// One fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step<F> {
    /// From the end of the one before, or the start.
    pub after: Duration,
    /// What happens.
    pub fault: F,
    /// Until it is mended.
    pub lasts: Duration,
}

/// What happens in one round: four sequences, side by side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// To Redis.
    pub redis: Vec<Step<RedisFault>>,
    /// To the way between the fleet and Redis.
    pub network: Vec<Step<NetworkFault>>,
    /// To the processes.
    pub fleet: Vec<Step<FleetFault>>,
    /// To the clocks.
    pub clocks: Vec<Step<ClockFault>>,
}

impl Plan {
    /// How many faults there are.
    pub fn len(&self) -> usize {
        self.redis.len() + self.network.len() + self.fleet.len() + self.clocks.len()
    }

    /// No fault at all.
    pub fn quiet() -> Plan {
        Plan { redis: Vec::new(), network: Vec::new(), fleet: Vec::new(), clocks: Vec::new() }
    }

    /// The one that belongs to this seed; its faults begin within so many seconds.
    pub fn draw(seed: u64, seconds: u64) -> Plan {
        let mut rng = Rng::with_seed(seed);
        let within = Duration::from_secs(seconds);
        let redis = steps(&mut rng, within, redis_faults);
        let network = steps(&mut rng, within, network_faults);
        let mut fleet = steps(&mut rng, within, fleet_faults);
        // Rarely: it makes every process new.
        if seed % 5 == 2 {
            let (after, lasts) = (Duration::from_millis(500), Duration::ZERO);
            let roll = Step { after, fault: FleetFault::Roll, lasts };
            fleet.insert(rng.usize(..=fleet.len()), roll);
        }
        // Of a source of its own: the other three are what they were before clocks were moved.
        let clocks = steps(&mut Rng::with_seed(!seed), within, clock_faults);
        Plan { redis, network, fleet, clocks }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  to Redis:")?;
        self.redis.iter().try_for_each(|step| writeln!(f, "    {step}"))?;
        writeln!(f, "  to the way there:")?;
        self.network.iter().try_for_each(|step| writeln!(f, "    {step}"))?;
        writeln!(f, "  to the processes:")?;
        self.fleet.iter().try_for_each(|step| writeln!(f, "    {step}"))?;
        writeln!(f, "  to the clocks:")?;
        self.clocks.iter().try_for_each(|step| writeln!(f, "    {step}"))
    }
}

impl<F: fmt::Debug> fmt::Display for Step<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "after {:?} {:?} for {:?}", self.after, self.fault, self.lasts)
    }
}

/// Every kind comes once before one comes again.
fn steps<F>(rng: &mut Rng, within: Duration, kinds: fn(&mut Rng) -> Vec<F>) -> Vec<Step<F>> {
    let (mut steps, mut at, mut deck) = (Vec::new(), Duration::ZERO, Vec::new());
    loop {
        let after = Duration::from_millis(rng.u64(100..3000));
        if at + after >= within {
            return steps;
        }
        if deck.is_empty() {
            deck = kinds(rng);
            rng.shuffle(&mut deck);
        }
        let fault = deck.pop().expect("there are kinds");
        // Most are about as long as what they have to be longer than, some far longer.
        let longest = if rng.u8(..8) == 0 { within / 4 } else { 2 * LEASE };
        let lasts = Duration::from_millis(rng.u64(50..longest.as_millis() as u64));
        at += after + lasts;
        steps.push(Step { after, fault, lasts });
    }
}

fn redis_faults(rng: &mut Rng) -> Vec<RedisFault> {
    vec![
        RedisFault::Crash,
        RedisFault::Freeze,
        RedisFault::Kill(":"),
        RedisFault::Kill(":shared:"),
        RedisFault::Kill(":subscriber:"),
        RedisFault::KillOne(rng.usize(..100)),
        RedisFault::Pause("ALL"),
        RedisFault::Pause("WRITE"),
        RedisFault::MaxClients(3),
        RedisFault::NoMemory,
        RedisFault::SmallBuffers,
        RedisFault::NoScripts,
        RedisFault::Flush,
        RedisFault::Failover,
    ]
}

fn network_faults(_: &mut Rng) -> Vec<NetworkFault> {
    const BOTH: &[Direction] = &[Direction::ToServer, Direction::ToClient];
    vec![
        NetworkFault::Silence(BOTH),
        NetworkFault::Silence(&BOTH[..1]),
        NetworkFault::Silence(&BOTH[1..]),
        NetworkFault::Delay(30),
        NetworkFault::Delay(200),
        NetworkFault::Reset,
        NetworkFault::Close,
        NetworkFault::HalfClose(Direction::ToServer),
        NetworkFault::HalfClose(Direction::ToClient),
        NetworkFault::Refuse,
    ]
}

/// The first server and the first worker are never killed, so that what leaks a little with every
/// fault has somewhere to add up.
fn fleet_faults(rng: &mut Rng) -> Vec<FleetFault> {
    let all: Vec<_> = Place::all().collect();
    let killed: Vec<_> = all.iter().copied().filter(|place| !place.is_elder()).collect();
    let mut one = |of: &[Place]| *rng.choice(of).expect("a fleet has places");
    vec![
        FleetFault::Kill(one(&killed)),
        FleetFault::Freeze(one(&all)),
        FleetFault::Freeze(one(&all)),
    ]
}

/// Leases, retries and schedules wait by the clock of Redis: one that went back by more than a few
/// seconds would have them wait for longer than a round has patience. No process counts on its own.
fn clock_faults(rng: &mut Rng) -> Vec<ClockFault> {
    const HOUR: i64 = 3_600_000;
    let all: Vec<_> = Place::all().collect();
    let mut one = || Whose::Process(*rng.choice(&all).expect("a fleet has places"));
    let (ahead, behind) = (one(), one());
    vec![
        ClockFault { whose: Whose::Redis, ms: rng.i64(100..2500) },
        ClockFault { whose: Whose::Redis, ms: -rng.i64(100..2500) },
        ClockFault { whose: ahead, ms: HOUR },
        ClockFault { whose: behind, ms: -HOUR },
    ]
}

#[cfg(test)]
mod tests {
    use std::mem::discriminant;

    use super::*;

    #[test]
    fn a_seed_is_a_plan_and_another_seed_another() {
        assert_eq!(Plan::draw(7, 60), Plan::draw(7, 60));
        assert_ne!(Plan::draw(7, 60), Plan::draw(8, 60));
    }

    #[test]
    fn a_long_plan_has_every_kind_of_fault() {
        let plan = Plan::draw(2, 300);
        let rng = &mut Rng::with_seed(0);
        has_all(&plan.redis, redis_faults(rng));
        has_all(&plan.network, network_faults(rng));
        has_all(&plan.fleet, fleet_faults(rng));
        assert!(plan.fleet.iter().any(|step| step.fault == FleetFault::Roll));
    }

    fn has_all<F: fmt::Debug>(steps: &[Step<F>], kinds: Vec<F>) {
        for kind in kinds {
            let same = |step: &Step<F>| discriminant(&step.fault) == discriminant(&kind);
            assert!(steps.iter().any(same), "{kind:?}");
        }
    }
}
