//! Which hosts and origins may speak to the public listener, and which pages may read the admin one.
//!
//! A page on the web can make a browser send requests here, and by DNS rebinding even under a
//! name of its own. So the host must be one we know to be ours, and an `Origin` must be that
//! host or one that was allowed by name. Pure: no socket, no clock.

use std::net::IpAddr;

use hyper::HeaderMap;
use hyper::header::{ACCEPT_LANGUAGE, HOST, HeaderValue, ORIGIN, USER_AGENT};
use hyper::http::Uri;
use hyper::http::uri::Authority;

use crate::config::AllowedHost;
use crate::model::{Problem, ProblemKind};

/// Who may speak.
#[derive(Clone, Debug, Default)]
pub struct Access {
    origins: Vec<Origin>,
    hosts: Vec<AllowedHost>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Origin {
    secure: bool,
    host: String,
    port: u16,
}

/// What a request may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Not from a page, or from one of ours.
    SameOrigin,
    /// From a page of this origin, which was allowed by name.
    CrossOrigin(HeaderValue),
}

impl Access {
    /// Lets in pages of these origins, such as `https://app.example:8443`, and requests to these
    /// hosts. The settings were checked where they were read; what is no origin matches nothing.
    pub fn new<'a>(
        origins: impl IntoIterator<Item = &'a str>,
        hosts: impl IntoIterator<Item = AllowedHost>,
    ) -> Self {
        let origins = origins.into_iter().filter_map(Origin::parse).collect();
        Self { origins, hosts: hosts.into_iter().collect() }
    }

    /// Decides about one request that came in on the address `local`.
    pub fn admit(
        &self,
        uri: &Uri,
        headers: &HeaderMap,
        local: IpAddr,
    ) -> Result<Admission, Problem> {
        let host = authority(uri, headers)?;
        if !self.knows(&host, local) {
            let detail = "the Host of this request is neither a loopback name nor configured";
            return Err(Problem::new(ProblemKind::MisdirectedHost, detail));
        }
        self.admit_origin(&host, headers)
    }

    fn admit_origin(&self, host: &Authority, headers: &HeaderMap) -> Result<Admission, Problem> {
        let Some(header) = headers.get(ORIGIN) else { return Ok(Admission::SameOrigin) };
        // A browser sends one origin; `null` and anything unreadable is a foreign one.
        let origin = header.to_str().ok().and_then(Origin::parse);
        match origin {
            Some(origin) if origin.is_at(host) => Ok(Admission::SameOrigin),
            Some(origin) if self.origins.contains(&origin) => {
                Ok(Admission::CrossOrigin(header.clone()))
            }
            _ => Err(Problem::new(
                ProblemKind::ForbiddenOrigin,
                "the Origin of this request is neither this host nor in --allowed-origins",
            )),
        }
    }

    fn knows(&self, authority: &Authority, local: IpAddr) -> bool {
        let (host, port) = (normal(authority.host()), authority.port_u16());
        let reached = |ip: IpAddr| {
            // An address cannot be rebound: whoever names the one that was reached means us.
            ip.to_canonical().is_loopback() || ip.to_canonical() == local.to_canonical()
        };
        // Without a port a request means the one of its scheme, which a proxy may have changed.
        let allowed = |known: &AllowedHost| {
            let same_port = known.port.is_none_or(|known| match port {
                Some(port) => port == known,
                None => known == default_port(false) || known == default_port(true),
            });
            known.host == host && same_port
        };
        host == "localhost"
            || host.ends_with(".localhost")
            || host.trim_matches(['[', ']']).parse().is_ok_and(reached)
            || self.hosts.iter().any(allowed)
    }
}

