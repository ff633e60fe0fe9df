//! Types and the rules that the grammar alone does not hold.

use crate::ast::{
    Aggregate, Binary, Call, Cardinality, Chain, Expr, ExprKind, Extension, ValueType,
    VectorSelector,
};
use crate::error::ParseError;
use crate::functions::{Kind, VectorFunction, WindowFunction};
use crate::span::Span;

/// Checks an expression and everything in it.
pub(crate) fn check(expr: &Expr) -> Result<(), ParseError> {
    match &expr.kind {
        ExprKind::Selector(selector) => check_selector(selector),
        ExprKind::Range(range) => check_selector(&range.selector),
        ExprKind::Subquery(subquery) => {
            check(&subquery.expr)?;
            let found = subquery.expr.value_type();
            if found == ValueType::Vector {
                return Ok(());
            }
            fault(
                expr.span,
                format!("subquery is only allowed on instant vector, got {} instead", found.word()),
            )
        }
        ExprKind::Unary(unary) => {
            check(&unary.expr)?;
            let found = unary.expr.value_type();
            if matches!(found, ValueType::Scalar | ValueType::Vector) {
                return Ok(());
            }
            fault(
                expr.span,
                format!(
                    "unary expression only allowed on expressions of type scalar or instant vector, got \"{found}\""
                ),
            )
        }
        ExprKind::Binary(_) => check_chain(expr),
        ExprKind::Aggregate(aggregate) => check_aggregate(aggregate),
        ExprKind::Call(call) => check_call(call, expr.span),
        ExprKind::Number(_) | ExprKind::Text(_) => Ok(()),
        ExprKind::Paren(inner) => check(inner),
    }
}

fn fault(span: Span, message: impl Into<String>) -> Result<(), ParseError> {
    Err(ParseError::new(span, message))
}

fn check_selector(selector: &VectorSelector) -> Result<(), ParseError> {
    if selector.matchers.iter().all(model::Matcher::matches_empty) {
        return fault(selector.span, "vector selector must contain at least one non-empty matcher");
    }
    Ok(())
}

fn expect(expr: &Expr, wanted: ValueType, context: &str) -> Result<(), ParseError> {
    let found = expr.value_type();
    if found == wanted {
        return Ok(());
    }
    fault(expr.span, format!("expected type {wanted} in {context}, got {found}"))
}

fn check_chain(expr: &Expr) -> Result<(), ParseError> {
    let Chain { first, links } = expr.chain();
    check(first)?;
    let mut left = first.value_type();
    for (whole, binary) in links {
        check(&binary.rhs)?;
        check_binary(binary, left, whole.span)?;
        left = binary.type_behind(left);
    }
    Ok(())
}

/// Checks an operator whose operands are checked; `left` is the type of the first.
fn check_binary(binary: &Binary, left: ValueType, span: Span) -> Result<(), ParseError> {
    let op = binary.op.as_str();
    let types = [left, binary.rhs.value_type()];
    let scalars = types == [ValueType::Scalar; 2];
    if binary.return_bool && !binary.op.is_comparison() {
        return fault(binary.op_span, "bool modifier can only be used on comparison operators");
    }
    if scalars && binary.op.is_comparison() && !binary.return_bool {
        return fault(binary.op_span, "comparisons between scalars must use BOOL modifier");
    }
    if let Some(matching) = &binary.matching
        && let Some(label) = matching.include.iter().find(|label| matching.labels.contains(label))
        && matching.on
    {
        let message = format!("label {label:?} must not occur in ON and GROUP clause at once");
        return fault(binary.op_span, message);
    }
    for (operand, found) in [&binary.lhs, &binary.rhs].into_iter().zip(types) {
        if !matches!(found, ValueType::Scalar | ValueType::Vector) {
            return fault(
                operand.span,
                "binary expression must contain only scalar and instant vector types",
            );
        }
    }
    let vectors = types == [ValueType::Vector; 2];
    check_matching(binary, vectors, span)?;
    if binary.op.is_set() && !vectors {
        return fault(span, format!("set operator {op:?} not allowed in binary scalar expression"));
    }
    if binary.op.is_trim() && scalars {
        return fault(span, format!("operator {op:?} is only allowed on histograms"));
    }
    Ok(())
}

