//! What becomes of notifications for a client that does not keep up.

use std::str::FromStr;

use super::{ChannelName, Subscription};

/// What becomes of a channel's notifications when more wait for a client than may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryPolicy {
    /// The client is closed as slow, and may come back for all of them.
    Close,
    /// The oldest that wait give way.
    DropOldest,
    /// Of each channel only the latest waits, whether there is room or not.
    LatestOnly,
}

impl DeliveryPolicy {
    const WORDS: [(&str, Self); 3] = [
        ("close", Self::Close),
        ("drop-oldest", Self::DropOldest),
        ("latest-only", Self::LatestOnly),
    ];
}

/// The policy of some channels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryRule {
    /// Which.
    pub channels: Subscription,
    /// What becomes of theirs.
    pub policy: DeliveryPolicy,
}

impl DeliveryRule {
    /// The policy that the first rule has which is about this channel.
    pub fn policy(rules: &[Self], channel: &ChannelName) -> DeliveryPolicy {
        let rule = rules.iter().find(|rule| rule.channels.matches(channel));
        rule.map_or(DeliveryPolicy::Close, |rule| rule.policy)
    }
}

impl FromStr for DeliveryRule {
    type Err = String;

    /// Reads `name=policy` or `prefix.*=policy`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (channels, policy) = text
            .split_once('=')
            .ok_or_else(|| format!("{text:?} has no policy; write telemetry.*=latest-only"))?;
        let channels = Subscription::parse(channels.trim())
            .map_err(|fault| format!("{:?} {}", channels.trim(), fault.message))?;
        let word = policy.trim();
        let found = DeliveryPolicy::WORDS.iter().find(|(name, _)| *name == word);
        let (_, policy) = found.ok_or_else(|| {
            let words = DeliveryPolicy::WORDS.map(|(name, _)| name).join(", ");
            format!("{word:?} is none of: {words}")
        })?;
        Ok(Self { channels, policy: *policy })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rule_that_is_about_a_channel_counts() {
        let rules: Vec<DeliveryRule> = ["a.b=close", "a.*=latest-only", "a.c = drop-oldest"]
            .map(|text| text.parse().unwrap())
            .into();
        let policy = |name| DeliveryRule::policy(&rules, &ChannelName::parse(name).unwrap());
        assert_eq!(policy("a.b"), DeliveryPolicy::Close);
        assert_eq!(policy("a.c"), DeliveryPolicy::LatestOnly);
        assert_eq!(policy("b"), DeliveryPolicy::Close);
    }

    #[test]
    fn what_is_no_rule_is_told_what_is_wrong_with_it() {
        for (text, words) in [
            ("a.*", "has no policy"),
            ("*=close", "every channel"),
            ("=close", "is empty"),
            ("a=newest", "none of: close, drop-oldest, latest-only"),
            ("a=", "none of"),
        ] {
            let told = text.parse::<DeliveryRule>().unwrap_err();
            assert!(told.contains(words), "{text}: {told}");
        }
    }
}
