//! Which Redis, and as whom: what a URL says.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use percent_encoding::percent_decode_str;
use url::Url;

use super::{Fault, Secret};

/// The port Redis listens on unless told otherwise.
pub const DEFAULT_PORT: u16 = 6379;
/// The longest path a Unix socket can have on Linux: `sun_path` without its final zero.
const LONGEST_SOCKET_PATH: usize = 107;

/// Where Redis listens.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Target {
    /// A host and a port.
    Tcp {
        /// A name, resolved again at every dial, an IPv4 address, or an IPv6 address without brackets.
        host: String,
        /// The port.
        port: u16,
    },
    /// The path of a unix socket.
    Unix(PathBuf),
}

/// Which Redis, and as whom: what a URL such as `redis://user:password@host:6379/0`, `rediss://`
/// (TLS) or `redis+unix:///run/redis.sock` says. `Display` gives it with the password as `***`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisEndpoint {
    /// Where it listens.
    pub target: Target,
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
    pub fn local() -> Self {
        Self {
            target: Target::Tcp { host: "127.0.0.1".into(), port: DEFAULT_PORT },
            tls: None,
            username: None,
            password: None,
            db: 0,
        }
    }

    fn read(text: &str) -> Result<Self, String> {
        let url = Url::parse(text.trim()).map_err(|problem| {
            format!(
                "is not a URL ({problem}); write redis://user:password@host:6379/0, with \
                every character of the password beyond letters and digits percent-encoded"
            )
        })?;
        if url.fragment().is_some() {
            return Err("holds a `#`: percent-encode it as %23 if it belongs to the password; \
                verification of certificates cannot be switched off: trust your authority \
                instead, with --redis-tls-ca or conn::Tls"
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
            target: Target::Tcp { host, port: url.port().unwrap_or(DEFAULT_PORT) },
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
        let mut endpoint = Self { target: Target::Unix(path.into()), ..Self::local() };
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

impl FromStr for RedisEndpoint {
    type Err = Fault;

    /// Reads a URL. The fault's path is `url`, and it never repeats what it was given.
    fn from_str(text: &str) -> Result<Self, Fault> {
        Self::read(text).map_err(|message| Fault { path: "url".to_owned(), message })
    }
}

impl fmt::Display for RedisEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = self.username.as_deref().unwrap_or_default();
        match &self.target {
            Target::Tcp { host, port } => {
                f.write_str(if self.tls.is_some() { "rediss://" } else { "redis://" })?;
                if let Some(secret) = &self.password {
                    write!(f, "{user}:{secret}@")?;
                }
                let (open, close) = if host.contains(':') { ("[", "]") } else { ("", "") };
                write!(f, "{open}{host}{close}:{port}")?;
                if self.db > 0 { write!(f, "/{}", self.db) } else { Ok(()) }
            }
            Target::Unix(path) => {
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
        text.parse().expect(text)
    }

    fn tcp(host: &str, port: u16) -> Target {
        Target::Tcp { host: host.into(), port }
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
        assert_eq!(socket.target, Target::Unix("/run/redis.sock".into()));
        assert_eq!(socket.password.as_ref().map(Secret::expose), Some("&? x"));
        assert_eq!((socket.db, socket.username.as_deref()), (2, Some("app")));
        assert_eq!(read("unix:///a%20b.sock").target, Target::Unix("/a b.sock".into()));
    }

    #[test]
    fn a_url_is_shown_without_its_password() {
        for (url, shown) in [
            ("redis://:hunter2@h", "redis://:***@h:6379"),
            ("rediss://app:hunter2@[::1]:1/4", "rediss://app:***@[::1]:1/4"),
            ("unix:///s?user=app&pass=hunter2", "redis+unix:///s?db=0&user=app&pass=***"),
            ("redis://h", "redis://h:6379"),
        ] {
            assert_eq!(read(url).to_string(), shown);
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
            let fault = url.parse::<RedisEndpoint>().expect_err(url).message;
            assert!(fault.contains(says), "{url}: {fault}");
            assert!(!fault.contains("hunter2"), "{url}: {fault}");
        }
        let long = format!("unix:///{}", "s".repeat(107));
        assert!(RedisEndpoint::read(&long).is_err_and(|fault| fault.contains("107 bytes")));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "((redis|rediss|unix|redis\\+unix):/{0,3})?.{0,40}") {
            let _ = RedisEndpoint::read(&text);
        }

        #[test]
        fn any_password_survives_percent_encoding(password in ".{1,20}") {
            let encoded = percent_encoding::utf8_percent_encode(&password, percent_encoding::NON_ALPHANUMERIC);
            let endpoint = read(&format!("redis://u:{encoded}@h"));
            prop_assert_eq!(endpoint.password.as_ref().map(Secret::expose), Some(password.as_str()));
        }
    }

    proptest! {
        #[test]
        fn an_endpoint_is_shown_as_a_url_that_means_it_and_never_with_its_password(
            text in "(redis|rediss|valkey|unix)://(/tmp/[a-z]{1,5}|((u[0-9]?)?:hunter2@)?[a-z.]{1,9}(:[0-9]{1,5})?)(/[0-9]{1,3})?(\\?(db=[0-9]|pass=hunter2|protocol=resp3))?"
        ) {
            match text.parse::<RedisEndpoint>() {
                Ok(endpoint) => {
                    let shown = endpoint.to_string();
                    prop_assert!(!shown.contains("hunter2"), "{shown}");
                    let again = read(&shown);
                    prop_assert_eq!((&again.target, again.db, &again.tls), (&endpoint.target, endpoint.db, &endpoint.tls));
                    prop_assert_eq!(again.password.is_some(), endpoint.password.is_some());
                }
                Err(fault) => prop_assert!(!fault.message.contains("hunter2"), "{fault}"),
            }
        }
    }
}
