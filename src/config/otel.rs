//! Tracing as the standard `OTEL_*` variables describe it.
//!
//! What is decided here is where spans go and which are made. The rest of the standard OpenTelemetry
//! reads from the environment itself, headers and service name among it: they are declared to
//! be documented and judged with everything else.

use percent_encoding::percent_decode_str;
use url::Url;

use super::declaration::OtelParts;
use super::reader::Reader;
use super::setting::Group;
use super::value::Value;
use super::word::Sampler;
use crate::model::Secret;

/// Where traces go and which are kept.
#[derive(Clone, Debug, PartialEq)]
pub struct OtelConfig {
    /// The whole URL that spans are posted to; `None` turns tracing off.
    pub endpoint: Option<String>,
    /// Which traces are kept.
    pub sampler: Sampler,
    /// The share of traces a `traceidratio` sampler keeps, from 0 to 1.
    pub sampler_arg: f64,
}

impl Group for OtelConfig {
    fn read(reader: &mut Reader<'_>) -> Self {
        let parts = OtelParts::read(reader);
        for (variable, text) in [
            ("OTEL_EXPORTER_OTLP_HEADERS", &parts.headers),
            ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", &parts.traces_headers),
        ] {
            reader.require(
                text.as_ref().is_none_or(are_headers),
                &[variable],
                "is not a list of headers; write key=value,key=value, with `,` in a value as %2C",
            );
        }
        reader.require(
            (0.0..=1.0).contains(&parts.sampler_arg),
            &["OTEL_TRACES_SAMPLER_ARG"],
            "is not a share; write a number from 0 to 1",
        );
        Self {
            endpoint: collector(reader, &parts),
            sampler: parts.sampler,
            sampler_arg: parts.sampler_arg,
        }
    }
}

