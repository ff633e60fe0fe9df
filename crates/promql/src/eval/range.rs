//! Range vectors: windows that slide over the samples of a series.

use std::borrow::Cow;

use model::{Labels, Sample, Series};

use super::column::{self, ABSENT, Point, Row, Scalars, is_absent, is_histogram};
use super::extended_native::Extended;
use super::input::{Input, with_known_resets, with_unknown_resets};
use super::selector::{first_after, first_histogram_after};
use super::{Evaluator, extended, over_time};
use crate::error::EvalError;
use crate::functions::WindowFunction;
use crate::histogram::{HistogramSample, HistogramSeries};
use crate::plan::{Grid, Node, RangeNode, RangeSource};

/// How many steps and samples are worked through before the caller is asked whether to go on.
const WORK_UNCHECKED_MAX: usize = 1 << 16;

/// What a function sees of one series at one step.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window<'w> {
    /// The samples in (start, end], without staleness markers.
    pub(super) samples: &'w [Sample],
    /// The native histograms in there.
    pub(super) histograms: &'w [HistogramSample],
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
    pub(super) histograms: Cow<'a, [HistogramSample]>,
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
                let whole = |series: &Input<'a>| RangeSeries {
                    labels: series.labels.clone(),
                    drop_name: false,
                    samples: without_stale(series.floats),
                    histograms: with_known_resets(series.histograms, range.stats),
                };
                Ok(inputs[*selection].iter().map(whole).collect())
            }
            RangeSource::Subquery { node, grid } => {
                let rows = column::unify(self.vector(node, *grid)?)?;
                let computed = |row: Row| RangeSeries {
                    samples: Cow::Owned(row.samples(*grid)),
                    histograms: Cow::Owned(with_unknown_resets(row.histogram_samples(*grid))),
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
        let lookback = self.lookback();
        let mut rows = Vec::new();
        for series in self.range_series(range)? {
            self.charge(grid.steps)?;
            let name = series.labels.metric_name();
            let mut row = Row::absent(series.labels.clone(), series.drop_name, grid.steps);
            let (mut slide, mut work) = (Slide::default(), 0);
            for step in 0..grid.steps {
                let (window, near) = slide.window(&series, range, grid.time(step));
                let params = [0, 1].map(|index| scalars.get(index).map_or(0.0, |s: &Scalars| s.at(step)));
                let window = Window { params, ..window };
                let value = match range.extension {
                    Some(extension) if !series.histograms.is_empty() => {
                        let (samples, histograms) = (&series.samples, &series.histograms);
                        let extended = Extended { extension, window, samples, histograms, near };
                        self.extended_histograms(function, &extended, (name, range.span))
                    }
                    Some(extension) => {
                        let samples = &series.samples;
                        extended::value(function, extension, &window, samples, near, lookback)
                            .map(Point::Float)
                    }
                    None if !window.histograms.is_empty() => {
                        self.over_histograms(function, &window, compute, (name, range.span))
                    }
                    None if window.samples.is_empty() => None,
                    None => compute(&window).map(Point::Float),
                };
                row.set(step, value);
                work += 1 + window.samples.len() + window.histograms.len();
                if work >= WORK_UNCHECKED_MAX {
                    self.check_cancelled()?;
                    work = 0;
                }
            }
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
                let floats = row.values.iter().any(|value| !is_absent(*value) && !is_histogram(*value));
                if name.is_empty() || !floats || matches!(kind, "counter" | "histogram") {
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
                let (window, _) = slide.window(&series, range, grid.time(step));
                if !window.samples.is_empty() || !window.histograms.is_empty() {
                    *value = ABSENT;
                }
            }
        }
        let absent = values.iter().any(|value| !is_absent(*value));
        Ok(if absent { vec![Row::new(labels.clone(), values)] } else { Vec::new() })
    }

    /// A range vector as the answer to an instant query.
    pub(super) fn matrix(
        &mut self,
        range: &'a RangeNode,
        grid: Grid,
    ) -> Result<(Vec<Series>, Vec<HistogramSeries>), EvalError> {
        let (mut floats, mut histograms) = (Vec::new(), Vec::new());
        for series in self.range_series(range)? {
            let (window, _) = Slide::default().window(&series, range, grid.first());
            self.charge(window.samples.len() + window.histograms.len())?;
            let labels = if series.drop_name {
                column::without_identity(&series.labels)
            } else {
                series.labels.clone()
            };
            if !window.histograms.is_empty() {
                histograms
                    .push(HistogramSeries { labels: labels.clone(), samples: window.histograms.to_vec() });
            }
            if !window.samples.is_empty() {
                floats.push(Series { labels, samples: window.samples.to_vec() });
            }
        }
        floats.sort_by(|a, b| a.labels.cmp(&b.labels));
        histograms.sort_by(|a, b| a.labels.cmp(&b.labels));
        let twice = floats.windows(2).any(|pair| pair[0].labels == pair[1].labels)
            || histograms.windows(2).any(|pair| pair[0].labels == pair[1].labels);
        if twice { Err(EvalError::DuplicateLabels) } else { Ok((floats, histograms)) }
    }
}

/// The bounds of the current window. Times never go back from step to step, so neither do the
/// bounds.
#[derive(Debug, Default)]
struct Slide {
    from: usize,
    to: usize,
    histograms_from: usize,
    histograms_to: usize,
}

impl Slide {
    /// The window at an evaluation time, and where in the samples it begins and ends.
    fn window<'w>(
        &mut self,
        series: &'w RangeSeries<'_>,
        range: &RangeNode,
        evaluation: i64,
    ) -> (Window<'w>, (usize, usize)) {
        let end = range.reference.time(evaluation);
        let start = end.saturating_sub(range.range);
        let (samples, histograms) = (series.samples.as_ref(), series.histograms.as_ref());
        self.from = first_after(samples, self.from, start);
        self.to = first_after(samples, self.to.max(self.from), end);
        self.histograms_from = first_histogram_after(histograms, self.histograms_from, start);
        self.histograms_to = first_histogram_after(histograms, self.histograms_from, end);
        let window = Window {
            samples: &samples[self.from..self.to],
            histograms: &histograms[self.histograms_from..self.histograms_to],
            start,
            end,
            evaluation,
            params: [0.0; 2],
        };
        (window, (self.from, self.to))
    }
}
