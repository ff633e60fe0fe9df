//! The series handed in, with both kinds of samples side by side.

use std::borrow::Cow;
use std::sync::Arc;

use hashbrown::HashMap;
use model::{Labels, Sample, Series};

use crate::histogram::{Histogram, HistogramSample, HistogramSeries, ResetHint};

/// A series as it was handed in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Input<'a> {
    pub(super) labels: &'a Labels,
    pub(super) floats: &'a [Sample],
    pub(super) histograms: &'a [HistogramSample],
}

impl Input<'_> {
    /// How many samples it has.
    pub(super) fn len(&self) -> usize {
        self.floats.len() + self.histograms.len()
    }
}

/// Puts the float and histogram samples of the same series together.
pub(super) fn join<'a>(
    floats: &'a [Vec<Series>],
    histograms: &'a [Vec<HistogramSeries>],
) -> Vec<Vec<Input<'a>>> {
    let input =
        |series: &'a Series| Input { labels: &series.labels, floats: &series.samples, histograms: &[] };
    let mut joined: Vec<Vec<Input<'a>>> = floats.iter().map(|all| all.iter().map(input).collect()).collect();
    for (inputs, histograms) in joined.iter_mut().zip(histograms).filter(|(_, all)| !all.is_empty()) {
        let index: HashMap<&Labels, usize> =
            inputs.iter().enumerate().map(|(index, input)| (input.labels, index)).collect();
        for series in histograms {
            match index.get(&series.labels) {
                Some(known) => inputs[*known].histograms = &series.samples,
                None => {
                    inputs.push(Input { labels: &series.labels, floats: &[], histograms: &series.samples })
                }
            }
        }
        inputs.sort_by(|a, b| a.labels.cmp(b.labels));
    }
    joined
}

/// The samples with what is not known about resets found out by comparing neighbours. Prometheus does so where only
/// counts and sums of histograms are asked for, and some of its warnings depend on it.
pub(super) fn with_known_resets(samples: &[HistogramSample], wanted: bool) -> Cow<'_, [HistogramSample]> {
    if !wanted || samples.is_empty() {
        return Cow::Borrowed(samples);
    }
    let mut known = samples.to_vec();
    for (index, pair) in samples.windows(2).enumerate() {
        let [before, now] = pair else { continue };
        if now.histogram.reset == ResetHint::Unknown {
            let fell = now.histogram.is_reset_after(&before.histogram);
            let reset = if fell { ResetHint::Reset } else { ResetHint::NotReset };
            known[index + 1].histogram = Arc::new(Histogram { reset, ..Histogram::clone(&now.histogram) });
        }
    }
    Cow::Owned(known)
}

/// The samples without what is known about resets: it was known about other neighbours.
pub(super) fn with_unknown_resets(mut samples: Vec<HistogramSample>) -> Vec<HistogramSample> {
    for sample in &mut samples {
        if matches!(sample.histogram.reset, ResetHint::Reset | ResetHint::NotReset) {
            let unknown = Histogram { reset: ResetHint::Unknown, ..Histogram::clone(&sample.histogram) };
            sample.histogram = Arc::new(unknown);
        }
    }
    samples
}