fn check_matching(binary: &Binary, vectors: bool, span: Span) -> Result<(), ParseError> {
    let Some(matching) = &binary.matching else { return Ok(()) };
    let filled = matching.fill_left.is_some() || matching.fill_right.is_some();
    if !vectors && filled {
        return fault(span, "filling in missing series only allowed between instant vectors");
    }
    // As in Prometheus, matching on nothing at all is let pass.
    if !vectors && !matching.labels.is_empty() {
        return fault(span, "vector matching only allowed between instant vectors");
    }
    let grouped = matches!(matching.cardinality, Cardinality::ManyToOne | Cardinality::OneToMany);
    if vectors && grouped && binary.op.is_set() {
        return fault(span, format!("no grouping allowed for {:?} operation", binary.op.as_str()));
    }
    Ok(())
}

fn check_aggregate(aggregate: &Aggregate) -> Result<(), ParseError> {
    check(&aggregate.expr)?;
    expect(&aggregate.expr, ValueType::Vector, "aggregation expression")?;
    let (Some(param), Some(wanted)) = (&aggregate.param, aggregate.op.param()) else {
        return Ok(());
    };
    check(param)?;
    expect(param, wanted, "aggregation parameter")
}

fn check_call(call: &Call, span: Span) -> Result<(), ParseError> {
    let function = call.function;
    let (name, got, (least, most)) = (function.name, call.args.len(), function.arity);
    if most == Some(least) && got != least {
        return fault(span, format!("expected {least} argument(s) in call to {name:?}, got {got}"));
    }
    if got < least {
        return fault(
            span,
            format!("expected at least {least} argument(s) in call to {name:?}, got {got}"),
        );
    }
    if let Some(most) = most
        && got > most
    {
        return fault(
            span,
            format!("expected at most {most} argument(s) in call to {name:?}, got {got}"),
        );
    }
    let is_info = matches!(function.kind, Kind::Vector(VectorFunction::Info));
    for (position, arg) in call.args.iter().enumerate() {
        if is_info && position == 1 {
            check_info_selector(arg)?;
            continue;
        }
        check(arg)?;
        let wanted = function.args[position.min(function.args.len() - 1)];
        expect(arg, wanted, &format!("call to function {name:?}"))?;
        check_extension(arg, call)?;
    }
    Ok(())
}

// The second argument of info() picks labels: it may match everything, but it may not be anything
// else.
fn check_info_selector(arg: &Expr) -> Result<(), ParseError> {
    let ExprKind::Selector(selector) = &arg.kind else {
        return fault(arg.span, "expected label selectors only");
    };
    if selector.name.is_some() {
        return fault(arg.span, "expected label selectors only, got vector selector instead");
    }
    if selector.at.offset.is_some() || selector.at.at.is_some() || selector.extension.is_some() {
        return fault(arg.span, "expected label selectors only, without modifiers");
    }
    Ok(())
}

fn check_extension(arg: &Expr, call: &Call) -> Result<(), ParseError> {
    use WindowFunction::{Changes, Delta, Increase, Rate, Resets};
    let ExprKind::Range(range) = &arg.unwrapped().kind else { return Ok(()) };
    let Some(extension) = range.selector.extension else { return Ok(()) };
    let (word, list) = match extension {
        Extension::Anchored => ("anchored", "changes, delta, increase, rate, resets"),
        Extension::Smoothed => ("smoothed", "delta, increase, rate"),
    };
    let allowed = match call.function.kind {
        Kind::Window(Rate | Increase | Delta) => true,
        Kind::Window(Changes | Resets) => extension == Extension::Anchored,
        _ => false,
    };
    if allowed {
        return Ok(());
    }
    let name = call.function.name;
    fault(arg.span, format!("{word} modifier can only be used with: {list} - not with {name}"))
}
