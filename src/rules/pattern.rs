//! What a chain listens to.

/// A pattern over `type` or `subject`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Pattern {
    /// `*`: everything, also an absent subject.
    Any,
    /// Exactly this text.
    Exact(String),
    /// Every text that starts with this one, which ends in a dot: `a.*` is held as `a.`.
    Prefix(String),
}

impl Pattern {
    /// Reads `*`, `prefix.*` or an exact text; says what is wrong with anything else.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let pattern = match text.strip_suffix(".*") {
            _ if text == "*" => return Ok(Self::Any),
            Some(stem) => Self::Prefix(format!("{stem}.")),
            None => Self::Exact(text.to_owned()),
        };
        let (Self::Exact(fixed) | Self::Prefix(fixed)) = &pattern else { return Ok(pattern) };
        if matches!(fixed.as_str(), "" | ".") {
            Err("must not be empty; write a text, `prefix.*` or `*`".to_owned())
        } else if fixed.contains('*') {
            Err("may hold a `*` alone or as the ending `.*` only".to_owned())
        } else {
            Ok(pattern)
        }
    }

    /// Whether the pattern matches; an absent text only matches `*`.
    pub(super) fn matches(&self, text: Option<&str>) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(exact) => text == Some(exact),
            Self::Prefix(prefix) => text.is_some_and(|text| text.starts_with(prefix.as_str())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_exact_a_prefix_or_everything() {
        let matches =
            |pattern: &str, text: &str| Pattern::parse(pattern).unwrap().matches(Some(text));
        assert!(matches("a.b", "a.b") && !matches("a.b", "a.b.c"));
        assert!(matches("a.*", "a.b.c") && !matches("a.*", "a") && !matches("a.*", "ab"));
        assert!(matches("*", "anything"));
    }

    #[test]
    fn only_the_star_matches_what_is_absent() {
        assert!(Pattern::parse("*").unwrap().matches(None));
        assert!(!Pattern::parse("a.*").unwrap().matches(None));
        assert!(!Pattern::parse("a").unwrap().matches(None));
    }

    #[test]
    fn a_star_elsewhere_is_refused() {
        for bad in ["", ".*", "a*", "*.a", "a.*.b", "**"] {
            assert!(Pattern::parse(bad).is_err(), "{bad:?}");
        }
    }
}
