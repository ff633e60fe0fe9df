//! How fast values change: `rate` and its relatives.

use model::Sample;

use super::column::Row;
use super::input::start_of;
use super::range::{RangeSeries, Window};
use crate::functions::WindowFunction;
use crate::number::Sum;
use crate::plan::{Grid, RangeNode};

/// Which part of a window its samples cover.
pub(super) struct Span {
    /// Time of the first sample.
    pub(super) first: i64,
    /// Time of the last sample.
    pub(super) last: i64,
    /// How many there are.
    pub(super) samples: usize,
    /// When the counter was known to be zero, if that was inside of the window.
    pub(super) zero: Option<i64>,
}

impl Span {
    /// By how much a change over the samples grows when it is extrapolated to the edges of the
    /// window. A counter is never extrapolated below zero: `origin` is its first value and change.
    pub(super) fn factor(&self, window: &Window<'_>, origin: Option<(f64, f64)>) -> f64 {
        let seconds = |millis: i64| millis as f64 / 1000.0;
        let covered = seconds(self.last - self.first);
        if self.samples < 2 {
            // Without a second sample there is no telling how far it reaches.
            return 1.0;
        }
        let gap = covered / (self.samples - 1) as f64;
        // Up to one gap and a tenth the series is taken to reach the edge; beyond that, half a gap.
        let reach = |distance: f64| if distance >= gap * 1.1 { gap / 2.0 } else { distance };
        let after = reach(seconds(window.end - self.last));
        if let Some(zero) = self.zero {
            let span = seconds(self.last - zero);
            return (span + after) / span;
        }
        let mut before = reach(seconds(self.first - window.start));
        if let Some((first, change)) = origin
            && change > 0.0
            && first >= 0.0
        {
            before = before.min(covered * (first / change));
        }
        (covered + before + after) / covered
    }
}

/// Added to any number it leaves the number as it is, minus zero included.
const NOTHING: f64 = -0.0;

/// `rate`, `increase` and `delta`: the change over the window, extrapolated to its edges.
pub(super) fn extrapolated(window: &Window<'_>, counter: bool, per_second: bool) -> Option<f64> {
    let lost = if counter { lost_in_resets(window) } else { NOTHING };
    change(window, counter, per_second, lost)
}

/// `rate` and `increase` over a window in which the counter is known not to fall.
pub(super) fn without_resets(window: &Window<'_>, per_second: bool) -> Option<f64> {
    change(window, true, per_second, NOTHING)
}

fn change(window: &Window<'_>, counter: bool, per_second: bool, lost: f64) -> Option<f64> {
    let (first, last) = (window.samples.first()?, window.samples.last()?);
    let zero = if counter { window.started_inside(first.timestamp) } else { None };
    if window.samples.len() < 2 && zero.is_none() {
        return None;
    }
    let mut change = last.value - first.value + lost;
    if zero.is_some() {
        change += first.value;
    }
    let span = Span {
        first: first.timestamp.millis(),
        last: last.timestamp.millis(),
        samples: window.samples.len(),
        zero,
    };
    let factor = span.factor(window, counter.then_some((first.value, change)));
    Some(change * if per_second { factor / window.seconds() } else { factor })
}

/// Whether a counter was reset between two neighbours.
fn is_reset(window: &Window<'_>, before: &Sample, after: &Sample) -> bool {
    let fell = after.value < before.value;
    fell || (!window.starts.is_empty() && window.restarted(before.timestamp, after.timestamp))
}

fn lost_in_resets(window: &Window<'_>) -> f64 {
    let resets = window.samples.windows(2).filter(|pair| is_reset(window, &pair[0], &pair[1]));
    resets.map(|pair| pair[0].value).sum()
}

