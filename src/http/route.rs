//! From a method and a path to a door. The table is [`Endpoint`]: what is not in it does not exist.

use hyper::Method;

use crate::model::{Endpoint, Label};

/// Where a request goes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Route<'a> {
    /// A door, with the parameter of its path.
    To(Endpoint, &'a str),
    /// The path exists and was asked what it allows.
    Options(Vec<&'static str>),
    /// The path exists and allows these methods.
    MethodNotAllowed(Vec<&'static str>),
    /// No such path.
    NotFound,
}

/// Finds the door. `HEAD` goes where `GET` goes, but not to a stream, which would never end, and
/// not to a WebSocket, which begins with a GET.
pub(super) fn route<'a>(method: &Method, path: &'a str) -> Route<'a> {
    let mut allowed = Vec::new();
    let doors = Endpoint::ALL.iter().copied();
    for endpoint in doors.filter(|door| *door != Endpoint::Unmatched) {
        let Some(id) = matches(endpoint.route(), path) else { continue };
        let has_head = endpoint.method() == "GET"
            && !matches!(endpoint, Endpoint::Stream | Endpoint::WebSocket);
        if method.as_str() == endpoint.method() || (has_head && *method == Method::HEAD) {
            return Route::To(endpoint, id);
        }
        allowed.push(endpoint.method());
        if has_head {
            allowed.push("HEAD");
        }
    }
    if allowed.is_empty() {
        return Route::NotFound;
    }
    allowed.push("OPTIONS");
    if *method == Method::OPTIONS {
        Route::Options(allowed)
    } else {
        Route::MethodNotAllowed(allowed)
    }
}

fn matches<'a>(template: &str, path: &'a str) -> Option<&'a str> {
    match template.split_once('{') {
        Some((stem, _)) => path.strip_prefix(stem).filter(|id| !id.is_empty() && !id.contains('/')),
        None => (path == template).then_some(""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The path of a door with this as its parameter, if it has one.
    fn filled(endpoint: Endpoint, parameter: &str) -> String {
        let named = ["{id}", "{channel}"].into_iter();
        named.fold(endpoint.route().to_owned(), |path, name| path.replace(name, parameter))
    }

    #[test]
    fn every_door_is_found_by_its_own_method_and_path() {
        for endpoint in Endpoint::ALL.iter().copied().filter(|door| *door != Endpoint::Unmatched) {
            let path = filled(endpoint, "overheat");
            let method = endpoint.method().parse().unwrap();
            let id = if path == endpoint.route() { "" } else { "overheat" };
            assert_eq!(route(&method, &path), Route::To(endpoint, id));
        }
    }

    #[test]
    fn paths_that_only_look_alike_do_not_exist() {
        for path in [
            "",
            "//",
            "/v1",
            "/v1/events/",
            "/V1/events",
            "/v1/rule-chains/",
            "/v1/rule-chains/a/b",
            "unmatched",
        ] {
            assert_eq!(route(&Method::GET, path), Route::NotFound, "{path}");
        }
    }

    #[test]
    fn a_wrong_method_is_told_the_right_ones() {
        let allowed = vec!["POST", "OPTIONS"];
        assert_eq!(route(&Method::GET, "/v1/events"), Route::MethodNotAllowed(allowed.clone()));
        assert_eq!(route(&Method::OPTIONS, "/v1/events"), Route::Options(allowed));
        let Route::MethodNotAllowed(allowed) = route(&Method::PATCH, "/v1/rule-chains/a") else {
            panic!("PATCH goes nowhere")
        };
        assert_eq!(allowed, ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"]);
    }

    #[test]
    fn head_goes_where_get_goes_except_to_a_stream() {
        assert_eq!(route(&Method::HEAD, "/"), Route::To(Endpoint::Page, ""));
        for path in ["/v1/stream", "/v1/ws"] {
            let allowed = vec!["GET", "OPTIONS"];
            assert_eq!(route(&Method::HEAD, path), Route::MethodNotAllowed(allowed), "{path}");
        }
    }

    proptest! {
        #[test]
        fn only_what_is_in_the_table_exists(path in "(/v1)?/(events|stream|ws|livez|rule-chains|channels)?(/[a-z%.]{0,4}){0,2}|.{0,20}") {
            let in_table = |door: &Endpoint| {
                let (template, mut parts) = (door.route().split('/'), path.split('/'));
                template.clone().count() == parts.clone().count()
                    && template.zip(&mut parts).all(|(wanted, part)| wanted == part || wanted.starts_with('{') && !part.is_empty())
            };
            let doors = Endpoint::ALL.iter().filter(|door| **door != Endpoint::Unmatched);
            let exists = doors.clone().any(in_table);
            prop_assert_eq!(route(&Method::TRACE, &path) == Route::NotFound, !exists);
            if let Route::To(endpoint, id) = route(&Method::GET, &path) {
                prop_assert_eq!(filled(endpoint, id), path);
            }
        }
    }
}
