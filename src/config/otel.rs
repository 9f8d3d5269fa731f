//! Tracing as the standard `OTEL_*` variables describe it.

use percent_encoding::percent_decode_str;
use url::Url;

use super::declaration::OtelParts;
use super::reader::Reader;
use super::setting::Group;
use super::word::Sampler;
use crate::model::Secret;

/// Where traces go and which are kept.
#[derive(Clone, Debug, PartialEq)]
pub struct OtelConfig {
    /// The whole URL that spans are posted to; `None` turns tracing off.
    pub endpoint: Option<String>,
    /// Headers of every export. Values may be credentials.
    pub headers: Vec<(String, Secret)>,
    /// Which traces are kept; `None` leaves it to the SDK: `parentbased_always_on`.
    pub sampler: Option<Sampler>,
    /// The share of traces a `traceidratio` sampler keeps, from 0 to 1.
    pub sampler_arg: Option<f64>,
    /// The name traces are filed under.
    pub service_name: String,
}

impl Group for OtelConfig {
    fn read(reader: &mut Reader<'_>) -> Self {
        let parts = OtelParts::read(reader);
        let base = collector(reader, "OTEL_EXPORTER_OTLP_ENDPOINT", parts.endpoint);
        let traces = collector(reader, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", parts.traces_endpoint);
        let headers = parts.headers.as_ref().map_or(Some(vec![]), |text| headers(text.expose()));
        reader.require(
            headers.is_some(),
            &["OTEL_EXPORTER_OTLP_HEADERS"],
            "is not a list of headers; write key=value,key=value, with `,` in a value as %2C",
        );
        reader.require(
            parts.sampler_arg.is_none_or(|share| (0.0..=1.0).contains(&share)),
            &["OTEL_TRACES_SAMPLER_ARG"],
            "is not a share; write a number from 0 to 1",
        );
        Self {
            endpoint: traces
                .or_else(|| base.map(|base| format!("{}/v1/traces", base.trim_end_matches('/')))),
            headers: headers.unwrap_or_default(),
            sampler: parts.sampler,
            sampler_arg: parts.sampler_arg,
            service_name: parts.service_name,
        }
    }
}

fn collector(
    reader: &mut Reader<'_>,
    variable: &'static str,
    text: Option<String>,
) -> Option<String> {
    let text = text?;
    let http = Url::parse(&text)
        .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    reader.require(
        http,
        &[variable],
        "is not the URL of an OTLP/HTTP collector; write http://127.0.0.1:4318",
    );
    Some(text)
}

/// The headers, or `None` if the text is not a list of them.
fn headers(text: &str) -> Option<Vec<(String, Secret)>> {
    text.split(',')
        .filter(|pair| !pair.trim().is_empty())
        .map(|pair| {
            let (key, value) = pair.split_once('=')?;
            let value = percent_decode_str(value.trim()).decode_utf8().ok()?;
            let key = key.trim();
            let token = !key.is_empty()
                && key.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
            (token && !value.contains(char::is_control))
                .then(|| (key.to_owned(), Secret::new(value)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::testing::{faults, server, worker};
    use proptest::prelude::*;

    #[test]
    fn tracing_is_off_until_an_endpoint_is_set() {
        let otel = server(&[], &[]).common.otel;
        assert_eq!((otel.endpoint, otel.service_name.as_str()), (None, "trunkline-server"));
        assert_eq!(worker(&[], &[]).common.otel.service_name, "trunkline-worker");
    }

    #[test]
    fn the_base_url_gets_a_path_and_the_one_for_traces_is_whole() {
        let base = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318/");
        let traces = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://t:4318/here");
        let endpoint = |variables: &[_]| server(&[], variables).common.otel.endpoint;
        assert_eq!(endpoint(&[base]).as_deref(), Some("http://c:4318/v1/traces"));
        assert_eq!(endpoint(&[base, traces]).as_deref(), Some("http://t:4318/here"));
    }

    #[test]
    fn headers_are_secrets() {
        let given = [("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20abc, x-tenant=7")];
        let otel = server(&[], &given).common.otel;
        assert_eq!(otel.headers[0].0, "authorization");
        assert_eq!(otel.headers[0].1.expose(), "Bearer abc");
        assert_eq!(otel.headers[1].1.expose(), "7");
        assert!(!format!("{otel:?}").contains("abc"));
    }

    #[test]
    fn each_fault_names_the_variable_and_the_fix() {
        for (variable, text, says) in [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318", "http://127.0.0.1:4318"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "grpc://c", "http://127.0.0.1:4318"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "hunter2", "key=value,key=value"),
            ("OTEL_TRACES_SAMPLER", "sometimes", "parentbased_traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", "2", "from 0 to 1"),
            ("OTEL_TRACES_SAMPLER_ARG", "half", "is not a number"),
        ] {
            let found = faults(&[], &[(variable, text)]);
            assert_eq!(found.len(), 1, "{found:?}");
            assert_eq!(found[0].path, variable);
            assert!(found[0].message.contains(says), "{}", found[0]);
            assert!(!found[0].message.contains("hunter2"), "{}", found[0]);
        }
    }

    proptest! {
        #[test]
        fn no_text_of_headers_panics(text in ".{0,40}") {
            let _ = headers(&text);
        }
    }
}
