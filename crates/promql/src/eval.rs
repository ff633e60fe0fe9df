//! The evaluator: every expression yields columns, one value a step for every series.

mod aggregate;
mod binary;
mod call;
mod classic;
mod column;
pub(crate) mod date;
mod extended;
mod extended_native;
mod histogram_window;
mod info;
mod input;
mod labels;
mod matching;
mod native;
mod over_time;
mod pick;
mod range;
mod rate;
mod ratio;
mod selector;
mod shared;
mod single;
mod sort;

use model::{Labels, Sample, Series, Timestamp};

use crate::annotations::Annotations;
use crate::error::EvalError;
use crate::plan::{Grid, Node, NodeKind, Plan};
use crate::samples::{HistogramSeries, SeriesSet};

use binary::Operation;
pub(crate) use binary::{compare, pick_of, scalar_operation};
use column::{Computed, Row, Scalars, is_absent, is_histogram};
use input::Input;
use shared::Kept;
pub use single::{Fold, Single};

/// The answer to a query.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    /// The value. Elements and samples that are native histograms are in `histograms`.
    pub value: Value,
    /// Native histograms: elements of a vector, or samples of a matrix by series. Sorted by labels.
    pub histograms: Vec<HistogramSeries>,
    /// What may make the value wrong, with position and Prometheus' wording.
    pub warnings: Vec<String>,
    /// What is worth knowing about it.
    pub infos: Vec<String>,
}

/// The value of a query.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A number, at the evaluation time.
    Scalar(Sample),
    /// A text.
    String {
        /// The evaluation time.
        timestamp: Timestamp,
        /// The text.
        text: String,
    },
    /// An instant vector, in the order that sorting functions gave it.
    Vector(Vec<(Labels, Sample)>),
    /// A range vector, or the answer to a range query, which is always one. Sorted by labels.
    Matrix(Vec<Series>),
}

/// Evaluates a plan. `inputs[i]` answers `plan.selections()[i]`: series with samples in ascending
/// order of time, all within the selection. `cancelled` is asked now and then; once it says yes,
/// the evaluation ends with an error.
pub fn evaluate(
    plan: &Plan,
    inputs: &[Vec<Series>],
    cancelled: &dyn Fn() -> bool,
) -> Result<Output, EvalError> {
    run(plan, inputs.iter().map(|floats| input::join(floats, &[], &[])).collect(), cancelled)
}

/// As [`evaluate`], over series that other plans read as well. `inputs[i]` may hold more than
/// `plan.selections()[i]`: samples beyond its span, and series without a sample in it.
pub fn evaluate_shared(
    plan: &Plan,
    inputs: &[&[Series]],
    cancelled: &dyn Fn() -> bool,
) -> Result<Output, EvalError> {
    run(plan, inputs.iter().map(|floats| input::join(floats, &[], &[])).collect(), cancelled)
}

/// Evaluates a plan over series that may also hold native histograms and start times: `inputs[i]`
/// answers `plan.selections()[i]`.
pub fn evaluate_samples(
    plan: &Plan,
    inputs: &[SeriesSet],
    cancelled: &dyn Fn() -> bool,
) -> Result<Output, EvalError> {
    let joined = inputs.iter().map(|set| input::join(&set.floats, &set.histograms, &set.starts));
    run(plan, joined.collect(), cancelled)
}

fn run(
    plan: &Plan,
    inputs: Vec<Vec<Input<'_>>>,
    cancelled: &dyn Fn() -> bool,
) -> Result<Output, EvalError> {
    let (expected, got) = (plan.selections().len(), inputs.len());
    if expected != got {
        return Err(EvalError::Inputs { expected, got });
    }
    let notes = Annotations::default();
    let mut evaluator =
        Evaluator { plan, inputs: &inputs, cancelled, notes, held: 0, kept: Kept::new(&plan.uses) };
    for input in &inputs {
        evaluator.check_series(input.len())?;
        evaluator.charge(input.iter().map(Input::len).sum())?;
    }
    let (value, histograms) = evaluator.answer()?;
    let Annotations { warnings, infos } = evaluator.notes;
    Ok(Output { value, histograms, warnings, infos })
}

struct Evaluator<'a> {
    plan: &'a Plan,
    inputs: &'a [Vec<Input<'a>>],
    cancelled: &'a dyn Fn() -> bool,
    notes: Annotations,
    /// Samples held now: inputs, and results not yet used up.
    held: usize,
    /// Results that are needed again.
    kept: Kept,
}

