//! `info()`: which info series describe the base, and when to look at them.

use model::{METRIC_NAME, MatchOp, Matcher};

use super::{Grid, InfoNode, NodeKind, Planner, Reach, Reference, SelectorNode, millis};
use crate::ast::{Call, Expr, ExprKind};
use crate::error::PlanError;

impl<'a> Planner<'a> {
    pub(super) fn info(&mut self, call: &'a Call, grid: Grid) -> Result<NodeKind, PlanError> {
        let base = self.node(&call.args[0], grid)?;
        let written: &[Matcher] = match call.args.get(1).map(|arg| &arg.kind) {
            Some(ExprKind::Selector(selector)) => &selector.matchers,
            _ => &[],
        };
        let (mut names, labels): (Vec<Matcher>, Vec<Matcher>) =
            written.iter().cloned().partition(|matcher| matcher.name == METRIC_NAME);
        if names.is_empty() {
            names.push(Matcher::equal(METRIC_NAME, "target_info"));
        } else if names
            .iter()
            .all(|matcher| matches!(matcher.op, MatchOp::NotEqual | MatchOp::NotRegex))
        {
            // Exclusions alone would make every series an info series.
            let pattern = Matcher::new(METRIC_NAME, MatchOp::Regex, ".+_info");
            names.extend(pattern);
        }
        let reference =
            self.info_reference(&call.args[0])?.unwrap_or(Reference { at: None, offset: 0 });
        let matchers: Vec<Matcher> = names.iter().chain(&labels).cloned().collect();
        let reach = Reach { back: millis(self.params.lookback), ahead: 0, newest_only: true };
        let selection = self.select(&matchers, grid, reference, reach);
        let info = SelectorNode { selection, reference, smoothed: false, stats: false };
        Ok(NodeKind::Info(Box::new(InfoNode { base, info, names, labels })))
    }

    /// When the first selector of an expression looks at its samples.
    fn info_reference(&self, expr: &Expr) -> Result<Option<Reference>, PlanError> {
        match &expr.kind {
            ExprKind::Selector(selector) => self.reference(&selector.at, expr.span).map(Some),
            ExprKind::Range(range) => self.reference(&range.selector.at, expr.span).map(Some),
            ExprKind::Subquery(subquery) => {
                let outer = self.reference(&subquery.at, expr.span)?;
                Ok(self.info_reference(&subquery.expr)?.map(|inner| match inner.at {
                    Some(_) => inner,
                    None => Reference {
                        at: outer.at,
                        offset: outer.offset.saturating_add(inner.offset),
                    },
                }))
            }
            _ => {
                for child in expr.children() {
                    if let Some(found) = self.info_reference(child)? {
                        return Ok(Some(found));
                    }
                }
                Ok(None)
            }
        }
    }
}
