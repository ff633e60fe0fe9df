//! Takes an expression apart for series that live at several sites, so that most of the work is done where the
//! series are: each part is asked of every site and the rest is computed from the answers.
//!
//! A part works series by series (`rate(x[5m]) > 1`), so that the answers of the sites together are the answer over
//! all series; or host by host (`a / on (endpoint) b`), which is as good where every host is at one site; or it aggregates in such a way that the aggregates of the sites can be aggregated again (`sum`, `min`,
//! `max`, `count`, `group`; `avg` as a sum and a count; `topk` as candidates). Everything else stays in the rest:
//! operators between vectors, since their elements may be at different sites, and all other aggregations.

use model::{Matcher, Selection};

use crate::ast::{
    Aggregate, AggregateOp, Binary, BinaryOp, Call, Expr, ExprKind, Grouping, RangeSelector, Shift,
    Subquery, Unary, ValueType, VectorSelector,
};
use crate::functions::{Kind, VectorFunction};
use crate::shape::splits_by;

/// Label that a selector of the rest has in the place of a part: the number of the part.
const PART_LABEL: &str = "__part__";

/// Label that tells the elements of an aggregated part apart by the site they come from. The rest aggregates it away.
pub const SITE_LABEL: &str = "__site__";

/// Deeper expressions are not taken apart.
const DEPTH_MAX: usize = 100;

/// An expression taken apart.
#[derive(Debug, Clone, PartialEq)]
pub struct Distributed {
    /// What to ask of every site, for the same times as the whole.
    pub parts: Vec<Part>,
    /// What to compute from the answers. Its selectors stand for parts, see [`part_of`]. Evaluate it with a lookback
    /// of one millisecond: a part has a value at every step at which it has one, and none in between.
    pub rest: Expr,
}

/// A part of an expression.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// What to ask.
    pub expr: Expr,
    /// What the answers of the sites are together.
    pub merge: Merge,
    /// Whether it works host by host, and not series by series: then it must be asked of every site for those hosts
    /// only whose series are all there.
    pub by_host: bool,
}

/// What the answers of several sites to one part are together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Merge {
    /// Different elements, or the same ones where sites hold the same series: each element once.
    Union,
    /// Partial aggregates: all of them, told apart by [`SITE_LABEL`]. A series that is at two sites must not be asked
    /// of both, or it counts twice.
    Partial,
}

/// Takes an expression apart; `None` when it can only be evaluated over the series themselves: subqueries over
/// aggregates, `absent`, `info`, ranges as they are, and what is nested too deeply. `host` is the label that tells hosts
/// apart, when parts may work host by host.
pub fn distribute(expr: &Expr, host: Option<&str>) -> Option<Distributed> {
    let mut splitter = Splitter { parts: Vec::new(), host };
    let rest = splitter.split(expr, 0)?;
    Some(Distributed { parts: splitter.parts, rest })
}

/// The number of the part that a selection of the rest's plan stands for.
pub fn part_of(selection: &Selection) -> Option<usize> {
    let matcher = selection.matchers.iter().find(|matcher| matcher.name == PART_LABEL)?;
    matcher.value.parse().ok()
}

/// The expression with other conditions in its selectors.
pub fn with_matchers(expr: &Expr, change: &impl Fn(&[Matcher]) -> Vec<Matcher>) -> Expr {
    let selector = |selector: &VectorSelector| VectorSelector {
        matchers: change(&selector.matchers),
        ..selector.clone()
    };
    let inner = |expr: &Expr| Box::new(with_matchers(expr, change));
    let kind = match &expr.kind {
        ExprKind::Number(_) | ExprKind::Text(_) => expr.kind.clone(),
        ExprKind::Selector(found) => ExprKind::Selector(selector(found)),
        ExprKind::Range(range) => ExprKind::Range(RangeSelector {
            selector: selector(&range.selector),
            range: range.range.clone(),
        }),
        ExprKind::Subquery(subquery) => {
            ExprKind::Subquery(Subquery { expr: inner(&subquery.expr), ..subquery.clone() })
        }
        ExprKind::Unary(unary) => {
            ExprKind::Unary(Unary { negative: unary.negative, expr: inner(&unary.expr) })
        }
        ExprKind::Binary(binary) => {
            ExprKind::Binary(between(binary, *inner(&binary.lhs), *inner(&binary.rhs)))
        }
        ExprKind::Aggregate(aggregate) => {
            ExprKind::Aggregate(Aggregate { expr: inner(&aggregate.expr), ..aggregate.clone() })
        }
        ExprKind::Call(call) => ExprKind::Call(Call {
            function: call.function,
            args: call.args.iter().map(|arg| with_matchers(arg, change)).collect(),
        }),
        ExprKind::Paren(paren) => ExprKind::Paren(inner(paren)),
    };
    Expr { kind, span: expr.span }
}

