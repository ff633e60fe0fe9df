//! The same expression pinned to a moment: `@` on every selector and outermost subquery that has
//! none.

use promql::{At, Expr, ExprKind};

/// Functions whose result depends on the evaluation time itself, so that pinning changes it.
const MOVING: [&str; 16] = [
    "days_in_month",
    "day_of_month",
    "day_of_week",
    "day_of_year",
    "hour",
    "minute",
    "month",
    "year",
    "predict_linear",
    "time",
    "timestamp",
    "start",
    "end",
    "step",
    "range",
    "start_timestamp",
];

/// Whether pinning changes nothing.
pub(crate) fn can_be_pinned(expr: &Expr) -> bool {
    let moves = matches!(&expr.kind, ExprKind::Call(call) if MOVING.contains(&call.function.name));
    !moves && expr.children().into_iter().all(can_be_pinned)
}

/// Whether the expression asks for the bounds of the query, which are others in a range query.
pub(crate) fn knows_the_query(expr: &Expr) -> bool {
    let text = expr.to_string();
    ["start()", "end()", "step()", "range()"].iter().any(|name| text.contains(name))
}

/// Pins an expression to a moment.
pub(crate) fn pin(expr: &mut Expr, at: At) {
    match &mut expr.kind {
        ExprKind::Selector(selector) => drop(selector.at.at.get_or_insert(at)),
        ExprKind::Range(range) => drop(range.selector.at.at.get_or_insert(at)),
        ExprKind::Subquery(subquery) => drop(subquery.at.at.get_or_insert(at)),
        ExprKind::Unary(unary) => pin(&mut unary.expr, at),
        ExprKind::Paren(inner) => pin(inner, at),
        ExprKind::Binary(binary) => {
            pin(&mut binary.lhs, at);
            pin(&mut binary.rhs, at);
        }
        ExprKind::Aggregate(aggregate) => {
            aggregate.param.iter_mut().for_each(|param| pin(param, at));
            pin(&mut aggregate.expr, at);
        }
        ExprKind::Call(call) => {
            // The second argument of info() is no selector of samples.
            let pinned = if call.function.name == "info" { 1 } else { call.args.len() };
            call.args.iter_mut().take(pinned).for_each(|arg| pin(arg, at));
        }
        ExprKind::Number(_) | ExprKind::Text(_) => {}
    }
}
