//! What rules have in common: `cpu_busy{group="g07"} > 92` and `cpu_busy{group="g08"} > 90` are one
//! question to the data, `cpu_busy`, of which each rule takes its part and compares it.
//!
//! A condition is lifted out of an expression only where that provably changes nothing: the answer to
//! the question without it, cut to the elements that satisfy it, is the answer to the whole.

use model::{METRIC_NAME, MatchOp, Matcher};

use crate::ast::{
    Aggregate, AggregateOp, Binary, BinaryOp, Call, Expr, ExprKind, Grouping, ValueType,
    VectorSelector,
};
use crate::eval::{compare, scalar_operation};
use crate::functions::{Kind, VectorFunction};

/// Expressions that are nested deeper, or have a longer chain of operators, are left as they are.
const DEPTH_MAX: usize = 48;

/// Labels that functions drop, or that stand for the metric itself.
const NEVER_LIFTED: [&str; 4] = [METRIC_NAME, "__type__", "__unit__", "le"];

/// An expression taken apart into what it may share with others and what is its own.
#[derive(Debug, Clone, PartialEq)]
pub struct Shape {
    /// The expression without the lifted conditions and without the comparison at its top.
    pub common: Expr,
    /// The labels whose `=` conditions were lifted out of every selector, in order of their names.
    pub labels: Vec<String>,
    /// The values of these conditions.
    pub values: Vec<String>,
    /// The comparison with a number at the top.
    pub threshold: Option<Threshold>,
}

/// A filtering comparison of every element with one number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Threshold {
    op: BinaryOp,
    bound: f64,
    bound_first: bool,
}

impl Threshold {
    /// Whether an element of this value stays.
    pub fn accepts(&self, value: f64) -> bool {
        let (left, right) =
            if self.bound_first { (self.bound, value) } else { (value, self.bound) };
        compare(self.op, left, right)
    }

    /// Whether it is one of `<`, `<=`, `>`, `>=`: of several numbers one is accepted only if the lowest or
    /// the highest is.
    pub fn is_ordering(&self) -> bool {
        matches!(
            self.op,
            BinaryOp::Less | BinaryOp::LessEqual | BinaryOp::Greater | BinaryOp::GreaterEqual
        )
    }
}

impl Shape {
    /// Takes an instant vector expression apart. `None` for what is no such expression or is nested
    /// too deeply; an expression from which nothing can be lifted is its own common part.
    pub fn of(expr: &Expr) -> Option<Self> {
        if expr.value_type() != ValueType::Vector || !is_shallow(expr, DEPTH_MAX) {
            return None;
        }
        let (common, threshold) = compared(expr);
        let mut common = common.clone();
        let mut lifted: Vec<(String, String)> = candidates(&common)
            .into_iter()
            .filter(|(label, _)| splits(&common, label) == Some(Parts::Vector))
            .collect();
        lifted.sort();
        let (labels, values) = lifted.into_iter().unzip();
        let mut shape = Self { common: common.clone(), labels, values, threshold };
        for_each_selector(&mut common, &mut |selector| {
            selector.matchers.retain(|matcher| {
                matcher.op != MatchOp::Equal || !shape.labels.contains(&matcher.name)
            });
        });
        shape.common = common;
        Some(shape)
    }
}

/// Whether an expression can be answered separately for every value of a label: the elements of its
/// result carry the label, and those of one value depend on the series with this value only. Adding a
/// condition on the label to every selector then picks elements and changes none.
pub fn splits_by(expr: &Expr, label: &str) -> bool {
    is_shallow(expr, DEPTH_MAX)
        && !NEVER_LIFTED.contains(&label)
        && splits(expr, label) == Some(Parts::Vector)
}

/// The expression with more conditions on every selector.
pub fn narrowed(expr: &Expr, conditions: &[Matcher]) -> Expr {
    let mut expr = expr.clone();
    for_each_selector(&mut expr, &mut |selector| selector.matchers.extend_from_slice(conditions));
    expr
}

/// What a part of a splittable expression is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Parts {
    /// A number that no series has a say in.
    Number,
    /// Elements, or windows, that fall into parts by the label.
    Vector,
}

