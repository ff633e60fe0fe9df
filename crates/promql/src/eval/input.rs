//! The series handed in, with both kinds of samples side by side.

use std::borrow::Cow;
use std::sync::Arc;

use hashbrown::HashMap;
use model::{Labels, Sample, Series, Timestamp};

use crate::histogram::{Histogram, ResetHint};
use crate::samples::{HistogramSample, HistogramSeries, StartTimes};

/// A series as it was handed in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Input<'a> {
    pub(super) labels: &'a Labels,
    pub(super) floats: &'a [Sample],
    pub(super) histograms: &'a [HistogramSample],
    /// Times of samples and their start times.
    pub(super) starts: &'a [(Timestamp, Timestamp)],
}

impl Input<'_> {
    /// How many samples it has.
    pub(super) fn len(&self) -> usize {
        self.floats.len() + self.histograms.len()
    }
}

/// Puts what there is of the same series together.
pub(super) fn join<'a>(
    floats: &'a [Series],
    histograms: &'a [HistogramSeries],
    starts: &'a [StartTimes],
) -> Vec<Input<'a>> {
    let input = |labels| Input { labels, floats: &[], histograms: &[], starts: &[] };
    let mut inputs: Vec<Input<'a>> = Vec::with_capacity(floats.len());
    inputs.extend(
        floats.iter().map(|series| Input { floats: &series.samples, ..input(&series.labels) }),
    );
    if histograms.is_empty() && starts.is_empty() {
        return inputs;
    }
    let mut index: HashMap<&Labels, usize> =
        inputs.iter().enumerate().map(|(index, input)| (input.labels, index)).collect();
    for series in histograms {
        let known = *index.entry(&series.labels).or_insert_with(|| {
            inputs.push(input(&series.labels));
            inputs.len() - 1
        });
        inputs[known].histograms = &series.samples;
    }
    for series in starts {
        if let Some(known) = index.get(&series.labels) {
            inputs[*known].starts = &series.starts;
        }
    }
    inputs.sort_by(|a, b| a.labels.cmp(b.labels));
    inputs
}

/// The start time of the sample at a time.
pub(super) fn start_of(starts: &[(Timestamp, Timestamp)], time: i64) -> Option<i64> {
    let found = starts.binary_search_by_key(&time, |(sample, _)| sample.millis()).ok()?;
    Some(starts[found].1.millis())
}

/// The samples with what is not known about resets found out by comparing neighbours. Prometheus
/// does so where only counts and sums of histograms are asked for, and some of its warnings depend
/// on it.
pub(super) fn with_known_resets(
    samples: &[HistogramSample],
    wanted: bool,
) -> Cow<'_, [HistogramSample]> {
    if !wanted || samples.is_empty() {
        return Cow::Borrowed(samples);
    }
    let mut known = samples.to_vec();
    for (index, pair) in samples.windows(2).enumerate() {
        let [before, now] = pair else { continue };
        if now.histogram.reset == ResetHint::Unknown {
            let fell = now.histogram.is_reset_after(&before.histogram);
            let reset = if fell { ResetHint::Reset } else { ResetHint::NotReset };
            known[index + 1].histogram =
                Arc::new(Histogram { reset, ..Histogram::clone(&now.histogram) });
        }
    }
    Cow::Owned(known)
}

/// The samples without what is known about resets: it was known about other neighbours.
pub(super) fn with_unknown_resets(mut samples: Vec<HistogramSample>) -> Vec<HistogramSample> {
    for sample in &mut samples {
        if matches!(sample.histogram.reset, ResetHint::Reset | ResetHint::NotReset) {
            let unknown =
                Histogram { reset: ResetHint::Unknown, ..Histogram::clone(&sample.histogram) };
            sample.histogram = Arc::new(unknown);
        }
    }
    samples
}
