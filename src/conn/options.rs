//! What a connection needs to know before it is dialled.

use std::path::PathBuf;
use std::time::Duration;

use super::backoff::Limits;
use super::tls::Tls;
use crate::model::{Component, Role, Secret};

/// Where Redis is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A host name or address, resolved again at every dial, and a port.
    Tcp {
        /// Name or address.
        host: String,
        /// Port.
        port: u16,
    },
    /// A unix socket.
    Unix(PathBuf),
}

/// What [`super::Owner::new`] needs; [`Options::new`] gives the defaults of `docs/configuration.md`.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where Redis is.
    pub target: Target,
    /// Encryption; `None` is plain.
    pub tls: Option<Tls>,
    /// ACL user; `None` is the default user.
    pub username: Option<String>,
    /// Its password.
    pub password: Option<Secret>,
    /// Logical database. It does not isolate pub/sub: use namespaces.
    pub db: i64,
    /// First part of every key, channel and connection name.
    pub namespace: String,
    /// Which program this is.
    pub component: Component,
    /// Unique to this start of this process.
    pub instance: String,
    /// How long a command may take. Afterwards its outcome is unknown.
    pub command_timeout: Duration,
    /// How long a dial may take: DNS, TCP, TLS, HELLO and the ready check.
    pub connect_timeout: Duration,
    /// The waits between dials.
    pub backoff: Limits,
    /// Commands that may wait for their answers; one more fails at once as overloaded.
    pub max_in_flight: usize,
    /// Largest payload of a publish, in bytes.
    pub max_payload: usize,
    /// Received messages that may wait for [`super::Messages::next`]; one more is dropped and counted.
    pub hand_off: usize,
    /// How often the process probes its own receive path and the fleet's control channel;
    /// `None`: never, which is for services that are no part of the fleet.
    pub probe_interval: Option<Duration>,
    /// Keys whose changes this process wants to hear of; see [`super::Shared::signal`].
    pub signals: Vec<String>,
}

impl Options {
    /// Defaults for everything but the place and the name.
    pub fn new(target: Target, namespace: &str, component: Component, instance: &str) -> Self {
        Self {
            target,
            tls: None,
            username: None,
            password: None,
            db: 0,
            namespace: namespace.to_owned(),
            component,
            instance: instance.to_owned(),
            command_timeout: Duration::from_millis(500),
            connect_timeout: Duration::from_secs(1),
            backoff: Limits { min: Duration::from_millis(50), max: Duration::from_secs(2) },
            max_in_flight: 4096,
            max_payload: 64 * 1024,
            hand_off: 8192,
            probe_interval: None,
            signals: Vec::new(),
        }
    }

    /// The name Redis shows for a connection: `<namespace>:<component>:<instance>:<role>:<generation>`.
    pub fn connection_name(&self, role: Role, generation: u64) -> String {
        let Self { namespace, component, instance, .. } = self;
        format!("{namespace}:{component}:{instance}:{role}:{generation}")
    }

    /// The channel a server probes its own receive path on.
    pub fn probe_channel(&self) -> String {
        format!("{}:probe:{}", self.namespace, self.instance)
    }

    /// The fleet's channel: every server listens, every process probes it.
    pub fn control_channel(&self) -> String {
        format!("{}:ctl", self.namespace)
    }

    /// The Redis channel of a notification channel, or the start of one for a prefix.
    pub fn notify_channel(&self, channel: &str) -> String {
        format!("{}:notify:{channel}", self.namespace)
    }
}
