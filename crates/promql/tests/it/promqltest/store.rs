//! The series of a test, and selections of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{Labels, Sample, Selection, Series, Timestamp};
use promql::{Histogram, HistogramSample, HistogramSeries, ResetHint, SeriesSet, StartTimes};

use super::series::Item;

/// All series loaded so far, with their samples by time.
#[derive(Debug, Default)]
pub(crate) struct Store {
    series: BTreeMap<Labels, BTreeMap<i64, Item>>,
    /// Start times of samples.
    starts: BTreeMap<Labels, BTreeMap<i64, i64>>,
}

impl Store {
    /// Adds a run of values, `step` milliseconds apart from the epoch on.
    pub(crate) fn load(&mut self, labels: &Labels, items: &[Item], step: i64) {
        let samples = self.series.entry(labels.clone()).or_default();
        for (index, item) in items.iter().enumerate().filter(|(_, item)| **item != Item::Gap) {
            samples.insert(index as i64 * step, item.clone());
        }
    }

    /// Adds start times: seconds relative to the samples.
    pub(crate) fn load_starts(&mut self, labels: &Labels, items: &[Item], step: i64) {
        let starts = self.starts.entry(labels.clone()).or_default();
        for (index, item) in items.iter().enumerate() {
            if let Item::Float(seconds) = item {
                let time = index as i64 * step;
                starts.insert(time, time + (seconds * 1000.0).round() as i64);
            }
        }
    }

    /// What a selection asks for and nothing else.
    pub(crate) fn select(&self, selection: &Selection) -> SeriesSet {
        let mut set = SeriesSet::default();
        let (start, end) = (selection.start.millis(), selection.end.millis());
        for (labels, samples) in &self.series {
            if !selection.matchers.iter().all(|matcher| matcher.matches_labels(labels)) {
                continue;
            }
            let mut series = Series { labels: labels.clone(), samples: Vec::new() };
            let mut native = HistogramSeries { labels: labels.clone(), samples: Vec::new() };
            let mut previous: Option<&Histogram> = None;
            for (time, item) in samples {
                let inside = start <= *time && *time <= end;
                let timestamp = Timestamp(*time);
                match item {
                    Item::Histogram(written) => {
                        let histogram = as_stored(&written.histogram, previous);
                        previous = Some(&written.histogram);
                        if inside {
                            native.samples.push(HistogramSample {
                                timestamp,
                                histogram: Arc::new(histogram),
                            });
                        }
                    }
                    Item::Float(_) | Item::Stale | Item::Gap => {
                        previous = None;
                        let value =
                            if let Item::Float(value) = item { *value } else { model::stale_nan() };
                        if inside {
                            series.samples.push(Sample { timestamp, value });
                        }
                    }
                }
            }
            if !series.samples.is_empty() {
                set.floats.push(series);
            }
            if !native.samples.is_empty() {
                set.histograms.push(native);
            }
            if let Some(starts) = self.starts.get(labels) {
                let starts =
                    starts.iter().map(|(time, start)| (Timestamp(*time), Timestamp(*start)));
                set.starts.push(StartTimes { labels: labels.clone(), starts: starts.collect() });
            }
        }
        set
    }
}

/// A histogram as Prometheus' storage gives it back: within a chunk it knows that there was no
/// reset, and across chunks it knows nothing.
fn as_stored(histogram: &Histogram, previous: Option<&Histogram>) -> Histogram {
    let continues = previous.is_some_and(|previous| {
        previous.reset != ResetHint::Gauge
            && previous.bounds == histogram.bounds
            && !histogram.is_reset_after(previous)
    });
    let reset = match histogram.reset {
        ResetHint::Gauge => ResetHint::Gauge,
        _ if continues => ResetHint::NotReset,
        _ => ResetHint::Unknown,
    };
    Histogram { reset, ..histogram.clone() }
}
