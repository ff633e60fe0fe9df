//! What a selection is for, so that a store can fetch less.

use std::time::Duration;

use model::Timestamp;

use super::{Grid, Reference};
use crate::ast::{AggregateOp, Expr, ExprKind, Grouping};
use crate::functions::Kind;

/// What one selector of an expression does with the series of a selection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hint {
    /// The first time it looks.
    pub start: Timestamp,
    /// The last time it looks.
    pub end: Timestamp,
    /// The distance between looks; zero when it looks once. Whole milliseconds.
    pub step: Duration,
    /// How far back a look reaches, its end left out. Whole milliseconds.
    pub range: Duration,
    /// How far ahead a look reaches, its end included. Whole milliseconds.
    pub ahead: Duration,
    /// Whether a look sees nothing but the newest sample in its reach.
    pub newest_only: bool,
    /// The function or aggregation right around the selector.
    pub function: Option<&'static str>,
    /// The labels that the result of the expression still tells apart; without them none.
    pub grouping: Option<Grouping>,
}

/// What is around a selector.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Purpose<'a> {
    function: Option<&'static str>,
    grouping: Option<&'a Grouping>,
}

/// An aggregation without `by` and `without` tells nothing apart.
static NOTHING: Grouping = Grouping { without: false, labels: Vec::new() };

impl<'a> Purpose<'a> {
    /// The purpose of what is directly inside of an expression.
    pub(super) fn within(self, expr: &'a Expr) -> Self {
        match &expr.kind {
            ExprKind::Aggregate(aggregate) => {
                let picks = matches!(
                    aggregate.op,
                    AggregateOp::Topk
                        | AggregateOp::Bottomk
                        | AggregateOp::Limitk
                        | AggregateOp::LimitRatio
                );
                let grouping = aggregate.grouping.as_ref().unwrap_or(&NOTHING);
                Self {
                    function: Some(aggregate.op.as_str()),
                    grouping: Some(grouping).filter(|_| !picks),
                }
            }
            ExprKind::Call(call) => {
                // These change values and leave labels apart from the name.
                let keeps = matches!(call.function.kind, Kind::Window(_) | Kind::Map(_));
                Self {
                    function: Some(call.function.name),
                    grouping: self.grouping.filter(|_| keeps),
                }
            }
            ExprKind::Unary(_) => self.computed(),
            ExprKind::Binary(_) => Self::default(),
            _ => self,
        }
    }

    /// The same labels, but the function sees computed values.
    pub(super) fn computed(self) -> Self {
        Self { function: None, ..self }
    }

    pub(super) fn hint(self, grid: Grid, reference: Reference, reach: Reach) -> Hint {
        let (start, end) = (reference.time(grid.first()), reference.time(grid.last()));
        let duration = |millis: i64| Duration::from_millis(u64::try_from(millis).unwrap_or(0));
        Hint {
            start: Timestamp(start),
            end: Timestamp(end),
            step: if start == end { Duration::ZERO } else { duration(grid.step) },
            range: duration(reach.back),
            ahead: duration(reach.ahead),
            newest_only: reach.newest_only,
            function: self.function,
            grouping: self.grouping.cloned(),
        }
    }
}

/// Which samples a look sees, in milliseconds from its time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reach {
    pub(super) back: i64,
    pub(super) ahead: i64,
    pub(super) newest_only: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Features, Params, Plan, parse_with, plan};

    fn planned(text: &str) -> Plan {
        let expr = parse_with(text, Features::all()).expect("the expression is well formed");
        let params =
            Params::range(Timestamp(600_000), Timestamp(1_200_000), Duration::from_secs(60));
        plan(&expr, params).expect("it can be planned")
    }

    /// Function and grouping of every hint, by selection.
    fn purposes(text: &str) -> Vec<Vec<String>> {
        let grouping = |grouping: &Grouping| {
            let word = if grouping.without { "without" } else { "by" };
            format!(" {word} {}", grouping.labels.join(","))
        };
        let shown = |hint: &Hint| {
            let grouping = hint.grouping.as_ref().map_or_else(String::new, grouping);
            format!("{}{grouping}", hint.function.unwrap_or("-"))
        };
        planned(text).hints().iter().map(|hints| hints.iter().map(shown).collect()).collect()
    }

    #[test]
    fn a_hint_says_when_a_selector_looks_and_how_far() {
        let minutes = |count: u64| Duration::from_secs(60 * count);
        let plan = planned("rate(x[10m] offset 1m)");
        let hint = &plan.hints()[0][0];
        assert_eq!((hint.start, hint.end), (Timestamp(540_000), Timestamp(1_140_000)));
        assert_eq!((hint.step, hint.range, hint.newest_only), (minutes(1), minutes(10), false));
        let plan = planned("x @ 300");
        let hint = &plan.hints()[0][0];
        assert_eq!((hint.start, hint.end), (Timestamp(300_000), Timestamp(300_000)));
        assert_eq!((hint.step, hint.range, hint.newest_only), (Duration::ZERO, minutes(5), true));
        let plan = planned("max_over_time(x[10m:2m])");
        assert_eq!(plan.hints()[0][0].step, minutes(2));
        let plan = planned("increase(x[10m] smoothed)");
        assert_eq!((plan.hints()[0][0].range, plan.hints()[0][0].ahead), (minutes(15), minutes(5)));
    }

    #[test]
    fn the_function_is_the_one_right_around_the_selector() {
        assert_eq!(purposes("x"), [["-"]]);
        assert_eq!(purposes("sum by (a) (rate(x[5m]))"), [["rate by a"]]);
        assert_eq!(purposes("sum(-x)"), [["- by "]]);
        assert_eq!(purposes("max_over_time(x[5m:1m])"), [["-"]]);
        assert_eq!(purposes("(x) + 1"), [["-"]]);
    }

    #[test]
    fn labels_are_needed_unless_an_aggregation_drops_them() {
        assert_eq!(purposes("sum without (a) (x)"), [["sum without a"]]);
        assert_eq!(purposes("sum(x)"), [["sum by "]]);
        assert_eq!(purposes("topk by (a) (1, x)"), [["topk"]]);
        assert_eq!(purposes("sum by (a) (x + y)"), [["-"], ["-"]]);
        assert_eq!(
            purposes("sum by (a) (label_replace(x, \"a\", \"\", \"b\", \"\"))"),
            [["label_replace"]]
        );
    }

    #[test]
    fn a_selection_that_serves_several_selectors_has_a_hint_for_each() {
        assert_eq!(purposes("sum(x) / count(x)"), [["sum by ", "count by "]]);
        assert_eq!(purposes("sum(x) / sum(x)"), [["sum by "]]);
    }
}
