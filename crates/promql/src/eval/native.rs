//! Quantiles and fractions of native histograms.

use super::Evaluator;
use crate::histogram::{Histogram, Quantile};
use crate::span::Span;

impl Evaluator<'_> {
    /// A quantile of a native histogram.
    pub(super) fn native_quantile(
        &mut self,
        q: f64,
        histogram: &Histogram,
        metric: &str,
        span: Span,
    ) -> f64 {
        let function = "histogram_quantile";
        match histogram.quantile(q) {
            Quantile::Plain(value) => value,
            Quantile::Skewed(value) => {
                self.notes.nan_observations(function, "result is skewed higher", metric, span);
                value
            }
            Quantile::NotANumber => {
                self.notes.nan_observations(function, "result is NaN", metric, span);
                f64::NAN
            }
        }
    }

    /// The part of a native histogram between two values.
    pub(super) fn native_fraction(
        &mut self,
        bounds: (f64, f64),
        histogram: &Histogram,
        metric: &str,
        span: Span,
    ) -> f64 {
        if histogram.sum.is_nan() {
            let effect = "which are excluded from all fractions";
            self.notes.nan_observations("histogram_fraction", effect, metric, span);
        }
        histogram.fraction(bounds.0, bounds.1)
    }
}
