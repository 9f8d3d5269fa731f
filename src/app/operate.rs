//! `trunkline queue`: one connection, one order, and what came of it.
//!
//! It speaks to Redis and to no server: over HTTP nobody is asked who they are.

use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Value, json};

use super::daemon::Refusal;
use super::links::{self, dialled};
use super::signals::Signals;
use super::terminal::{harmless, warn};
use super::tool::say;
use crate::config::{EXIT_BAD_CONFIGURATION, Operate, Order, Which, fault_report};
use crate::conn::{Budget, Owner, Sent};
use crate::model::{Component, rfc3339};
use crate::queue::{Deed, Depths, Fate, Inspector, Keys, Letter, Letters, Sweep};

/// The answer of a script that moves many letters takes longer than a daemon would wait.
const LEAST_PATIENCE: Duration = Duration::from_secs(5);

/// It was done.
const DONE: u8 = 0;
/// It was not done, or not with all that was named.
const NOT_ALL: u8 = 1;

/// Does what it was told. A signal ends it; what Redis was told by then is done.
pub(super) async fn run(told: Operate) -> Result<u8, String> {
    let options = links::of_tool(&told.redis, &told.namespace, "queue", LEAST_PATIENCE);
    let options = match options {
        Ok(options) => options,
        Err(Refusal::Settings(faults) | Refusal::Unavailable(faults)) => {
            warn(&fault_report(Component::Tool, &faults));
            return Ok(EXIT_BAD_CONFIGURATION);
        }
    };
    let owner = Owner::new(options, &Budget::of(Component::Tool)).map_err(|it| it.to_string())?;
    let mut signals = Signals::catch().map_err(|error| error.to_string())?;
    let operating = async {
        let unreachable = |reason| {
            format!("{} cannot be used: {reason}; see `trunkline doctor`", told.redis.endpoint)
        };
        dialled(&owner).await.map_err(unreachable)?;
        obey(&owner, &told).await
    };
    let done = tokio::select! {
        done = operating => done,
        _ = signals.next() => Err("interrupted".to_owned()),
    };
    owner.close(links::GOODBYE).await;
    done
}

async fn obey(owner: &Owner, told: &Operate) -> Result<u8, String> {
    let keys = Keys::new(told.namespace.as_str(), told.queue.name.as_str());
    let letters = Letters::new(owner.shared(), keys.clone());
    let requeue = Deed::Requeue { critical: told.queue.critical };
    match &told.order {
        Order::Status => {
            let inspector = Inspector::new(owner.shared(), keys, links::thresholds(&told.queue));
            let depths = inspector.look().await.map_err(failed)?;
            say(&status(&depths, told.queue.name.as_str(), told.json))?;
        }
        Order::List(limit) => {
            for letter in letters.newest(*limit).await.map_err(failed)? {
                let line = if told.json { summary(&letter).to_string() } else { line(&letter) };
                if !say(&line)? {
                    break;
                }
            }
        }
        Order::Show(id) => match letters.one(id).await.map_err(failed)? {
            Some(letter) if told.json => drop(say(&whole(&letter).to_string())?),
            Some(letter) => drop(say(&page(&letter))?),
            None => {
                warn(&unlike(id, Fate::Missing));
                return Ok(NOT_ALL);
            }
        },
        Order::Requeue(which) => return sweep(&letters, requeue, which, told.json).await,
        Order::Delete(which) => return sweep(&letters, Deed::Delete, which, told.json).await,
    }
    Ok(DONE)
}

/// Does it with the letters, and says with how many. Those with which it was not done are named.
async fn sweep(letters: &Letters, deed: Deed, which: &Which, json: bool) -> Result<u8, String> {
    let mut so_far = Sweep::default();
    let (done, refused) = match which {
        Which::These(ids) => {
            let fates = letters.each(deed, ids).await.map_err(failed)?;
            let refused = ids.iter().zip(fates).filter(|(_, fate)| *fate != Fate::Done);
            let refused: Vec<String> = refused.map(|(id, fate)| unlike(id, fate)).collect();
            ((ids.len() - refused.len()) as u64, refused)
        }
        Which::All => {
            let swept = letters.all(deed, |sweep| so_far = sweep).await;
            let swept = swept.map_err(|error| {
                format!("{}; {} before that", failed(error), told_of(deed, so_far.done))
            })?;
            let mut refused = Vec::new();
            if swept.no_job > 0 {
                refused.push(format!("{} of them carry no job and stay", swept.no_job));
            }
            if swept.full {
                refused.push(format!("the rest stays: {FULL}"));
            }
            (swept.done, refused)
        }
    };
    for words in &refused {
        warn(words);
    }
    let name = if deed == Deed::Delete { "deleted" } else { "requeued" };
    say(&if json { json!({ name: done }).to_string() } else { told_of(deed, done) })?;
    Ok(if refused.is_empty() { DONE } else { NOT_ALL })
}