/// Decides about one request to a listener that is there to be read by machines. These pass,
/// under whatever name they know this host. What bears the marks of a browser may be sent by a
/// page: it must be of our own origin, or be somebody's who follows a link.
///
/// # Errors
/// The problem that is the answer.
pub(super) fn admit_reader(uri: &Uri, headers: &HeaderMap, local: IpAddr) -> Result<(), Problem> {
    if !is_of_browser(headers) {
        return Ok(());
    }
    let pages = Access::default();
    // Who reaches the loopback address under a foreign name was led there by its DNS. Elsewhere
    // nobody has told us our names.
    match local.to_canonical().is_loopback() {
        true => pages.admit(uri, headers, local)?,
        false => pages.admit_origin(&authority(uri, headers)?, headers)?,
    };
    let is = |name: &str, words: &[&str]| {
        headers.get(name).is_some_and(|value| words.iter().any(|word| value == word))
    };
    let foreign = is("sec-fetch-site", &["cross-site", "same-site"]);
    if foreign && !is("sec-fetch-mode", &["navigate"]) {
        let detail = "a page of another origin cannot read this listener";
        return Err(Problem::new(ProblemKind::ForbiddenOrigin, detail));
    }
    Ok(())
}

/// Whether a browser sent it. `Sec-Fetch-*` is missing where a page came without encryption, and
/// a page can change the value of its `User-Agent` and `Accept-Language`, but not leave both out.
fn is_of_browser(headers: &HeaderMap) -> bool {
    let agent = headers.get(USER_AGENT).is_some_and(|it| it.as_bytes().starts_with(b"Mozilla/"));
    agent
        || headers.contains_key(ORIGIN)
        || headers.contains_key(ACCEPT_LANGUAGE)
        || headers.keys().any(|name| name.as_str().starts_with("sec-fetch-"))
}

impl Origin {
    fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let secure = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => return None,
        };
        let authority = plain_authority(rest)?;
        let port = authority.port_u16().unwrap_or(default_port(secure));
        Some(Self { secure, host: normal(authority.host()), port })
    }

    /// Whether it is the host of the request. A proxy may have taken the TLS off, so only the
    /// origin knows the scheme.
    fn is_at(&self, host: &Authority) -> bool {
        let port = host.port_u16().unwrap_or(default_port(self.secure));
        (normal(host.host()), port) == (self.host.clone(), self.port)
    }
}

fn default_port(secure: bool) -> u16 {
    if secure { 443 } else { 80 }
}

/// The host the request is for: in its target if that is absolute, else in its one `Host`.
fn authority(uri: &Uri, headers: &HeaderMap) -> Result<Authority, Problem> {
    let mut named = headers.get_all(HOST).iter();
    let (first, second) = (named.next(), named.next());
    let header = first.filter(|_| second.is_none()).and_then(|host| host.to_str().ok());
    let text = uri.authority().map(Authority::as_str).or(header);
    text.filter(|_| second.is_none()).and_then(plain_authority).ok_or_else(|| {
        Problem::new(
            ProblemKind::Malformed,
            "a request must name its host in exactly one Host header",
        )
    })
}

/// A host and perhaps a port; no user, no empty port, no port that is none.
fn plain_authority(text: &str) -> Option<Authority> {
    let authority: Authority = text.parse().ok()?;
    let port = authority.as_str().strip_prefix(authority.host())?;
    (port.is_empty() || authority.port_u16().is_some()).then_some(authority)
}

