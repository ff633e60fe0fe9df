//! Which expression tells that data is there, whatever its value. Pure.
//!
//! A rule that asks `cpu_busy > 90` gets the same empty answer from a calm host and from one that is gone.
//! The expression of this file keeps what the rule reads and forgets what it demands of the values: every
//! comparison answers 0 or 1 instead of leaving elements out, so an element is there as long as the series
//! behind it are.

use promql::{AggregateOp, BinaryOp, Expr, ExprKind};

/// The expression without what it demands of values. The error says why there is none.
pub(crate) fn presence(expr: &Expr) -> Result<Expr, String> {
    let mut stripped = expr.clone();
    strip(&mut stripped)?;
    Ok(stripped)
}

fn strip(mut expr: &mut Expr) -> Result<(), String> {
    // Chains of operators lean to the left and may be long, so they are walked and not descended.
    loop {
        let replacement = match &mut expr.kind {
            // What `unless` takes away is taken away for its value, or to silence: the data is there.
            ExprKind::Binary(binary) if binary.op == BinaryOp::Unless => {
                Some(binary.lhs.as_ref().clone())
            }
            // The best five are some of all that are there.
            ExprKind::Aggregate(aggregate) if picks(aggregate.op) => {
                Some(aggregate.expr.as_ref().clone())
            }
            _ => None,
        };
        if let Some(replacement) = replacement {
            *expr = replacement;
            continue;
        }
        match &mut expr.kind {
            ExprKind::Binary(binary) => {
                binary.return_bool |= binary.op.is_comparison();
                strip(&mut binary.rhs)?;
                expr = &mut binary.lhs;
            }
            ExprKind::Call(call) if call.function.name.starts_with("absent") => {
                let name = call.function.name;
                return Err(format!("`{name}` asks for missing data itself, so `no_data` cannot"));
            }
            ExprKind::Call(call) => return call.args.iter_mut().try_for_each(strip),
            ExprKind::Subquery(subquery) => expr = &mut subquery.expr,
            ExprKind::Unary(unary) => expr = &mut unary.expr,
            ExprKind::Aggregate(aggregate) => expr = &mut aggregate.expr,
            ExprKind::Paren(inner) => expr = inner,
            ExprKind::Number(_)
            | ExprKind::Text(_)
            | ExprKind::Selector(_)
            | ExprKind::Range(_) => return Ok(()),
        }
    }
}

fn picks(op: AggregateOp) -> bool {
    matches!(
        op,
        AggregateOp::Topk | AggregateOp::Bottomk | AggregateOp::Limitk | AggregateOp::LimitRatio
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(expr: &str, stripped: &str) {
        let parse = |text: &str| promql::parse(text).expect("it is PromQL");
        assert_eq!(presence(&parse(expr)), Ok(parse(stripped)), "{expr}");
    }

    #[test]
    fn comparisons_keep_what_they_would_leave_out() {
        check("cpu_busy > 90", "cpu_busy > bool 90");
        check("1 < cpu_busy < 90", "1 < bool cpu_busy < bool 90");
        check("used > on (endpoint) limit", "used > bool on (endpoint) limit");
        check("(a > 1 and b < 2) or c == 3", "(a > bool 1 and b < bool 2) or c == bool 3");
        check("avg by (dc) (up == 1) < 0.5", "avg by (dc) (up == bool 1) < bool 0.5");
        check(
            "count_over_time((x > 5)[10m:1m]) > 3",
            "count_over_time((x > bool 5)[10m:1m]) > bool 3",
        );
        check("-(x > 1) * 2", "-(x > bool 1) * 2");
    }

    #[test]
    fn what_is_taken_away_for_its_value_is_there() {
        check("x > 1 unless on (endpoint) maintenance == 1", "x > bool 1");
        check("topk(5, x) > 90", "x > bool 90");
        check("max_over_time(x[5m]) > 3", "max_over_time(x[5m]) > bool 3");
    }

    #[test]
    fn an_expression_that_asks_for_missing_data_itself_has_none() {
        for text in ["absent(up)", "1 + absent_over_time(up[5m])", "sum(absent(up)) > 0"] {
            let fault = presence(&promql::parse(text).expect("it is PromQL")).expect_err(text);
            assert!(fault.contains("asks for missing data itself"), "{fault}");
        }
    }

    #[test]
    fn a_long_chain_is_no_danger_to_the_stack() {
        let chain = vec!["x > 1"; 5_000].join(" or ");
        assert!(presence(&promql::parse(&chain).expect("it is PromQL")).is_ok());
    }
}
