//! Functions over windows that hold native histograms.

use std::sync::Arc;

use model::{Sample, Timestamp};

use super::Evaluator;
use super::column::Point;
use super::range::Window;
use super::rate;
use crate::functions::WindowFunction;
use crate::histogram::{Findings, Histogram, Incompatible, ResetHint, Total};
use crate::samples::HistogramSample;
use crate::span::Span;

/// The name of the metric and where the range vector stands, for annotations.
type Place<'p> = (&'p str, Span);

/// A sample of either kind, in order of time.
#[derive(Clone, Copy)]
pub(super) enum Either<'w> {
    Float(f64),
    Histogram(&'w Arc<Histogram>),
}

impl Evaluator<'_> {
    /// Computes a function over a window with at least one native histogram.
    pub(super) fn over_histograms(
        &mut self,
        function: WindowFunction,
        window: &Window<'_>,
        numbers: fn(&Window<'_>) -> Option<f64>,
        place: Place<'_>,
    ) -> Option<Point> {
        let mixed = !window.samples.is_empty();
        match function {
            WindowFunction::Rate | WindowFunction::Increase | WindowFunction::Delta => {
                if mixed {
                    self.notes.mixed_floats(place.0, place.1);
                    return None;
                }
                self.extrapolated(function, window, place)
            }
            WindowFunction::Irate | WindowFunction::Idelta => {
                self.instant_change(function, window, place)
            }
            WindowFunction::Sum | WindowFunction::Avg => {
                if mixed {
                    self.notes.mixed_floats(place.0, place.1);
                    return None;
                }
                let all: Vec<&Histogram> =
                    window.histograms.iter().map(|s| s.histogram.as_ref()).collect();
                let average = function == WindowFunction::Avg;
                self.aggregated(&all, average, place).map(Point::from)
            }
            WindowFunction::Changes => Some(Point::Float(changes(&in_order(window)))),
            WindowFunction::Resets => Some(Point::Float(resets(&in_order(window), window))),
            WindowFunction::Count => {
                Some(Point::Float((window.samples.len() + window.histograms.len()) as f64))
            }
            WindowFunction::Present => Some(Point::Float(1.0)),
            WindowFunction::First => in_order(window).first().map(|(_, sample)| point(*sample)),
            WindowFunction::Last => in_order(window).last().map(|(_, sample)| point(*sample)),
            WindowFunction::TimeOfFirst => in_order(window).first().map(|(time, _)| seconds(*time)),
            WindowFunction::TimeOfLast => in_order(window).last().map(|(time, _)| seconds(*time)),
            _ if mixed => {
                self.notes.ignored_histograms(place.0, place.1);
                numbers(window).map(Point::Float)
            }
            _ => None,
        }
    }

    /// Sum or mean of histograms.
    pub(super) fn aggregated(
        &mut self,
        all: &[&Histogram],
        average: bool,
        place: Place<'_>,
    ) -> Option<Histogram> {
        let outcome = if average { Total::mean(all) } else { total(all) };
        match outcome {
            Ok(found) => {
                let (histogram, mut findings) = found?;
                // A gauge among them hides the conflict of hints from the sum, but it is there.
                let seen = |hint| all.iter().any(|histogram| histogram.reset == hint);
                findings.conflicting_resets = seen(ResetHint::Reset) && seen(ResetHint::NotReset);
                self.notes.histogram_findings(findings, "aggregation", place.1);
                Some(histogram)
            }
            Err(Incompatible) => {
                self.notes.mixed_schemas(place.0, place.1);
                None
            }
        }
    }

    /// `rate`, `increase` and `delta`: as for numbers, with the count deciding how far a counter
    /// may be extrapolated.
    fn extrapolated(
        &mut self,
        function: WindowFunction,
        window: &Window<'_>,
        place: Place<'_>,
    ) -> Option<Point> {
        let (first, last) = (window.histograms.first()?, window.histograms.last()?);
        let counter = function != WindowFunction::Delta;
        let zero = if counter { window.started_inside(first.timestamp) } else { None };
        if window.histograms.len() < 2 && zero.is_none() {
            return None;
        }
        let change = self.change(window, counter, zero.is_some(), place)?;
        let span = rate::Span {
            first: first.timestamp.millis(),
            last: last.timestamp.millis(),
            samples: window.histograms.len(),
            zero,
        };
        let origin = counter.then_some((first.histogram.count, change.count));
        let factor = span.factor(window, origin);
        let factor =
            if function == WindowFunction::Rate { factor / window.seconds() } else { factor };
        Some(change.times(factor).into())
    }

    /// What a counter or gauge changed by from the first to the last histogram, or from zero.
    fn change(
        &mut self,
        window: &Window<'_>,
        counter: bool,
        from_zero: bool,
        place: Place<'_>,
    ) -> Option<Histogram> {
        let (name, span) = place;
        let samples = window.histograms;
        let (first, last) = (samples.first()?, samples.last()?);
        if counter && samples.iter().any(|sample| sample.histogram.reset == ResetHint::Gauge) {
            self.notes.histogram_not_counter(name, span);
        }
        // When the counter was reset right after the first sample, its buckets do not matter.
        let restarted =
            counter && samples.get(1).is_some_and(|second| is_reset(window, first, second));
        let relevant = if restarted && !from_zero { &samples[1..] } else { samples };
        // A gauge is only looked at where it begins and ends.
        let mut layouts = relevant.iter().filter(|sample| {
            counter || std::ptr::eq(*sample, first) || std::ptr::eq(*sample, last)
        });
        if layouts.any(|sample| sample.histogram.is_custom() != last.histogram.is_custom()) {
            self.notes.mixed_schemas(name, span);
            return None;
        }
        let mut total = Total::new(&last.histogram);
        if !restarted && !from_zero {
            total.subtract(&first.histogram).ok()?;
            self.notes.reconciled_bounds(total.findings, "subtraction", span);
            total.findings = Findings::default();
        }
        if counter {
            for pair in relevant.windows(2).filter(|pair| is_reset(window, &pair[0], &pair[1])) {
                total.add(&pair[0].histogram).ok()?;
            }
            self.notes.reconciled_bounds(total.findings, "addition", span);
        } else if first.histogram.reset != ResetHint::Gauge
            || last.histogram.reset != ResetHint::Gauge
        {
            self.notes.histogram_not_gauge(name, span);
        }
        Some(Histogram { reset: ResetHint::Gauge, ..total.finish() })
    }

    /// `irate` and `idelta`: the change between the last two samples of either kind.
    fn instant_change(
        &mut self,
        function: WindowFunction,
        window: &Window<'_>,
        place: Place<'_>,
    ) -> Option<Point> {
        let (name, span) = place;
        let all = in_order(window);
        let [.., (before, previous), (after, last)] = all.as_slice() else { return None };
        let rate = function == WindowFunction::Irate;
        let seconds = (after - before) as f64 / 1000.0;
        match (previous, last) {
            (Either::Float(_), Either::Float(_)) => rate::instant(window, rate).map(Point::Float),
            (Either::Histogram(previous), Either::Histogram(last)) => {
                let is_gauge =
                    [previous, last].map(|histogram| histogram.reset == ResetHint::Gauge);
                if rate && is_gauge.contains(&true) {
                    self.notes.histogram_not_counter(name, span);
                } else if !rate && is_gauge.contains(&false) {
                    self.notes.histogram_not_gauge(name, span);
                }
                let mut total = Total::new(last);
                let restarted = window.restarted(Timestamp(*before), Timestamp(*after));
                if !rate || !(restarted || last.is_reset_after(previous)) {
                    if total.subtract(previous) == Err(Incompatible) {
                        self.notes.mixed_schemas(name, span);
                        return None;
                    }
                    self.notes.reconciled_bounds(total.findings, "subtraction", span);
                }
                let change = Histogram { reset: ResetHint::Gauge, ..total.finish() };
                Some(if rate { change.divided(seconds) } else { change }.into())
            }
            _ => {
                self.notes.mixed_floats(name, span);
                None
            }
        }
    }
}

