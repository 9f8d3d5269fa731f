//! Histograms that sort an observation into its bucket when it is made.
//!
//! The exporter's own keep every observation, with a clock reading, until somebody drains them:
//! memory that grows with the load, and twice the work. Counters and gauges stay with it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use metrics::{
    Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};
use metrics_exporter_prometheus::PrometheusRecorder;

use super::catalogue::*;
use super::exemplar::{self, Exemplars};
use super::page::PageFormat;

/// Gives histograms of the catalogue to [`Histograms`], and all else to the exporter.
pub(super) struct Sorting {
    pub(super) exporter: PrometheusRecorder,
    pub(super) histograms: Histograms,
}

impl Recorder for Sorting {
    fn describe_counter(&self, name: KeyName, unit: Option<Unit>, help: SharedString) {
        self.exporter.describe_counter(name, unit, help);
    }

    fn describe_gauge(&self, name: KeyName, unit: Option<Unit>, help: SharedString) {
        self.exporter.describe_gauge(name, unit, help);
    }

    fn describe_histogram(&self, name: KeyName, unit: Option<Unit>, help: SharedString) {
        self.exporter.describe_histogram(name, unit, help);
    }

    fn register_counter(&self, key: &Key, metadata: &Metadata<'_>) -> Counter {
        self.exporter.register_counter(key, metadata)
    }

    fn register_gauge(&self, key: &Key, metadata: &Metadata<'_>) -> Gauge {
        self.exporter.register_gauge(key, metadata)
    }

    fn register_histogram(&self, key: &Key, metadata: &Metadata<'_>) -> Histogram {
        match ALL.iter().find(|metric| metric.name == key.name()) {
            Some(metric) => Histogram::from_arc(self.histograms.of(metric, key)),
            None => self.exporter.register_histogram(key, metadata),
        }
    }
}

/// All series of histograms, by name and labels. Clones are the same.
#[derive(Clone, Default)]
pub(super) struct Histograms(Arc<Mutex<BTreeMap<&'static str, Series>>>);

struct Series {
    help: &'static str,
    /// By labels as the page writes them.
    all: BTreeMap<String, Arc<Buckets>>,
}

impl Histograms {
    fn of(&self, metric: &'static Definition, key: &Key) -> Arc<Buckets> {
        let labels = key.labels().map(|it| format!("{}=\"{}\"", it.key(), escaped(it.value())));
        let labels = labels.collect::<Vec<_>>().join(",");
        let mut histograms = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = || Series { help: metric.help, all: BTreeMap::new() };
        let series = histograms.entry(metric.name).or_insert_with(fresh);
        let buckets = series.all.entry(labels);
        let exemplars = exemplar::is_on() && has_exemplars(metric.name);
        let fresh = || Arc::new(Buckets::new(metric.buckets, exemplars));
        Arc::clone(buckets.or_insert_with(fresh))
    }

    /// Adds all of them to a page.
    pub(super) fn render(&self, format: PageFormat, page: &mut String) {
        let histograms = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, Series { help, all }) in &*histograms {
            let help = match format {
                PageFormat::Text => help.replace('\\', "\\\\").replace('\n', "\\n"),
                PageFormat::OpenMetrics => escaped(help),
            };
            let told = write!(page, "# HELP {name} {help}\n# TYPE {name} histogram\n");
            told.and_then(|()| all.iter().try_for_each(|(l, it)| it.render(name, l, format, page)))
                .expect("a String takes everything");
            if format == PageFormat::Text {
                page.push('\n');
            }
        }
    }
}

/// A label's value as either format writes it.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// The three latencies that somebody asks "of which trace?".
fn has_exemplars(metric: &str) -> bool {
    [DELIVERY_LATENCY.name(), JOB_DURATION.name(), HTTP_REQUEST_DURATION.name()].contains(&metric)
}

