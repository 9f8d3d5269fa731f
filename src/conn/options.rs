//! What a connection needs to know before it is dialled.

use std::time::Duration;

use super::backoff::Limits;
#[cfg(feature = "tls")]
use super::tls::Tls;
use crate::model::{Fault, RedisEndpoint, Role, Secret, Target};

/// The longest part of a name: what the programs' `--instance` allows (a DNS label), a hyphen
/// and the suffix of 16 digits that is added to it.
const LONGEST_PART: usize = 63 + 1 + 16;

/// What [`Owner::new`](super::Owner::new) needs. The place and the name are asked for, the rest
/// has the defaults of `docs/configuration.md`; set a field to change one.
///
/// ```
/// use std::time::Duration;
/// use trunkline::conn::Options;
///
/// let mut options = Options::from_url("redis://app:secret@redis.internal/2", "shop", "checkout")?;
/// options.instance = "pod-7".into();
/// options.command_timeout = Duration::from_millis(250);
/// assert_eq!((options.username.as_deref(), options.db), (Some("app"), 2));
/// # Ok::<(), trunkline::model::Fault>(())
/// ```
///
/// In Redis' `CLIENT LIST` the connections are then `shop:checkout:pod-7:shared:1` and
/// `shop:checkout:pod-7:subscriber:1`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// Where Redis is.
    pub target: Target,
    /// Encryption; `None` is plain.
    #[cfg(feature = "tls")]
    pub tls: Option<Tls>,
    /// ACL user; `None` is the default user.
    pub username: Option<String>,
    /// Its password.
    pub password: Option<Secret>,
    /// Logical database. It does not isolate pub/sub: use namespaces.
    pub db: i64,
    /// First part of every connection name, and of the channels of
    /// [`Subscriber`](super::Subscriber). Like `component` and `instance` it is made of `a-z`,
    /// `0-9` and `-`.
    pub namespace: String,
    /// Which program this is, within the namespace.
    pub component: String,
    /// Unique to this start of this process; 64 random bits unless it is set.
    pub instance: String,
    /// How long a command may take. Afterwards its outcome is unknown.
    pub command_timeout: Duration,
    /// How long a dial may take: DNS, TCP, TLS, HELLO and the ready check.
    pub connect_timeout: Duration,
    /// The waits between dials: more than nothing, and `max` at least `min`.
    pub backoff: Limits,
    /// Commands that may wait for their answers; one more fails at once as overloaded.
    pub max_in_flight: usize,
    /// Largest payload of a publish, in bytes.
    pub max_payload: usize,
    /// Received messages that may wait for [`Messages::next`](super::Messages::next); one more
    /// is dropped and counted.
    pub hand_off: usize,
    /// How often the process probes its own receive path and the fleet's control channel;
    /// `None`: never, which is for services that are no part of the fleet.
    pub probe_interval: Option<Duration>,
    /// How often the process compares its connections with what the kernel and Redis see, give or
    /// take a fifth; `None`: never. It counts every socket of the process to the Redis that was
    /// dialled, so it is for processes that have no other client of that Redis. With it the
    /// process is one of a fleet: whatever has the same namespace, the tool apart.
    pub audit_interval: Option<Duration>,
    /// How often the process leaves a sign of life in Redis, where it audits. One that leaves none
    /// for three of these counts as dead.
    pub heartbeat_interval: Duration,
    /// Keys whose changes this process wants to hear of; see
    /// [`Shared::signal`](super::Shared::signal).
    pub signals: Vec<String>,
    /// Whether a replica will do: for who only looks. Everybody else is to work with a master.
    pub(crate) any_role: bool,
}

impl Options {
    /// Defaults for everything but the place and the name. `namespace` is what belongs together,
    /// e.g. `shop`; `component` is this program within it, e.g. `checkout`.
    pub fn new(target: Target, namespace: impl AsRef<str>, component: impl AsRef<str>) -> Self {
        Self {
            target,
            #[cfg(feature = "tls")]
            tls: None,
            username: None,
            password: None,
            db: 0,
            namespace: namespace.as_ref().to_owned(),
            component: component.as_ref().to_owned(),
            instance: format!("{:016x}", fastrand::u64(..)),
            command_timeout: Duration::from_millis(500),
            connect_timeout: Duration::from_secs(1),
            backoff: Limits { min: Duration::from_millis(50), max: Duration::from_secs(2) },
            max_in_flight: 4096,
            max_payload: 64 * 1024,
            hand_off: 8192,
            probe_interval: None,
            audit_interval: None,
            heartbeat_interval: Duration::from_secs(15),
            signals: Vec::new(),
            any_role: false,
        }
    }

    /// The same for what a URL says: `redis://user:password@host:6379/0`, `rediss://…` for TLS
    /// that trusts the system's authorities, or `redis+unix:///run/redis.sock?db=0`. Every
    /// character of a password beyond letters and digits is percent-encoded.
    ///
    /// # Errors
    /// A [`Fault`] at `url` that says what to write instead, and never repeats what was given.
    /// So it is with `rediss://` where the feature `tls` is off or the system has no authority.
    pub fn from_url(
        url: &str,
        namespace: impl AsRef<str>,
        component: impl AsRef<str>,
    ) -> Result<Self, Fault> {
        let endpoint: RedisEndpoint = url.parse()?;
        Ok(Self {
            #[cfg(feature = "tls")]
            tls: endpoint.tls.as_ref().map(system_tls).transpose()?,
            username: endpoint.username,
            password: endpoint.password,
            db: i64::from(endpoint.db),
            ..Self::new(
                plain_or_tls(endpoint.target, endpoint.tls.is_some())?,
                namespace,
                component,
            )
        })
    }

