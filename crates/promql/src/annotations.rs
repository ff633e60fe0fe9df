//! Warnings and infos: what a person should know about a result that is not an error.

use crate::number;
use crate::span::Span;

/// The annotations of one evaluation, each text once, in the order they came up.
#[derive(Debug, Default)]
pub(crate) struct Annotations {
    pub(crate) warnings: Vec<String>,
    pub(crate) infos: Vec<String>,
}

impl Annotations {
    fn warn(&mut self, text: String) {
        if !self.warnings.contains(&text) {
            self.warnings.push(text);
        }
    }

    fn info(&mut self, text: String) {
        if !self.infos.contains(&text) {
            self.infos.push(text);
        }
    }

    /// A quantile outside 0..=1.
    pub(crate) fn invalid_quantile(&mut self, q: f64, span: Span) {
        if q.is_nan() || !(0.0..=1.0).contains(&q) {
            let q = number::general(q);
            self.warn(format!("PromQL warning: quantile value should be between 0 and 1, got {q} ({span})"));
        }
    }

    /// A ratio outside -1..=1.
    pub(crate) fn invalid_ratio(&mut self, ratio: f64, capped: f64, span: Span) {
        let (ratio, capped) = (number::general(ratio), number::general(capped));
        self.warn(format!(
            "PromQL warning: ratio value should be between -1 and 1, got {ratio}, capping to {capped} ({span})"
        ));
    }

    /// A bucket without a usable bound.
    pub(crate) fn bad_bucket(&mut self, metric: &str, le: &str, span: Span) {
        let metric = for_metric(metric);
        self.warn(format!(
            "PromQL warning: bucket label \"le\" is missing or has a malformed value of {le:?}{metric} ({span})"
        ));
    }

    /// Buckets that were not cumulative.
    pub(crate) fn forced_monotonicity(&mut self, metric: &str, span: Span) {
        let metric = for_metric(metric);
        self.info(format!(
            "PromQL info: input to histogram_quantile needed to be fixed for monotonicity (see \
             https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile){metric} ({span})"
        ));
    }

    /// `rate` of what does not look like a counter.
    pub(crate) fn possible_non_counter(&mut self, metric: &str, span: Span) {
        self.info(format!(
            "PromQL info: metric might not be a counter, name does not end in _total/_sum/_count/_bucket: \
             {metric:?} ({span})"
        ));
    }

    /// `rate` of what its type label says is no counter.
    pub(crate) fn non_counter_type(&mut self, metric: &str, kind: &str, span: Span) {
        self.info(format!(
            "PromQL info: metric might not be a counter, __type__ label is not set to \"counter\" or \"histogram\", \
             got {kind:?}: {metric:?} ({span})"
        ));
    }

    /// Sorting where the result is ordered by labels anyway.
    pub(crate) fn sort_in_range_query(&mut self, span: Span) {
        self.warn(format!(
            "PromQL warning: sort is ineffective for range queries since results are always ordered by labels ({span})"
        ));
    }
}

fn for_metric(name: &str) -> String {
    if name.is_empty() { String::new() } else { format!(" for metric name {name:?}") }
}