/// Threads that count the same thing at the same time do it in different cache lines: as many as
/// the commands of one connection are likely to come from.
const STRIPES: usize = 8;

thread_local! {
    /// The stripe of this thread. Threads in excess share.
    static STRIPE: usize = {
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        THREADS.fetch_add(1, Ordering::Relaxed) % STRIPES
    };
}

/// One series.
struct Buckets {
    bounds: &'static [f64],
    stripes: Box<[Stripe]>,
    exemplars: Option<Exemplars>,
}

/// What some threads observed. Aligned to two lines of 64 bytes, which processors fetch together.
#[repr(align(128))]
struct Stripe {
    /// Of all observations, as the bits of an `f64`.
    sum: AtomicU64,
    /// Observations up to each bound and above the one before; the one after the last has no bound.
    counts: [AtomicU64; Stripe::MOST],
}

impl Stripe {
    /// With the sum they fill the lines. A catalogue with a histogram of more does not compile.
    const MOST: usize = 15;

    fn new() -> Self {
        let sum = AtomicU64::new(0.0_f64.to_bits());
        Self { sum, counts: [const { AtomicU64::new(0) }; Self::MOST] }
    }
}

const _: () = {
    let mut at = 0;
    while at < ALL.len() {
        // One more place than bounds: what is above the last has none.
        assert!(ALL[at].buckets.len() < Stripe::MOST, "a histogram has too many bounds");
        at += 1;
    }
};

impl Buckets {
    fn new(bounds: &'static [f64], exemplars: bool) -> Self {
        let exemplars = exemplars.then(|| Exemplars::new(bounds.len() + 1));
        Self { bounds, stripes: (0..STRIPES).map(|_| Stripe::new()).collect(), exemplars }
    }

    fn render(
        &self,
        name: &str,
        labels: &str,
        format: PageFormat,
        page: &mut String,
    ) -> std::fmt::Result {
        let comma = if labels.is_empty() { "" } else { "," };
        let mut count = 0;
        for place in 0..=self.bounds.len() {
            let observed = |stripe: &Stripe| stripe.counts[place].load(Ordering::Relaxed);
            count += self.stripes.iter().map(observed).sum::<u64>();
            write!(page, "{name}_bucket{{{labels}{comma}le=\"")?;
            match (self.bounds.get(place), format) {
                (Some(bound), PageFormat::Text) => write!(page, "{bound}")?,
                // Always with a fraction: Prometheus 3 stores both as `1.0`.
                (Some(bound), PageFormat::OpenMetrics) => write!(page, "{bound:?}")?,
                (None, _) => page.write_str("+Inf")?,
            }
            write!(page, "\"}} {count}")?;
            if let (Some(exemplars), PageFormat::OpenMetrics) = (&self.exemplars, format) {
                exemplars.render(place, page)?;
            }
            page.write_char('\n')?;
        }
        let sum = |stripe: &Stripe| f64::from_bits(stripe.sum.load(Ordering::Relaxed));
        let sum: f64 = self.stripes.iter().map(sum).sum();
        let braces = |labels: &str| match labels {
            "" => String::new(),
            labels => format!("{{{labels}}}"),
        };
        writeln!(page, "{name}_sum{} {sum}", braces(labels))?;
        writeln!(page, "{name}_count{} {count}", braces(labels))
    }
}

impl HistogramFn for Buckets {
    fn record(&self, value: f64) {
        self.record_many(value, 1);
    }

