//! A metrics page, read as Prometheus reads it.

use std::collections::BTreeMap;
use std::fmt;

use super::eventually::eventually;
use super::http::Http;
use super::process::Daemon;

/// One line of a page.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// The name, with `_bucket`, `_sum` or `_count` for a histogram.
    pub name: String,
    /// The labels.
    pub labels: BTreeMap<String, String>,
    /// The value.
    pub value: f64,
}

impl Series {
    fn has(&self, labels: &[(String, String)]) -> bool {
        labels.iter().all(|(key, value)| self.labels.get(key) == Some(value))
    }
}

impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let labels = self.labels.iter().map(|(key, value)| format!("{key}={value:?}"));
        let labels = labels.collect::<Vec<_>>().join(",");
        write!(f, "{}{{{labels}}} {}", self.name, self.value)
    }
}

/// Reads a page in the text format. Panics with the line that is not in it.
pub fn parse(page: &str) -> Vec<Series> {
    let lines = page.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| series(line).unwrap_or_else(|| panic!("no series: {line:?}"))).collect()
}

fn series(line: &str) -> Option<Series> {
    let name_ends = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(name_ends);
    let mut labels = BTreeMap::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while !rest.starts_with('}') {
            let (key, after) = rest.split_once("=\"")?;
            let (value, after) = quoted(after)?;
            labels.insert(key.to_owned(), value);
            rest = after.strip_prefix(',').unwrap_or(after);
        }
        rest = &rest[1..];
    }
    let value = rest.split_ascii_whitespace().next()?.parse().ok()?;
    Some(Series { name: name.to_owned(), labels, value })
}

/// The text up to the closing quote, unescaped, and what follows the quote.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match characters.next()?.1 {
                'n' => value.push('\n'),
                escaped => value.push(escaped),
            },
            other => value.push(other),
        }
    }
    None
}

/// A whole metrics page, so that its numbers belong to one moment.
pub struct Page(Vec<Series>);

impl Page {
    /// The page of this program as it is now. A server renders it once a second at most.
    pub async fn of(daemon: &Daemon) -> Page {
        let page = daemon.admin().await.get("/metrics").await;
        assert_eq!(page.status, 200, "{:?}", page.body);
        Page(parse(page.text()))
    }

    /// The sum over the series of this name that bear these labels. Panics if the page does not
    /// know the name; no series with the labels is zero.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let mut named = self.0.iter().filter(|series| series.name == name).peekable();
        assert!(named.peek().is_some(), "no {name} on the page");
        let bears = |series: &&Series| {
            labels.iter().all(|&(key, value)| series.labels.get(key).is_some_and(|it| it == value))
        };
        named.filter(bears).map(|series| series.value).sum()
    }

    /// Whether the page knows the name.
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|series| series.name == name)
    }

    /// The values of a label among the series of this name.
    pub fn label_values(&self, name: &str, label: &str) -> Vec<String> {
        let named = self.0.iter().filter(|series| series.name == name);
        let mut values: Vec<_> =
            named.filter_map(|series| series.labels.get(label).cloned()).collect();
        values.sort();
        values.dedup();
        values
    }
}

/// A question to a metrics page: the series of a name that bear some labels.
pub struct Metric {
    source: Http,
    name: String,
    labels: Vec<(String, String)>,
}

impl Metric {
    /// Every series of this name on the page `/metrics` of the server.
    pub fn new(source: Http, name: &str) -> Metric {
        Metric { source, name: name.to_owned(), labels: Vec::new() }
    }

    /// Only those that bear this label.
    pub fn label(mut self, key: &str, value: &str) -> Metric {
        self.labels.push((key.to_owned(), value.to_owned()));
        self
    }

    /// The sum over the series; `None` if there are none.
    pub async fn value(&self) -> Option<f64> {
        self.look().await.0
    }

    /// Waits until the sum is at least so much, and returns it.
    pub async fn reaches(&self, least: f64) -> f64 {
        eventually(&format!("{self} reaches {least}"), async || {
            let (value, all) = self.look().await;
            value.filter(|&value| value >= least).ok_or(all)
        })
        .await
    }

    /// Waits until the sum is exactly so much and stays so over ten looks.
    pub async fn settles(&self, at: f64) {
        let mut steady = 0;
        eventually(&format!("{self} settles at {at}"), async || {
            let (value, all) = self.look().await;
            steady = if value == Some(at) { steady + 1 } else { 0 };
            if steady < 10 { Err(all) } else { Ok(()) }
        })
        .await;
    }

    /// The sum, and every series of the name to show if it is the wrong one.
    async fn look(&self) -> (Option<f64>, String) {
        let answer = self.source.try_send(hyper::Method::GET, "/metrics", &[], "").await;
        let page = match answer {
            Ok(response) if response.status == 200 => response,
            Ok(response) => return (None, format!("{} {:?}", response.status, response.body)),
            Err(error) => return (None, error),
        };
        let mut all = parse(page.text());
        all.retain(|series| series.name == self.name);
        let shown = match all.as_slice() {
            [] => "no series of that name".to_owned(),
            some => some.iter().map(|series| format!("\n    {series}")).collect(),
        };
        let matching = all.iter().filter(|series| series.has(&self.labels)).map(|s| s.value);
        (matching.reduce(|sum, value| sum + value), shown)
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let labels = self.labels.iter().map(|(key, value)| format!("{key}={value:?}"));
        write!(f, "{}{{{}}}", self.name, labels.collect::<Vec<_>>().join(","))
    }
}