/// Splits off a filtering comparison with a constant at the top.
fn compared(expr: &Expr) -> (&Expr, Option<Threshold>) {
    let top = expr.unwrapped();
    if let ExprKind::Binary(Binary { op, return_bool: false, lhs, rhs, .. }) = &top.kind
        && op.is_comparison()
    {
        let is_vector = |side: &Expr| side.value_type() == ValueType::Vector;
        if let (true, Some(bound)) = (is_vector(lhs), constant(rhs)) {
            return (lhs.unwrapped(), Some(Threshold { op: *op, bound, bound_first: false }));
        }
        if let (Some(bound), true) = (constant(lhs), is_vector(rhs)) {
            return (rhs.unwrapped(), Some(Threshold { op: *op, bound, bound_first: true }));
        }
    }
    (top, None)
}

/// The value of an expression of nothing but literals.
fn constant(expr: &Expr) -> Option<f64> {
    match &expr.unwrapped().kind {
        ExprKind::Number(number) => Some(number.value),
        ExprKind::Unary(unary) => {
            constant(&unary.expr).map(|value| if unary.negative { -value } else { value })
        }
        ExprKind::Binary(binary) => {
            Some(scalar_operation(binary.op, constant(&binary.lhs)?, constant(&binary.rhs)?))
        }
        _ => None,
    }
}

/// The labels that every selector pins to one and the same value, with that value.
fn candidates(expr: &Expr) -> Vec<(String, String)> {
    let selectors = expr.selectors();
    let Some((first, others)) = selectors.split_first() else { return Vec::new() };
    let is_pinned = |matcher: &&Matcher| {
        let has_same =
            |selector: &&VectorSelector| pinned(selector, &matcher.name) == Some(&matcher.value);
        !NEVER_LIFTED.contains(&matcher.name.as_str())
            && !matcher.value.is_empty()
            && has_same(first)
            && others.iter().all(has_same)
    };
    let pair = |matcher: &Matcher| (matcher.name.to_owned(), matcher.value.to_owned());
    first.matchers.iter().filter(is_pinned).map(pair).collect()
}

/// The value that the only `=` condition of a selector on a label asks for.
fn pinned<'s>(selector: &'s VectorSelector, label: &str) -> Option<&'s String> {
    let is_equal = |matcher: &&Matcher| matcher.op == MatchOp::Equal && matcher.name == label;
    let mut found = selector.matchers.iter().filter(is_equal);
    let one = found.next()?;
    found.next().is_none().then_some(&one.value)
}

/// How an expression falls into parts by a label; `None` when it does not, or when that is not known.
fn splits(expr: &Expr, label: &str) -> Option<Parts> {
    match &expr.kind {
        ExprKind::Number(_) => Some(Parts::Number),
        ExprKind::Text(_) => None,
        ExprKind::Selector(_) | ExprKind::Range(_) => Some(Parts::Vector),
        ExprKind::Subquery(subquery) => {
            splits(&subquery.expr, label).filter(|parts| *parts == Parts::Vector)
        }
        ExprKind::Unary(unary) => splits(&unary.expr, label),
        ExprKind::Paren(inner) => splits(inner, label),
        ExprKind::Binary(binary) => splits_binary(binary, label),
        ExprKind::Aggregate(aggregate) => splits_aggregate(aggregate, label),
        ExprKind::Call(call) => splits_call(call, label),
    }
}

/// Elements of two vectors meet only when they agree in the label.
fn splits_binary(binary: &Binary, label: &str) -> Option<Parts> {
    match (splits(&binary.lhs, label)?, splits(&binary.rhs, label)?) {
        (Parts::Number, Parts::Number) => return Some(Parts::Number),
        (Parts::Vector, Parts::Vector) => {}
        _ => return Some(Parts::Vector),
    }
    let matching = binary.effective_matching()?;
    let names = |labels: &[String]| labels.iter().any(|name| name == label);
    let agrees = names(&matching.labels) == matching.on;
    let fills = matching.fill_left.is_some() || matching.fill_right.is_some();
    (agrees && !fills && !names(&matching.include)).then_some(Parts::Vector)
}

