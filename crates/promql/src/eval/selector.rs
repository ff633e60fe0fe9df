//! Instant vector selectors: the newest sample of every series that is not too old.

use model::Sample;

use super::column::{ABSENT, Row};
use super::{Evaluator, extended};
use crate::error::EvalError;
use crate::plan::{Grid, SelectorNode};
use crate::span::Span;

impl<'a> Evaluator<'a> {
    pub(super) fn instant(
        &mut self,
        selector: &'a SelectorNode,
        grid: Grid,
        _span: Span,
    ) -> Result<Vec<Row>, EvalError> {
        if selector.smoothed {
            return self.smoothed(selector, grid);
        }
        self.newest(selector, grid, |sample| sample.value)
    }

    /// The times of the samples that [`Self::instant`] picks, in seconds.
    pub(super) fn timestamps(
        &mut self,
        selector: &'a SelectorNode,
        grid: Grid,
    ) -> Result<Vec<Row>, EvalError> {
        let rows = self.newest(selector, grid, |sample| sample.timestamp.seconds_f64())?;
        self.without_names(rows)
    }

    fn newest(
        &mut self,
        selector: &'a SelectorNode,
        grid: Grid,
        value: impl Fn(&Sample) -> f64,
    ) -> Result<Vec<Row>, EvalError> {
        let lookback = i64::try_from(self.plan.params.lookback.as_millis()).unwrap_or(i64::MAX);
        let inputs = self.inputs;
        let mut rows = Vec::new();
        for series in &inputs[selector.selection] {
            self.charge(grid.steps)?;
            let samples = series.samples.as_slice();
            let mut values = Vec::with_capacity(grid.steps);
            let mut found = false;
            let mut next = 0;
            for step in 0..grid.steps {
                let time = selector.reference.time(grid.time(step));
                next = first_after(samples, next, time);
                let newest = samples[..next].last().filter(|sample| {
                    sample.timestamp.millis() > time.saturating_sub(lookback)
                        && !model::is_stale(sample.value)
                });
                found |= newest.is_some();
                values.push(newest.map_or(ABSENT, &value));
            }
            if found {
                rows.push(Row::new(series.labels.clone(), values));
            }
        }
        Ok(rows)
    }

    fn smoothed(&mut self, selector: &'a SelectorNode, grid: Grid) -> Result<Vec<Row>, EvalError> {
        let lookback = i64::try_from(self.plan.params.lookback.as_millis()).unwrap_or(i64::MAX);
        let inputs = self.inputs;
        let mut rows = Vec::new();
        for series in &inputs[selector.selection] {
            self.charge(grid.steps)?;
            let samples = super::range::without_stale(&series.samples);
            let value = |step| {
                let time = selector.reference.time(grid.time(step));
                extended::smoothed_value(&samples, time, lookback).unwrap_or(ABSENT)
            };
            let row = Row::new(series.labels.clone(), (0..grid.steps).map(value).collect());
            if row.has_values() {
                rows.push(row);
            }
        }
        Ok(rows)
    }
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