impl<'a> Evaluator<'a> {
    fn answer(&mut self) -> Result<(Value, Vec<HistogramSeries>), EvalError> {
        let (plan, grid) = (self.plan, self.plan.grid);
        let at = Timestamp(grid.first());
        if let NodeKind::Range(range) = &plan.root.kind {
            let (floats, histograms) = self.matrix(range, grid)?;
            return Ok((Value::Matrix(floats), histograms));
        }
        let value = match self.eval(&plan.root, grid)? {
            Computed::Text(text) => Value::String { timestamp: at, text },
            Computed::Scalar(scalars) if plan.instant => {
                Value::Scalar(Sample { timestamp: at, value: scalars.at(0) })
            }
            Computed::Scalar(scalars) => {
                let values = (0..grid.steps).map(|step| scalars.at(step)).collect();
                let row = Row::new(Labels::empty(), values);
                Value::Matrix(vec![Series { samples: row.samples(grid), labels: row.labels }])
            }
            Computed::Vector(rows) => {
                let rows = column::unify(column::strip_names(rows))?;
                return Ok(vector_answer(rows, grid, plan.instant));
            }
        };
        Ok((value, Vec::new()))
    }

    /// Evaluates a node over a grid, unless that has been done elsewhere.
    fn eval(&mut self, node: &'a Node, grid: Grid) -> Result<Computed, EvalError> {
        match node.slot {
            Some(slot) if self.is_shared(node) => self.shared(slot, node, grid),
            _ => self.eval_alone(node, grid),
        }
    }

    fn is_shared(&self, node: &Node) -> bool {
        node.slot.is_some_and(|slot| self.plan.uses[slot] > 1)
    }

    /// Evaluates a node over a grid, and counts what it holds.
    fn eval_alone(&mut self, node: &'a Node, grid: Grid) -> Result<Computed, EvalError> {
        let before = self.held;
        let computed = self.compute(node, grid)?;
        if let Computed::Vector(rows) = &computed {
            self.check_series(rows.len())?;
        }
        self.held = before;
        self.charge(computed.points())?;
        Ok(computed)
    }

    fn compute(&mut self, node: &'a Node, grid: Grid) -> Result<Computed, EvalError> {
        match &node.kind {
            NodeKind::Constant(value) => Ok(Computed::Scalar(Scalars::Same(*value))),
            NodeKind::Text(text) => Ok(Computed::Text(text.to_owned())),
            NodeKind::Instant(selector) => {
                self.instant(selector, grid, node.span).map(Computed::Vector)
            }
            // A range vector is an argument of functions or the root, and both are handled there.
            NodeKind::Range(_) => Ok(Computed::Vector(Vec::new())),
            NodeKind::Negative(inner) => self.negative(inner, grid),
            NodeKind::Binary(_) => self.chain(node, grid),
            NodeKind::Aggregate { op, param, expr, grouping } => self
                .aggregate(*op, param.as_deref(), expr, grouping.as_ref(), grid)
                .map(Computed::Vector),
            NodeKind::Window { function, range, params } => {
                self.window(*function, range, params, grid).map(Computed::Vector)
            }
            NodeKind::Absent { labels, expr } => {
                let rows = self.vector(expr, grid)?;
                Ok(Computed::Vector(call::absent(&rows, labels, grid.steps)))
            }
            NodeKind::AbsentOverTime { labels, range } => {
                self.absent_over_time(range, labels, grid).map(Computed::Vector)
            }
            NodeKind::Timestamp(selector) => self.timestamps(selector, grid).map(Computed::Vector),
            NodeKind::StartTimestamp(selector) => {
                self.start_timestamps(selector, grid).map(Computed::Vector)
            }
            NodeKind::Call { function, args } => self.call(function, args, node.span, grid),
            NodeKind::Info(info) => self.info(info, grid).map(Computed::Vector),
            NodeKind::Invariant(inner) => {
                let once = self.eval(inner, Grid { steps: grid.steps.min(1), ..grid })?;
                self.charge(once.points().saturating_mul(grid.steps))?;
                Ok(once.repeated(grid.steps))
            }
        }
    }

    /// Evaluates operators that group to the left, from left to right: there may be many more of
    /// them than the stack is deep.
    fn chain(&mut self, node: &'a Node, grid: Grid) -> Result<Computed, EvalError> {
        let before = self.held;
        let (mut first, mut links) = (node, Vec::new());
        while let NodeKind::Binary(binary) = &first.kind {
            // What other places want, too, is evaluated in its own right.
            if !links.is_empty() && self.is_shared(first) {
                break;
            }
            links.push((first.span, binary));
            first = &binary.lhs;
        }
        let mut left = self.eval(first, grid)?;
        for (span, binary) in links.into_iter().rev() {
            let right = self.eval(&binary.rhs, grid)?;
            let operation = Operation { op: binary.op, return_bool: binary.return_bool, span };
            left = self.binary(operation, binary.matching.as_deref(), left, right)?;
            if let Computed::Vector(rows) = &left {
                self.check_series(rows.len())?;
            }
            self.held = before;
            self.charge(left.points())?;
        }
        Ok(left)
    }