/// Elements are summed up only with those that agree in the label.
fn splits_aggregate(aggregate: &Aggregate, label: &str) -> Option<Parts> {
    let keeps = aggregate.grouping.as_ref().is_some_and(|Grouping { without, labels }| {
        labels.iter().any(|name| name == label) != *without
    });
    let is_simple = match aggregate.op {
        AggregateOp::Sum
        | AggregateOp::Avg
        | AggregateOp::Count
        | AggregateOp::Min
        | AggregateOp::Max
        | AggregateOp::Group
        | AggregateOp::Stddev
        | AggregateOp::Stdvar => true,
        AggregateOp::Quantile => aggregate
            .param
            .as_ref()
            .is_some_and(|param| splits(param, label) == Some(Parts::Number)),
        _ => false,
    };
    (keeps && is_simple).then(|| splits(&aggregate.expr, label)).flatten()
}

/// The functions that change values and names one by one, or by groups that agree in all labels but
/// `le`.
fn splits_call(call: &Call, label: &str) -> Option<Parts> {
    use VectorFunction::{
        Clamp, ClampMax, ClampMin, HistogramAvg, HistogramCount, HistogramFraction,
        HistogramQuantile, HistogramStddev, HistogramStdvar, HistogramSum, Round, StartTimestamp,
        Timestamp,
    };
    let is_known = match call.function.kind {
        Kind::Map(_) | Kind::Window(_) => true,
        Kind::Date(_) => !call.args.is_empty(),
        Kind::Scalar(_) => {
            let is_number = |arg: &Expr| splits(arg, label) == Some(Parts::Number);
            return call.args.iter().all(is_number).then_some(Parts::Number);
        }
        Kind::Vector(function) => matches!(
            function,
            Clamp
                | ClampMax
                | ClampMin
                | Round
                | Timestamp
                | StartTimestamp
                | HistogramAvg
                | HistogramCount
                | HistogramFraction
                | HistogramQuantile
                | HistogramStddev
                | HistogramStdvar
                | HistogramSum
        ),
        Kind::AbsentOverTime => false,
    };
    if !is_known {
        return None;
    }
    let mut vectors = 0;
    for arg in &call.args {
        vectors += usize::from(splits(arg, label)? == Parts::Vector);
    }
    (vectors == 1).then_some(Parts::Vector)
}

fn is_shallow(expr: &Expr, depth: usize) -> bool {
    // A long chain is deep on its left, so this ends as soon as the depth is used up.
    depth > 0 && expr.children().into_iter().all(|child| is_shallow(child, depth - 1))
}

