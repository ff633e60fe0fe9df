//! Range vectors: windows that slide over the samples of a series.

use std::borrow::Cow;

use model::{Labels, Sample, Series, Timestamp};

use super::column::{self, ABSENT, Point, Row, Scalars, is_absent, is_histogram};
use super::extended_native::Extended;
use super::input::{Input, start_of, with_known_resets, with_unknown_resets};
use super::selector::{first_after, first_histogram_after};
use super::{Evaluator, extended, over_time, rate};
use crate::error::EvalError;
use crate::functions::WindowFunction;
use crate::plan::{Grid, Node, RangeNode, RangeSource};
use crate::samples::{HistogramSample, HistogramSeries};

/// How many steps and samples are worked through before the caller is asked whether to go on.
const WORK_UNCHECKED_MAX: usize = 1 << 16;

/// What a function sees of one series at one step.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window<'w> {
    /// The samples in (start, end], without staleness markers.
    pub(super) samples: &'w [Sample],
    /// The native histograms in there.
    pub(super) histograms: &'w [HistogramSample],
    /// Times of samples and their start times.
    pub(super) starts: &'w [(Timestamp, Timestamp)],
    pub(super) start: i64,
    pub(super) end: i64,
    /// The evaluation time, which modifiers do not move.
    pub(super) evaluation: i64,
    /// Scalar arguments.
    pub(super) params: [f64; 2],
}

impl Window<'_> {
    /// Whether a counter was reset between two neighbouring samples, going by when they started to
    /// count. A sample that starts where the one before it ends is a difference, unless that one
    /// had no start of its own.
    pub(super) fn restarted(&self, before: Timestamp, after: Timestamp) -> bool {
        let (before, after) = (before.millis(), after.millis());
        let start = |time: i64| start_of(self.starts, time);
        let start_before = start(before);
        start(after).filter(|start| *start < after).is_some_and(|start| {
            start > before || (start == before && start_before.is_some_and(|start| start < before))
        })
    }

    /// When the counting of a sample started, if that was inside of the window: the counter was
    /// zero then.
    pub(super) fn started_inside(&self, sample: Timestamp) -> Option<i64> {
        let start = start_of(self.starts, sample.millis())?;
        (self.start < start && start < sample.millis()).then_some(start)
    }

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
    pub(super) starts: &'a [(Timestamp, Timestamp)],
}

/// The samples without staleness markers, which end a series but are not values.
pub(super) fn without_stale(samples: &[Sample]) -> Cow<'_, [Sample]> {
    if samples.iter().any(|sample| model::is_stale(sample.value)) {
        Cow::Owned(
            samples.iter().copied().filter(|sample| !model::is_stale(sample.value)).collect(),
        )
    } else {
        Cow::Borrowed(samples)
    }
}