/// Where spans are posted to. What says how is only judged when any are.
fn collector(reader: &mut Reader<'_>, parts: &OtelParts) -> Option<String> {
    if parts.disabled || parts.exporter == "none" {
        return None;
    }
    let whole = parts.traces_endpoint.as_ref().map(|url| url.0.clone());
    let (variable, url) = whole
        .map(|url| ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", url))
        .or_else(|| Some(("OTEL_EXPORTER_OTLP_ENDPOINT", parts.endpoint.as_ref()?.for_traces())))?;
    reader.require(parts.exporter == "otlp", &["OTEL_TRACES_EXPORTER"], "is none of: otlp, none");
    // No TLS towards the collector: it runs beside the process as a rule, and a second set of
    // TLS settings is a second place to get them wrong.
    reader.require(
        url.scheme() == "http",
        &[variable],
        "is not an http:// address, such as http://127.0.0.1:4318; put a collector beside the \
         process to go further by https",
    );
    let for_traces = parts.traces_protocol.as_deref();
    let (variable, protocol) = match for_traces {
        Some(protocol) => ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", Some(protocol)),
        None => ("OTEL_EXPORTER_OTLP_PROTOCOL", parts.protocol.as_deref()),
    };
    reader.require(
        protocol.is_none_or(|protocol| protocol == "http/protobuf"),
        &[variable],
        "is not http/protobuf, the one protocol there is; remove it, and name the collector's \
         port for HTTP, as a rule 4318",
    );
    Some(url.into())
}

/// Where a collector listens.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct CollectorUrl(Url);

impl CollectorUrl {
    fn for_traces(&self) -> Url {
        let mut url = self.0.clone();
        url.set_path(&format!("{}/v1/traces", self.0.path().trim_end_matches('/')));
        url
    }
}

impl Value for CollectorUrl {
    const FORM: &'static str = "URL";
    fn parse(text: &str) -> Result<Self, String> {
        Url::parse(text)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            .filter(|url| url.username().is_empty() && url.password().is_none())
            .map(Self)
            .ok_or_else(|| {
                "is not the URL of an OTLP/HTTP collector; write http://127.0.0.1:4318, and \
                 credentials into OTEL_EXPORTER_OTLP_HEADERS"
                    .into()
            })
    }
    fn show(text: &str) -> String {
        // A text that cannot be read may hold a credential.
        Self::parse(text).map_or("(not readable)".into(), |url| url.0.into())
    }
}

/// Whether a text is a list of headers.
fn are_headers(text: &Secret) -> bool {
    text.expose().split(',').filter(|pair| !pair.trim().is_empty()).all(|pair| {
        let Some((key, value)) = pair.split_once('=') else { return false };
        let key = key.trim();
        let token = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        let value = percent_decode_str(value.trim()).decode_utf8();
        !key.is_empty()
            && key.bytes().all(token)
            && value.is_ok_and(|value| !value.contains(char::is_control))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::testing::{Variables, faults, server};
    use proptest::prelude::*;

    const BASE: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318/");

    fn endpoint(variables: &Variables<'_>) -> Option<String> {
        server(&[], variables).common.otel.endpoint
    }

    #[test]
    fn tracing_is_off_without_an_endpoint_or_when_it_is_turned_off() {
        assert_eq!(endpoint(&[]), None);
        assert_eq!(endpoint(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "")]), None);
        assert_eq!(endpoint(&[BASE, ("OTEL_SDK_DISABLED", "true")]), None);
        assert_eq!(endpoint(&[BASE, ("OTEL_TRACES_EXPORTER", "none")]), None);
        let elsewhere =
            [("OTEL_EXPORTER_OTLP_ENDPOINT", "https://c"), ("OTEL_SDK_DISABLED", "true")];
        assert_eq!(endpoint(&elsewhere), None);
        assert_eq!(endpoint(&[("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")]), None);
    }

    #[test]
    fn the_base_url_gets_a_path_and_the_one_for_traces_is_whole() {
        let traces = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://t:4318/here");
        assert_eq!(endpoint(&[BASE]).as_deref(), Some("http://c:4318/v1/traces"));
        assert_eq!(endpoint(&[BASE, traces]).as_deref(), Some("http://t:4318/here"));
        // The base may then be for other signals, which do not concern us.
        let base = ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://c");
        assert_eq!(endpoint(&[base, traces]).as_deref(), Some("http://t:4318/here"));
    }

    #[test]
    fn every_new_trace_is_kept_unless_something_else_is_said() {
        let sampler = |variables: &Variables<'_>| {
            let otel = server(&[], variables).common.otel;
            (otel.sampler, otel.sampler_arg)
        };
        assert_eq!(sampler(&[]), (Sampler::ParentBasedAlwaysOn, 1.0));
        let given = [("OTEL_TRACES_SAMPLER", "traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "0.01")];
        assert_eq!(sampler(&given), (Sampler::TraceIdRatio, 0.01));
    }

    #[test]
    fn each_fault_names_the_variable_and_the_fix() {
        for (variable, text, says) in [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318", "http://127.0.0.1:4318"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://c:4318", "http://127.0.0.1:4318"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://u:hunter2@c", "OTEL_EXPORTER_OTLP_HEADERS"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "grpc://c", "http://127.0.0.1:4318"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "http/protobuf"),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json", "http/protobuf"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "hunter2", "key=value,key=value"),
            ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "hunter2", "key=value,key=value"),
            ("OTEL_TRACES_EXPORTER", "zipkin", "otlp, none"),
            ("OTEL_SDK_DISABLED", "perhaps", "true nor false"),
            ("OTEL_TRACES_SAMPLER", "sometimes", "parentbased_traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", "2", "from 0 to 1"),
            ("OTEL_TRACES_SAMPLER_ARG", "half", "is not a number"),
        ] {
            let traces = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://c:4318");
            let on = if variable.ends_with("ENDPOINT") { vec![] } else { vec![traces] };
            let found = faults(&[], &[on, vec![(variable, text)]].concat());
            assert_eq!(found.len(), 1, "{found:?}");
            assert_eq!(found[0].path, variable);
            assert!(found[0].message.contains(says), "{}", found[0]);
            assert!(!found[0].message.contains("hunter2"), "{}", found[0]);
        }
    }

    #[test]
    fn the_address_of_a_collector_shows_no_credential() {
        assert_eq!(CollectorUrl::show("http://c:4318"), "http://c:4318/");
        assert!(!CollectorUrl::show("http://u:hunter2@c").contains("hunter2"));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let _ = (are_headers(&Secret::new(text.clone())), CollectorUrl::parse(&text));
        }
    }
}