    fn vector(&mut self, node: &'a Node, grid: Grid) -> Result<Vec<Row>, EvalError> {
        match self.eval(node, grid)? {
            Computed::Vector(rows) => Ok(rows),
            // The type checker leaves nothing else.
            Computed::Scalar(_) | Computed::Text(_) => Ok(Vec::new()),
        }
    }

    fn scalar(&mut self, node: &'a Node, grid: Grid) -> Result<Scalars, EvalError> {
        match self.eval(node, grid)? {
            Computed::Scalar(scalars) => Ok(scalars),
            Computed::Vector(_) | Computed::Text(_) => Ok(Scalars::Same(f64::NAN)),
        }
    }

    fn negative(&mut self, inner: &'a Node, grid: Grid) -> Result<Computed, EvalError> {
        match self.eval(inner, grid)? {
            Computed::Scalar(scalars) => Ok(Computed::Scalar(scalars.map(|value| -value))),
            Computed::Vector(mut rows) => {
                for row in &mut rows {
                    row.values
                        .iter_mut()
                        .filter(|value| is_float(**value))
                        .for_each(|value| *value = -*value);
                    for histogram in row.histograms.iter_mut().flatten() {
                        *histogram = histogram.times(-1.0).into();
                    }
                }
                self.without_names(rows).map(Computed::Vector)
            }
            text @ Computed::Text(_) => Ok(text),
        }
    }

    /// Drops the names of a result: at once, or at the very end when that is how the query is to be
    /// run.
    fn without_names(&self, mut rows: Vec<Row>) -> Result<Vec<Row>, EvalError> {
        rows.retain(Row::has_values);
        rows.iter_mut().for_each(|row| row.drop_name = true);
        if self.plan.params.delayed_name_removal {
            return Ok(rows);
        }
        column::unify(column::strip_names(rows))
    }

    /// Counts samples that are about to be held, and gives the caller a chance to stop.
    fn charge(&mut self, samples: usize) -> Result<(), EvalError> {
        self.held = self.held.saturating_add(samples);
        let limit = self.plan.params.limits.samples_max;
        if self.held.saturating_add(self.kept.points()) > limit {
            self.kept.clear();
        }
        if self.held > limit {
            return Err(EvalError::TooManySamples { limit });
        }
        self.check_cancelled()
    }

    fn check_cancelled(&self) -> Result<(), EvalError> {
        if (self.cancelled)() { Err(EvalError::Cancelled) } else { Ok(()) }
    }

    fn check_series(&self, count: usize) -> Result<(), EvalError> {
        let limit = self.plan.params.limits.series_max;
        if count > limit { Err(EvalError::TooManySeries { limit }) } else { Ok(()) }
    }
}

fn is_float(value: f64) -> bool {
    !is_absent(value) && !is_histogram(value)
}

/// A vector as the answer to a query, with its native histograms.
fn vector_answer(rows: Vec<Row>, grid: Grid, instant: bool) -> (Value, Vec<HistogramSeries>) {
    let mut histograms: Vec<HistogramSeries> = Vec::new();
    for row in rows.iter().filter(|row| row.has_histograms()) {
        histograms.push(HistogramSeries {
            labels: row.labels.clone(),
            samples: row.histogram_samples(grid),
        });
    }
    histograms.retain(|series| !series.samples.is_empty());
    histograms.sort_by(|a, b| a.labels.cmp(&b.labels));
    if instant {
        let timestamp = Timestamp(grid.first());
        let sample = |row: Row| {
            let value = row.values.first().copied().filter(|value| is_float(*value))?;
            Some((row.labels, Sample { timestamp, value }))
        };
        return (Value::Vector(rows.into_iter().filter_map(sample).collect()), histograms);
    }
    let whole = |row: Row| Series { samples: row.samples(grid), labels: row.labels };
    let mut series: Vec<Series> = rows.into_iter().map(whole).collect();
    series.retain(|series| !series.samples.is_empty());
    series.sort_by(|a, b| a.labels.cmp(&b.labels));
    (Value::Matrix(series), histograms)
}
