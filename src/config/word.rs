//! The words settings are made of: names, secrets, choices, hosts and origins.

use std::fmt;

use super::value::Value;
use crate::model::{DeliveryRule, Secret, Subscription};

/// A name that may be part of a Redis key: `[a-z0-9-]+`, at most 63 characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(String);

impl Name {
    /// The longest name: a DNS label, which is what an orchestrator gives a host.
    const LONGEST: usize = 63;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Value for Name {
    const FORM: &'static str = "NAME";
    fn parse(text: &str) -> Result<Self, String> {
        let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if !text.is_empty() && text.len() <= Self::LONGEST && text.chars().all(legal) {
            Ok(Self(text.into()))
        } else {
            Err(format!("{text:?} is not a name; use 1 to {} of a-z, 0-9 and -", Self::LONGEST))
        }
    }
}

impl Value for Secret {
    const FORM: &'static str = "SECRET";
    const SECRET: bool = true;
    fn parse(text: &str) -> Result<Self, String> {
        Ok(Self::new(text))
    }
}

/// Declares a setting that is one of a few words.
macro_rules! choices {
    ($($(#[$doc:meta])* $name:ident, $form:literal { $($(#[$vdoc:meta])* $variant:ident = $word:literal,)+ })+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$vdoc])* $variant,)+ }
        impl $name {
            /// The word as it is written in a setting.
            pub const fn label(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }
        impl Value for $name {
            const FORM: &'static str = $form;
            fn parse(text: &str) -> Result<Self, String> {
                match text.trim() {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(format!("{text:?} is none of: {}", [$($word),+].join(", "))),
                }
            }
        }
    )+};
}

choices! {
    /// Which world a process belongs to. Production refuses what is convenient elsewhere.
    Environment, "ENVIRONMENT" {
        /// A developer's machine.
        Development = "development",
        /// Like production, without its strictness.
        Staging = "staging",
        /// Credentials are required and nothing insecure is allowed.
        Production = "production",
    }
    /// How log lines are written.
    LogFormat, "FORMAT" {
        /// For people, on standard error.
        Text = "text",
        /// One flat JSON object in each line, on standard output.
        Json = "json",
    }
    /// Which traces are kept, in OpenTelemetry's words.
    Sampler, "SAMPLER" {
        /// All.
        AlwaysOn = "always_on",
        /// None.
        AlwaysOff = "always_off",
        /// A share of all.
        TraceIdRatio = "traceidratio",
        /// As the caller decided; without a caller all.
        ParentBasedAlwaysOn = "parentbased_always_on",
        /// As the caller decided; without a caller none.
        ParentBasedAlwaysOff = "parentbased_always_off",
        /// As the caller decided; without a caller a share.
        ParentBasedTraceIdRatio = "parentbased_traceidratio",
    }
}

/// What a browser sends as `Origin`: scheme, host and, unless it is the scheme's own, port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebOrigin(String);

impl WebOrigin {
    /// The origin in the form of the header, such as `https://app.example.com`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Value for WebOrigin {
    const FORM: &'static str = "ORIGINS";
    fn parse(text: &str) -> Result<Self, String> {
        url::Url::parse(text)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https"))
            .filter(|url| url.username().is_empty() && url.password().is_none())
            .filter(|url| url.path() == "/" && url.query().is_none() && url.fragment().is_none())
            .map(|url| Self(url.origin().ascii_serialization()))
            .ok_or_else(|| {
                format!(
                    "{text:?} is not an origin; write https://app.example.com, \
                without a path; `*` is not offered"
                )
            })
    }
}

/// A host that requests may be addressed to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedHost {
    /// A name in lower case or an IP address, IPv6 in brackets.
    pub host: String,
    /// The port; `None` allows any.
    pub port: Option<u16>,
}

impl Value for AllowedHost {
    const FORM: &'static str = "HOSTS";
    fn parse(text: &str) -> Result<Self, String> {
        let fault = || {
            format!(
                "{text:?} is not a host; write app.example.com or app.example.com:8443; `*` is \
                 not offered"
            )
        };
        if text.contains(['/', '@', '?', '#', '\\', '*']) || text.ends_with(':') {
            return Err(fault());
        }
        // A URL's own rules decide what a host is. A port of 80 would vanish under http.
        let url = url::Url::parse(&format!("ws://{text}")).map_err(|_| fault())?;
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(fault)?.to_owned();
        let port = if text.ends_with(":80") { Some(80) } else { url.port() };
        Ok(Self { host, port })
    }
}

impl Value for Subscription {
    const FORM: &'static str = "CHANNELS";
    fn parse(text: &str) -> Result<Self, String> {
        Subscription::parse(text).map_err(|fault| format!("{text:?} {}", fault.message))
    }
}

impl Value for DeliveryRule {
    const FORM: &'static str = "RULES";
    fn parse(text: &str) -> Result<Self, String> {
        text.parse()
    }
}

/// The address of a Trunkline server, for the tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerUrl(url::Url);

impl ServerUrl {
    /// The base of every path.
    pub fn url(&self) -> &url::Url {
        &self.0
    }
}

impl Value for ServerUrl {
    const FORM: &'static str = "URL";
    fn parse(text: &str) -> Result<Self, String> {
        url::Url::parse(text)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https"))
            .filter(|url| url.username().is_empty() && url.password().is_none())
            .filter(|url| url.query().is_none() && url.fragment().is_none())
            .map(Self)
            .ok_or_else(|| {
                "is not the URL of a server; write http://127.0.0.1:8080, without \
                credentials or query"
                    .into()
            })
    }
    fn show(text: &str) -> String {
        // A text that cannot be read may hold a credential.
        Self::parse(text).map_or("(not readable)".into(), |server| server.0.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_name_is_lower_case_and_not_too_long() {
        assert_eq!(
            Name::parse("rule-engine-2").map(|name| name.to_string()),
            Ok("rule-engine-2".into())
        );
        for bad in ["", "Upper", "a b", "a:b", "{a}", &"a".repeat(64)] {
            assert!(Name::parse(bad).is_err_and(|text| text.contains("a-z, 0-9 and -")), "{bad:?}");
        }
    }

    #[test]
    fn a_secret_is_never_printed() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret} {secret:?} {:?}", Some(&secret)), "*** *** Some(***)");
        assert_eq!(secret.expose(), "hunter2");
        assert_eq!(Secret::show("hunter2"), "***");
    }

    #[test]
    fn a_choice_lists_its_words() {
        assert_eq!(Environment::parse("production"), Ok(Environment::Production));
        let fault = Environment::parse("prod").expect_err("not a word");
        assert_eq!(fault, "\"prod\" is none of: development, staging, production");
    }

    #[test]
    fn an_origin_is_written_as_a_browser_sends_it() {
        let read = |text| WebOrigin::parse(text).map(|origin| origin.as_str().to_owned());
        assert_eq!(read("https://App.Example.com:443/"), Ok("https://app.example.com".into()));
        assert_eq!(read("http://localhost:3000"), Ok("http://localhost:3000".into()));
        for bad in ["*", "null", "example.com", "https://a/b", "ftp://a", "https://u:p@a"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_allowed_host_may_have_a_port() {
        let read = |text| AllowedHost::parse(text).map(|allowed| (allowed.host, allowed.port));
        assert_eq!(read("App.example.com"), Ok(("app.example.com".into(), None)));
        assert_eq!(read("app.example.com:80"), Ok(("app.example.com".into(), Some(80))));
        assert_eq!(read("[2001:db8::1]:8443"), Ok(("[2001:db8::1]".into(), Some(8443))));
        for bad in ["", "*", "*.example.com", "http://a", "a/b", "a:", "a:99999", "u@a"] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_address_of_a_server_holds_no_credential_and_its_fault_repeats_none() {
        assert!(ServerUrl::parse("http://127.0.0.1:8080").is_ok());
        let fault = ServerUrl::parse("http://user:hunter2@h").expect_err("credentials");
        assert!(!fault.contains("hunter2"));
        assert!(!ServerUrl::show("http://user:hunter2@h").contains("hunter2"));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let _ = (Name::parse(&text), WebOrigin::parse(&text), AllowedHost::parse(&text));
            let _ = (ServerUrl::parse(&text), Sampler::parse(&text), LogFormat::parse(&text));
        }
    }

    proptest! {
        #[test]
        fn what_is_accepted_is_in_its_normal_form(text in "(https?://)?[A-Z]?[a-z0-9.-]{1,9}(:[0-9]{1,5})?/?") {
            if let Ok(origin) = WebOrigin::parse(&text) {
                prop_assert_eq!(WebOrigin::parse(origin.as_str()), Ok(origin.clone()));
            }
            if let Ok(allowed) = AllowedHost::parse(&text) {
                let again = allowed.port.map_or(allowed.host.clone(), |port| format!("{}:{port}", allowed.host));
                prop_assert_eq!(AllowedHost::parse(&again), Ok(allowed));
            }
            if let Ok(name) = Name::parse(&text) {
                prop_assert_eq!(name.as_str(), &text);
                prop_assert!(text.len() <= Name::LONGEST && !text.contains(['.', ':', '/']));
            }
        }
    }
}
