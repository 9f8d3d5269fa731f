//! How this process learns that a key has changed.

use tracing::info;

use crate::model::{Label, WakeupMode};
use crate::telemetry::catalogue::*;

/// A worker learns of new jobs in another way than before.
pub struct WakeupModeChanged {
    /// The way from now on.
    pub mode: WakeupMode,
}

impl WakeupModeChanged {
    /// Shows and logs it.
    pub fn emit(self) {
        for mode in WakeupMode::ALL {
            WAKEUP_MODE.at(*mode).set(f64::from(*mode == self.mode));
        }
        info!(mode = self.mode.label(), "way of learning of new jobs changed");
    }
}
