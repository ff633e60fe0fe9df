//! Which expressions have one value at all times, so that it is computed once.

use crate::ast::{Call, Expr, ExprKind};
use crate::functions::{Kind, ScalarFunction, VectorFunction, WindowFunction};

/// Whether an expression has the same value at every step because all its selectors are pinned with
/// `@`.
pub(super) fn is_invariant(expr: &Expr) -> bool {
    !expr.selectors().is_empty() && is_pinned(expr)
}

/// Whether all its selectors are pinned with `@`, and nothing in it depends on the evaluation time itself.
pub(super) fn is_pinned(expr: &Expr) -> bool {
    match &expr.kind {
        ExprKind::Number(_) | ExprKind::Text(_) => true,
        ExprKind::Selector(selector) => selector.at.at.is_some(),
        ExprKind::Range(range) => range.selector.at.at.is_some(),
        ExprKind::Subquery(subquery) => subquery.at.at.is_some(),
        ExprKind::Call(call) => !moves(call) && call.args.iter().all(is_pinned),
        _ => expr.parts().into_iter().all(is_pinned),
    }
}

/// Whether a function depends on the evaluation time itself.
fn moves(call: &Call) -> bool {
    match call.function.kind {
        Kind::Date(_) => call.args.is_empty(),
        Kind::Scalar(ScalarFunction::Time) | Kind::Window(WindowFunction::PredictLinear) => true,
        Kind::Vector(VectorFunction::Timestamp) => {
            !matches!(call.args[0].unwrapped().kind, ExprKind::Selector(_))
        }
        _ => false,
    }
}