    /// Everything that no connection could work with.
    pub(super) fn faults(&self) -> Vec<Fault> {
        let parts = [
            ("namespace", &self.namespace),
            ("component", &self.component),
            ("instance", &self.instance),
        ];
        let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let named = parts.into_iter().filter_map(|(field, part)| {
            let fits = (1..=LONGEST_PART).contains(&part.len()) && part.chars().all(legal);
            let advice = || {
                format!("{part:?} is no part of a name: use a-z, 0-9 and -, at most {LONGEST_PART}")
            };
            (!fits).then(|| fault(field, advice()))
        });
        let positive = [
            ("command_timeout", !self.command_timeout.is_zero()),
            ("connect_timeout", !self.connect_timeout.is_zero()),
            // Without a wait a Redis that refuses would be dialled as fast as the kernel can.
            ("backoff.min", !self.backoff.min.is_zero()),
            ("max_in_flight", self.max_in_flight > 0),
            ("hand_off", self.hand_off > 0),
            ("probe_interval", self.probe_interval.is_none_or(|interval| !interval.is_zero())),
            ("audit_interval", self.audit_interval.is_none_or(|interval| !interval.is_zero())),
            ("heartbeat_interval", !self.heartbeat_interval.is_zero()),
        ];
        let zero = positive.into_iter().filter(|(_, holds)| !holds);
        let zero = zero.map(|(field, _)| fault(field, "is zero; it has to be more"));
        let inverted = (self.backoff.max < self.backoff.min)
            .then(|| fault("backoff.max", "is less than backoff.min; it has to be at least that"));
        named.chain(zero).chain(inverted).collect()
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

    /// The key that is there while the process of that name gives signs of life.
    pub fn heartbeat_key(&self, instance: &str) -> String {
        format!("{}:alive:{{{instance}}}", self.namespace)
    }

    /// The key that holds the name of the process which audits for the whole fleet.
    pub fn audit_key(&self) -> String {
        format!("{}:audit:{{fleet}}", self.namespace)
    }

    /// The Redis channel of a notification channel, or the start of one for a prefix: what
    /// [`Subscriber`](super::Subscriber) listens to for a [`Subscription`](crate::model::Subscription).
    pub fn notify_channel(&self, channel: &str) -> String {
        format!("{}:notify:{channel}", self.namespace)
    }
}

#[cfg(feature = "tls")]
fn system_tls(_: &crate::model::TlsOptions) -> Result<Tls, Fault> {
    Tls::new(None, None).map_err(|error| fault("url", format!("asks for TLS: {error}")))
}

/// The target, unless the URL wants what this build cannot do: never plain where TLS was asked for.
fn plain_or_tls(target: Target, tls: bool) -> Result<Target, Fault> {
    match tls && cfg!(not(feature = "tls")) {
        true => Err(fault("url", "asks for TLS, which needs trunkline's feature `tls`")),
        false => Ok(target),
    }
}

fn fault(path: &str, message: impl Into<String>) -> Fault {
    Fault { path: path.to_owned(), message: message.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_gives_place_and_credentials_and_every_start_a_name_of_its_own() {
        let read = |url| Options::from_url(url, "shop", "checkout");
        let options = read("redis://app:p%40ss@[::1]:7000/3").unwrap();
        assert_eq!(options.target, Target::Tcp { host: "::1".into(), port: 7000 });
        assert_eq!((options.username.as_deref(), options.db), (Some("app"), 3));
        assert_eq!(options.password.as_ref().map(Secret::expose), Some("p@ss"));
        assert_ne!(options.instance, read("redis://h").unwrap().instance);
        assert_eq!(options.faults(), []);
    }

    #[test]
    fn all_that_is_wrong_is_said_at_once_and_a_password_never() {
        let fault = Options::from_url("redis://hunter2@h", "shop", "checkout").unwrap_err();
        assert!(fault.path == "url" && !fault.to_string().contains("hunter2"), "{fault}");

        let mut options = Options::from_url("redis://h", "my shop", "").unwrap();
        (options.hand_off, options.connect_timeout) = (0, Duration::ZERO);
        let paths: Vec<_> = options.faults().into_iter().map(|fault| fault.path).collect();
        assert_eq!(paths, ["namespace", "component", "connect_timeout", "hand_off"]);

        let mut options = Options::from_url("redis://h", "shop", "checkout").unwrap();
        options.backoff = Limits { min: Duration::ZERO, max: Duration::ZERO };
        assert_eq!(options.faults()[0].path, "backoff.min");
        options.backoff.min = Duration::from_millis(1);
        assert_eq!(options.faults()[0].path, "backoff.max");
    }

    #[cfg(not(feature = "tls"))]
    #[test]
    fn a_build_without_tls_does_not_fall_back_to_plain() {
        let fault = Options::from_url("rediss://h", "shop", "checkout").unwrap_err();
        assert!(fault.message.contains("feature `tls`"), "{fault}");
    }
}