/// The sum of histograms; `None` of none.
fn total(all: &[&Histogram]) -> Result<Option<(Histogram, Findings)>, Incompatible> {
    let Some((first, rest)) = all.split_first() else { return Ok(None) };
    let mut total = Total::new(first);
    for histogram in rest {
        total.add(histogram)?;
    }
    Ok(Some((total.finish(), total.findings)))
}

fn seconds(millis: i64) -> Point {
    Point::Float(millis as f64 / 1000.0)
}

fn point(sample: Either<'_>) -> Point {
    match sample {
        Either::Float(value) => Point::Float(value),
        Either::Histogram(histogram) => Point::Histogram(Arc::clone(histogram)),
    }
}

fn in_order<'w>(window: &Window<'w>) -> Vec<(i64, Either<'w>)> {
    merged(window.samples, window.histograms)
}

/// Samples of both kinds with their times, in order.
pub(super) fn merged<'w>(
    samples: &'w [Sample],
    histograms: &'w [HistogramSample],
) -> Vec<(i64, Either<'w>)> {
    let floats = samples.iter().map(|s| (s.timestamp.millis(), Either::Float(s.value)));
    let histograms =
        histograms.iter().map(|s| (s.timestamp.millis(), Either::Histogram(&s.histogram)));
    let mut all: Vec<_> = floats.chain(histograms).collect();
    all.sort_by_key(|(time, _)| *time);
    all
}

pub(super) fn changes(all: &[(i64, Either<'_>)]) -> f64 {
    let changed = |pair: &&[(i64, Either<'_>)]| match (pair[0].1, pair[1].1) {
        (Either::Float(a), Either::Float(b)) => a != b && !(a.is_nan() && b.is_nan()),
        (Either::Histogram(a), Either::Histogram(b)) => !a.same_as(b),
        _ => true,
    };
    all.windows(2).filter(changed).count() as f64
}

/// How often a counter of either kind was reset; becoming the other kind is a reset.
pub(super) fn resets(all: &[(i64, Either<'_>)], window: &Window<'_>) -> f64 {
    let reset = |pair: &&[(i64, Either<'_>)]| {
        let restarted = window.restarted(Timestamp(pair[0].0), Timestamp(pair[1].0));
        restarted
            || match (pair[0].1, pair[1].1) {
                (Either::Float(a), Either::Float(b)) => b < a,
                (Either::Histogram(a), Either::Histogram(b)) => b.is_reset_after(a),
                _ => true,
            }
    };
    all.windows(2).filter(reset).count() as f64
}

fn is_reset(window: &Window<'_>, before: &HistogramSample, after: &HistogramSample) -> bool {
    window.restarted(before.timestamp, after.timestamp)
        || after.histogram.is_reset_after(&before.histogram)
}
