//! Which Redis: its URL, or the parts the environment gives instead.

use std::fmt;
use std::path::PathBuf;

use percent_encoding::percent_decode_str;
use url::Url;

use super::value::Value;
use crate::model::Secret;

/// The port Redis listens on unless told otherwise.
pub(super) const DEFAULT_PORT: u16 = 6379;
/// The longest path a Unix socket can have on Linux: `sun_path` without its final zero.
const LONGEST_SOCKET_PATH: usize = 107;

/// Where Redis listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedisTarget {
    /// A host and a port.
    Tcp {
        /// A name, an IPv4 address, or an IPv6 address without brackets.
        host: String,
        /// The port.
        port: u16,
    },
    /// The path of a Unix socket.
    Unix(PathBuf),
}

/// Which Redis, and as whom. `Display` gives its URL with the password as `***`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisEndpoint {
    /// Where it listens.
    pub target: RedisTarget,
    /// How the link is encrypted; `None` is plain text.
    pub tls: Option<TlsOptions>,
    /// The ACL user; `None` is the user `default`.
    pub username: Option<String>,
    /// The password; `None` sends no credentials.
    pub password: Option<Secret>,
    /// The logical database.
    pub db: u32,
}

/// How a TLS link is made. The certificate of Redis is always verified.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsOptions {
    /// PEM file of the authorities to trust; `None` trusts those of the system.
    pub ca_file: Option<PathBuf>,
    /// Our own certificate.
    pub client: Option<ClientCertificate>,
}

/// The certificate this process shows to Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// PEM file of the certificate chain.
    pub cert_file: PathBuf,
    /// PEM file of the private key.
    pub key_file: PathBuf,
}

impl RedisEndpoint {
    /// The server of this machine, without credentials.
    pub(super) fn local() -> Self {
        Self {
            target: RedisTarget::Tcp { host: "127.0.0.1".into(), port: DEFAULT_PORT },
            tls: None,
            username: None,
            password: None,
            db: 0,
        }
    }

    fn from_tcp_url(url: &Url, tls: bool) -> Result<Self, String> {
        let host = match url.host() {
            Some(url::Host::Ipv6(address)) => address.to_string(),
            Some(host) if !host.to_string().is_empty() => host.to_string(),
            _ => return Err("has no host; write redis://host:6379".into()),
        };
        for (key, value) in url.query_pairs() {
            // Other libraries need this to speak RESP3; here nothing else is spoken.
            if key != "protocol" || !matches!(&*value, "3" | "resp3") {
                return Err("has a parameter; leave out what follows the `?`: every option is a \
                    setting of its own"
                    .into());
            }
        }
        Ok(Self {
            target: RedisTarget::Tcp { host, port: url.port().unwrap_or(DEFAULT_PORT) },
            tls: tls.then(TlsOptions::default),
            username: Some(decoded(url.username())?).filter(|name| !name.is_empty()),
            password: password(decoded(url.password().unwrap_or_default())?),
            db: database(url.path().trim_matches('/'))?,
        })
    }

    fn from_unix_url(url: &Url) -> Result<Self, String> {
        if url.has_host() && url.host_str().is_some_and(|host| !host.is_empty()) {
            return Err(
                "names a host beside a socket; write three slashes: redis+unix:///run/redis.sock"
                    .into(),
            );
        }
        let path = decoded(url.path())?;
        if path.len() < 2 || path.ends_with('/') || path.contains('\0') {
            return Err("has no path of a socket; write redis+unix:///run/redis.sock".into());
        }
        if path.len() > LONGEST_SOCKET_PATH {
            return Err(format!(
                "names a socket path of more than {LONGEST_SOCKET_PATH} bytes, the most a Unix \
                 socket can have"
            ));
        }
        let mut endpoint = Self { target: RedisTarget::Unix(path.into()), ..Self::local() };
        for (key, value) in url.query_pairs() {
            match &*key {
                "db" => endpoint.db = database(&value)?,
                "user" => {
                    endpoint.username = Some(value.into_owned()).filter(|name| !name.is_empty())
                }
                "pass" => endpoint.password = password(value.into_owned()),
                // Its name is not repeated: it may be the rest of a password with a bare `&`.
                _ => {
                    return Err(
                        "has a parameter other than db, user and pass; write `&` in a value as %26"
                            .into(),
                    );
                }
            }
        }
        Ok(endpoint)
    }
}