fn between(binary: &Binary, lhs: Expr, rhs: Expr) -> Binary {
    Binary {
        op: binary.op,
        op_span: binary.op_span,
        return_bool: binary.return_bool,
        matching: binary.matching.clone(),
        lhs: Box::new(lhs),
        rhs: Box::new(rhs),
    }
}

struct Splitter<'h> {
    parts: Vec<Part>,
    host: Option<&'h str>,
}

impl Splitter<'_> {
    fn is_by_host(&self, expr: &Expr) -> bool {
        let is_vector = expr.value_type() == ValueType::Vector;
        is_vector && self.host.is_some_and(|label| splits_by(expr, label))
    }

    /// What is left of an expression once its parts are taken out.
    fn split(&mut self, expr: &Expr, depth: usize) -> Option<Expr> {
        if depth > DEPTH_MAX {
            return None;
        }
        if is_constant(expr, depth) {
            return Some(expr.clone());
        }
        let by_host = !is_per_series(expr, depth);
        if !by_host || self.is_by_host(expr) {
            return Some(self.part(expr.clone(), Merge::Union, by_host));
        }
        let kind = match &expr.kind {
            ExprKind::Number(_) | ExprKind::Text(_) => expr.kind.clone(),
            ExprKind::Selector(_) | ExprKind::Range(_) | ExprKind::Subquery(_) => return None,
            ExprKind::Paren(inner) => ExprKind::Paren(Box::new(self.split(inner, depth + 1)?)),
            ExprKind::Unary(unary) => {
                let inner = Box::new(self.split(&unary.expr, depth + 1)?);
                ExprKind::Unary(Unary { negative: unary.negative, expr: inner })
            }
            ExprKind::Binary(binary) => {
                let lhs = self.split(&binary.lhs, depth + 1)?;
                let rhs = self.split(&binary.rhs, depth + 1)?;
                ExprKind::Binary(between(binary, lhs, rhs))
            }
            ExprKind::Aggregate(aggregate) => {
                return self.aggregate(expr, aggregate, depth);
            }
            ExprKind::Call(call) => {
                if needs_series(call) {
                    return None;
                }
                let args = call.args.iter().map(|arg| self.split(arg, depth + 1));
                let args = args.collect::<Option<_>>()?;
                ExprKind::Call(Call { function: call.function, args })
            }
        };
        Some(Expr { kind, span: expr.span })
    }

    fn aggregate(&mut self, expr: &Expr, aggregate: &Aggregate, depth: usize) -> Option<Expr> {
        let whole = |kind| Expr { kind: ExprKind::Aggregate(kind), span: expr.span };
        let has_constant = aggregate.param.as_deref().is_none_or(|p| is_constant(p, depth));
        let by_host = !is_per_series(&aggregate.expr, depth);
        if (by_host && !self.is_by_host(&aggregate.expr)) || !has_constant {
            let param = match &aggregate.param {
                Some(param) => Some(Box::new(self.split(param, depth + 1)?)),
                None => None,
            };
            let inner = Box::new(self.split(&aggregate.expr, depth + 1)?);
            return Some(whole(Aggregate { expr: inner, param, ..aggregate.clone() }));
        }
        let again = |op, part: Expr| {
            let grouping = grouping_again(aggregate.grouping.as_ref());
            whole(Aggregate { op, param: None, expr: Box::new(part), grouping })
        };
        let partial = |op| whole(Aggregate { op, ..aggregate.clone() });
        Some(match aggregate.op {
            op @ (AggregateOp::Sum | AggregateOp::Min | AggregateOp::Max | AggregateOp::Group) => {
                again(op, self.part(partial(op), Merge::Partial, by_host))
            }
            AggregateOp::Count => {
                let counts = self.part(partial(AggregateOp::Count), Merge::Partial, by_host);
                again(AggregateOp::Sum, counts)
            }
            AggregateOp::Avg => {
                let sum = self.part(partial(AggregateOp::Sum), Merge::Partial, by_host);
                let count = self.part(partial(AggregateOp::Count), Merge::Partial, by_host);
                let quotient = Binary {
                    op: BinaryOp::Divide,
                    op_span: expr.span,
                    return_bool: false,
                    matching: None,
                    lhs: Box::new(again(AggregateOp::Sum, sum)),
                    rhs: Box::new(again(AggregateOp::Sum, count)),
                };
                let quotient = Expr { kind: ExprKind::Binary(quotient), span: expr.span };
                Expr { kind: ExprKind::Paren(Box::new(quotient)), span: expr.span }
            }
            op @ (AggregateOp::Topk | AggregateOp::Bottomk) => {
                let candidates = self.part(partial(op), Merge::Union, by_host);
                whole(Aggregate { expr: Box::new(candidates), ..aggregate.clone() })
            }
            _ => {
                let inner =
                    Box::new(self.part(aggregate.expr.as_ref().clone(), Merge::Union, by_host));
                whole(Aggregate { expr: inner, ..aggregate.clone() })
            }
        })
    }

    /// Puts a part aside; answers the selector that stands for it.
    fn part(&mut self, expr: Expr, merge: Merge, by_host: bool) -> Expr {
        let span = expr.span;
        let part = Part { expr, merge, by_host };
        let number = self.parts.iter().position(|other| *other == part).unwrap_or_else(|| {
            self.parts.push(part);
            self.parts.len() - 1
        });
        let matchers = vec![Matcher::equal(PART_LABEL, &number.to_string())];
        let selector =
            VectorSelector { name: None, matchers, at: Shift::default(), extension: None, span };
        Expr { kind: ExprKind::Selector(selector), span }
    }
}

