//! Native histograms beside the floats of a store in memory, for those who try rules over made-up data. What is
//! received from outside never gets here: the store on disk has no form for them.

use model::Selection;
use parking_lot::RwLock;
use promql::{HistogramSample, HistogramSeries};

/// Histograms by series, each in the order of time.
#[derive(Debug, Default)]
pub(crate) struct Natives(RwLock<Vec<HistogramSeries>>);

impl Natives {
    /// Adds samples; those of one series come in the order of time.
    pub(crate) fn add(&self, series: Vec<HistogramSeries>) {
        let mut known = self.0.write();
        for one in series {
            match known.iter_mut().find(|known| known.labels == one.labels) {
                Some(known) => known.samples.extend(one.samples),
                None => known.push(one),
            }
        }
    }

    /// Whether there are none, as in nearly every store.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.read().is_empty()
    }

    /// The series of a selection with what they have in its span.
    pub(crate) fn select(&self, selection: &Selection) -> Vec<HistogramSeries> {
        let is_within = |sample: &&HistogramSample| {
            (selection.start..=selection.end).contains(&sample.timestamp)
        };
        let known = self.0.read();
        let picked = known
            .iter()
            .filter(|one| selection.matchers.iter().all(|m| m.matches_labels(&one.labels)));
        let cut = picked.map(|one| HistogramSeries {
            labels: one.labels.clone(),
            samples: one.samples.iter().filter(is_within).cloned().collect(),
        });
        cut.filter(|one| !one.samples.is_empty()).collect()
    }
}
