//! `anchored` and `smoothed` over native histograms.

use std::sync::Arc;

use model::Sample;

use super::Evaluator;
use super::column::{Point, Row};
use super::input::Input;
use super::range::Window;
use crate::ast::Extension;
use crate::functions::WindowFunction;
use crate::histogram::{Findings, Histogram, HistogramSample, Incompatible, ResetHint, Total};
use crate::span::Span;

impl Evaluator<'_> {
    /// Computes a function over an extended window of a series that has native histograms.
    pub(super) fn extended_histograms(
        &mut self,
        function: WindowFunction,
        extension: Extension,
        window: &Window<'_>,
        all: (&[Sample], &[HistogramSample]),
        place: (&str, Span),
    ) -> Option<Point> {
        let _ = (function, extension, window, all, place);
        None
    }

    /// Sets the value of a smoothed instant selector where native histograms are near.
    pub(super) fn smooth_histograms(
        &mut self,
        row: &mut Row,
        step: usize,
        series: &Input<'_>,
        near: (i64, i64),
        span: Span,
    ) {
        let _ = (row, step, series, near, span);
    }
}
