//! Expressions over several lines, broken where Prometheus' `format_query` breaks them.

use std::fmt::{self, Write};

use crate::ast::{Expr, ExprKind};

/// What is longer than this is broken.
const WIDTH_MAX: usize = 100;

/// What is deeper inside than this stays on one line: every level is indented further, so that a
/// long chain of operators would become longer with the square of its length.
const LEVEL_MAX: usize = 256;

impl Expr {
    /// The expression as text, over several lines when it is longer than a hundred characters. Like
    /// `to_string`, it parses back to the same expression.
    pub fn pretty(&self) -> String {
        let mut text = String::new();
        self.write_pretty(0, &mut text);
        text
    }

    fn write_pretty(&self, level: usize, text: &mut String) {
        indent(level, text);
        self.write_broken(level, text);
    }

    /// Writes the expression where the indent already stands.
    fn write_broken(&self, level: usize, text: &mut String) {
        if level > LEVEL_MAX || fits(self) {
            text.push_str(&self.to_string());
            return;
        }
        match &self.kind {
            ExprKind::Binary(binary) => {
                // The left operand is one level deeper, so its indent stands a little short here.
                text.push_str("  ");
                binary.lhs.write_broken(level + 1, text);
                text.push('\n');
                indent(level, text);
                text.push_str(&super::operator(binary));
                text.push('\n');
                binary.rhs.write_pretty(level + 1, text);
            }
            ExprKind::Aggregate(aggregate) => {
                text.push_str(&super::aggregate_head(aggregate));
                let args =
                    aggregate.param.iter().map(AsRef::as_ref).chain([aggregate.expr.as_ref()]);
                write_args(args, level, text);
            }
            ExprKind::Call(call) => {
                text.push_str(call.function.name);
                write_args(call.args.iter(), level, text);
            }
            ExprKind::Paren(inner) => write_args([inner.as_ref()].into_iter(), level, text),
            ExprKind::Subquery(subquery) => {
                subquery.expr.write_broken(level, text);
                text.push_str(&super::subquery_tail(subquery));
            }
            ExprKind::Unary(unary) => {
                text.push(if unary.negative { '-' } else { '+' });
                unary.expr.write_broken(level, text);
            }
            ExprKind::Number(_)
            | ExprKind::Text(_)
            | ExprKind::Selector(_)
            | ExprKind::Range(_) => {
                text.push_str(&self.to_string());
            }
        }
    }
}

/// Whether an expression is short enough for one line.
fn fits(expr: &Expr) -> bool {
    write!(Room(WIDTH_MAX), "{expr}").is_ok()
}

/// How many more characters there is room for.
struct Room(usize);

impl Write for Room {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 = self.0.checked_sub(text.chars().count()).ok_or(fmt::Error)?;
        Ok(())
    }
}

fn indent(level: usize, text: &mut String) {
    text.push_str(&"  ".repeat(level));
}

fn write_args<'a>(args: impl Iterator<Item = &'a Expr>, level: usize, text: &mut String) {
    text.push('(');
    for (position, arg) in args.enumerate() {
        text.push_str(if position > 0 { ",\n" } else { "\n" });
        arg.write_pretty(level + 1, text);
    }
    text.push('\n');
    indent(level, text);
    text.push(')');
}

#[cfg(test)]
mod tests {
    use crate::parse;

    #[track_caller]
    fn check(text: &str, wanted: &str) {
        let expr = parse(text).expect("the expression is well formed");
        assert_eq!(expr.pretty(), wanted);
        assert_eq!(parse(wanted), Ok(expr));
    }

    #[test]
    fn what_fits_stays_on_one_line() {
        check("sum  by(a)(rate(x[5m]))", "sum by (a) (rate(x[5m]))");
    }

    #[test]
    fn what_does_not_fit_is_broken_from_outside_in() {
        let long =
            "a_metric_with_a_rather_long_name_that_fills_the_line{label=\"value\",other=\"value\"}";
        check(
            &format!("-sum by (x) ({long} * {long})"),
            &format!("-sum by (x) (\n    {long}\n  *\n    {long}\n)"),
        );
        check(
            &format!("max_over_time((rate({long}[5m]) / {long})[10m:1m] offset 5m)"),
            &format!(
                "max_over_time(\n  (\n      rate({long}[5m])\n    /\n      {long}\n  )[10m:1m] offset 5m\n)"
            ),
        );
        check(
            &format!("topk(3, label_replace({long}, \"a\", \"b\", \"c\", \"d\"))"),
            &format!(
                "topk(\n  3,\n  label_replace(\n    {long},\n    \"a\",\n    \"b\",\n    \"c\",\n    \"d\"\n  )\n)"
            ),
        );
    }
}
