//! Trace contexts as the W3C writes them, and the decision to sample: pure values.

use std::fmt;

use crate::config::{self, OtelConfig};

/// Where in a trace something happens: what travels in a `traceparent`.
///
/// An unsampled context travels too. Otherwise each process on the way would decide anew, and
/// a trace would begin in the middle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    pub(in crate::telemetry) trace_id: u128,
    pub(super) span_id: u64,
    pub(super) sampled: bool,
    /// Nothing has happened in this trace yet: its first span has no parent.
    pub(super) root: bool,
}

impl TraceContext {
    /// Reads a `traceparent` (W3C Trace Context, level 1). A later version is read as far as it
    /// must agree with version 00; anything malformed is no context.
    pub fn parse(traceparent: &str) -> Option<Self> {
        let mut parts = traceparent.trim().split('-');
        let version = hex(parts.next()?, 2)?;
        let trace_id = hex(parts.next()?, 32)?;
        let span_id = u64::try_from(hex(parts.next()?, 16)?).ok()?;
        let flags = hex(parts.next()?, 2)?;
        let more = parts.next().is_some();
        if version == 0xff || (version == 0 && more) || trace_id == 0 || span_id == 0 {
            return None;
        }
        Some(Self { trace_id, span_id, sampled: flags & 1 == 1, root: false })
    }

    /// The `traceparent` to send along.
    pub fn to_traceparent(self) -> String {
        self.to_string()
    }

    /// Whether spans are made and exported.
    pub fn sampled(self) -> bool {
        self.sampled
    }

    /// The trace's id as logs and traces show it: 32 hexadecimal digits.
    pub fn trace_id(self) -> String {
        format!("{:032x}", self.trace_id)
    }

    /// The context of a span below this one: same trace, same decision, an id of its own.
    pub fn child(self) -> Self {
        Self { span_id: fastrand::u64(1..), root: false, ..self }
    }

    /// Begins a trace.
    fn begin(sampler: Sampler) -> Self {
        let trace_id = fastrand::u128(1..);
        let sampled = sampler.admits_new(trace_id);
        Self { trace_id, span_id: fastrand::u64(1..), sampled, root: true }
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { trace_id, span_id, sampled, .. } = *self;
        write!(f, "00-{trace_id:032x}-{span_id:016x}-{:02x}", u8::from(sampled))
    }
}

/// The W3C allows lower case only.
fn hex(text: &str, digits: usize) -> Option<u128> {
    let lower = text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    (text.len() == digits && lower).then(|| u128::from_str_radix(text, 16).ok())?
}

/// Which traces are exported.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::telemetry) struct Sampler {
    /// Whether a caller's decision is kept.
    parent_based: bool,
    /// The share of new traces, from 0 to 1.
    ratio: f64,
}

impl Sampler {
    /// The sampler that the settings describe.
    pub(super) fn of(otel: &OtelConfig) -> Self {
        let (parent_based, ratio) = match otel.sampler {
            config::Sampler::AlwaysOn => (false, 1.0),
            config::Sampler::AlwaysOff => (false, 0.0),
            config::Sampler::TraceIdRatio => (false, otel.sampler_arg),
            config::Sampler::ParentBasedAlwaysOn => (true, 1.0),
            config::Sampler::ParentBasedAlwaysOff => (true, 0.0),
            config::Sampler::ParentBasedTraceIdRatio => (true, otel.sampler_arg),
        };
        Self { parent_based, ratio }
    }

    /// Decides for what arrives with, or without, a `traceparent`.
    pub(super) fn decide(self, traceparent: Option<&str>) -> TraceContext {
        self.decide_for(traceparent.and_then(TraceContext::parse))
    }

    /// The same where the `traceparent` has been read.
    pub(super) fn decide_for(self, caller: Option<TraceContext>) -> TraceContext {
        match caller {
            Some(caller) if self.parent_based => caller,
            Some(caller) => TraceContext { sampled: self.admits_new(caller.trace_id), ..caller },
            None => TraceContext::begin(self),
        }
    }

    /// The same arithmetic as OpenTelemetry's `TraceIdRatioBased`, so that services that decide
    /// by ratio agree: the low 63 bits of the id against the ratio.
    fn admits_new(self, trace_id: u128) -> bool {
        let bound = (self.ratio * (1_u64 << 63) as f64) as u64;
        (trace_id as u64) >> 1 < bound
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sampler::*;
    use proptest::prelude::*;

    const SAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    const UNSAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

    #[test]
    fn a_traceparent_survives_reading_and_writing() {
        for text in [SAMPLED, UNSAMPLED] {
            assert_eq!(TraceContext::parse(text).unwrap().to_traceparent(), text);
        }
        let later = "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what-is-new";
        assert_eq!(TraceContext::parse(later).unwrap().to_traceparent(), SAMPLED);
    }

    #[test]
    fn a_malformed_traceparent_is_no_context() {
        for text in [
            "",
            "00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-ünf7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert_eq!(TraceContext::parse(text), None, "{text}");
        }
    }

    fn sampler(name: config::Sampler, sampler_arg: f64) -> Sampler {
        Sampler::of(&OtelConfig { endpoint: None, sampler: name, sampler_arg })
    }

    #[test]
    fn a_child_stays_in_the_trace_and_keeps_the_decision() {
        let parent = TraceContext::parse(SAMPLED).unwrap();
        let child = parent.child();
        assert_eq!(child.trace_id(), parent.trace_id());
        assert!(child.sampled());
        assert_ne!(child.span_id, parent.span_id);
        assert!(!sampler(ParentBasedAlwaysOn, 1.0).decide(None).child().root);
    }

    #[test]
    fn the_callers_decision_is_kept_only_by_a_parent_based_sampler() {
        let sampler = |name| sampler(name, 0.5);
        assert!(!sampler(ParentBasedAlwaysOn).decide(Some(UNSAMPLED)).sampled());
        assert!(sampler(ParentBasedAlwaysOff).decide(Some(SAMPLED)).sampled());
        assert!(sampler(AlwaysOn).decide(Some(UNSAMPLED)).sampled());
        assert!(!sampler(AlwaysOff).decide(Some(SAMPLED)).sampled());
        assert!(sampler(ParentBasedAlwaysOn).decide(None).sampled());
        assert!(!sampler(ParentBasedAlwaysOff).decide(None).sampled());
    }

    #[test]
    fn a_ratio_admits_its_share_of_new_traces() {
        let sampler = sampler(ParentBasedTraceIdRatio, 0.25);
        let sampled = (0..10_000).filter(|_| sampler.decide(None).sampled()).count();
        assert!((2_200..2_800).contains(&sampled), "{sampled}");
    }

    proptest! {
        #[test]
        fn what_is_called_a_traceparent_can_be_read_and_nothing_else(
            text in "[0-9a-fg+é-]{0,60}|0[01]-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-.{0,4})?|(00|01|ff)-(0{32}|[0-9a-f]{32}|[0-9A-F+]{31,33})-(0{16}|[0-9a-f]{16}|[0-9a-f+]{15,17})-[0-9a-f]{2}f?(-.{0,4})?"
        ) {
            prop_assert_eq!(TraceContext::parse(&text).is_some(), crate::model::is_traceparent(&text));
        }

        #[test]
        fn every_context_survives_reading_and_writing(trace_id in 1u128.., span_id in 1u64.., sampled: bool) {
            let context = TraceContext { trace_id, span_id, sampled, root: false };
            prop_assert_eq!(TraceContext::parse(&context.to_traceparent()), Some(context));
        }
    }
}
