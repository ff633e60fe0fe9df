//! Warnings and infos: what a person should know about a result that is not an error.

use crate::histogram::Findings;
use crate::number;
use crate::span::Span;

/// The annotations of one evaluation, each text once, in the order they came up.
#[derive(Debug, Default)]
pub(crate) struct Annotations {
    pub(crate) warnings: Vec<String>,
    pub(crate) infos: Vec<String>,
}

impl Annotations {
    pub(crate) fn is_empty(&self) -> bool {
        self.warnings.is_empty() && self.infos.is_empty()
    }

    /// Adds those of another evaluation.
    pub(crate) fn append(&mut self, others: Self) {
        others.warnings.into_iter().for_each(|text| self.warn(text));
        others.infos.into_iter().for_each(|text| self.info(text));
    }

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
            self.warn(format!(
                "PromQL warning: quantile value should be between 0 and 1, got {q} ({span})"
            ));
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

    /// A sample that started to count before the one before it ended.
    pub(crate) fn overlapping_starts(&mut self, metric: &str, span: Span) {
        self.warn(format!(
            "PromQL warning: sample has start time that overlaps with previous sample timestamp \
             for metric {metric:?} ({span})"
        ));
    }

    /// Sorting where the result is ordered by labels anyway.
    pub(crate) fn sort_in_range_query(&mut self, span: Span) {
        self.warn(format!(
            "PromQL warning: sort is ineffective for range queries since results are always ordered by labels ({span})"
        ));
    }

    /// Histograms where a function looks at numbers only.
    pub(crate) fn ignored_histograms(&mut self, metric: &str, span: Span) {
        let metric = for_metric(metric);
        self.info(format!(
            "PromQL info: ignored histograms in a range containing both floats and histograms{metric} ({span})"
        ));
    }

    /// Histograms where an aggregation looks at numbers only.
    pub(crate) fn ignored_in_aggregation(&mut self, aggregation: &str, span: Span) {
        self.info(format!("PromQL info: ignored histogram in {aggregation} aggregation ({span})"));
    }

    /// Numbers and histograms where either alone would do.
    pub(crate) fn mixed_floats(&mut self, metric: &str, span: Span) {
        let metric = for_metric(metric);
        self.warn(format!(
            "PromQL warning: encountered a mix of histograms and floats{metric} ({span})"
        ));
    }

    /// Numbers and histograms in one group.
    pub(crate) fn mixed_aggregation(&mut self, span: Span) {
        self.warn(format!(
            "PromQL warning: encountered a mix of histograms and floats for aggregation ({span})"
        ));
    }

    /// Histograms that cannot be added.
    pub(crate) fn mixed_schemas(&mut self, metric: &str, span: Span) {
        let metric = for_metric(metric);
        self.warn(format!(
            "PromQL warning: vector contains a mix of histograms with exponential and custom buckets \
             schemas{metric} ({span})"
        ));
    }

    /// Classic buckets and a native histogram of the same labels.
    pub(crate) fn mixed_classic(&mut self, metric: &str, span: Span) {
        let metric = for_metric(metric);
        self.warn(format!(
            "PromQL warning: vector contains a mix of classic and native histograms{metric} ({span})"
        ));
    }

    /// `rate` of histograms that are gauges.
    pub(crate) fn histogram_not_counter(&mut self, metric: &str, span: Span) {
        self.warn(format!(
            "PromQL warning: this native histogram metric is not a counter: {metric:?} ({span})"
        ));
    }

    /// `delta` of histograms that are counters.
    pub(crate) fn histogram_not_gauge(&mut self, metric: &str, span: Span) {
        self.warn(format!(
            "PromQL warning: this native histogram metric is not a gauge: {metric:?} ({span})"
        ));
    }

    /// What came up while histograms were added, subtracted or aggregated.
    pub(crate) fn histogram_findings(&mut self, findings: Findings, operation: &str, span: Span) {
        if findings.conflicting_resets {
            self.warn(format!(
                "PromQL warning: conflicting counter resets during histogram {operation} ({span})"
            ));
        }
        self.reconciled_bounds(findings, operation, span);
    }

    /// Bounds that had to be reduced to those in common.
    pub(crate) fn reconciled_bounds(&mut self, findings: Findings, operation: &str, span: Span) {
        if findings.reconciled_bounds {
            self.info(format!(
                "PromQL info: mismatched custom buckets were reconciled during {operation} ({span})"
            ));
        }
    }

    /// An operator between types it does not know.
    pub(crate) fn incompatible_types(
        &mut self,
        operator: &str,
        left: &str,
        right: &str,
        span: Span,
    ) {
        self.info(format!(
            "PromQL info: incompatible sample types encountered for binary operator {operator:?}: \
             {left} {operator} {right} ({span})"
        ));
    }

    /// NaN observations in the input of a function.
    pub(crate) fn nan_observations(
        &mut self,
        function: &str,
        effect: &str,
        metric: &str,
        span: Span,
    ) {
        let metric = for_metric(metric);
        self.info(format!(
            "PromQL info: input to {function} has NaN observations, {effect}{metric} ({span})"
        ));
    }
}

fn for_metric(name: &str) -> String {
    if name.is_empty() { String::new() } else { format!(" for metric name {name:?}") }
}
