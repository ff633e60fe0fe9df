//! Native histograms in a test: those of its input, and those that rules record. The product's store keeps none, so
//! judge's evaluator knows nothing of them; here they are put beside it, where queries see them.

use std::collections::HashSet;

use model::{Labels, Sample, Series, Timestamp, stale_nan};
use promql::{HistogramSample, HistogramSeries, Params};
use storage::{Batch, Storage};

use super::run::QUERY_TIMEOUT;
use crate::record;
use crate::rules::{RuleGroup, RuleKind};

/// The native histograms of a test.
#[derive(Debug, Default)]
pub(crate) struct Natives {
    /// Those of the input that are not in the store yet, in the order of time.
    waiting: Vec<(Labels, std::vec::IntoIter<HistogramSample>)>,
    /// Series that rules recorded, to be ended when they are recorded no more.
    recorded: HashSet<Labels>,
}

impl Natives {
    /// Adds a series of the input.
    pub(crate) fn expect(&mut self, labels: &Labels, samples: Vec<HistogramSample>) {
        if !samples.is_empty() {
            self.waiting.push((labels.clone(), samples.into_iter()));
        }
    }

    /// Stores those of the input up to a moment.
    pub(crate) fn fill(&mut self, storage: &Storage, now: Timestamp) {
        let mut series = Vec::new();
        for (labels, samples) in &mut self.waiting {
            let due = samples.as_slice().partition_point(|sample| sample.timestamp <= now);
            if due > 0 {
                let samples = samples.by_ref().take(due).collect();
                series.push(HistogramSeries { labels: labels.clone(), samples });
            }
        }
        storage.put_histograms(series);
    }

    /// Records what of the recording rules of a group are histograms, one rule after the other, before the group is
    /// evaluated: its rules see them in the same moment.
    pub(crate) async fn record(
        &mut self,
        group: &RuleGroup,
        storage: &Storage,
        now: Timestamp,
    ) -> Result<(), String> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let mut ended: HashSet<Labels> = std::mem::take(&mut self.recorded);
        let recording = |kind: &RuleKind| matches!(kind, RuleKind::Recording);
        for rule in group.rules.iter().filter(|rule| recording(&rule.kind)) {
            let params = Params::instant(now.minus(group.query_offset));
            let answer =
                storage::query(&storage.reader(), &rule.query.expr, params, QUERY_TIMEOUT).await;
            // The evaluation itself says what is wrong with the rule.
            let Ok(output) = answer else { continue };
            let mut series = Vec::with_capacity(output.histograms.len());
            for HistogramSeries { labels, samples } in output.histograms {
                let named = record::recorded(rule, vec![(labels, 0.0)])?;
                let Some((labels, _)) = named.into_iter().next() else { continue };
                ended.remove(&labels);
                self.recorded.insert(labels.clone());
                series.push(HistogramSeries { labels, samples: at(samples, now) });
            }
            storage.put_histograms(series);
        }
        let marker = |labels: Labels| Series {
            labels,
            samples: vec![Sample { timestamp: now, value: stale_nan() }],
        };
        let series: Vec<Series> = ended.into_iter().map(marker).collect();
        let batch = Batch { series, metadata: Vec::new() };
        storage.writer().write(batch).await.map(drop).map_err(|error| error.to_string())
    }
}

fn at(samples: Vec<HistogramSample>, timestamp: Timestamp) -> Vec<HistogramSample> {
    samples.into_iter().map(|sample| HistogramSample { timestamp, ..sample }).collect()
}
