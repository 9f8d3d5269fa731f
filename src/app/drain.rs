//! How long each step of an orderly end may take.

use std::time::Duration;

/// Requests and jobs in flight may finish for this long, and clients hear their goodbye.
pub(super) const IN_FLIGHT: Duration = Duration::from_secs(20);
/// Commands on the shared connection may be answered for this long before it is closed.
pub(super) const COMMANDS: Duration = Duration::from_secs(1);
/// The admin listener may finish its last answers for this long.
pub(super) const ADMIN: Duration = Duration::from_secs(2);
/// The last spans may leave for this long.
pub(super) const SPANS: Duration = Duration::from_secs(2);
/// A daemon has ended by then: the steps above, the jobs a worker hands back, and a little.
/// Below the 30 seconds that Kubernetes grants.
pub(super) const WHOLE: Duration = Duration::from_secs(28);
