//! How the text of a setting becomes a value, and how it is shown again.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// A type a setting can have. A problem is worded so that it can follow the setting's name.
///
/// Where [`Value::SECRET`] holds, a problem never repeats the text it was given.
pub(super) trait Value: Sized {
    /// The placeholder in `--help`, such as `DURATION`.
    const FORM: &'static str;
    /// Whether the text may hold a credential.
    const SECRET: bool = false;
    /// Whether the flag may be repeated and the text is separated by commas.
    const LIST: bool = false;
    /// Whether the flag may stand alone and then means `true`.
    const SWITCH: bool = false;

    /// Reads the text.
    fn parse(text: &str) -> Result<Self, String>;
    /// The value when nothing was given and there is no default text.
    fn absent() -> Option<Self> {
        None
    }
    /// The text as it may be shown to an operator.
    fn show(text: &str) -> String {
        if Self::SECRET { "***".into() } else { text.into() }
    }
}

impl<T: Value> Value for Option<T> {
    const FORM: &'static str = T::FORM;
    const SECRET: bool = T::SECRET;
    const LIST: bool = T::LIST;
    const SWITCH: bool = T::SWITCH;
    fn parse(text: &str) -> Result<Self, String> {
        T::parse(text).map(Some)
    }
    fn absent() -> Option<Self> {
        Some(None)
    }
    fn show(text: &str) -> String {
        T::show(text)
    }
}

impl<T: Value> Value for Vec<T> {
    const FORM: &'static str = T::FORM;
    const SECRET: bool = T::SECRET;
    const LIST: bool = true;
    fn parse(text: &str) -> Result<Self, String> {
        let (good, bad): (Vec<_>, Vec<_>) = text
            .split(',')
            .map(str::trim)
            .filter(|one| !one.is_empty())
            .map(T::parse)
            .partition(Result::is_ok);
        if bad.is_empty() {
            Ok(good.into_iter().flatten().collect())
        } else {
            Err(bad.into_iter().filter_map(Result::err).collect::<Vec<_>>().join("; "))
        }
    }
    fn absent() -> Option<Self> {
        Some(vec![])
    }
}

macro_rules! whole_numbers {
    ($($number:ty),+) => {$(
        impl Value for $number {
            const FORM: &'static str = "NUMBER";
            fn parse(text: &str) -> Result<Self, String> {
                text.trim().parse().map_err(|_| {
                    format!("{text:?} is not a whole number from 0 to {}", <$number>::MAX)
                })
            }
        }
    )+};
}

whole_numbers!(u16, u32, u64, usize);

impl Value for f64 {
    const FORM: &'static str = "NUMBER";
    fn parse(text: &str) -> Result<Self, String> {
        text.trim()
            .parse()
            .ok()
            .filter(|number: &f64| number.is_finite())
            .ok_or_else(|| format!("{text:?} is not a number"))
    }
}

impl Value for bool {
    const FORM: &'static str = "BOOL";
    const SWITCH: bool = true;
    fn parse(text: &str) -> Result<Self, String> {
        match text.trim().to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Ok(true),
            "false" | "0" | "no" | "off" => Ok(false),
            _ => Err(format!("{text:?} is neither true nor false")),
        }
    }
}

impl Value for String {
    const FORM: &'static str = "TEXT";
    fn parse(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }
}

impl Value for PathBuf {
    const FORM: &'static str = "FILE";
    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            Err("is empty; give the path of a file".into())
        } else {
            Ok(text.into())
        }
    }
}

impl Value for SocketAddr {
    const FORM: &'static str = "ADDRESS";
    fn parse(text: &str) -> Result<Self, String> {
        text.trim().parse().map_err(|_| {
            format!("{text:?} is not an IP address with a port; write 127.0.0.1:8080 or [::1]:8080")
        })
    }
}

/// The longest duration a setting may have: a year. Timers end at about two.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

