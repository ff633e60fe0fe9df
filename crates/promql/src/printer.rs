//! Expressions as text: one line, in the form Prometheus prints.

mod pretty;

use std::fmt;

use crate::ast::{
    Aggregate, At, Binary, Cardinality, Chain, DurationExpr, Expr, ExprKind, Grouping, Matching,
    Number, Shift, Subquery, VectorSelector,
};
use crate::number;

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ExprKind::Number(number) => write!(f, "{number}"),
            ExprKind::Text(text) => f.write_str(&quote(text)),
            ExprKind::Selector(selector) => {
                print_series(selector, f)?;
                print_modifiers(selector, f)
            }
            ExprKind::Range(range) => {
                print_series(&range.selector, f)?;
                write!(f, "[{}]", range.range)?;
                print_modifiers(&range.selector, f)
            }
            ExprKind::Subquery(subquery) => {
                write!(f, "{}{}", subquery.expr, subquery_tail(subquery))
            }
            ExprKind::Unary(unary) => {
                write!(f, "{}{}", if unary.negative { '-' } else { '+' }, unary.expr)
            }
            ExprKind::Binary(binary) => print_binary(binary, f),
            ExprKind::Aggregate(aggregate) => print_aggregate(aggregate, f),
            ExprKind::Call(call) => {
                write!(f, "{}(", call.function.name)?;
                for (position, arg) in call.args.iter().enumerate() {
                    write!(f, "{}{arg}", if position > 0 { ", " } else { "" })?;
                }
                f.write_str(")")
            }
            ExprKind::Paren(inner) => write!(f, "({inner})"),
        }
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.duration {
            return f.write_str(&number::plain(self.value));
        }
        let span = std::time::Duration::from_millis((self.value.abs() * 1000.0).round() as u64);
        write!(
            f,
            "{}{}",
            if self.value.is_sign_negative() { "-" } else { "" },
            model::format_duration(span)
        )
    }
}

impl fmt::Display for DurationExpr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(number) => write!(f, "{number}"),
            Self::Step => f.write_str("step()"),
            Self::Range => f.write_str("range()"),
            Self::Negative(inner) => write!(f, "-{inner}"),
            Self::Positive(inner) => write!(f, "+{inner}"),
            Self::Binary(lhs, op, rhs) => write!(f, "{lhs} {} {rhs}", op.as_str()),
            Self::MinOf(first, second) => write!(f, "min_of({first}, {second})"),
            Self::MaxOf(first, second) => write!(f, "max_of({first}, {second})"),
            Self::Paren(inner) => write!(f, "({inner})"),
        }
    }
}

impl fmt::Display for Shift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at {
            Some(At::Millis(millis)) => {
                let sign = if millis < 0 { "-" } else { "" };
                let magnitude = millis.unsigned_abs();
                write!(f, " @ {sign}{}.{:03}", magnitude / 1000, magnitude % 1000)?;
            }
            Some(At::Start) => f.write_str(" @ start()")?,
            Some(At::End) => f.write_str(" @ end()")?,
            None => {}
        }
        match &self.offset {
            Some(offset @ DurationExpr::Binary(..)) => write!(f, " offset ({offset})"),
            Some(offset) => write!(f, " offset {offset}"),
            None => Ok(()),
        }
    }
}

fn print_series(selector: &VectorSelector, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let name = selector.name.as_deref();
    let bare = name.filter(|name| is_bare_name(name));
    f.write_str(bare.unwrap_or(""))?;
    // The first matcher is the one that the name stands for.
    let written = selector.matchers.iter().skip(usize::from(name.is_some()));
    let mut parts: Vec<String> = name.filter(|_| bare.is_none()).map(quote).into_iter().collect();
    for matcher in written {
        let label = label(&matcher.name);
        parts.push(format!("{label}{}{}", matcher.op.as_str(), quote(&matcher.value)));
    }
    if parts.is_empty() && bare.is_some() { Ok(()) } else { write!(f, "{{{}}}", parts.join(",")) }
}

// Words that would be read as something else need their quotes.
fn is_bare_name(name: &str) -> bool {
    let reserved = [
        "inf",
        "nan",
        "bool",
        "on",
        "ignoring",
        "group_left",
        "group_right",
        "atan2",
        "fill",
        "fill_left",
        "fill_right",
    ];
    model::is_metric_name(name) && !reserved.iter().any(|word| name.eq_ignore_ascii_case(word))
}

fn print_modifiers(selector: &VectorSelector, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "{}", selector.at)?;
    selector.extension.map_or(Ok(()), |extension| write!(f, " {}", extension.as_str()))
}

/// What follows the expression of a subquery.
fn subquery_tail(subquery: &Subquery) -> String {
    let step = subquery.step.as_ref().map_or_else(String::new, ToString::to_string);
    format!("[{}:{step}]{}", subquery.range, subquery.at)
}

