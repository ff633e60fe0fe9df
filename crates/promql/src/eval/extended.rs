//! `anchored` and `smoothed`: windows whose edges have values of their own.

use model::Sample;

use super::range::Window;
use super::rate;
use crate::ast::Extension;
use crate::functions::WindowFunction;

/// Computes a function over an extended window. `near` says where in `samples` the plain window
/// begins and ends; the neighbours of the edges count when they are not further away than
/// `lookback`.
pub(super) fn value(
    function: WindowFunction,
    extension: Extension,
    window: &Window<'_>,
    samples: &[Sample],
    near: (usize, usize),
    lookback: i64,
) -> Option<f64> {
    let (from, to) = near;
    let oldest = window.start.saturating_sub(lookback);
    let anchor = from.checked_sub(1).filter(|index| samples[*index].timestamp.millis() > oldest);
    let first = anchor.unwrap_or(from);
    let last = match extension {
        Extension::Anchored => to.checked_sub(1)?,
        Extension::Smoothed => last_of_smoothed(samples, to, window.end, lookback)?,
    };
    let ends_inside = samples[last].timestamp.millis() > window.start;
    let starts_inside =
        samples.get(first).is_some_and(|sample| sample.timestamp.millis() <= window.end);
    if !ends_inside || !starts_inside {
        return None;
    }
    let reached = &samples[first..=last];
    match function {
        WindowFunction::Changes => rate::changes(&Window { samples: reached, ..*window }),
        WindowFunction::Resets => rate::resets(&Window { samples: reached, ..*window }),
        WindowFunction::Rate => Some(change(window, reached, true, extension) / window.seconds()),
        WindowFunction::Increase => Some(change(window, reached, true, extension)),
        _ => Some(change(window, reached, false, extension)),
    }
}

// The sample at the end of the window, or else the next one, or else the last one.
fn last_of_smoothed(samples: &[Sample], to: usize, end: i64, lookback: i64) -> Option<usize> {
    let at_end = to.checked_sub(1).filter(|index| samples[*index].timestamp.millis() == end);
    let latest = end.saturating_add(lookback);
    let next = (to < samples.len() && samples[to].timestamp.millis() <= latest).then_some(to);
    at_end.or(next).or(to.checked_sub(1))
}

/// How much the value changed from edge to edge. Samples beyond an edge are interpolated to it when
/// they lie on the far side of a smoothed window, and stand for it in an anchored one.
fn change(window: &Window<'_>, reached: &[Sample], counter: bool, extension: Extension) -> f64 {
    let [first, inner @ .., last] = reached else { return 0.0 };
    let right = match inner.last().unwrap_or(first) {
        before if last.timestamp.millis() > window.end => {
            interpolate(before, last, window.end, counter)
        }
        _ => last.value,
    };
    let second = inner.first().unwrap_or(last);
    let left = if extension == Extension::Smoothed && first.timestamp.millis() < window.start {
        interpolate(first, second, window.start, counter)
    } else {
        first.value
    };
    if !counter {
        return right - left;
    }
    let mut lost = 0.0;
    let mut previous = left;
    for value in inner.iter().map(|sample| sample.value).chain([right]) {
        if value < previous {
            lost += previous;
        }
        previous = value;
    }
    right - left + lost
}

/// The value between two samples. A counter that was reset between them starts at zero.
fn interpolate(before: &Sample, after: &Sample, time: i64, counter: bool) -> f64 {
    let from = if counter && after.value < before.value { 0.0 } else { before.value };
    let passed = (time - before.timestamp.millis()) as f64;
    let span = (after.timestamp.millis() - before.timestamp.millis()) as f64;
    from + (after.value - from) * passed / span
}

/// The value of a smoothed instant selector: between the neighbours of the moment, or the last one.
pub(super) fn smoothed_value(samples: &[Sample], time: i64, lookback: i64) -> Option<f64> {
    let next = samples.partition_point(|sample| sample.timestamp.millis() <= time);
    let before = samples[..next].last()?;
    if before.timestamp.millis() <= time.saturating_sub(lookback) {
        return None;
    }
    let latest = time.saturating_add(lookback);
    match samples.get(next).filter(|after| after.timestamp.millis() <= latest) {
        Some(after) if before.timestamp.millis() < time => {
            Some(interpolate(before, after, time, false))
        }
        _ => Some(before.value),
    }
}