/// Lower case, without the dot that ends a fully qualified name.
fn normal(host: &str) -> String {
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn verdict(host: &str, origin: Option<&str>) -> Result<Admission, ProblemKind> {
        let known = |host: &str, port| AllowedHost { host: host.into(), port };
        let hosts = [known("bridge", None), known("door.example", Some(8443))];
        let access = Access::new(["https://app.example"], hosts);
        let mut headers = HeaderMap::new();
        headers.insert(HOST, host.parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(ORIGIN, origin.parse().unwrap());
        }
        let local = "192.0.2.7".parse().unwrap();
        access.admit(&Uri::from_static("/"), &headers, local).map_err(|problem| problem.kind())
    }

    #[test]
    fn a_host_must_be_loopback_or_known() {
        for good in [
            "localhost:8080",
            "127.0.0.1",
            "127.8.9.1:1",
            "[::1]:8080",
            "LocalHost.",
            "x.localhost",
            "192.0.2.7:80",
            "bridge:8080",
            "door.example:8443",
        ] {
            assert_eq!(verdict(good, None), Ok(Admission::SameOrigin), "{good}");
        }
        for bad in [
            "evil.example",
            "app.example",
            "door.example",
            "door.example:8444",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "notlocalhost",
            "192.0.2.8",
            "0.0.0.0",
            "[::]",
        ] {
            assert_eq!(verdict(bad, None), Err(ProblemKind::MisdirectedHost), "{bad}");
        }
        for unreadable in ["", "a@localhost", "localhost:", "localhost:99999", "a b"] {
            assert_eq!(verdict(unreadable, None), Err(ProblemKind::Malformed), "{unreadable:?}");
        }
    }

    #[test]
    fn an_origin_must_be_the_host_or_allowed() {
        let same = Ok(Admission::SameOrigin);
        assert_eq!(verdict("localhost:8080", Some("http://localhost:8080")), same);
        assert_eq!(verdict("localhost:8080", Some("https://LOCALHOST:8080")), same);
        assert_eq!(verdict("bridge", Some("https://bridge")), same);
        assert_eq!(verdict("bridge:443", Some("https://bridge")), same);
        let cross = Ok(Admission::CrossOrigin("https://app.example".parse().unwrap()));
        assert_eq!(verdict("localhost:8080", Some("https://app.example")), cross);
        for foreign in [
            "http://localhost:8081",
            "http://127.0.0.1:8080",
            "null",
            "",
            "http://app.example",
            "https://app.example.evil.example",
            "https://app.example:444",
            "file://",
            "localhost:8080",
        ] {
            let verdict = verdict("localhost:8080", Some(foreign));
            assert_eq!(verdict, Err(ProblemKind::ForbiddenOrigin), "{foreign:?}");
        }
    }

    #[test]
    fn the_target_wins_over_the_header_and_two_headers_are_malformed() {
        let (access, local) = (Access::default(), "127.0.0.1".parse().unwrap());
        let mut headers = HeaderMap::new();
        let admit = |uri, headers: &HeaderMap| {
            access.admit(&Uri::from_static(uri), headers, local).map_err(|problem| problem.kind())
        };
        assert_eq!(admit("/", &headers), Err(ProblemKind::Malformed));
        headers.append(HOST, "localhost".parse().unwrap());
        assert_eq!(admit("http://evil.example/", &headers), Err(ProblemKind::MisdirectedHost));
        headers.append(HOST, "localhost".parse().unwrap());
        assert_eq!(admit("/", &headers), Err(ProblemKind::Malformed));
    }

    proptest! {
        #[test]
        fn only_a_host_that_is_ours_gets_in(host in "[a-z.@:0-9]{1,20}|(localhost|127\\.0\\.0\\.1|bridge|\\[::1\\])[a-z.:@0-9]{0,8}") {
            let name = normal(host.rsplit_once(':').filter(|_| !host.ends_with(']')).map_or(&*host, |(name, _)| name));
            let ours = name == "localhost" || name.ends_with(".localhost") || name == "bridge"
                || ["127.", "[", "192.0.2.7"].iter().any(|start| name.starts_with(start));
            match verdict(&host, None) {
                Ok(_) => prop_assert!(ours && !host.contains('@'), "{host}"),
                Err(why) => prop_assert!(matches!(why, ProblemKind::Malformed | ProblemKind::MisdirectedHost)),
            }
        }

        #[test]
        fn only_our_own_page_and_the_allowed_one_get_in(
            origin in "[ -~]{0,30}|(https?://)?(localhost|app\\.example|APP\\.example\\.)?[a-z.:@/0-9]{0,6}"
        ) {
            let plain = origin.to_ascii_lowercase().replacen(".:", ":", 1);
            let plain = plain.strip_suffix('.').unwrap_or(&plain);
            let known = ["http://localhost:8080", "https://localhost:8080", "https://app.example"];
            let zeroes = plain.replace(":0", ":");
            let ours = known.contains(&plain) || known.contains(&zeroes.as_str()) || plain == "https://app.example:443";
            match verdict("localhost:8080", Some(&origin)) {
                Ok(_) => prop_assert!(ours, "{origin}"),
                Err(why) => prop_assert_eq!(why, ProblemKind::ForbiddenOrigin),
            }
        }
    }
}
