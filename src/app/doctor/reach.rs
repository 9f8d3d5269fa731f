//! Whether Redis can be reached, and what to type if not.

use super::finding::Severity::Bad;
use super::finding::{Check, Finding};
use super::place::Place;

/// One finding, by the reason as the metrics name it.
pub(super) fn check(reason: Option<&'static str>, place: &Place) -> Finding {
    let shown = &place.shown;
    let Some(reason) = reason else {
        return Finding::ok(Check::Reach, format!("{shown} lets us in as {}.", place.user));
    };
    let ping = || place.redis(&["PING"]);
    let (means, fixes) = match reason {
        "dns" => (
            "The name of the host does not resolve here.",
            vec![
                "trunkline config server | grep redis-url".to_owned(),
                "cat /etc/resolv.conf".to_owned(),
            ],
        ),
        "refused" => (
            "Nobody listens there: Redis is down, or this is the wrong host or port.",
            vec![ping(), "systemctl status redis-server".to_owned()],
        ),
        "timeout" => (
            "Nobody answers in time: a firewall drops packets, Redis hangs, or only one side speaks TLS.",
            vec![ping(), "# more time: --redis-connect-timeout 5s".to_owned()],
        ),
        "tls" => (
            "The TLS handshake fails: a certificate is not trusted, or one side is plain.",
            vec![
                "# our authorities: --redis-tls-ca FILE; TLS itself: rediss:// in REDIS_URL"
                    .to_owned(),
            ],
        ),
        "auth" => (
            "The user or the password is wrong.",
            vec![
                place.redis(&["ACL", "WHOAMI"]),
                "# a password belongs into REDIS_URL or REDIS_PASSWORD".to_owned(),
            ],
        ),
        "noperm" => (
            "The user may not even say HELLO.",
            vec![place.grant(&place.user, &["+hello".to_owned(), "+ping".to_owned()])],
        ),
        "maxclients" => (
            "Redis takes no more clients, so a daemon that loses its connection stays cut off.",
            vec![place.redis(&["CLIENT", "LIST"]), place.redis(&["CONFIG", "GET", "maxclients"])],
        ),
        "loading" => (
            "Redis reads its data from disk and will be back.",
            vec![place.redis(&["INFO", "persistence"])],
        ),
        "protocol" => (
            "What answers there is no Redis 7.0 or newer and no Valkey, or does not speak RESP3.",
            vec![place.redis(&["HELLO", "3"])],
        ),
        _ => ("The connection was lost or refused.", vec![ping()]),
    };
    let mut finding =
        Finding::new(Check::Reach, Bad, format!("{shown} cannot be looked at: {reason}."), means);
    finding.fix = fixes;
    finding
}