    fn record_many(&self, value: f64, count: usize) {
        let place = self.bounds.iter().position(|bound| value <= *bound);
        let place = place.unwrap_or(self.bounds.len());
        let stripe = &self.stripes[STRIPE.with(|stripe| *stripe)];
        stripe.counts[place].fetch_add(count as u64, Ordering::Relaxed);
        if let Some(exemplars) = &self.exemplars {
            exemplars.observe(place, value);
        }
        let add = |sum: u64| Some((f64::from_bits(sum) + value * count as f64).to_bits());
        // Always Ok: the closure never declines.
        let _ = stripe.sum.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::exemplar::TraceId;
    use crate::telemetry::trace::TraceContext;

    #[test]
    fn an_observation_counts_in_its_bucket_and_in_all_above() {
        let buckets = Buckets::new(&[0.5, 2.5], false);
        for value in [0.1, 0.5, 9.0] {
            buckets.record(value);
        }
        buckets.record_many(2.0, 2);
        let mut page = String::new();
        buckets.render("n", "a=\"b\"", PageFormat::Text, &mut page).unwrap();
        let expected = "n_bucket{a=\"b\",le=\"0.5\"} 2\nn_bucket{a=\"b\",le=\"2.5\"} 4\n\
                        n_bucket{a=\"b\",le=\"+Inf\"} 5\nn_sum{a=\"b\"} 13.6\nn_count{a=\"b\"} 5\n";
        assert_eq!(page, expected);
    }

    #[test]
    fn what_many_threads_observe_is_added_up() {
        let buckets = Buckets::new(&[0.5], false);
        std::thread::scope(|scope| {
            for _ in 0..3 * STRIPES {
                scope.spawn(|| (0..100).for_each(|_| buckets.record(2.0)));
            }
        });
        let (mut page, observed) = (String::new(), 300 * STRIPES);
        buckets.render("n", "", PageFormat::Text, &mut page).unwrap();
        assert!(page.ends_with(&format!("n_sum {}\nn_count {observed}\n", 2 * observed)), "{page}");
    }

    #[test]
    fn a_series_without_labels_has_no_braces_but_for_its_buckets() {
        let mut page = String::new();
        Buckets::new(&[0.5], false).render("n", "", PageFormat::Text, &mut page).unwrap();
        let expected = "n_bucket{le=\"0.5\"} 0\nn_bucket{le=\"+Inf\"} 0\nn_sum 0\nn_count 0\n";
        assert_eq!(page, expected);
    }

    #[test]
    fn the_last_trace_of_a_bucket_stands_behind_it_in_openmetrics_alone() {
        exemplar::enable();
        let trace = |id: u8| {
            let text = format!("00-{id:032x}-00f067aa0ba902b7-01");
            TraceId::of(TraceContext::parse(&text))
        };
        let buckets = Buckets::new(&[1.0], true);
        for (id, value) in [(1, 0.25), (2, 0.5), (3, 2.0)] {
            exemplar::during(trace(id), || buckets.record(value));
        }
        buckets.record(0.75);
        let unsampled =
            TraceContext::parse("00-00000000000000000000000000000009-00f067aa0ba902b7-00");
        exemplar::during(TraceId::of(unsampled), || buckets.record(0.75));
        let [mut text, mut open] = [String::new(), String::new()];
        buckets.render("n", "", PageFormat::Text, &mut text).unwrap();
        buckets.render("n", "", PageFormat::OpenMetrics, &mut open).unwrap();
        assert!(text.starts_with("n_bucket{le=\"1\"} 4\nn_bucket{le=\"+Inf\"} 5\n"), "{text}");
        let lines: Vec<_> = open.lines().collect();
        let starts = [
            format!("n_bucket{{le=\"1.0\"}} 4 # {{trace_id=\"{:032x}\"}} 0.5 1", 2),
            format!("n_bucket{{le=\"+Inf\"}} 5 # {{trace_id=\"{:032x}\"}} 2.0 1", 3),
        ];
        assert!(lines.iter().zip(&starts).all(|(line, start)| line.starts_with(start)), "{open}");
        assert_eq!(lines[2..], ["n_sum 4.25", "n_count 5"]);
    }

    #[test]
    fn a_value_that_would_end_its_quotes_is_escaped() {
        assert_eq!(escaped("a\\b\"c\nd"), "a\\\\b\\\"c\\nd");
    }
}