/// What the operator is told about such a URL.
pub(super) const PASSWORD_ON_COMMAND_LINE: &str = "--redis-url holds a password that every user \
    of this machine can see (`ps`); use REDIS_URL or the configuration file";

/// Whether a URL can be read and holds a password.
pub(super) fn holds_password(text: &str) -> bool {
    RedisEndpoint::parse(text).is_ok_and(|endpoint| endpoint.password.is_some())
}

fn decoded(text: &str) -> Result<String, String> {
    match percent_decode_str(text).decode_utf8() {
        Ok(text) => Ok(text.into_owned()),
        Err(_) => Err("holds percent-encoded bytes that are not UTF-8".into()),
    }
}

fn password(text: String) -> Option<Secret> {
    Some(text).filter(|text| !text.is_empty()).map(Secret::new)
}

fn database(text: &str) -> Result<u32, String> {
    match text {
        "" => Ok(0),
        number => number
            .parse()
            .map_err(|_| "names a database that is not a number; write redis://host:6379/0".into()),
    }
}

impl Value for RedisEndpoint {
    const FORM: &'static str = "URL";
    const SECRET: bool = true;

    fn parse(text: &str) -> Result<Self, String> {
        let url = Url::parse(text.trim()).map_err(|problem| {
            format!(
                "is not a URL ({problem}); write redis://user:password@host:6379/0, with \
                every character of the password beyond letters and digits percent-encoded"
            )
        })?;
        if url.fragment().is_some() {
            return Err("holds a `#`: percent-encode it as %23 if it belongs to the password; \
                verification of certificates cannot be switched off, name your authority with \
                --redis-tls-ca"
                .into());
        }
        let endpoint = match url.scheme() {
            "redis" | "valkey" => Self::from_tcp_url(&url, false)?,
            "rediss" | "valkeys" => Self::from_tcp_url(&url, true)?,
            "redis+unix" | "valkey+unix" | "unix" => Self::from_unix_url(&url)?,
            _ => {
                return Err(
                    "has an unknown scheme; use redis://, rediss:// (TLS) or redis+unix://".into(),
                );
            }
        };
        if endpoint.username.is_some() && endpoint.password.is_none() {
            return Err("names a user but no password; write redis://user:password@host, or \
                redis://:password@host for a password alone"
                .into());
        }
        Ok(endpoint)
    }

    fn show(text: &str) -> String {
        Self::parse(text).map_or("(not readable)".into(), |endpoint| endpoint.to_string())
    }
}