impl<'a> Evaluator<'a> {
    /// The series of a range vector with all samples that any step may need.
    pub(super) fn range_series(
        &mut self,
        range: &'a RangeNode,
    ) -> Result<Vec<RangeSeries<'a>>, EvalError> {
        match &range.source {
            RangeSource::Series(selection) => {
                let inputs = self.inputs;
                let whole = |series: &Input<'a>| RangeSeries {
                    labels: series.labels.clone(),
                    drop_name: false,
                    samples: without_stale(series.floats),
                    histograms: with_known_resets(series.histograms, range.stats),
                    starts: series.starts,
                };
                Ok(inputs[*selection].iter().map(whole).collect())
            }
            RangeSource::Subquery { node, grid } => {
                let rows = column::unify(self.vector(node, *grid)?)?;
                let computed = |row: Row| RangeSeries {
                    samples: Cow::Owned(row.samples(*grid)),
                    histograms: Cow::Owned(with_unknown_resets(row.histogram_samples(*grid))),
                    starts: &[],
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
        let mut rows = Vec::new();
        for series in self.range_series(range)? {
            self.charge(grid.steps)?;
            let row = self.slide(function, range, &series, &scalars, grid)?;
            if !series.starts.is_empty() && rate::overlaps(function, &series, &row, range, grid) {
                self.notes.overlapping_starts(series.labels.metric_name(), range.span);
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

    /// Slides the window over one series.
    fn slide(
        &mut self,
        function: WindowFunction,
        range: &RangeNode,
        series: &RangeSeries<'_>,
        scalars: &[Scalars],
        grid: Grid,
    ) -> Result<Row, EvalError> {
        let compute = over_time::function(function);
        if let Some(plain) = plain(function, range, series, grid) {
            self.check_cancelled()?;
            return Ok(plain);
        }
        let lookback = self.lookback();
        let place = (series.labels.metric_name(), range.span);
        let (samples, histograms) = (series.samples.as_ref(), series.histograms.as_ref());
        let mut row = Row::absent(series.labels.clone(), series.drop_name, grid.steps);
        let (mut slide, mut work) = (Slide::default(), 0);
        for step in 0..grid.steps {
            let (window, near) = slide.window(series, range, grid.time(step));
            let params =
                [0, 1].map(|index| scalars.get(index).map_or(0.0, |s: &Scalars| s.at(step)));
            let window = Window { params, ..window };
            let value = match range.extension {
                Some(extension) if !histograms.is_empty() => {
                    let extended = Extended { extension, window, samples, histograms, near };
                    self.extended_histograms(function, &extended, place)
                }
                Some(extension) => {
                    extended::value(function, extension, &window, samples, near, lookback)
                        .map(Point::Float)
                }
                None if !window.histograms.is_empty() => {
                    self.over_histograms(function, &window, compute, place)
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
        Ok(row)
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
                let (Some(quantiles), Some(param)) = (scalars.first(), params.first()) else {
                    return;
                };
                quantiles.values().iter().for_each(|q| self.notes.invalid_quantile(*q, param.span));
            }
            WindowFunction::Rate | WindowFunction::Increase => {
                let name = row.labels.metric_name();
                let kind = row.labels.get("__type__").unwrap_or("");
                let known =
                    ["_total", "_sum", "_count", "_bucket"].iter().any(|end| name.ends_with(end));
                let floats =
                    row.values.iter().any(|value| !is_absent(*value) && !is_histogram(*value));
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
                histograms.push(HistogramSeries {
                    labels: labels.clone(),
                    samples: window.histograms.to_vec(),
                });
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

/// `rate` and `increase` of a counter of numbers that never falls, most of what is ever asked: a
/// window then costs the same whatever its length.
fn plain(
    function: WindowFunction,
    range: &RangeNode,
    series: &RangeSeries<'_>,
    grid: Grid,
) -> Option<Row> {
    let per_second = per_second(function)?;
    let numbers =
        range.extension.is_none() && series.histograms.is_empty() && series.starts.is_empty();
    let samples = series.samples.as_ref();
    // With a reset somewhere the window has to be looked at sample by sample.
    if !numbers || falls(samples) {
        return None;
    }
    let mut row = Row::absent(series.labels.clone(), series.drop_name, grid.steps);
    let mut slide = Slide::default();
    for (step, value) in row.values.iter_mut().enumerate() {
        let (window, _) = slide.window(series, range, grid.time(step));
        if let Some(found) = rate::without_resets(&window, per_second) {
            *value = found;
        }
    }
    Some(row)
}

/// Whether a function is the increase of a counter, and if so, that in a second.
pub(super) fn per_second(function: WindowFunction) -> Option<bool> {
    match function {
        WindowFunction::Rate => Some(true),
        WindowFunction::Increase => Some(false),
        _ => None,
    }
}

/// Whether a counter was reset somewhere.
pub(super) fn falls(samples: &[Sample]) -> bool {
    samples.windows(2).any(|pair| pair[1].value < pair[0].value)
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
            starts: series.starts,
            start,
            end,
            evaluation,
            params: [0.0; 2],
        };
        (window, (self.from, self.to))
    }
}