const FULL: &str = "the queue has reached its critical threshold; wait for the workers";

/// Why it was not done with a letter.
fn unlike(id: &str, fate: Fate) -> String {
    match fate {
        Fate::Full => format!("{id}: {FULL}"),
        Fate::NoJob => format!("{id}: carries no job that could be done; it stays"),
        Fate::Missing | Fate::Done => {
            format!("{id}: there is no such dead letter; it went back or was deleted, or never was")
        }
    }
}

fn told_of(deed: Deed, done: u64) -> String {
    let what = if done == 1 { "dead letter" } else { "dead letters" };
    match deed {
        Deed::Delete => format!("{done} {what} deleted"),
        Deed::Requeue { .. } => format!("{done} {what} put back into the queue"),
    }
}

/// What went wrong, and whether it may have been done all the same.
fn failed(error: crate::conn::Error) -> String {
    match error.sent() {
        Sent::No => error.to_string(),
        _ => format!("{error}; look with `trunkline queue dead list` before it is repeated"),
    }
}

fn status(depths: &Depths, queue: &str, json: bool) -> String {
    let Depths { waiting, active, delayed, blocked, dead, oldest, full } = *depths;
    if json {
        let oldest = oldest.as_secs_f64();
        return json!({ "queue": queue, "waiting": waiting, "active": active, "delayed": delayed,
            "blocked": blocked, "dead": dead, "oldest_job_age_seconds": oldest, "full": full })
        .to_string();
    }
    let full = if full { "yes: events are refused as queue-full" } else { "no" };
    let age = humantime::format_duration(Duration::from_secs(oldest.as_secs()));
    format!(
        "queue       {queue}\nwaiting     {waiting}\nactive      {active}\ndelayed     {delayed}\nblocked     {blocked}\n\
         dead        {dead}\noldest job  {age}\nfull        {full}"
    )
}

/// A letter without its body.
fn summary(letter: &Letter) -> Value {
    let number = |name| letter.text(name).parse::<u64>().ok();
    json!({
        "id": letter.id,
        "buried_at": number("buried_at").map(time),
        "job": letter.text("id"),
        "job_type": letter.text("type"),
        "reason": letter.text("reason"),
        "detail": letter.text("detail"),
        "attempt": number("attempt"),
        "delivered": number("delivered"),
        "history": history(letter),
    })
}

/// A letter with everything it carries. A body that is not JSON is shown as text.
fn whole(letter: &Letter) -> Value {
    let mut document = summary(letter);
    let body = letter.text("body");
    document["body"] = serde_json::from_str(&body).unwrap_or(Value::String(body));
    document["traceparent"] = letter.text("traceparent").into();
    document
}

/// Why the job of a letter died before, the oldest first.
fn history(letter: &Letter) -> Vec<Value> {
    let deaths = letter.text("history");
    let read = |line: &str| {
        let mut words = line.splitn(3, ' ');
        let at = words.next().and_then(|it| it.parse().ok()).map(time);
        let (reason, detail) = (words.next(), words.next());
        json!({ "buried_at": at, "reason": reason, "detail": detail })
    };
    deaths.lines().map(read).collect()
}

/// A letter in one line. Whoever posts events wrote parts of it, so nothing in it can steer the
/// terminal.
fn line(letter: &Letter) -> String {
    let at = letter.text("buried_at").parse().map(time).unwrap_or_default();
    let (job, reason, detail) = (letter.text("id"), letter.text("reason"), letter.text("detail"));
    harmless(&format!("{}  {at}  {job}  {reason}: {detail}", letter.id))
}

/// A letter for people, a line for each field.
fn page(letter: &Letter) -> String {
    let mut lines = vec![format!("{:<12}{}", "letter", letter.id)];
    for (name, value) in &letter.fields {
        for value in String::from_utf8_lossy(value).lines() {
            lines.push(harmless(&format!("{name:<12}{value}")));
        }
    }
    lines.join("\n")
}

fn time(millis: u64) -> String {
    // The end of the year 9999: another hand may have written any number.
    const LAST: u64 = 253_402_300_799_999;
    rfc3339(UNIX_EPOCH + Duration::from_millis(millis.min(LAST)))
}
