//! Channels and what a client may subscribe to.

use std::fmt;

use super::Fault;

/// The longest channel name, in bytes. Names become Redis channel names, which every
/// subscription and every message repeats.
pub const MAX_CHANNEL_BYTES: usize = 200;

const RULE: &str = "use letters, digits, `_`, `:` and `-`, in parts separated by single dots, as in `alerts.kitchen-1`";

/// The name of a notification channel: `[A-Za-z0-9_:-]+(\.[A-Za-z0-9_:-]+)*`, at most
/// [`MAX_CHANNEL_BYTES`] long. It never holds a character that Redis reads as a pattern.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "bridge", derive(serde::Serialize))]
pub struct ChannelName(String);

impl ChannelName {
    /// Checks a name. The fault's path is `channel`.
    pub fn parse(name: &str) -> Result<Self, Fault> {
        check(name)?;
        Ok(Self(name.to_owned()))
    }
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ChannelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a client listens to: one channel, or every channel below a prefix.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Subscription {
    /// One channel.
    Exact(ChannelName),
    /// Every channel that starts with this text, which ends in a dot: `a.*` is held as `a.`.
    Prefix(String),
}

impl Subscription {
    /// Reads a channel name or `prefix.*`. A bare `*` is refused. The fault's path is `channel`.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        if text == "*" {
            return Err(fault("would be every channel; subscribe to a name or to `prefix.*`"));
        }
        match text.strip_suffix(".*") {
            Some(stem) => {
                check(stem)?;
                Ok(Self::Prefix(format!("{stem}.")))
            }
            None => ChannelName::parse(text).map(Self::Exact),
        }
    }

    /// Every subscription that matches `channel`: its name first, then its prefixes.
    #[cfg(feature = "bridge")]
    pub fn covering(channel: &ChannelName) -> impl Iterator<Item = Self> + '_ {
        let dots = channel.0.match_indices('.');
        let prefixes = dots.map(|(at, _)| Self::Prefix(channel.0[..=at].to_owned()));
        std::iter::once(Self::Exact(channel.clone())).chain(prefixes)
    }

    /// Every other subscription that matches all that this one matches, widest first.
    #[cfg(feature = "bridge")]
    pub fn wider(&self) -> impl Iterator<Item = Self> + '_ {
        let (text, most) = match self {
            Self::Exact(name) => (name.as_str(), usize::MAX),
            // Its own dot is the last.
            Self::Prefix(prefix) => (prefix.as_str(), prefix.matches('.').count() - 1),
        };
        text.match_indices('.').take(most).map(|(at, _)| Self::Prefix(text[..=at].to_owned()))
    }

    /// Whether it matches nothing but what is below `prefix`, which ends in a dot.
    #[cfg(feature = "bridge")]
    pub fn is_within(&self, prefix: &str) -> bool {
        match self {
            Self::Exact(name) => name.as_str().starts_with(prefix),
            Self::Prefix(own) => own.starts_with(prefix),
        }
    }

    /// Whether a notification on `channel` is meant for this subscription. `a.*` matches
    /// `a.b` and `a.b.c`, not `a`.
    pub fn matches(&self, channel: &ChannelName) -> bool {
        match self {
            Self::Exact(name) => name == channel,
            Self::Prefix(prefix) => channel.as_str().starts_with(prefix.as_str()),
        }
    }
}

impl fmt::Display for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => name.fmt(f),
            Self::Prefix(prefix) => write!(f, "{prefix}*"),
        }
    }
}

fn check(name: &str) -> Result<(), Fault> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b':' | b'-');
    if name.is_empty() {
        Err(fault(format!("is empty; {RULE}")))
    } else if name.len() > MAX_CHANNEL_BYTES {
        Err(fault(format!("is {} bytes long; at most {MAX_CHANNEL_BYTES} are allowed", name.len())))
    } else if !name.split('.').all(|part| !part.is_empty() && part.bytes().all(allowed)) {
        Err(fault(format!("is not a channel name; {RULE}")))
    } else {
        Ok(())
    }
}

fn fault(message: impl Into<String>) -> Fault {
    Fault { path: "channel".into(), message: message.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn channel(name: &str) -> ChannelName {
        ChannelName::parse(name).unwrap()
    }

    #[test]
    fn names_are_parts_of_safe_characters_between_single_dots() {
        for good in ["a", "alerts.kitchen-1", "A_b:c.9", "a.b.c"] {
            assert_eq!(channel(good).as_str(), good);
        }
        for bad in ["", ".", "a.", ".a", "a..b", "a b", "a*", "a.*", "é", "a\n", "a/b", "[a]"] {
            assert!(ChannelName::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_name_of_200_bytes_is_the_longest() {
        assert!(ChannelName::parse(&"a".repeat(200)).is_ok());
        let fault = ChannelName::parse(&"a".repeat(201)).unwrap_err();
        assert_eq!(fault.to_string(), "channel: is 201 bytes long; at most 200 are allowed");
    }

    #[test]
    fn a_prefix_matches_what_is_below_it_and_not_itself() {
        let below_a = Subscription::parse("a.*").unwrap();
        assert_eq!(below_a, Subscription::Prefix("a.".into()));
        assert!(below_a.matches(&channel("a.b")) && below_a.matches(&channel("a.b.c")));
        assert!(!below_a.matches(&channel("a")) && !below_a.matches(&channel("ab.c")));
    }

    #[cfg(feature = "bridge")]
    #[test]
    fn what_is_wider_than_a_subscription_are_the_prefixes_above_it() {
        let wider = |text: &str| {
            let subscription = Subscription::parse(text).unwrap();
            subscription.wider().map(|it| it.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(wider("a"), [""; 0]);
        assert_eq!(wider("a.*"), [""; 0]);
        assert_eq!(wider("a.b.c"), ["a.*", "a.b.*"]);
        assert_eq!(wider("a.b.c.*"), ["a.*", "a.b.*"]);
    }

    #[test]
    fn a_bare_star_and_a_star_in_the_middle_are_refused() {
        for bad in ["*", ".*", "a*", "*.a", "a.*.b", "a.**"] {
            assert!(Subscription::parse(bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn what_parses_prints_as_it_was_written(text in "\\PC{0,20}|[a-z.*]{0,8}") {
            if let Ok(subscription) = Subscription::parse(&text) {
                prop_assert_eq!(subscription.to_string(), text);
            }
        }
    }

    proptest! {
        #[test]
        fn a_name_is_what_the_grammar_says_and_no_longer(text in "[a-c_:*. é-]{0,6}|[a.]{198,202}") {
            let allowed = |c: char| c.is_ascii_alphanumeric() || "_:-".contains(c);
            let sound = text.len() <= 200
                && text.split('.').all(|part| !part.is_empty() && part.chars().all(allowed));
            match ChannelName::parse(&text) {
                Ok(name) => prop_assert!(sound && name.as_str() == text),
                Err(fault) => prop_assert!(!sound && fault.path == "channel", "{fault}"),
            }
        }

        #[test]
        fn a_prefix_hears_every_channel_below_it_and_no_other(
            stem in "[ab]{1,2}(\\.[ab]{1,2}){0,2}", other in "[ab]{1,2}(\\.[ab]{1,2}){0,3}"
        ) {
            let below = Subscription::parse(&format!("{stem}.*")).unwrap();
            let parts = |text: &str| text.split('.').map(str::to_owned).collect::<Vec<_>>();
            let (stem, parts) = (parts(&stem), parts(&other));
            let under = parts.len() > stem.len() && parts.starts_with(&stem);
            prop_assert_eq!(below.matches(&channel(&other)), under);
        }
    }
}
