//! `anchored` and `smoothed` over series that have native histograms.

use std::sync::Arc;

use model::Sample;

use super::column::{Point, Row};
use super::histogram_window::{self, Either, merged};
use super::input::Input;
use super::range::Window;
use super::{Evaluator, extended};
use crate::ast::Extension;
use crate::functions::WindowFunction;
use crate::histogram::{Histogram, ResetHint, Total};
use crate::samples::HistogramSample;
use crate::span::Span;

/// An extended window, and all samples of its series.
pub(super) struct Extended<'w> {
    pub(super) extension: Extension,
    pub(super) window: Window<'w>,
    pub(super) samples: &'w [Sample],
    pub(super) histograms: &'w [HistogramSample],
    /// Where the plain window begins and ends in `samples`.
    pub(super) near: (usize, usize),
}

/// A histogram and its time.
type Timed<'w> = (i64, &'w Arc<Histogram>);

impl Extended<'_> {
    /// The samples from the one before the window to its end, or to the one after it.
    fn reached(&self, lookback: i64) -> Vec<(i64, Either<'_>)> {
        let all = merged(self.samples, self.histograms);
        let (start, end) = (self.window.start, self.window.end);
        let from = all.partition_point(|(time, _)| *time <= start);
        let to = all.partition_point(|(time, _)| *time <= end);
        let oldest = start.saturating_sub(lookback);
        let first = from.checked_sub(1).filter(|index| all[*index].0 > oldest).unwrap_or(from);
        let at_end = to > 0 && all[to - 1].0 == end;
        let next = all.get(to).is_some_and(|(time, _)| *time <= end.saturating_add(lookback));
        let after =
            if self.extension == Extension::Smoothed && !at_end && next { to + 1 } else { to };
        let reached = all.get(first..after).unwrap_or(&[]);
        match (reached.first(), reached.last()) {
            (Some((first, _)), Some((last, _))) if *first <= end && *last > start => {
                reached.to_vec()
            }
            _ => Vec::new(),
        }
    }
}