/// The grouping of partial aggregates: the label of the site is not among the labels that stay.
fn grouping_again(grouping: Option<&Grouping>) -> Option<Grouping> {
    grouping.map(|grouping| {
        let mut grouping = grouping.clone();
        if grouping.without {
            grouping.labels.push(SITE_LABEL.to_owned());
        }
        grouping
    })
}

/// Whether a scalar does not depend on any series.
fn is_constant(expr: &Expr, depth: usize) -> bool {
    let is_plain = matches!(expr.value_type(), ValueType::Scalar | ValueType::Text);
    depth <= DEPTH_MAX && is_plain && expr.selectors().is_empty()
}

/// Whether each element of the answer comes from one series, whatever other series there are.
fn is_per_series(expr: &Expr, depth: usize) -> bool {
    if depth > DEPTH_MAX {
        return false;
    }
    let inner = |expr: &Expr| is_per_series(expr, depth + 1);
    let constant = |expr: &Expr| is_constant(expr, depth + 1);
    match &expr.kind {
        ExprKind::Selector(_) => true,
        ExprKind::Paren(paren) => inner(paren),
        ExprKind::Unary(unary) => inner(&unary.expr),
        ExprKind::Binary(binary) => {
            let (lhs, rhs) = (&binary.lhs, &binary.rhs);
            (constant(rhs) && inner(lhs)) || (constant(lhs) && inner(rhs))
        }
        ExprKind::Call(call) if works_per_series(call) => call.args.iter().all(|arg| {
            let is_range = match &arg.kind {
                ExprKind::Range(_) => true,
                ExprKind::Subquery(subquery) => inner(&subquery.expr),
                _ => false,
            };
            is_range || constant(arg) || inner(arg)
        }),
        _ => false,
    }
}

/// Whether a function works element by element, and keeps elements of different series apart as long as they are.
fn works_per_series(call: &Call) -> bool {
    use VectorFunction::{
        Clamp, ClampMax, ClampMin, HistogramAvg, HistogramCount, HistogramStddev, HistogramStdvar,
        HistogramSum, Round, Timestamp,
    };
    match call.function.kind {
        Kind::Map(_) | Kind::Window(_) => true,
        Kind::Date(_) => !call.args.is_empty(),
        Kind::Vector(function) => matches!(
            function,
            Clamp
                | ClampMax
                | ClampMin
                | HistogramAvg
                | HistogramCount
                | HistogramStddev
                | HistogramStdvar
                | HistogramSum
                | Round
                | Timestamp
        ),
        Kind::AbsentOverTime | Kind::Scalar(_) => false,
    }
}