/// Whether a sample that `rate` and its relatives looked at started to count before the one
/// before it ended, and is no continuation of that one.
pub(super) fn overlaps(
    function: WindowFunction,
    series: &RangeSeries<'_>,
    row: &Row,
    range: &RangeNode,
    grid: Grid,
) -> bool {
    use WindowFunction::{Increase, Irate, Rate};
    if !matches!(function, Rate | Increase | Irate) || !row.has_values() {
        return false;
    }
    // A sample is seen when it is in the window of the first step that looks far enough.
    let seen = |time: i64| {
        let ahead = match range.reference.at {
            Some(_) => 0,
            None => time.saturating_add(range.reference.offset).saturating_sub(grid.start).max(0),
        };
        let step = usize::try_from((ahead + grid.step - 1) / grid.step).unwrap_or(usize::MAX);
        let end = range.reference.time(grid.time(step));
        step < grid.steps && end.saturating_sub(range.range) < time && time <= end
    };
    let start = |time: i64| start_of(series.starts, time);
    let floats = series.samples.iter().map(|sample| sample.timestamp.millis());
    let histograms = series.histograms.iter().map(|sample| sample.timestamp.millis());
    let mut times: Vec<i64> = floats.chain(histograms).filter(|time| seen(*time)).collect();
    times.sort_unstable();
    times
        .windows(2)
        .any(|pair| start(pair[1]).is_some_and(|s| s < pair[0] && Some(s) != start(pair[0])))
}

/// `irate` and `idelta`: the change between the last two samples.
pub(super) fn instant(window: &Window<'_>, counter: bool) -> Option<f64> {
    let [.., previous, last] = window.samples else { return None };
    let millis = last.timestamp.millis() - previous.timestamp.millis();
    if millis == 0 {
        return None;
    }
    if !counter {
        return Some(last.value - previous.value);
    }
    let reset = is_reset(window, previous, last);
    let change = if reset { last.value } else { last.value - previous.value };
    Some(change / (millis as f64 / 1000.0))
}

/// `resets`: how often the counter was reset.
pub(super) fn resets(window: &Window<'_>) -> Option<f64> {
    Some(window.samples.windows(2).filter(|pair| is_reset(window, &pair[0], &pair[1])).count()
        as f64)
}

/// `changes`: how often the value became another one. NaN after NaN is no change.
pub(super) fn changes(window: &Window<'_>) -> Option<f64> {
    let changed = |a: f64, b: f64| a != b && !(a.is_nan() && b.is_nan());
    Some(window.samples.windows(2).filter(|pair| changed(pair[0].value, pair[1].value)).count()
        as f64)
}

/// `deriv`: the slope of the least-squares line, per second.
pub(super) fn deriv(window: &Window<'_>) -> Option<f64> {
    let [first, _, ..] = window.samples else { return None };
    Some(line(window, first.timestamp.millis()).0)
}

/// `predict_linear`: where the least-squares line is so many seconds after the evaluation time.
pub(super) fn predict_linear(window: &Window<'_>) -> Option<f64> {
    if window.samples.len() < 2 {
        return None;
    }
    let (slope, intercept) = line(window, window.evaluation);
    Some(slope * window.params[0] + intercept)
}

/// Slope and the value at `origin` of the least-squares line.
fn line(window: &Window<'_>, origin: i64) -> (f64, f64) {
    let initial = window.samples[0].value;
    if window.samples.iter().all(|sample| sample.value == initial) {
        return if initial.is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, initial) };
    }
    let [mut x_sum, mut y_sum, mut xy_sum, mut xx_sum] = [Sum::default(); 4];
    for sample in window.samples {
        let x = (sample.timestamp.millis() - origin) as f64 / 1000.0;
        x_sum = x_sum.plus(x);
        y_sum = y_sum.plus(sample.value);
        xy_sum = xy_sum.plus(x * sample.value);
        xx_sum = xx_sum.plus(x * x);
    }
    let n = window.samples.len() as f64;
    let [x, y, xy, xx] = [x_sum, y_sum, xy_sum, xx_sum].map(|sum| sum.value + sum.rest);
    let slope = (xy - x * y / n) / (xx - x * x / n);
    (slope, y / n - slope * x / n)
}

/// `double_exponential_smoothing` with the factors for value and trend.
pub(super) fn smoothing(window: &Window<'_>) -> Option<f64> {
    let [first, second, ..] = window.samples else { return None };
    let [smooth, trend_factor] = window.params;
    let (mut before, mut level) = (0.0, first.value);
    let mut trend = second.value - first.value;
    for (position, sample) in window.samples.iter().enumerate().skip(1) {
        if position > 1 {
            trend = trend_factor * (level - before) + (1.0 - trend_factor) * trend;
        }
        let next = smooth * sample.value + (1.0 - smooth) * (level + trend);
        (before, level) = (level, next);
    }
    Some(level)
}