/// Changes every selector of a shallow expression.
fn for_each_selector(expr: &mut Expr, change: &mut dyn FnMut(&mut VectorSelector)) {
    match &mut expr.kind {
        ExprKind::Number(_) | ExprKind::Text(_) => {}
        ExprKind::Selector(selector) => change(selector),
        ExprKind::Range(range) => change(&mut range.selector),
        ExprKind::Subquery(subquery) => for_each_selector(&mut subquery.expr, change),
        ExprKind::Unary(unary) => for_each_selector(&mut unary.expr, change),
        ExprKind::Binary(binary) => {
            for_each_selector(&mut binary.lhs, change);
            for_each_selector(&mut binary.rhs, change);
        }
        ExprKind::Aggregate(aggregate) => {
            if let Some(param) = &mut aggregate.param {
                for_each_selector(param, change);
            }
            for_each_selector(&mut aggregate.expr, change);
        }
        ExprKind::Call(call) => {
            call.args.iter_mut().for_each(|arg| for_each_selector(arg, change));
        }
        ExprKind::Paren(inner) => for_each_selector(inner, change),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse;

    fn shape(text: &str) -> Shape {
        Shape::of(&parse(text).expect("it is PromQL")).expect("it is a vector")
    }

    /// What is common, and the lifted conditions.
    fn check(text: &str, common: &str, lifted: &[(&str, &str)]) {
        let shape = shape(text);
        let found: Vec<(&str, &str)> =
            shape.labels.iter().zip(&shape.values).map(|(l, v)| (l.as_str(), v.as_str())).collect();
        assert_eq!(
            (shape.common.to_string().as_str(), found.as_slice()),
            (common, lifted),
            "{text}"
        );
    }

    #[test]
    fn a_condition_and_a_threshold_are_lifted() {
        check(r#"cpu_busy{group="g07"} > 92.25"#, "cpu_busy", &[("group", "g07")]);
        check(r#"5 < rate(x{b="1",a="2"}[1m])"#, "rate(x[1m])", &[("a", "2"), ("b", "1")]);
        check(r#"x{a="1"} / y{a="1"} * 100 < 9"#, "x / y * 100", &[("a", "1")]);
        check(r#"sum by (a) (x{a="1",m!="i"}) > 5"#, r#"sum by (a) (x{m!="i"})"#, &[("a", "1")]);
        check(r#"(x{a="1"} > 3) and (y{a="1"} > 4)"#, "(x > 3) and (y > 4)", &[("a", "1")]);
        check(
            r#"histogram_quantile(0.9, sum by (le, a) (rate(x{a="1"}[5m]))) > 1"#,
            "histogram_quantile(0.9, sum by (le, a) (rate(x[5m])))",
            &[("a", "1")],
        );
    }

    #[test]
    fn what_mixes_the_values_of_a_label_keeps_its_condition() {
        for text in [
            r#"sum(x{a="1"})"#,
            r#"sum by (b) (x{a="1"})"#,
            r#"sum without (a) (x{a="1"})"#,
            r#"topk by (a) (1, x{a="1"})"#,
            r#"x{a="1"} * on (b) y{a="1"}"#,
            r#"x{a="1"} * ignoring (a) y{a="1"}"#,
            r#"x{a="1"} * on (a) group_left (b) sum by (a) (z)"#,
            r#"absent(x{a="1"})"#,
            r#"label_replace(x{a="1"}, "a", "2", "b", "")"#,
            r#"x{a="1"} * scalar(y{a="1"})"#,
            r#"x{a="1"} or vector(0)"#,
            r#"x{a="1"} + y{a="2"}"#,
            r#"x{a="1",a="2"}"#,
            r#"x{a=""}"#,
            r#"x{le="1"}"#,
        ] {
            let expr = parse(text).expect("it is PromQL").to_string();
            check(text, &expr, &[]);
        }
    }

    #[test]
    fn a_threshold_accepts_what_the_comparison_keeps() {
        let accepts =
            |text: &str, value: f64| shape(text).threshold.expect("compared").accepts(value);
        assert!(accepts("x > 1", 2.0) && !accepts("x > 1", 1.0));
        assert!(accepts("1 > x", 0.0) && !accepts("1 > x", 2.0));
        assert!(accepts("x >= -(2 * 3)", -6.0) && accepts("x != 1", f64::NAN));
        for text in ["x > bool 1", "x > time()", "x > y", "x + 1", "sum(x)"] {
            assert_eq!(shape(text).threshold, None, "{text}");
        }
    }

    #[test]
    fn what_is_no_vector_or_too_deep_has_no_shape() {
        assert_eq!(Shape::of(&parse("1 + 1").expect("it is PromQL")), None);
        let long = format!("x{}", " + x".repeat(5000));
        assert_eq!(Shape::of(&parse(&long).expect("it is PromQL")), None);
    }

    #[test]
    fn an_expression_splits_by_a_label_it_does_not_name() {
        let splits = |text: &str| splits_by(&parse(text).expect("it is PromQL"), "endpoint");
        assert!(splits("rate(x[1m]) > 5") && splits("sum by (endpoint) (x)") && splits("x / y"));
        assert!(!splits("sum(x)") && !splits("absent(x)") && !splits("1 + time()"));
    }

    #[test]
    fn a_narrowed_expression_has_the_condition_everywhere() {
        let expr = parse(r#"x{a="1"} / sum by (b) (rate(y[1m]))"#).expect("it is PromQL");
        let narrow = narrowed(&expr, &[Matcher::equal("b", "2")]);
        assert_eq!(narrow.to_string(), r#"x{a="1",b="2"} / sum by (b) (rate(y{b="2"}[1m]))"#);
    }
}
