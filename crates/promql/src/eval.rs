//! The evaluator: every expression yields columns, one value a step for every series.

mod aggregate;
mod binary;
mod call;
mod column;
pub(crate) mod date;
mod extended;
mod histogram;
mod labels;
mod matching;
mod over_time;
mod pick;
mod range;
mod rate;
mod selector;
mod sort;

use model::{Labels, Sample, Series, Timestamp};

use crate::annotations::Annotations;
use crate::error::EvalError;
use crate::plan::{Grid, Node, NodeKind, Plan};

pub(crate) use binary::scalar_operation;
use column::{Computed, Row, Scalars, is_absent};

/// The answer to a query.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    /// The value.
    pub value: Value,
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
    let (expected, got) = (plan.selections().len(), inputs.len());
    if expected != got {
        return Err(EvalError::Inputs { expected, got });
    }
    let mut evaluator = Evaluator { plan, inputs, cancelled, notes: Annotations::default(), held: 0 };
    for input in inputs {
        evaluator.check_series(input.len())?;
        evaluator.charge(input.iter().map(|series| series.samples.len()).sum())?;
    }
    let value = evaluator.answer()?;
    Ok(Output { value, warnings: evaluator.notes.warnings, infos: evaluator.notes.infos })
}

struct Evaluator<'a> {
    plan: &'a Plan,
    inputs: &'a [Vec<Series>],
    cancelled: &'a dyn Fn() -> bool,
    notes: Annotations,
    /// Samples held now: inputs, and results not yet used up.
    held: usize,
}

impl<'a> Evaluator<'a> {
    fn answer(&mut self) -> Result<Value, EvalError> {
        let (plan, grid) = (self.plan, self.plan.grid);
        let at = Timestamp(grid.first());
        if let NodeKind::Range(range) = &plan.root.kind {
            return self.matrix(range, grid).map(Value::Matrix);
        }
        match self.eval(&plan.root, grid)? {
            Computed::Text(text) => Ok(Value::String { timestamp: at, text }),
            Computed::Scalar(scalars) if plan.instant => {
                Ok(Value::Scalar(Sample { timestamp: at, value: scalars.at(0) }))
            }
            Computed::Scalar(scalars) => {
                let values = (0..grid.steps).map(|step| scalars.at(step)).collect();
                Ok(Value::Matrix(vec![Row::new(Labels::empty(), values).into_series(grid)]))
            }
            Computed::Vector(rows) => {
                let rows = column::unify(column::strip_names(rows))?;
                if plan.instant {
                    let sample = |row: Row| {
                        let value = row.values.first().copied().filter(|value| !is_absent(*value))?;
                        Some((row.labels, Sample { timestamp: at, value }))
                    };
                    return Ok(Value::Vector(rows.into_iter().filter_map(sample).collect()));
                }
                let mut series: Vec<Series> = rows.into_iter().map(|row| row.into_series(grid)).collect();
                series.retain(|series| !series.samples.is_empty());
                series.sort_by(|a, b| a.labels.cmp(&b.labels));
                Ok(Value::Matrix(series))
            }
        }
    }

    /// Evaluates a node over a grid, and counts what it holds.
    fn eval(&mut self, node: &'a Node, grid: Grid) -> Result<Computed, EvalError> {
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
            NodeKind::Instant(selector) => self.instant(selector, grid, node.span).map(Computed::Vector),
            // A range vector is an argument of functions or the root, and both are handled there.
            NodeKind::Range(_) => Ok(Computed::Vector(Vec::new())),
            NodeKind::Negative(inner) => self.negative(inner, grid),
            NodeKind::Binary { op, return_bool, matching, lhs, rhs } => {
                let (left, right) = (self.eval(lhs, grid)?, self.eval(rhs, grid)?);
                self.binary(*op, *return_bool, matching.as_deref(), left, right)
            }
            NodeKind::Aggregate { op, param, expr, grouping } => {
                self.aggregate(*op, param.as_deref(), expr, grouping.as_ref(), grid).map(Computed::Vector)
            }
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
            NodeKind::Call { function, args } => self.call(function, args, node.span, grid),
            NodeKind::Invariant(inner) => {
                let once = self.eval(inner, Grid { steps: grid.steps.min(1), ..grid })?;
                Ok(once.repeated(grid.steps))
            }
        }
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
                rows.iter_mut().for_each(|row| row.map(|value| -value));
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