/// Whether a function looks at more than the values of its arguments: at samples, or at how its argument is written.
fn needs_series(call: &Call) -> bool {
    use VectorFunction::{Absent, Info, StartTimestamp};
    let is_range = |arg: &Expr| arg.value_type() == ValueType::Matrix;
    match call.function.kind {
        Kind::AbsentOverTime | Kind::Vector(Absent | Info | StartTimestamp) => true,
        _ => call.args.iter().any(is_range),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse;

    fn taken_apart(text: &str, host: Option<&str>) -> Option<(Vec<String>, String)> {
        let expr = parse(text).expect("the expression is well formed");
        let Distributed { parts, rest } = distribute(&expr, host)?;
        let shown = |part: Part| {
            let by_host = if part.by_host { "by host " } else { "" };
            match part.merge {
                Merge::Union => format!("{by_host}{}", part.expr),
                Merge::Partial => format!("{by_host}partial {}", part.expr),
            }
        };
        Some((parts.into_iter().map(shown).collect(), rest.to_string()))
    }

    fn check(text: &str, parts: &[&str], rest: &str) {
        check_with(None, text, parts, rest);
    }

    fn check_with(host: Option<&str>, text: &str, parts: &[&str], rest: &str) {
        let (found, found_rest) = taken_apart(text, host).expect("it can be taken apart");
        assert_eq!(
            (found.iter().map(String::as_str).collect::<Vec<_>>(), found_rest.as_str()),
            (parts.to_vec(), rest)
        );
    }

    #[test]
    fn what_works_series_by_series_is_one_part() {
        let text = "round(-rate(x{a=\"b\"}[5m] offset 1m) * 8, 0.1) > 2 * time()";
        check(text, &[text], "{__part__=\"0\"}");
        let text = "max_over_time(rate(x[1m])[5m:30s])";
        check(text, &[text], "{__part__=\"0\"}");
        check("1 + 2", &[], "1 + 2");
    }

    #[test]
    fn aggregates_are_aggregated_again() {
        check(
            "sum by (a) (rate(x[5m]))",
            &["partial sum by (a) (rate(x[5m]))"],
            "sum by (a) ({__part__=\"0\"})",
        );
        check(
            "count without (a) (x)",
            &["partial count without (a) (x)"],
            "sum without (a, __site__) ({__part__=\"0\"})",
        );
        check("topk(3, x)", &["topk(3, x)"], "topk(3, {__part__=\"0\"})");
        check("quantile(0.9, x)", &["x"], "quantile(0.9, {__part__=\"0\"})");
        check(
            "avg(x)",
            &["partial sum(x)", "partial count(x)"],
            "(sum({__part__=\"0\"}) / sum({__part__=\"1\"}))",
        );
    }

    #[test]
    fn operators_between_vectors_stay_in_the_rest() {
        check(
            "a / on (endpoint) b > 5",
            &["a", "b"],
            "{__part__=\"0\"} / on (endpoint) {__part__=\"1\"} > 5",
        );
        check("a + a", &["a"], "{__part__=\"0\"} + {__part__=\"0\"}");
        check(
            "histogram_quantile(0.9, sum by (le) (rate(b[1m])))",
            &["partial sum by (le) (rate(b[1m]))"],
            "histogram_quantile(0.9, sum by (le) ({__part__=\"0\"}))",
        );
        check(
            "topk(scalar(n), x)",
            &["n", "x"],
            "topk(scalar({__part__=\"0\"}), {__part__=\"1\"})",
        );
    }

    #[test]
    fn what_stays_within_a_host_is_one_part_where_hosts_are_at_one_site() {
        let check = |text: &str, parts: &[&str], rest: &str| {
            check_with(Some("endpoint"), text, parts, rest);
        };
        for text in [
            "a / on (endpoint) b > 5",
            "a / b * 100 < 30",
            "1 - avg by (endpoint) (rate(x[5m]))",
            "max_over_time(sum by (endpoint) (x)[5m:1m])",
        ] {
            check(text, &[&format!("by host {text}")], "{__part__=\"0\"}");
        }
        check("rate(x[1m]) > 2", &["rate(x[1m]) > 2"], "{__part__=\"0\"}");
        check("sum(a / b)", &["by host partial sum(a / b)"], "sum({__part__=\"0\"})");
        check(
            "topk(5, sum by (endpoint) (x))",
            &["by host topk(5, sum by (endpoint) (x))"],
            "topk(5, {__part__=\"0\"})",
        );
        check(
            "sum(x) / on () group_right () sum by (endpoint) (y)",
            &["partial sum(x)", "by host sum by (endpoint) (y)"],
            "sum({__part__=\"0\"}) / on () group_right () {__part__=\"1\"}",
        );
        check("a / on (group) b", &["a", "b"], "{__part__=\"0\"} / on (group) {__part__=\"1\"}");
    }

    #[test]
    fn what_needs_the_series_themselves_is_not_taken_apart() {
        for text in
            ["absent(x)", "max_over_time(sum(x)[5m:1m])", "x[5m]", "1 + absent_over_time(x[1m])"]
        {
            assert_eq!(taken_apart(text, None), None, "{text}");
        }
        let deep = format!("{}x", "x + ".repeat(5_000));
        assert_eq!(taken_apart(&deep, None), None);
    }

    #[test]
    fn conditions_are_changed_in_every_selector() {
        let expr = parse("sum(rate(x{a=\"b\"}[5m])) / -y").expect("it is well formed");
        let without_a = |matchers: &[Matcher]| {
            matchers.iter().filter(|matcher| matcher.name != "a").cloned().collect()
        };
        assert_eq!(with_matchers(&expr, &without_a).to_string(), "sum(rate(x[5m])) / -y");
    }
}
