//! Binary operators.

use super::column::{ABSENT, Computed, Row, Scalars};
use super::{Evaluator, matching};
use crate::ast::{BinaryOp, Matching};
use crate::error::EvalError;

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

fn compare(op: BinaryOp, left: f64, right: f64) -> bool {
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

    pub(super) fn filters(self) -> bool {
        self.op.is_comparison() && !self.return_bool
    }
}

impl Evaluator<'_> {
    pub(super) fn binary(
        &mut self,
        op: BinaryOp,
        return_bool: bool,
        matching: Option<&Matching>,
        left: Computed,
        right: Computed,
    ) -> Result<Computed, EvalError> {
        let operation = Operation { op, return_bool };
        match (left, right) {
            (Computed::Scalar(left), Computed::Scalar(right)) => {
                Ok(Computed::Scalar(left.zip(&right, |left, right| scalar_operation(op, left, right))))
            }
            (Computed::Vector(rows), Computed::Scalar(scalars)) => {
                let combine = |value, scalar| operation.apply(value, scalar, value);
                self.with_scalar(operation, rows, &scalars, combine).map(Computed::Vector)
            }
            (Computed::Scalar(scalars), Computed::Vector(rows)) => {
                // A filter keeps the value of the vector, whichever side it stands on.
                let combine = |value, scalar| operation.apply(scalar, value, value);
                self.with_scalar(operation, rows, &scalars, combine).map(Computed::Vector)
            }
            (Computed::Vector(left), Computed::Vector(right)) => {
                if op.is_set() {
                    return matching::set_operation(op, matching, left, right).map(Computed::Vector);
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
        combine: impl Fn(f64, f64) -> f64,
    ) -> Result<Vec<Row>, EvalError> {
        for row in &mut rows {
            row.map_steps(|step, value| combine(value, scalars.at(step)));
        }
        if !operation.filters() {
            return self.without_names(rows);
        }
        rows.retain(Row::has_values);
        Ok(rows)
    }
}
