//! What can happen, one struct each; one file per path.
//!
//! A name is a noun and a past participle; `emit(self)` is the only place that counts and
//! logs. Each label is read once and feeds the metric and the log line alike.
//!
//! What is logged:
//! - an outage once when it begins (warn) and once when it ends (info, with how long, how
//!   many dials and how many commands were refused meanwhile), never once per message;
//! - a fault that can come at any rate at most once in ten seconds for each reason, with
//!   `suppressed` saying how many it stands for;
//! - what goes well on a hot path never.
//!
//! A payload, a credential or a channel name is never part of an event.

pub mod audit;
#[cfg(feature = "bridge")]
pub mod client;
pub mod command;
pub mod connection;
#[cfg(feature = "bridge")]
pub mod history;
#[cfg(feature = "bridge")]
pub mod http;
#[cfg(feature = "bridge")]
pub mod job;
pub mod process;
pub mod publish;
#[cfg(feature = "bridge")]
pub mod queue;
#[cfg(feature = "bridge")]
pub mod schedule;
pub mod subscriber;
pub mod wakeup;

use std::time::{SystemTime, UNIX_EPOCH};

/// Now, as a gauge of Unix seconds wants it.
pub(super) fn unix_seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

#[cfg(test)]
#[cfg(feature = "bridge")]
mod tests {
    use std::collections::HashMap;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use tracing::field::{Field, Visit};
    use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

    use crate::model::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<HashMap<&'static str, String>>>>);

    impl<S: tracing::Subscriber> Layer<S> for Lines {
        fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
            let mut line = Line(HashMap::from([("level", event.metadata().level().to_string())]));
            event.record(&mut line);
            self.0.lock().unwrap().push(line.0);
        }
    }

    struct Line(HashMap<&'static str, String>);

    impl Visit for Line {
        fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
            self.0.insert(field.name(), format!("{value:?}").trim_matches('"').to_owned());
        }
    }

    fn lines(emit: impl FnOnce()) -> Vec<HashMap<&'static str, String>> {
        let lines = Lines::default();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(lines.clone()), emit);
        lines.0.lock().unwrap().split_off(0)
    }

    #[test]
    fn a_failed_dial_is_a_warning_only_where_the_supervisor_says_so() {
        let dial = |log| super::connection::DialFailed {
            role: Role::Shared,
            generation: 3,
            failure: ConnectFailure::NotMaster,
            detail: "ROLE said slave",
            elapsed: Duration::from_millis(250),
            log,
        };
        let said = lines(|| {
            dial(true).emit();
            dial(false).emit();
        });
        assert_eq!(said[0]["level"], "WARN");
        assert_eq!(said[1]["level"], "DEBUG");
        for line in &said {
            assert_eq!(line["role"], Role::Shared.label());
            assert_eq!(line["reason"], ConnectFailure::NotMaster.label());
            assert_eq!(line["elapsed_seconds"], "0.25");
        }
    }

    #[test]
    fn a_command_that_an_outage_refuses_is_not_a_line_of_its_own() {
        let refuse = |failure| super::command::CommandRefused { command: Command::Get, failure };
        let said = lines(|| {
            for _ in 0..100 {
                refuse(CommandFailure::NotReady).emit();
                refuse(CommandFailure::Denied).emit();
            }
        });
        let warnings: Vec<_> = said.iter().filter(|line| line["level"] == "WARN").collect();
        assert_eq!(warnings.len(), 1);
        assert_eq!(warnings[0]["reason"], CommandFailure::Denied.label());
        assert_eq!(warnings[0]["command"], Command::Get.label());
    }

    #[test]
    fn a_drain_is_not_a_warning_and_a_lost_connection_is() {
        let change = |missing| super::process::ReadinessChanged { ready: false, missing };
        let said = lines(|| {
            change(&[Check::Drain]).emit();
            change(&[Check::Shared, Check::Probe]).emit();
        });
        assert_eq!(said[0]["level"], "INFO");
        assert_eq!(
            (said[1]["level"].as_str(), said[1]["missing"].as_str()),
            ("WARN", "shared,probe")
        );
    }
}