impl Value for Duration {
    const FORM: &'static str = "DURATION";
    fn parse(text: &str) -> Result<Self, String> {
        match humantime::parse_duration(text.trim()) {
            Ok(duration) if duration <= LONGEST => Ok(duration),
            Ok(_) => Err(format!("{text:?} is longer than 365 days")),
            Err(_) => Err(format!(
                "{text:?} is not a duration; write a number with a unit: 500ms, 30s, 24h"
            )),
        }
    }
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(u32);

impl ByteSize {
    /// The number of bytes, below 4 GiB.
    pub fn bytes(self) -> usize {
        self.0 as usize
    }
}

impl Value for ByteSize {
    const FORM: &'static str = "SIZE";
    fn parse(text: &str) -> Result<Self, String> {
        let trimmed = text.trim();
        let digits = trimmed.trim_end_matches(|c: char| !c.is_ascii_digit());
        let unit: u64 = match trimmed[digits.len()..].trim() {
            "" | "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            _ => {
                return Err(format!(
                    "{text:?} is not a size; write bytes, KiB or MiB: 65536, 64KiB, 1 MiB"
                ));
            }
        };
        digits
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(unit))
            .and_then(|bytes| u32::try_from(bytes).ok())
            .map(Self)
            .ok_or_else(|| {
                format!("{text:?} is not a size below 4 GiB; write 65536, 64KiB or 1 MiB")
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fault<T: Value + std::fmt::Debug>(text: &str) -> String {
        T::parse(text).expect_err(text)
    }

    #[test]
    fn durations_need_a_unit_and_end_at_a_year() {
        assert_eq!(Duration::parse("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(Duration::parse("1h 30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(Duration::parse("24h"), Ok(Duration::from_secs(86_400)));
        assert!(fault::<Duration>("500").contains("write a number with a unit"));
        assert!(fault::<Duration>("500y").contains("longer than 365 days"));
    }

    #[test]
    fn sizes_are_bytes_or_binary_units() {
        assert_eq!(ByteSize::parse("65536"), ByteSize::parse("64 KiB"));
        assert_eq!(ByteSize::parse("1MiB").map(ByteSize::bytes), Ok(1_048_576));
        assert!(fault::<ByteSize>("64kb").contains("64KiB"));
        assert!(fault::<ByteSize>("4GiB").contains("below 4 GiB"));
        assert!(fault::<ByteSize>("KiB").contains("not a size"));
    }

    #[test]
    fn a_list_names_every_bad_member() {
        assert_eq!(Vec::<u16>::parse(" 1, 2,,3 "), Ok(vec![1, 2, 3]));
        let both = fault::<Vec<u16>>("1,a,b");
        assert!(both.contains("\"a\"") && both.contains("\"b\""), "{both}");
    }

    #[test]
    fn an_address_is_not_a_name() {
        assert!(SocketAddr::parse("[::1]:80").is_ok());
        assert!(fault::<SocketAddr>("localhost:80").contains("127.0.0.1:8080"));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let _ = (Duration::parse(&text), ByteSize::parse(&text), bool::parse(&text));
            let _ = (SocketAddr::parse(&text), Vec::<u16>::parse(&text), f64::parse(&text));
        }

        #[test]
        fn every_number_of_bytes_is_read_as_itself(bytes: u32) {
            prop_assert_eq!(ByteSize::parse(&bytes.to_string()).map(ByteSize::bytes), Ok(bytes as usize));
        }
    }

    proptest! {
        #[test]
        fn every_duration_is_read_as_it_is_written(ms in 0u64..=365 * 24 * 60 * 60 * 1000) {
            let written = humantime::format_duration(Duration::from_millis(ms)).to_string();
            prop_assert_eq!(Duration::parse(&written), Ok(Duration::from_millis(ms)));
        }

        #[test]
        fn what_is_accepted_is_within_bounds_and_a_refusal_repeats_the_text(
            text in "[0-9]{1,22} ?(|ns|us|ms|s|m|h|d|w|M|y|years|B|KiB|MiB|GiB|kb)"
        ) {
            match Duration::parse(&text) {
                Ok(duration) => prop_assert!(duration <= LONGEST),
                Err(why) => prop_assert!(why.contains(&text), "{why}"),
            }
            match ByteSize::parse(&text) {
                Ok(size) => prop_assert!(size.bytes() < 4 << 30),
                Err(why) => prop_assert!(why.contains(&text), "{why}"),
            }
        }
    }
}
