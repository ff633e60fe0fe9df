//! Duration expressions, computed once the step and the range of the query are known.

use super::Planner;
use crate::ast::{BinaryOp, DurationExpr};
use crate::error::PlanError;
use crate::span::Span;

// 2^63 nanoseconds, the longest duration Prometheus can hold.
const MILLIS_MAX: f64 = 9_223_372_036_854.0;

impl Planner<'_> {
    /// A duration in milliseconds.
    pub(super) fn duration(&self, expr: &DurationExpr, span: Span) -> Result<i64, PlanError> {
        let fault = |message: &str| PlanError::Duration { span, message: message.to_owned() };
        let millis = (self.seconds(expr).map_err(fault)? * 1000.0).round();
        if millis.is_nan() || millis.abs() > MILLIS_MAX {
            return Err(fault("duration is out of range"));
        }
        Ok(millis as i64)
    }

    /// A duration that must be longer than zero.
    pub(super) fn positive(&self, expr: &DurationExpr, span: Span) -> Result<i64, PlanError> {
        match self.duration(expr, span)? {
            millis if millis > 0 => Ok(millis),
            _ => Err(PlanError::Duration {
                span,
                message: "duration must be greater than 0".to_owned(),
            }),
        }
    }

    fn seconds(&self, expr: &DurationExpr) -> Result<f64, &'static str> {
        Ok(match expr {
            DurationExpr::Literal(number) => number.value,
            DurationExpr::Step => self.step_seconds(),
            DurationExpr::Range => {
                self.params.end.millis().saturating_sub(self.params.start.millis()) as f64 / 1000.0
            }
            DurationExpr::Negative(inner) => -self.seconds(inner)?,
            DurationExpr::Positive(inner) | DurationExpr::Paren(inner) => self.seconds(inner)?,
            DurationExpr::MinOf(first, second) => self.seconds(first)?.min(self.seconds(second)?),
            DurationExpr::MaxOf(first, second) => self.seconds(first)?.max(self.seconds(second)?),
            DurationExpr::Binary(lhs, op, rhs) => {
                let (lhs, rhs) = (self.seconds(lhs)?, self.seconds(rhs)?);
                match op {
                    BinaryOp::Divide if rhs == 0.0 => return Err("division by zero"),
                    BinaryOp::Modulo if rhs == 0.0 => return Err("modulo by zero"),
                    _ => crate::eval::scalar_operation(*op, lhs, rhs),
                }
            }
        })
    }
}
