//! `trunkline doctor`: one connection, a look around, and words.
//!
//! [`facts`] asks everything, the other files make findings of it without asking: each check is a
//! pure function. [`report`] brings them together, [`text`] and its document say them.

mod facts;
mod finding;
mod fleet;
mod place;
mod queue;
mod reach;
mod report;
mod rights;
mod screen;
mod server;
mod status;
mod text;

use std::time::Duration;

use self::facts::Facts;
use self::place::Place;
use self::report::Report;
use self::screen::Screen;
use super::daemon::Refusal;
use super::links;
use super::signals::Signals;
use crate::config::{Doctor, EXIT_BAD_CONFIGURATION, fault_report};
use crate::conn::{Budget, Options, Owner};
use crate::model::Component;

/// Some answers, such as that of CLIENT LIST, are long.
const LEAST_PATIENCE: Duration = Duration::from_secs(2);

/// Looks once, or until a signal with `--watch`. Gives the exit code of the last look.
pub(super) async fn run(told: Doctor) -> Result<u8, String> {
    let options = match options(&told) {
        Ok(options) => options,
        Err(Refusal::Settings(faults) | Refusal::Unavailable(faults)) => {
            super::terminal::warn(&fault_report(Component::Tool, &faults));
            return Ok(EXIT_BAD_CONFIGURATION);
        }
    };
    let owner = Owner::new(options, &Budget::of(Component::Tool)).map_err(|it| it.to_string())?;
    let mut signals = Signals::catch().map_err(|error| error.to_string())?;
    let mut place = Place::new(&told);
    let mut screen = Screen::new(told.json, told.watch.is_some());
    let mut exit = report::NOT_LOOKED;
    let looking = async {
        loop {
            let facts = Facts::gather(&owner, &told, &mut place).await;
            let report = Report::new(&facts, &told, &place);
            exit = report.exit();
            if !screen.show(&report)? {
                return Ok(());
            }
            let Some(interval) = told.watch else { return Ok(()) };
            tokio::time::sleep(interval).await;
        }
    };
    let looked = tokio::select! {
        looked = looking => looked,
        // Whoever watches has seen enough.
        _ = signals.next() => Ok(()),
    };
    drop(screen);
    owner.close(links::GOODBYE).await;
    looked.map(|()| exit)
}

fn options(told: &Doctor) -> Result<Options, Refusal> {
    let mut options = links::of_tool(&told.redis, &told.namespace, "doctor", LEAST_PATIENCE)?;
    options.heartbeat_interval = told.heartbeat_interval;
    options.any_role = true;
    Ok(options)
}
