//! Many servers and workers, each a process of its own, on one Redis.

use std::collections::BTreeSet;

use super::metrics::Page;
use super::process::{Daemon, field};

/// Servers and workers that run. Killed when dropped.
pub struct Fleet {
    /// The servers.
    pub servers: Vec<Daemon>,
    /// The workers.
    pub workers: Vec<Daemon>,
}

impl Fleet {
    /// Starts so many of each on the Redis at this URL and returns when all are ready.
    pub async fn start(redis_url: &str, servers: usize, workers: usize) -> Fleet {
        let servers = (0..servers).map(|_| Daemon::server(redis_url).start()).collect();
        let workers = (0..workers).map(|_| Daemon::worker(redis_url).start()).collect();
        let fleet = Fleet { servers, workers };
        fleet.wait_ready().await;
        fleet
    }

    /// Every process.
    pub fn all(&self) -> impl Iterator<Item = &Daemon> {
        self.servers.iter().chain(&self.workers)
    }

    /// Waits until every connection of every process is ready. `/readyz` forgives a loss for
    /// ten seconds, so it is asked what is missing, not for its verdict.
    pub async fn wait_ready(&self) {
        for daemon in self.all() {
            daemon.wait_nothing_missing().await;
        }
    }

    /// The names that the connections must have, from what each process says of itself.
    pub async fn names(&self, namespace: &str) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        for daemon in self.all() {
            let status = daemon.status().await;
            let (component, instance) = (field(&status, "component"), field(&status, "instance"));
            for connection in status["connections"].as_array().unwrap() {
                let (role, generation) = (field(connection, "role"), &connection["generation"]);
                names.insert(format!("{namespace}:{component}:{instance}:{role}:{generation}"));
            }
        }
        names
    }

    /// The sum of a metric over the pages of all processes.
    pub async fn sum(&self, metric: &str) -> f64 {
        let mut sum = 0.0;
        for daemon in self.all() {
            sum += Page::of(daemon).await.sum(metric, &[]);
        }
        sum
    }
}
