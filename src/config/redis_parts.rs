//! Puts the endpoint together from a URL or from the parts of the environment.

use std::net::Ipv6Addr;

use super::declaration::RedisParts;
use super::reader::Reader;
use super::setting::Group;
use crate::model::{ClientCertificate, DEFAULT_PORT, RedisEndpoint, Target, TlsOptions};

impl Group for RedisEndpoint {
    fn read(reader: &mut Reader<'_>) -> Self {
        let parts = RedisParts::read(reader);
        let mut endpoint = match &parts.url {
            Some(url) => url.clone(),
            None => from_parts(reader, &parts),
        };
        tls_files(reader, parts, &mut endpoint);
        endpoint
    }
}

fn from_parts(reader: &mut Reader<'_>, parts: &RedisParts) -> RedisEndpoint {
    let host = parts.host.clone().unwrap_or_else(|| "127.0.0.1".into());
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let legal = host.parse::<Ipv6Addr>().is_ok()
        || !host.contains(|c: char| c.is_whitespace() || c.is_control() || "/:@?#%[]".contains(c));
    reader.require(
        legal && !host.is_empty(),
        &["REDIS_HOST"],
        "is not a host; write a name or an IP address alone, or set REDIS_URL",
    );
    reader.require(
        parts.username.is_none() || parts.password.is_some(),
        &["REDIS_USERNAME", "REDIS_PASSWORD"],
        "is set without REDIS_PASSWORD; set both, or REDIS_PASSWORD alone",
    );
    RedisEndpoint {
        target: Target::Tcp { host, port: parts.port.unwrap_or(DEFAULT_PORT) },
        tls: parts.tls.unwrap_or(false).then(TlsOptions::default),
        username: parts.username.clone(),
        password: parts.password.clone(),
        db: parts.db.unwrap_or(0),
    }
}

fn tls_files(reader: &mut Reader<'_>, parts: RedisParts, endpoint: &mut RedisEndpoint) {
    const CERT: &str = "TRUNKLINE_REDIS_TLS_CERT";
    const KEY: &str = "TRUNKLINE_REDIS_TLS_KEY";
    for variable in ["TRUNKLINE_REDIS_TLS_CA", CERT, KEY] {
        reader.require(
            endpoint.tls.is_some() || !reader.is_given(variable),
            &[variable, "REDIS_URL", "REDIS_TLS"],
            "needs TLS; write rediss:// in --redis-url (REDIS_URL), or set REDIS_TLS=true beside \
             REDIS_HOST",
        );
    }
    let (cert, key) = (reader.is_given(CERT), reader.is_given(KEY));
    reader.require(!cert || key, &[CERT], "is given without its private key; add --redis-tls-key");
    reader.require(!key || cert, &[KEY], "is given without its certificate; add --redis-tls-cert");
    if let Some(tls) = &mut endpoint.tls {
        tls.ca_file = parts.tls_ca;
        tls.client = parts
            .tls_cert
            .zip(parts.tls_key)
            .map(|(cert_file, key_file)| ClientCertificate { cert_file, key_file });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::testing::{faults, server};

    #[test]
    fn the_parts_make_an_endpoint_when_there_is_no_url() {
        let config = server(
            &[],
            &[
                ("REDIS_HOST", "redis.internal"),
                ("REDIS_PORT", "7000"),
                ("REDIS_USERNAME", "app"),
                ("REDIS_PASSWORD", "p@ss/word"),
                ("REDIS_DB", "2"),
                ("REDIS_TLS", "true"),
            ],
        );
        let endpoint = config.common.redis.endpoint;
        assert_eq!(endpoint.to_string(), "rediss://app:***@redis.internal:7000/2");
        assert_eq!(endpoint.password.as_ref().map(|secret| secret.expose()), Some("p@ss/word"));
        let six = server(&[], &[("REDIS_HOST", "[::1]")]).common.redis.endpoint;
        assert_eq!(six.target, Target::Tcp { host: "::1".into(), port: 6379 });
    }

    #[test]
    fn tls_files_end_up_in_the_endpoint() {
        let flags = [
            "--redis-url=rediss://h",
            "--redis-tls-ca=ca.pem",
            "--redis-tls-cert=c.pem",
            "--redis-tls-key=k.pem",
        ];
        let tls = server(&flags, &[]).common.redis.endpoint.tls.expect("rediss is TLS");
        assert_eq!(tls.ca_file.as_deref(), Some(std::path::Path::new("ca.pem")));
        let client = tls.client.expect("a certificate was given");
        assert_eq!((client.cert_file, client.key_file), ("c.pem".into(), "k.pem".into()));
    }

    #[test]
    fn each_fault_of_a_part_names_it_and_the_fix() {
        for (variables, path, says) in [
            (vec![("REDIS_HOST", "redis://h")], "REDIS_HOST", "set REDIS_URL"),
            (vec![("REDIS_HOST", "h:6379")], "REDIS_HOST", "a name or an IP address alone"),
            (
                vec![("REDIS_PORT", "tcp://10.0.0.1:6379")],
                "REDIS_PORT",
                "enableServiceLinks: false",
            ),
            (vec![("REDIS_PORT", "70000")], "REDIS_PORT", "from 0 to 65535"),
            (vec![("REDIS_USERNAME", "app")], "REDIS_USERNAME", "without REDIS_PASSWORD"),
            (vec![("REDIS_DB", "one")], "REDIS_DB", "not a whole number"),
            (vec![("REDIS_TLS", "maybe")], "REDIS_TLS", "neither true nor false"),
            (
                vec![("TRUNKLINE_REDIS_TLS_CA", "ca.pem")],
                "--redis-tls-ca (TRUNKLINE_REDIS_TLS_CA)",
                "rediss://",
            ),
            (
                vec![("REDIS_TLS", "1"), ("TRUNKLINE_REDIS_TLS_CERT", "c.pem")],
                "--redis-tls-cert (TRUNKLINE_REDIS_TLS_CERT)",
                "add --redis-tls-key",
            ),
            (
                vec![("REDIS_TLS", "1"), ("TRUNKLINE_REDIS_TLS_KEY", "k.pem")],
                "--redis-tls-key (TRUNKLINE_REDIS_TLS_KEY)",
                "add --redis-tls-cert",
            ),
        ] {
            let found = faults(&[], &variables);
            assert_eq!(found.len(), 1, "{variables:?}: {found:?}");
            assert_eq!(found[0].path, path);
            assert!(found[0].message.contains(says), "{}", found[0]);
        }
    }
}
