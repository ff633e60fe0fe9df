//! Binary operators.

use super::column::{ABSENT, Computed, Point, Row, Scalars, is_absent};
use super::{Evaluator, matching};
use crate::ast::{BinaryOp, Matching};
use crate::error::EvalError;
use crate::functions::ScalarFunction;
use crate::histogram::{Histogram, Incompatible, ResetHint, Total};
use crate::span::Span;

/// An operator between two numbers; comparisons give 1 or 0.
pub(crate) fn scalar_operation(op: BinaryOp, left: f64, right: f64) -> f64 {
    if op.is_comparison() {
        f64::from(u8::from(compare(op, left, right)))
    } else {
        arithmetic(op, left, right)
    }
}

fn arithmetic(op: BinaryOp, left: f64, right: f64) -> f64 {
    match op {
        BinaryOp::Add => left + right,
        BinaryOp::Subtract => left - right,
        BinaryOp::Multiply => left * right,
        BinaryOp::Divide => left / right,
        BinaryOp::Modulo => left % right,
        BinaryOp::Power => left.powf(right),
        BinaryOp::Atan2 => left.atan2(right),
        _ => f64::NAN,
    }
}

/// `min_of` and `max_of`: NaN unless both are numbers.
pub(crate) fn pick_of(function: ScalarFunction, first: f64, second: f64) -> f64 {
    if first.is_nan() || second.is_nan() {
        f64::NAN
    } else if function == ScalarFunction::MinOf {
        first.min(second)
    } else {
        first.max(second)
    }
}

/// Whether a comparison holds.
pub(crate) fn compare(op: BinaryOp, left: f64, right: f64) -> bool {
    match op {
        BinaryOp::Equal => left == right,
        BinaryOp::NotEqual => left != right,
        BinaryOp::Less => left < right,
        BinaryOp::LessEqual => left <= right,
        BinaryOp::Greater => left > right,
        _ => left >= right,
    }
}

/// How an operator makes one element of two: what a filter rejects is absent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Operation {
    pub(super) op: BinaryOp,
    pub(super) return_bool: bool,
    pub(super) span: Span,
}

impl Operation {
    /// The result, where a filtering comparison keeps `kept`.
    pub(super) fn apply(self, left: f64, right: f64, kept: f64) -> f64 {
        if !self.filters() {
            scalar_operation(self.op, left, right)
        } else if compare(self.op, left, right) {
            kept
        } else {
            ABSENT
        }
    }

    /// Whether elements pass unchanged or not at all.
    pub(super) fn filters(self) -> bool {
        self.op.is_comparison() && !self.return_bool
    }
}

impl Evaluator<'_> {
    pub(super) fn binary(
        &mut self,
        operation: Operation,
        matching: Option<&Matching>,
        left: Computed,
        right: Computed,
    ) -> Result<Computed, EvalError> {
        let op = operation.op;
        match (left, right) {
            (Computed::Scalar(left), Computed::Scalar(right)) => Ok(Computed::Scalar(
                left.zip(&right, |left, right| scalar_operation(op, left, right)),
            )),
            (Computed::Vector(rows), Computed::Scalar(scalars)) => {
                self.with_scalar(operation, rows, &scalars, false).map(Computed::Vector)
            }
            (Computed::Scalar(scalars), Computed::Vector(rows)) => {
                self.with_scalar(operation, rows, &scalars, true).map(Computed::Vector)
            }
            (Computed::Vector(left), Computed::Vector(right)) => {
                if op.is_set() {
                    let check = || self.check_cancelled();
                    return matching::set_operation(op, matching, (left, right), check)
                        .map(Computed::Vector);
                }
                self.matched(operation, matching, left, right).map(Computed::Vector)
            }
            // The type checker leaves nothing else.
            _ => Ok(Computed::Vector(Vec::new())),
        }
    }

    fn with_scalar(
        &mut self,
        operation: Operation,
        mut rows: Vec<Row>,
        scalars: &Scalars,
        scalar_first: bool,
    ) -> Result<Vec<Row>, EvalError> {
        for row in &mut rows {
            if row.has_histograms() || operation.op.is_trim() {
                for step in 0..row.values.len() {
                    let scalar = Point::Float(scalars.at(step));
                    let combined = row.point(step).and_then(|point| {
                        let (left, right) =
                            if scalar_first { (scalar, point) } else { (point, scalar) };
                        self.combined(operation, &left, &right)
                    });
                    row.set(step, combined);
                }
                continue;
            }
            // A filter keeps the value of the vector, whichever side it stands on.
            row.map_steps(|step, value| {
                let scalar = scalars.at(step);
                let (left, right) = if scalar_first { (scalar, value) } else { (value, scalar) };
                operation.apply(left, right, value)
            });
        }
        if !operation.filters() && !operation.op.is_trim() {
            return self.without_names(rows);
        }
        rows.retain(Row::has_values);
        Ok(rows)
    }

    /// An operator between two elements, at least one of which may be a native histogram. A filter
    /// keeps the left one.
    pub(super) fn combined(
        &mut self,
        operation: Operation,
        left: &Point,
        right: &Point,
    ) -> Option<Point> {
        let op = operation.op;
        let boolean = |holds: bool| if holds { 1.0 } else { 0.0 };
        match (left, right, op) {
            (Point::Float(left), Point::Float(right), _) if !op.is_trim() => {
                Some(operation.apply(*left, *right, *left))
                    .filter(|value| !is_absent(*value))
                    .map(Point::Float)
            }
            (Point::Histogram(left), Point::Float(right), BinaryOp::Multiply) => {
                Some(left.times(*right).into())
            }
            (Point::Float(left), Point::Histogram(right), BinaryOp::Multiply) => {
                Some(right.times(*left).into())
            }
            (Point::Histogram(left), Point::Float(right), BinaryOp::Divide) => {
                Some(left.divided(*right).into())
            }
            (
                Point::Histogram(left),
                Point::Float(right),
                BinaryOp::TrimUpper | BinaryOp::TrimLower,
            ) => Some(left.trimmed(*right, op == BinaryOp::TrimUpper).into()),
            (
                Point::Histogram(left),
                Point::Histogram(right),
                BinaryOp::Add | BinaryOp::Subtract,
            ) => self.added(operation, left, right),
            (
                Point::Histogram(one),
                Point::Histogram(other),
                BinaryOp::Equal | BinaryOp::NotEqual,
            ) => {
                let holds = one.same_as(other) == (op == BinaryOp::Equal);
                if operation.return_bool {
                    return Some(Point::Float(boolean(holds)));
                }
                holds.then(|| left.clone())
            }
            _ => {
                let kind = |point: &Point| {
                    if matches!(point, Point::Float(_)) { "float" } else { "histogram" }
                };
                self.notes.incompatible_types(op.as_str(), kind(left), kind(right), operation.span);
                None
            }
        }
    }

    fn added(
        &mut self,
        operation: Operation,
        left: &Histogram,
        right: &Histogram,
    ) -> Option<Point> {
        let mut total = Total::new(left);
        let subtract = operation.op == BinaryOp::Subtract;
        let outcome = if subtract { total.subtract(right) } else { total.add(right) };
        if outcome == Err(Incompatible) {
            self.notes.mixed_schemas("", operation.span);
            return None;
        }
        let name = if subtract { "subtraction" } else { "addition" };
        self.notes.histogram_findings(total.findings, name, operation.span);
        let mut sum = total.finish();
        if subtract {
            sum.reset = ResetHint::Gauge;
        }
        Some(sum.into())
    }
}