impl Evaluator<'_> {
    /// Computes a function over an extended window of a series that has native histograms.
    pub(super) fn extended_histograms(
        &mut self,
        function: WindowFunction,
        extended: &Extended<'_>,
        place: (&str, Span),
    ) -> Option<Point> {
        let lookback = self.lookback();
        let reached = extended.reached(lookback);
        if reached.is_empty() {
            return None;
        }
        let histogram = |(time, sample): &(i64, Either<'_>)| match sample {
            Either::Histogram(histogram) => Some((*time, Arc::clone(histogram))),
            Either::Float(_) => None,
        };
        let histograms: Vec<(i64, Arc<Histogram>)> = reached.iter().filter_map(histogram).collect();
        match function {
            _ if histograms.is_empty() => {
                let Extended { extension, window, samples, near, .. } = extended;
                extended::value(function, *extension, window, samples, *near, lookback)
                    .map(Point::Float)
            }
            WindowFunction::Changes => Some(Point::Float(histogram_window::changes(&reached))),
            WindowFunction::Resets => {
                Some(Point::Float(histogram_window::resets(&reached, &extended.window)))
            }
            _ if histograms.len() < reached.len() => {
                self.notes.mixed_floats(place.0, place.1);
                None
            }
            _ => {
                let samples: Vec<Timed<'_>> =
                    histograms.iter().map(|(time, h)| (*time, h)).collect();
                let change = self.extended_change(function, extended, &samples, place)?;
                let rate = function == WindowFunction::Rate;
                Some(if rate { change.divided(extended.window.seconds()) } else { change }.into())
            }
        }
    }

    fn extended_change(
        &mut self,
        function: WindowFunction,
        extended: &Extended<'_>,
        samples: &[Timed<'_>],
        place: (&str, Span),
    ) -> Option<Histogram> {
        let (name, span) = place;
        let counter = function != WindowFunction::Delta;
        let (first, last) = (samples.first()?, samples.last()?);
        let is_gauge = |sample: &Timed<'_>| sample.1.reset == ResetHint::Gauge;
        if counter && samples.iter().any(is_gauge) {
            self.notes.histogram_not_counter(name, span);
        }
        let all_gauges = is_gauge(first) && is_gauge(last);
        if !counter && !all_gauges {
            self.notes.histogram_not_gauge(name, span);
        }
        if samples.iter().any(|sample| sample.1.is_custom() != last.1.is_custom()) {
            self.notes.mixed_schemas(name, span);
            return None;
        }
        let Window { start, end, .. } = extended.window;
        let smoothed = extended.extension == Extension::Smoothed;
        let left_between = smoothed && first.0 < start && samples.len() > 1;
        let left = if left_between {
            interpolate(*first, samples[1], start, counter)?
        } else {
            Histogram::clone(first.1)
        };
        let right_between = last.0 > end && samples.len() > 1;
        let right = if right_between {
            interpolate(samples[samples.len() - 2], *last, end, counter)?
        } else {
            Histogram::clone(last.1)
        };
        let mut total = Total::new(&right);
        total.subtract(&left).ok()?;
        if counter {
            let crossed = left_between && samples[1].1.is_reset_after(first.1);
            for lost in lost_in_resets(samples, &left, &right, crossed) {
                total.add(lost).ok()?;
            }
        }
        Some(Histogram { reset: ResetHint::Gauge, ..total.finish() })
    }

    /// Sets the value of a smoothed instant selector where native histograms are near. `near`: the
    /// moment and the lookback in milliseconds.
    pub(super) fn smooth_histograms(
        &mut self,
        row: &mut Row,
        step: usize,
        series: &Input<'_>,
        near: (i64, i64),
        span: Span,
    ) {
        let (time, lookback) = near;
        let all = merged(series.floats, series.histograms);
        let next = all.partition_point(|(at, _)| *at <= time);
        let oldest = time.saturating_sub(lookback);
        let before = all[..next].last().filter(|(at, _)| *at > oldest);
        let after = all.get(next).filter(|(at, _)| *at <= time.saturating_add(lookback));
        let exact = before.is_some_and(|(at, _)| *at == time);
        let name = row.labels.metric_name().to_owned();
        let point = match (before, after.filter(|_| !exact)) {
            (None, _) => None,
            // Numbers alone have been dealt with.
            (Some((_, Either::Float(_))), Some((_, Either::Float(_))) | None) => return,
            (Some((_, Either::Histogram(histogram))), None) => {
                Some(Point::Histogram(Arc::clone(histogram)))
            }
            (Some((at, Either::Histogram(one))), Some((then, Either::Histogram(other)))) => {
                let counter = other.reset != ResetHint::Gauge;
                let between = interpolate((*at, one), (*then, other), time, counter);
                if between.is_none() {
                    self.notes.mixed_schemas(&name, span);
                }
                between.map(Point::from)
            }
            _ => {
                self.notes.mixed_floats(&name, span);
                None
            }
        };
        row.set(step, point);
    }
}

/// The histogram between two others; `None` when they cannot be added. A counter that was reset
/// starts at zero.
fn interpolate(before: Timed<'_>, after: Timed<'_>, time: i64, counter: bool) -> Option<Histogram> {
    let part = (time - before.0) as f64 / (after.0 - before.0) as f64;
    if before.1.is_custom() != after.1.is_custom() {
        return None;
    }
    if counter && after.1.is_reset_after(before.1) {
        return Some(after.1.times(part));
    }
    let change = after.1.minus(before.1)?.times(part);
    let between = before.1.plus(&change)?;
    Some(Histogram { reset: after.1.reset, ..between })
}

/// What a counter had reached whenever it was reset. The sample after the left edge is no reset
/// when the edge lies between it and the one before: the edge has been reckoned from zero already.
fn lost_in_resets<'h>(
    samples: &'h [Timed<'h>],
    left: &'h Histogram,
    right: &'h Histogram,
    crossed: bool,
) -> Vec<&'h Histogram> {
    let inner = samples.get(1..samples.len() - 1).unwrap_or(&[]);
    let mut lost = Vec::new();
    let mut previous = left;
    let mut known = crossed;
    for histogram in inner.iter().map(|(_, histogram)| histogram.as_ref()).chain([right]) {
        if !known && histogram.is_reset_after(previous) {
            lost.push(previous);
        }
        known = false;
        previous = histogram;
    }
    if samples.len() < 2 { Vec::new() } else { lost }
}
