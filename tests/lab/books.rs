//! What was said to the fleet and what it answered, and how many times what was heard.

use std::collections::HashMap;

use serde_json::Value;
use trunkline::model::{Position, chain_notification_id};

/// The source of every event of the laboratory.
pub const SOURCE: &str = "/lab";
/// The type of its events, and the id of the chain that tells of them.
pub const CHAIN: &str = "lab";
/// The one node of that chain.
pub const NODE: &str = "tell";
/// How many callers post events, and as many publish.
pub const CALLERS: u8 = 2;

/// What a notification tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum What {
    /// The event with this number, which went through queue and chain.
    Event(u64),
    /// The notification with this number that this caller published itself, past the queue.
    Direct(u8, u64),
}

impl What {
    /// Reads a notification; `Err` says what is wrong with it.
    pub fn of(notification: &Value) -> Result<What, String> {
        let text = |name: &str| notification[name].as_str().unwrap_or_default();
        let number = notification["data"]["number"].as_u64();
        let channel = text("subject").split('.').collect::<Vec<_>>();
        match (&channel[..], number) {
            (["lab", "events", _], Some(number)) => {
                let id = chain_notification_id(SOURCE, &number.to_string(), CHAIN, NODE);
                if text("id") == id {
                    return Ok(What::Event(number));
                }
            }
            (["lab", "direct", caller], Some(number)) => {
                if let Ok(caller) = caller.parse() {
                    return Ok(What::Direct(caller, number));
                }
            }
            _ => {}
        }
        Err(format!("none of ours: {notification}"))
    }

    /// The channel that it is told on.
    pub fn channel(self) -> String {
        match self {
            What::Event(number) => format!("lab.events.{}", subject(number)),
            What::Direct(caller, _) => format!("lab.direct.{caller}"),
        }
    }
}

/// The subject of the event with this number; its channel ends in it.
pub fn subject(number: u64) -> &'static str {
    ["a", "b", "c"][(number % 3) as usize]
}

/// The key of the event with this number, if it has one: every tenth of a caller, which is its key
/// and posts each only after the one before was answered.
pub fn key(number: u64) -> Option<u64> {
    let callers = u64::from(CALLERS);
    (number / callers).is_multiple_of(10).then_some(number % callers)
}

/// What the last answer said of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// 202 or 200: it must come.
    Accepted,
    /// 503, and nothing was sent: it must not come.
    Refused,
    /// Nobody knows: it may come.
    Unknown,
}

/// Everything that was said in one round.
#[derive(Default)]
pub struct Books {
    /// By what was said.
    pub fates: HashMap<What, Fate>,
    /// What was said since all faults had ended and every process was ready again.
    pub calm: Option<Vec<What>>,
    /// Answers that no fault explains.
    pub odd: Vec<String>,
}

impl Books {
    /// Enters what was answered.
    pub fn enter(&mut self, what: What, fate: Fate) {
        self.fates.insert(what, fate);
        if let Some(calm) = &mut self.calm {
            calm.push(what);
        }
    }

    /// How many were accepted.
    pub fn accepted(&self) -> usize {
        self.fates.values().filter(|&&fate| fate == Fate::Accepted).count()
    }
}

/// How many times each was published, as Redis tells it to whoever listens there.
pub type Published = HashMap<What, Times>;

/// How many times something was published. While two follow each other, nobody can say whether
/// what both have told is one or two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// At least so many times.
    pub least: u32,
    /// At most so many times.
    pub most: u32,
    /// Where it stands the first time, in the history; `None` if that is not known.
    pub first: Option<Position>,
}

impl Times {
    /// Exactly so many times.
    pub fn exactly(times: u32) -> Times {
        Times { least: times, most: times, first: None }
    }

    /// Once more, and there.
    pub fn again(&mut self, at: Option<Position>) {
        self.least += 1;
        self.most += 1;
        self.first = self.first.or(at);
    }
}
