//! Range vectors: windows that slide over the samples of a series.

use std::borrow::Cow;

use model::{Labels, Sample, Series};

use super::column::{self, ABSENT, Row, Scalars, is_absent};
use super::selector::first_after;
use super::{Evaluator, extended, over_time};
use crate::error::EvalError;
use crate::functions::WindowFunction;
use crate::plan::{Grid, Node, RangeNode, RangeSource};

/// What a function sees of one series at one step.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window<'w> {
    /// The samples in (start, end], without staleness markers.
    pub(super) samples: &'w [Sample],
    pub(super) start: i64,
    pub(super) end: i64,
    /// The evaluation time, which modifiers do not move.
    pub(super) evaluation: i64,
    /// Scalar arguments.
    pub(super) params: [f64; 2],
}

impl Window<'_> {
    /// Length of the range in seconds.
    pub(super) fn seconds(&self) -> f64 {
        (self.end - self.start) as f64 / 1000.0
    }
}

/// A series of a range vector.
pub(super) struct RangeSeries<'a> {
    pub(super) labels: Labels,
    pub(super) drop_name: bool,
    pub(super) samples: Cow<'a, [Sample]>,
}

/// The samples without staleness markers, which end a series but are not values.
pub(super) fn without_stale(samples: &[Sample]) -> Cow<'_, [Sample]> {
    if samples.iter().any(|sample| model::is_stale(sample.value)) {
        Cow::Owned(samples.iter().copied().filter(|sample| !model::is_stale(sample.value)).collect())
    } else {
        Cow::Borrowed(samples)
    }
}

impl<'a> Evaluator<'a> {
    /// The series of a range vector with all samples that any step may need.
    pub(super) fn range_series(&mut self, range: &'a RangeNode) -> Result<Vec<RangeSeries<'a>>, EvalError> {
        match &range.source {
            RangeSource::Series(selection) => {
                let inputs = self.inputs;
                let whole = |series: &'a Series| RangeSeries {
                    labels: series.labels.clone(),
                    drop_name: false,
                    samples: without_stale(&series.samples),
                };
                Ok(inputs[*selection].iter().map(whole).collect())
            }
            RangeSource::Subquery { node, grid } => {
                let rows = column::unify(self.vector(node, *grid)?)?;
                let computed = |row: Row| RangeSeries {
                    samples: Cow::Owned(row.samples(*grid)),
                    labels: row.labels,
                    drop_name: row.drop_name,
                };
                Ok(rows.into_iter().map(computed).collect())
            }
        }
    }

    /// Computes a function window by window.
    pub(super) fn window(
        &mut self,
        function: WindowFunction,
        range: &'a RangeNode,
        params: &'a [Node],
        grid: Grid,
    ) -> Result<Vec<Row>, EvalError> {
        let mut scalars = Vec::with_capacity(params.len());
        for param in params {
            scalars.push(self.scalar(param, grid)?);
        }
        over_time::check_params(function, &scalars)?;
        let compute = over_time::function(function);
        let lookback = i64::try_from(self.plan.params.lookback.as_millis()).unwrap_or(i64::MAX);
        let mut rows = Vec::new();
        for series in self.range_series(range)? {
            self.charge(grid.steps)?;
            let mut values = Vec::with_capacity(grid.steps);
            let mut slide = Slide::default();
            for step in 0..grid.steps {
                let (window, near) = slide.window(&series.samples, range, grid.time(step));
                let params = [0, 1].map(|index| scalars.get(index).map_or(0.0, |s: &Scalars| s.at(step)));
                let window = Window { params, ..window };
                let value = match range.extension {
                    Some(extension) => {
                        extended::value(function, extension, &window, &series.samples, near, lookback)
                    }
                    None if window.samples.is_empty() => None,
                    None => compute(&window),
                };
                values.push(value.unwrap_or(ABSENT));
                if step % 1024 == 1023 {
                    self.check_cancelled()?;
                }
            }
            let row = Row { labels: series.labels, drop_name: series.drop_name, values };
            if row.has_values() {
                self.annotate(function, &row, &scalars, params, range);
                rows.push(row);
            }
        }
        if matches!(function, WindowFunction::First | WindowFunction::Last) {
            return Ok(rows);
        }
        self.without_names(rows)
    }

    fn annotate(
        &mut self,
        function: WindowFunction,
        row: &Row,
        scalars: &[Scalars],
        params: &[Node],
        range: &RangeNode,
    ) {
        match function {
            WindowFunction::Quantile => {
                let (Some(quantiles), Some(param)) = (scalars.first(), params.first()) else { return };
                quantiles.values().iter().for_each(|q| self.notes.invalid_quantile(*q, param.span));
            }
            WindowFunction::Rate | WindowFunction::Increase => {
                let name = row.labels.metric_name();
                let kind = row.labels.get("__type__").unwrap_or("");
                let known = ["_total", "_sum", "_count", "_bucket"].iter().any(|end| name.ends_with(end));
                if name.is_empty() || matches!(kind, "counter" | "histogram") {
                    return;
                }
                if !kind.is_empty() {
                    self.notes.non_counter_type(name, kind, range.span);
                } else if !known {
                    self.notes.possible_non_counter(name, range.span);
                }
            }
            _ => {}
        }
    }

    pub(super) fn absent_over_time(
        &mut self,
        range: &'a RangeNode,
        labels: &Labels,
        grid: Grid,
    ) -> Result<Vec<Row>, EvalError> {
        let mut values = vec![1.0; grid.steps];
        for series in self.range_series(range)? {
            self.check_cancelled()?;
            let mut slide = Slide::default();
            for (step, value) in values.iter_mut().enumerate() {
                let (window, _) = slide.window(&series.samples, range, grid.time(step));
                if !window.samples.is_empty() {
                    *value = ABSENT;
                }
            }
        }
        let absent = values.iter().any(|value| !is_absent(*value));
        Ok(if absent { vec![Row::new(labels.clone(), values)] } else { Vec::new() })
    }

    /// A range vector as the answer to an instant query.
    pub(super) fn matrix(&mut self, range: &'a RangeNode, grid: Grid) -> Result<Vec<Series>, EvalError> {
        let mut found = Vec::new();
        for series in self.range_series(range)? {
            let (window, _) = Slide::default().window(&series.samples, range, grid.first());
            if window.samples.is_empty() {
                continue;
            }
            let samples = window.samples.to_vec();
            self.charge(samples.len())?;
            let labels =
                if series.drop_name { column::without_identity(&series.labels) } else { series.labels };
            found.push(Series { labels, samples });
        }
        found.sort_by(|a, b| a.labels.cmp(&b.labels));
        if found.windows(2).any(|pair| pair[0].labels == pair[1].labels) {
            return Err(EvalError::DuplicateLabels);
        }
        Ok(found)
    }
}

/// The bounds of the current window. Times never go back from step to step, so neither do the
/// bounds.
#[derive(Debug, Default)]
struct Slide {
    from: usize,
    to: usize,
}

impl Slide {
    /// The window at an evaluation time, and where in `samples` it begins and ends.
    fn window<'w>(
        &mut self,
        samples: &'w [Sample],
        range: &RangeNode,
        evaluation: i64,
    ) -> (Window<'w>, (usize, usize)) {
        let end = range.reference.time(evaluation);
        let start = end.saturating_sub(range.range);
        self.from = first_after(samples, self.from, start);
        self.to = first_after(samples, self.to.max(self.from), end);
        let inside = &samples[self.from..self.to];
        (Window { samples: inside, start, end, evaluation, params: [0.0; 2] }, (self.from, self.to))
    }
}