pub(crate) fn print_binary(binary: &Binary, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let Chain { first, links } = binary.lhs.chain();
    write!(f, "{first}")?;
    for link in links.into_iter().map(|(_, link)| link).chain([binary]) {
        write!(f, " {} {}", operator(link), link.rhs)?;
    }
    Ok(())
}

/// The operator with all that stands before the right operand.
pub(crate) fn operator(binary: &Binary) -> String {
    let mut text = binary.op.as_str().to_owned();
    if binary.return_bool {
        text.push_str(" bool");
    }
    if let Some(matching) = &binary.matching {
        text.push_str(&MatchingText(matching).to_string());
    }
    text
}

struct MatchingText<'m>(&'m Matching);

impl fmt::Display for MatchingText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print_matching(self.0, f)
    }
}

fn print_matching(matching: &Matching, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let grouped = matches!(matching.cardinality, Cardinality::ManyToOne | Cardinality::OneToMany);
    if matching.on || grouped || !matching.labels.is_empty() {
        write!(
            f,
            " {} ({})",
            if matching.on { "on" } else { "ignoring" },
            labels(&matching.labels)
        )?;
    }
    if grouped {
        let side = if matching.cardinality == Cardinality::ManyToOne {
            "group_left"
        } else {
            "group_right"
        };
        write!(f, " {side} ({})", labels(&matching.include))?;
    }
    match (matching.fill_left, matching.fill_right) {
        (Some(left), Some(right)) if left == right => write!(f, " fill ({left})"),
        (left, right) => {
            left.map_or(Ok(()), |value| write!(f, " fill_left ({value})"))?;
            right.map_or(Ok(()), |value| write!(f, " fill_right ({value})"))
        }
    }
}

fn print_aggregate(aggregate: &Aggregate, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let head = aggregate_head(aggregate);
    match &aggregate.param {
        Some(param) => write!(f, "{head}({param}, {})", aggregate.expr),
        None => write!(f, "{head}({})", aggregate.expr),
    }
}

/// The aggregation up to its arguments.
fn aggregate_head(aggregate: &Aggregate) -> String {
    let name = aggregate.op.as_str();
    match &aggregate.grouping {
        Some(Grouping { without, labels: names }) => {
            let word = if *without { "without" } else { "by" };
            format!("{name} {word} ({}) ", labels(names))
        }
        None => name.to_owned(),
    }
}

fn label(name: &str) -> String {
    if model::is_label_name(name) { name.to_owned() } else { quote(name) }
}

fn labels(names: &[String]) -> String {
    names.iter().map(|name| label(name)).collect::<Vec<_>>().join(", ")
}

/// A text in double quotes with the escapes of Go.
pub(crate) fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04x}", c as u32)),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use crate::{Features, parse_with};

    #[track_caller]
    fn check(text: &str, wanted: &str) {
        let expr = parse_with(text, Features::all()).expect("the expression is well formed");
        assert_eq!(expr.to_string(), wanted);
        assert_eq!(parse_with(wanted, Features::all()), Ok(expr));
    }

    #[test]
    fn expressions_are_printed_as_prometheus_prints_them() {
        check("SUM(x)by(a,b)", "sum by (a, b) (x)");
        check("sum without()(x)", "sum without () (x)");
        check("x{a='b',c=~\"d\",}[5m]offset-1h@10", "x{a=\"b\",c=~\"d\"}[5m] @ 10.000 offset -1h");
        check("x@start()", "x @ start()");
        check("x+on(a)group_left()y", "x + on (a) group_left () y");
        check("x>bool ignoring(a)y", "x > bool ignoring (a) y");
        check("x - fill_left(1) fill_right(NaN) y", "x - fill_left (1) fill_right (NaN) y");
        check("rate(x[1m:])[60:5m]", "rate(x[1m:])[60:5m]");
        check("x[step()+min_of(1m,2)] anchored", "x[step() + min_of(1m, 2)] anchored");
        check("x offset (1m+step())", "x offset (1m + step())");
        check("-Inf + 0x10 - 1h30m", "-Inf + 16 - 1h30m");
        check("- - x", "--x");
    }

    #[test]
    fn names_that_need_quotes_get_them() {
        check("{\"a.b\", \"c d\"=\"e\"}", "{\"a.b\",\"c d\"=\"e\"}");
        check("sum by (\"c d\", e) ({\"a.b\"})", "sum by (\"c d\", e) ({\"a.b\"})");
        check("{\"fill\"}", "{\"fill\"}");
        check("{__name__=\"x\"}", "{__name__=\"x\"}");
    }

    #[test]
    fn texts_are_escaped() {
        check("'\\n\"\\x07ä'", "\"\\n\\\"\\u0007ä\"");
    }
}
