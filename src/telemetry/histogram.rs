//! Histograms that sort an observation into its bucket when it is made.
//!
//! The exporter's own keep every observation, with a clock reading, until somebody drains them:
//! memory that grows with the load, and twice the work. Counters and gauges stay with it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use metrics::{
    Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};
use metrics_exporter_prometheus::PrometheusRecorder;

use super::catalogue::{ALL, Definition};

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
        let labels = key.labels().map(|label| format!("{}=\"{}\"", label.key(), label.value()));
        let labels = labels.collect::<Vec<_>>().join(",");
        let mut histograms = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = || Series { help: metric.help, all: BTreeMap::new() };
        let series = histograms.entry(metric.name).or_insert_with(fresh);
        let buckets = series.all.entry(labels);
        Arc::clone(buckets.or_insert_with(|| Arc::new(Buckets::new(metric.buckets))))
    }

    /// Adds all of them to a page in the text format of Prometheus.
    pub(super) fn render(&self, page: &mut String) {
        let histograms = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, Series { help, all }) in &*histograms {
            let help = help.replace('\\', "\\\\").replace('\n', "\\n");
            let told = write!(page, "# HELP {name} {help}\n# TYPE {name} histogram\n");
            told.and_then(|()| all.iter().try_for_each(|(l, it)| it.render(name, l, page)))
                .and_then(|()| page.write_char('\n'))
                .expect("a String takes everything");
        }
    }
}

/// One series.
struct Buckets {
    bounds: &'static [f64],
    /// Observations up to each bound and above the one before; the last has no bound.
    counts: Box<[AtomicU64]>,
    /// Of all observations, as the bits of an `f64`.
    sum: AtomicU64,
}

impl Buckets {
    fn new(bounds: &'static [f64]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, counts, sum: AtomicU64::new(0.0_f64.to_bits()) }
    }

    fn render(&self, name: &str, labels: &str, page: &mut String) -> std::fmt::Result {
        let comma = if labels.is_empty() { "" } else { "," };
        let mut count = 0;
        for (place, observed) in self.counts.iter().enumerate() {
            count += observed.load(Ordering::Relaxed);
            write!(page, "{name}_bucket{{{labels}{comma}le=\"")?;
            match self.bounds.get(place) {
                Some(bound) => write!(page, "{bound}")?,
                None => page.write_str("+Inf")?,
            }
            writeln!(page, "\"}} {count}")?;
        }
        let sum = f64::from_bits(self.sum.load(Ordering::Relaxed));
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
        let place = self.bounds.iter().position(|bound| value <= *bound);
        self.counts[place.unwrap_or(self.bounds.len())].fetch_add(1, Ordering::Relaxed);
        let add = |sum: u64| Some((f64::from_bits(sum) + value).to_bits());
        // Always Ok: the closure never declines.
        let _ = self.sum.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_observation_counts_in_its_bucket_and_in_all_above() {
        let buckets = Buckets::new(&[0.5, 2.5]);
        for value in [0.1, 0.5, 2.0, 9.0] {
            buckets.record(value);
        }
        let mut page = String::new();
        buckets.render("n", "a=\"b\"", &mut page).unwrap();
        let expected = "n_bucket{a=\"b\",le=\"0.5\"} 2\nn_bucket{a=\"b\",le=\"2.5\"} 3\n\
                        n_bucket{a=\"b\",le=\"+Inf\"} 4\nn_sum{a=\"b\"} 11.6\nn_count{a=\"b\"} 4\n";
        assert_eq!(page, expected);
    }

    #[test]
    fn a_series_without_labels_has_no_braces_but_for_its_buckets() {
        let mut page = String::new();
        Buckets::new(&[0.5]).render("n", "", &mut page).unwrap();
        let expected = "n_bucket{le=\"0.5\"} 0\nn_bucket{le=\"+Inf\"} 0\nn_sum 0\nn_count 0\n";
        assert_eq!(page, expected);
    }
}
