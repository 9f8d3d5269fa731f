//! OpenMetrics 1.0: the format of the page that has room for exemplars.
//!
//! The exporter writes the older text format alone. The two are close: a counter's family is
//! called without the `_total` that its samples have, quotes in a help text are escaped, infinity
//! is spelled with its sign, no line is empty, and the page says where it ends.

/// The last line of a page.
pub(super) const EOF: &str = "# EOF\n";

/// Turns a page of the text format into one of OpenMetrics, without its end. The samples keep
/// their names and labels, so a scraper stores the same series from either.
pub(super) fn from_text(page: &str) -> String {
    let mut out = String::with_capacity(page.len());
    for line in page.lines().filter(|line| !line.is_empty()) {
        let parts = line.strip_prefix("# ").and_then(|rest| {
            let (word, rest) = rest.split_once(' ')?;
            let (name, text) = rest.split_once(' ').unwrap_or((rest, ""));
            Some((word, name, text))
        });
        match parts {
            // The help of a counter comes before its type: the name alone says what it is.
            Some(("HELP", name, help)) => {
                let family = name.strip_suffix("_total").unwrap_or(name);
                push(&mut out, &["# HELP ", family, " ", &help.replace('"', "\\\"")]);
            }
            Some(("TYPE", name, kind)) => {
                let stem = name.strip_suffix("_total");
                let (family, kind) = match (kind, stem) {
                    ("counter", Some(stem)) => (stem, kind),
                    // Without the suffix it is no counter in this format.
                    ("counter" | "untyped", _) => (name, "unknown"),
                    _ => (name, kind),
                };
                push(&mut out, &["# TYPE ", family, " ", kind]);
            }
            Some(_) => {}
            None if line.starts_with('#') => {}
            None => match line.rsplit_once(' ') {
                Some((series, "inf")) => push(&mut out, &[series, " +Inf"]),
                Some((series, "-inf")) => push(&mut out, &[series, " -Inf"]),
                _ => push(&mut out, &[line]),
            },
        }
    }
    out
}

fn push(out: &mut String, parts: &[&str]) {
    out.extend(parts.iter().copied());
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_lose_the_suffix_of_their_family_and_nothing_else_does() {
        let page = "# HELP a_total Says \"a\".\n# TYPE a_total counter\na_total{x=\"1 2\"} 3\n\n\
                    # HELP b B.\n# TYPE b gauge\nb inf\n\n# TYPE c counter\nc 1\n";
        let expected = "# HELP a Says \\\"a\\\".\n# TYPE a counter\na_total{x=\"1 2\"} 3\n\
                        # HELP b B.\n# TYPE b gauge\nb +Inf\n# TYPE c unknown\nc 1\n";
        assert_eq!(from_text(page), expected);
    }
}
