//! Instant vector selectors: the newest sample of every series that is not too old.

use std::sync::Arc;

use model::Sample;

use super::column::{Point, Row};
use super::input::{Input, start_of, with_known_resets};
use super::{Evaluator, extended};
use crate::error::EvalError;
use crate::plan::{Grid, SelectorNode};
use crate::samples::HistogramSample;
use crate::span::Span;

/// The newest sample of a series.
enum Newest<'s> {
    Float(&'s Sample),
    Histogram(&'s HistogramSample),
}

impl Newest<'_> {
    fn millis(&self) -> i64 {
        match self {
            Self::Float(sample) => sample.timestamp.millis(),
            Self::Histogram(sample) => sample.timestamp.millis(),
        }
    }

    fn value(&self) -> Point {
        match self {
            Self::Float(sample) => Point::Float(sample.value),
            Self::Histogram(sample) => Point::Histogram(Arc::clone(&sample.histogram)),
        }
    }
}

impl<'a> Evaluator<'a> {
    pub(super) fn instant(
        &mut self,
        selector: &'a SelectorNode,
        grid: Grid,
        span: Span,
    ) -> Result<Vec<Row>, EvalError> {
        if selector.smoothed {
            return self.smoothed(selector, grid, span);
        }
        self.newest(selector, grid, |_, sample| sample.value())
    }

    /// The times of the samples that [`Self::instant`] picks, in seconds.
    pub(super) fn sample_times(
        &mut self,
        selector: &'a SelectorNode,
        grid: Grid,
    ) -> Result<Vec<Row>, EvalError> {
        self.newest(selector, grid, |_, sample| Point::Float(sample.millis() as f64 / 1000.0))
    }

    pub(super) fn timestamps(
        &mut self,
        selector: &'a SelectorNode,
        grid: Grid,
    ) -> Result<Vec<Row>, EvalError> {
        let rows = self.sample_times(selector, grid)?;
        self.without_names(rows)
    }

    /// The start times of the samples that [`Self::instant`] picks, in seconds; zero where there is
    /// none.
    pub(super) fn start_timestamps(
        &mut self,
        selector: &'a SelectorNode,
        grid: Grid,
    ) -> Result<Vec<Row>, EvalError> {
        let rows = self.newest(selector, grid, |series, sample| {
            let start = start_of(series.starts, sample.millis()).unwrap_or(0);
            Point::Float(start as f64 / 1000.0)
        })?;
        self.without_names(rows)
    }

    /// The lookback in milliseconds.
    pub(super) fn lookback(&self) -> i64 {
        i64::try_from(self.plan.params.lookback.as_millis()).unwrap_or(i64::MAX)
    }

    fn newest(
        &mut self,
        selector: &'a SelectorNode,
        grid: Grid,
        value: impl Fn(&Input<'_>, &Newest<'_>) -> Point,
    ) -> Result<Vec<Row>, EvalError> {
        let lookback = self.lookback();
        let inputs = self.inputs;
        let mut rows = Vec::new();
        for series in &inputs[selector.selection] {
            self.charge(grid.steps)?;
            let histograms = with_known_resets(series.histograms, selector.stats);
            let mut row = Row::absent(series.labels.clone(), false, grid.steps);
            let mut found = false;
            let (mut next, mut next_histogram) = (0, 0);
            for step in 0..grid.steps {
                let time = selector.reference.time(grid.time(step));
                next = first_after(series.floats, next, time);
                let float = series.floats[..next].last().map(Newest::Float);
                let newest = if histograms.is_empty() {
                    float
                } else {
                    next_histogram = first_histogram_after(&histograms, next_histogram, time);
                    let histogram = histograms[..next_histogram].last().map(Newest::Histogram);
                    [float, histogram].into_iter().flatten().max_by_key(Newest::millis)
                };
                let newest = newest.filter(|sample| {
                    let stale =
                        matches!(sample, Newest::Float(sample) if model::is_stale(sample.value));
                    sample.millis() > time.saturating_sub(lookback) && !stale
                });
                if let Some(sample) = newest {
                    found = true;
                    row.set(step, Some(value(series, &sample)));
                }
            }
            if found {
                rows.push(row);
            }
        }
        Ok(rows)
    }

    fn smoothed(
        &mut self,
        selector: &'a SelectorNode,
        grid: Grid,
        span: Span,
    ) -> Result<Vec<Row>, EvalError> {
        let lookback = self.lookback();
        let inputs = self.inputs;
        let mut rows = Vec::new();
        for series in &inputs[selector.selection] {
            self.charge(grid.steps)?;
            let samples = super::range::without_stale(series.floats);
            let mut row = Row::absent(series.labels.clone(), false, grid.steps);
            for step in 0..grid.steps {
                let time = selector.reference.time(grid.time(step));
                let value = extended::smoothed_value(&samples, time, lookback);
                row.set(step, value.map(Point::Float));
                if !series.histograms.is_empty() {
                    self.smooth_histograms(&mut row, step, series, (time, lookback), span);
                }
            }
            if row.has_values() {
                rows.push(row);
            }
        }
        Ok(rows)
    }
}

/// The index of the first histogram after a time, searched from `from` on.
pub(super) fn first_histogram_after(samples: &[HistogramSample], from: usize, time: i64) -> usize {
    from + samples[from..].partition_point(|sample| sample.timestamp.millis() <= time)
}

/// The index of the first sample after a time, searched from `from` on. Times mostly move a little,
/// so a few samples are looked at one by one before the search is halved.
pub(super) fn first_after(samples: &[Sample], from: usize, time: i64) -> usize {
    let mut at = from;
    for _ in 0..8 {
        match samples.get(at) {
            Some(sample) if sample.timestamp.millis() <= time => at += 1,
            _ => return at,
        }
    }
    at + samples[at..].partition_point(|sample| sample.timestamp.millis() <= time)
}
