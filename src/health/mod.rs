//! Whether this process is ready for work, and whether it still moves at all.

mod audit;
mod monitor;
mod progress;
mod report;
mod verdict;

pub use monitor::Monitor;
pub use progress::{Heartbeat, Progress, Stalled};
pub use report::{Report, started};
pub use verdict::{Facts, GRACE, ProbeFacts, Readiness, SubscriptionFacts, missing, verdict};
