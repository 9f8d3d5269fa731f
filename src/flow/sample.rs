//! Looks at the queue every few seconds, so that its depth and age are known without asking.

use std::time::Duration;

use crate::queue::{Inspector, Pressure, Thresholds};
use crate::telemetry::events::queue::{QueueFullChanged, QueueMeasured, QueueThresholdExceeded};

/// Samples for ever. While Redis does not answer, the gauges keep what was last known, and the
/// connection's own metrics say since when.
pub async fn run(inspector: Inspector, thresholds: Thresholds, every: Duration) {
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut was_full, mut was_pressed) = (false, false);
    loop {
        ticks.tick().await;
        // The failed command was counted where it was sent.
        let Ok(depths) = inspector.depths().await else { continue };
        let jobs = depths.unfinished();
        QueueMeasured {
            waiting: depths.waiting,
            active: depths.active,
            delayed: depths.delayed,
            blocked: depths.blocked,
            dead: depths.dead,
            oldest: depths.oldest,
            full: depths.full,
        }
        .emit();
        if depths.full != was_full {
            QueueFullChanged { full: depths.full, jobs }.emit();
            was_full = depths.full;
        }
        let pressed = depths.pressure(thresholds) != Pressure::Normal;
        if pressed && !was_pressed {
            QueueThresholdExceeded { jobs, warning: thresholds.warning }.emit();
        }
        was_pressed = pressed;
    }
}
