//! Subexpressions that occur more than once are evaluated once.

use std::fmt::{self, Write};

use hashbrown::HashMap;
use xxhash_rust::xxh3::Xxh3Default;

use super::Grid;
use crate::ast::{Binary, Chain, Expr, ExprKind};
use crate::printer;

/// The subexpressions seen so far that are worth keeping the result of.
#[derive(Default)]
pub(super) struct Shared<'a> {
    seen: Vec<Seen<'a>>,
    /// Where in `seen` the subexpressions of a fingerprint are.
    by_hash: HashMap<u64, Vec<usize>>,
    /// Whether anything can occur twice at all.
    enabled: bool,
    /// How many repeated subexpressions lie around what is planned now. What is inside of them is
    /// not evaluated, so it does not count.
    repeated: usize,
}

struct Seen<'a> {
    expr: &'a Expr,
    grid: Grid,
    stats: bool,
    uses: usize,
}

impl<'a> Shared<'a> {
    pub(super) fn of(root: &Expr) -> Self {
        Self { enabled: root.selectors().len() > 1, ..Self::default() }
    }

    /// The slot of a subexpression's result, and whether it has occurred before. The same text at
    /// other times is another result.
    pub(super) fn enter(
        &mut self,
        expr: &'a Expr,
        grid: Grid,
        stats: bool,
    ) -> (Option<usize>, bool) {
        if !self.enabled || self.repeated > 0 || !is_costly(expr) {
            return (None, false);
        }
        self.enter_costly(fingerprint(expr), expr, grid, stats)
    }

    /// As [`Self::enter`] for a subexpression that is worth it and has this fingerprint.
    pub(super) fn enter_costly(
        &mut self,
        hash: u64,
        expr: &'a Expr,
        grid: Grid,
        stats: bool,
    ) -> (Option<usize>, bool) {
        if !self.enabled || self.repeated > 0 {
            return (None, false);
        }
        let slots = self.by_hash.entry(hash).or_default();
        let same = |slot: &usize| {
            let seen = &self.seen[*slot];
            (seen.grid, seen.stats) == (grid, stats) && seen.expr == expr
        };
        if let Some(slot) = slots.iter().copied().find(same) {
            self.seen[slot].uses += 1;
            self.repeated += 1;
            return (Some(slot), true);
        }
        slots.push(self.seen.len());
        self.seen.push(Seen { expr, grid, stats, uses: 1 });
        (Some(self.seen.len() - 1), false)
    }

    /// Whether fingerprints are of any use.
    pub(super) fn is_enabled(&self) -> bool {
        self.enabled && self.repeated == 0
    }

    pub(super) fn leave(&mut self, repeated: bool) {
        self.repeated -= usize::from(repeated);
    }

    /// How many places have each result.
    pub(super) fn uses(&self) -> Vec<usize> {
        self.seen.iter().map(|seen| seen.uses).collect()
    }
}

/// Whether computing it again costs more than copying the result. A bare selector does not.
fn is_costly(expr: &Expr) -> bool {
    let computes =
        matches!(expr.kind, ExprKind::Call(_) | ExprKind::Aggregate(_) | ExprKind::Binary(_));
    computes && selects(expr)
}

/// Whether anything in it reads series.
pub(super) fn selects(expr: &Expr) -> bool {
    matches!(expr.kind, ExprKind::Selector(_) | ExprKind::Range(_))
        || expr.parts().into_iter().any(selects)
}

struct Hasher(Xxh3Default);

impl Write for Hasher {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.update(text.as_bytes());
        Ok(())
    }
}

/// Stands for a subexpression. Printing loses nothing but positions, so the text stands for the
/// tree; a chain of operators is hashed link by link, so that every part of it has its own.
pub(super) fn fingerprint(expr: &Expr) -> u64 {
    let Chain { first, links } = expr.chain();
    let hash = hash_of(format_args!("{first}"));
    links.into_iter().fold(hash, |hash, (_, binary)| fingerprint_behind(hash, binary))
}

/// The fingerprint of an operator whose left operand has a known one.
pub(super) fn fingerprint_behind(left: u64, binary: &Binary) -> u64 {
    hash_of(format_args!("{left} {} {}", printer::operator(binary), binary.rhs))
}

fn hash_of(text: fmt::Arguments<'_>) -> u64 {
    let mut hasher = Hasher(Xxh3Default::new());
    let _ = hasher.write_fmt(text);
    hasher.0.digest()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use model::Timestamp;

    use crate::{Features, Params, parse_with, plan};

    /// How many places have each result that more than one has.
    fn shared(text: &str) -> Vec<usize> {
        let expr = parse_with(text, Features::all()).expect("the expression is well formed");
        let params = Params::range(Timestamp(0), Timestamp(600_000), Duration::from_secs(60));
        let plan = plan(&expr, params).expect("it can be planned");
        plan.uses.into_iter().filter(|uses| *uses > 1).collect()
    }

    #[test]
    fn a_subexpression_that_occurs_again_is_shared() {
        assert_eq!(shared("rate(x[5m]) / rate(x[5m])"), [2]);
        assert_eq!(shared("sum(x) / (sum(x) + sum( x )) "), [3]);
        assert_eq!(shared("max_over_time(sum(x)[1h:1m]) - min_over_time(sum(x)[1h:1m])"), [2]);
    }

    #[test]
    fn what_is_inside_of_a_repeated_subexpression_counts_once() {
        assert_eq!(shared("sum(rate(x[5m])) / sum(rate(x[5m]))"), [2]);
        assert_eq!(shared("sum(rate(x[5m])) / sum(rate(x[5m])) + rate(x[5m])"), [2, 2]);
    }

    #[test]
    fn other_times_and_other_matchers_are_other_results() {
        for text in [
            "rate(x[5m]) / rate(x[6m])",
            "rate(x{a=\"1\"}[5m]) / rate(x[5m])",
            "rate(x[5m] @ start()) / rate(x[5m] @ end())",
            "sum(x) - max_over_time(sum(x)[1h:1m])",
            "x / x",
            "sum(x / 0) - sum(x / -0)",
            "sum by (a) (x) - sum by (b) (x)",
        ] {
            assert!(shared(text).is_empty(), "{text}");
        }
    }
}