impl fmt::Display for RedisEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = self.username.as_deref().unwrap_or_default();
        match &self.target {
            RedisTarget::Tcp { host, port } => {
                f.write_str(if self.tls.is_some() { "rediss://" } else { "redis://" })?;
                if let Some(secret) = &self.password {
                    write!(f, "{user}:{secret}@")?;
                }
                let (open, close) = if host.contains(':') { ("[", "]") } else { ("", "") };
                write!(f, "{open}{host}{close}:{port}")?;
                if self.db > 0 { write!(f, "/{}", self.db) } else { Ok(()) }
            }
            RedisTarget::Unix(path) => {
                write!(f, "redis+unix://{}?db={}", path.display(), self.db)?;
                match &self.password {
                    Some(secret) => write!(f, "&user={user}&pass={secret}"),
                    None => Ok(()),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> RedisEndpoint {
        RedisEndpoint::parse(text).expect(text)
    }

    fn tcp(host: &str, port: u16) -> RedisTarget {
        RedisTarget::Tcp { host: host.into(), port }
    }

    #[test]
    fn a_tcp_url_names_everything() {
        let all = read("redis://app:p%40ss%2Fw%23rd@redis.internal:7000/3");
        assert_eq!(all.target, tcp("redis.internal", 7000));
        assert_eq!(all.username.as_deref(), Some("app"));
        assert_eq!(all.password.as_ref().map(Secret::expose), Some("p@ss/w#rd"));
        assert_eq!((all.db, all.tls), (3, None));
        assert_eq!(read("redis://127.0.0.1:6379"), RedisEndpoint::local());
        assert_eq!(read("valkey://127.0.0.1/"), RedisEndpoint::local());
        assert_eq!(read("redis://[::1]").target, tcp("::1", 6379));
        assert_eq!(read("redis://:secret@h").username, None);
        assert_eq!(read("rediss://h").tls, Some(TlsOptions::default()));
        assert_eq!(read("redis://h?protocol=resp3").target, tcp("h", 6379));
    }

    #[test]
    fn a_socket_is_a_path_with_parameters() {
        let socket = read("redis+unix:///run/redis.sock?db=2&user=app&pass=%26%3F+x");
        assert_eq!(socket.target, RedisTarget::Unix("/run/redis.sock".into()));
        assert_eq!(socket.password.as_ref().map(Secret::expose), Some("&? x"));
        assert_eq!((socket.db, socket.username.as_deref()), (2, Some("app")));
        assert_eq!(read("unix:///a%20b.sock").target, RedisTarget::Unix("/a b.sock".into()));
    }

    #[test]
    fn a_url_is_shown_without_its_password() {
        for (url, shown) in [
            ("redis://:hunter2@h", "redis://:***@h:6379"),
            ("rediss://app:hunter2@[::1]:1/4", "rediss://app:***@[::1]:1/4"),
            ("unix:///s?user=app&pass=hunter2", "redis+unix:///s?db=0&user=app&pass=***"),
            ("redis://h", "redis://h:6379"),
            ("redis://:hunter2@h:port", "(not readable)"),
        ] {
            assert_eq!(RedisEndpoint::show(url), shown);
        }
        assert!(!format!("{:?}", read("redis://:hunter2@h")).contains("hunter2"));
    }

    #[test]
    fn a_fault_says_what_to_write_and_repeats_no_password() {
        for (url, says) in [
            ("", "is not a URL"),
            ("localhost:6379", "unknown scheme"),
            ("redis://:hunter2/x@h", "percent-encoded"),
            ("redis://:hunter2#x@h", "percent-encoded"),
            ("redis://h#insecure", "cannot be switched off"),
            ("redis:///0", "has no host"),
            ("redis://hunter2@h", "redis://:password@host"),
            ("redis://h/zero", "database that is not a number"),
            ("redis://:hunter2@h?family=6", "what follows the `?`"),
            ("unix://run/redis.sock?pass=hunter2", "three slashes"),
            ("unix:///", "no path of a socket"),
            ("unix:///s?password=hunter2", "db, user and pass"),
            ("redis://:%ff@h", "not UTF-8"),
            ("memcached://h", "unknown scheme"),
        ] {
            let fault = RedisEndpoint::parse(url).expect_err(url);
            assert!(fault.contains(says), "{url}: {fault}");
            assert!(!fault.contains("hunter2"), "{url}: {fault}");
        }
        let long = format!("unix:///{}", "s".repeat(107));
        assert!(RedisEndpoint::parse(&long).is_err_and(|fault| fault.contains("107 bytes")));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "((redis|rediss|unix|redis\\+unix):/{0,3})?.{0,40}") {
            let _ = RedisEndpoint::parse(&text);
            let _ = RedisEndpoint::show(&text);
        }

        #[test]
        fn any_password_survives_percent_encoding(password in ".{1,20}") {
            let encoded = percent_encoding::utf8_percent_encode(&password, percent_encoding::NON_ALPHANUMERIC);
            let endpoint = read(&format!("redis://u:{encoded}@h"));
            prop_assert_eq!(endpoint.password.as_ref().map(Secret::expose), Some(password.as_str()));
        }
    }
}
