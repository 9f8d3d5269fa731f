//! How long each step of an orderly end may take.

use std::time::Duration;

/// Requests and jobs in flight may finish for this long.
pub(super) const IN_FLIGHT: Duration = Duration::from_secs(20);
/// Clients that were told goodbye have this long to hear it.
pub(super) const GOODBYE: Duration = Duration::from_secs(2);
/// Commands on the shared connection may be answered for this long before it is closed.
pub(super) const COMMANDS: Duration = Duration::from_secs(1);
