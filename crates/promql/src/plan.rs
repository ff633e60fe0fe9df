//! What to fetch and how to compute: an expression made ready for given times.

mod chain;
mod duration;
mod hints;
mod info;
mod invariant;
mod node;
mod params;
mod shared;

use std::time::Duration;

use model::{Labels, METRIC_NAME, MatchOp, Matcher, Selection, Timestamp};

use crate::ast::{
    Aggregate, At, Call, Expr, ExprKind, Extension, Shift, Subquery, ValueType, VectorSelector,
};
use crate::error::PlanError;
use crate::eval::pick_of;
use crate::functions::{Kind, ScalarFunction, VectorFunction, WindowFunction};
use crate::span::Span;

pub use hints::Hint;
use hints::{Purpose, Reach};
use invariant::is_invariant;
pub(crate) use node::{
    BinaryNode, Grid, InfoNode, Node, NodeKind, RangeNode, RangeSource, Reference, SelectorNode,
};
pub use params::{Limits, Params};
use shared::Shared;

/// An expression ready to be evaluated once its inputs are there.
#[derive(Debug)]
pub struct Plan {
    pub(crate) root: Node,
    pub(crate) grid: Grid,
    pub(crate) instant: bool,
    pub(crate) params: Params,
    /// How many places of the tree have each shared result.
    pub(crate) uses: Vec<usize>,
    selections: Vec<Selection>,
    hints: Vec<Vec<Hint>>,
}

impl Plan {
    /// What to fetch. The evaluation wants one list of series for each, in this order. Selections
    /// that another one contains are left out.
    pub fn selections(&self) -> &[Selection] {
        &self.selections
    }

    /// What each selection is for: a list for each of [`Plan::selections`], with an entry for every
    /// selector of the expression that it serves. A reader may use them to fetch less; it need not.
    pub fn hints(&self) -> &[Vec<Hint>] {
        &self.hints
    }
}

/// Plans an expression for given times.
pub fn plan(expr: &Expr, params: Params) -> Result<Plan, PlanError> {
    if params.end < params.start {
        return Err(PlanError::EndBeforeStart);
    }
    let instant = params.step.is_zero();
    let found = expr.value_type();
    if !instant && !matches!(found, ValueType::Scalar | ValueType::Vector) {
        return Err(PlanError::RangeQueryType(found.to_string()));
    }
    let (start, end) = (params.start.millis(), params.end.millis());
    let step = if instant { 1 } else { millis(params.step).max(1) };
    let end = if instant { start } else { end };
    let mut planner = Planner {
        params: &params,
        selections: Vec::new(),
        hints: Vec::new(),
        purpose: Purpose::default(),
        shared: Shared::of(expr),
        depth: 0,
        step,
        stats: false,
    };
    let grid = planner.grid(start, end, step, expr.span)?;
    let root = planner.node(expr, grid)?;
    let Planner { selections, hints, shared, .. } = planner;
    Ok(Plan { root, grid, instant, uses: shared.uses(), selections, hints, params })
}

fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

struct Planner<'a> {
    params: &'a Params,
    selections: Vec<Selection>,
    hints: Vec<Vec<Hint>>,
    /// What the selectors planned now are for.
    purpose: Purpose<'a>,
    shared: Shared<'a>,
    depth: usize,
    step: i64,
    /// Whether what is planned now is only asked for counts and sums of native histograms.
    stats: bool,
}

impl<'a> Planner<'a> {
    fn grid(&self, start: i64, end: i64, step: i64, span: Span) -> Result<Grid, PlanError> {
        if end < start {
            return Ok(Grid { start, step, steps: 0 });
        }
        let steps = (end.saturating_sub(start) / step) as u64 + 1;
        let limit = self.params.limits.samples_max;
        match usize::try_from(steps) {
            Ok(steps) if steps <= limit => Ok(Grid { start, step, steps }),
            _ => Err(PlanError::TooManySteps { span, steps, limit }),
        }
    }

    fn node(&mut self, expr: &'a Expr, grid: Grid) -> Result<Node, PlanError> {
        self.depth += 1;
        let limit = self.params.limits.depth_max;
        if self.depth > limit {
            return Err(PlanError::TooDeep { span: expr.span, limit });
        }
        let expr = bare(expr);
        if matches!(expr.kind, ExprKind::Binary(_)) {
            let node = self.chain(expr, grid)?;
            self.depth -= 1;
            return Ok(node);
        }
        let purpose = self.purpose;
        self.purpose = purpose.within(expr);
        let (slot, repeated) = self.shared.enter(expr, grid, self.stats);
        // What does not depend on the step is computed once.
        let kind = if grid.steps > 1 && is_invariant(expr) {
            let once = Grid { steps: 1, ..grid };
            let inner = Node { kind: self.kind(expr, once)?, span: expr.span, slot: None };
            NodeKind::Invariant(Box::new(inner))
        } else {
            self.kind(expr, grid)?
        };
        self.shared.leave(repeated);
        self.purpose = purpose;
        self.depth -= 1;
        Ok(Node { kind, span: expr.span, slot })
    }

    fn boxed(&mut self, expr: &'a Expr, grid: Grid) -> Result<Box<Node>, PlanError> {
        self.node(expr, grid).map(Box::new)
    }

    fn kind(&mut self, expr: &'a Expr, grid: Grid) -> Result<NodeKind, PlanError> {
        Ok(match &expr.kind {
            ExprKind::Number(number) => NodeKind::Constant(number.value),
            ExprKind::Text(text) => NodeKind::Text(text.to_owned()),
            ExprKind::Selector(selector) => NodeKind::Instant(self.selector(selector, grid)?),
            ExprKind::Range(_) | ExprKind::Subquery(_) => NodeKind::Range(self.range(expr, grid)?),
            ExprKind::Unary(unary) => {
                let inner = self.node(&unary.expr, grid)?;
                match inner.kind {
                    NodeKind::Constant(value) => NodeKind::Constant(-value),
                    kind => NodeKind::Negative(Box::new(Node { kind, ..inner })),
                }
            }
            ExprKind::Aggregate(aggregate) => self.aggregate(aggregate, grid)?,
            ExprKind::Call(call) => self.call(call, grid)?,
            // These have been taken off before.
            ExprKind::Binary(_) | ExprKind::Paren(_) => self.node(expr, grid)?.kind,
        })
    }

    fn aggregate(&mut self, aggregate: &'a Aggregate, grid: Grid) -> Result<NodeKind, PlanError> {
        let param = match &aggregate.param {
            Some(param) => Some(self.boxed(param, grid)?),
            None => None,
        };
        let expr = self.boxed(&aggregate.expr, grid)?;
        Ok(NodeKind::Aggregate {
            op: aggregate.op,
            param,
            expr,
            grouping: aggregate.grouping.clone(),
        })
    }

    fn call(&mut self, call: &'a Call, grid: Grid) -> Result<NodeKind, PlanError> {
        match call.function.kind {
            Kind::Window(function) => self.window(call, function, grid),
            Kind::AbsentOverTime => {
                let labels = absent_labels(&call.args[0]);
                Ok(NodeKind::AbsentOverTime { labels, range: self.range(&call.args[0], grid)? })
            }
            Kind::Vector(VectorFunction::Absent) => {
                let labels = absent_labels(&call.args[0]);
                Ok(NodeKind::Absent { labels, expr: self.boxed(&call.args[0], grid)? })
            }
            Kind::Vector(VectorFunction::Timestamp) => match &call.args[0].unwrapped().kind {
                ExprKind::Selector(selector) => {
                    Ok(NodeKind::Timestamp(self.selector(selector, grid)?))
                }
                _ => self.plain_call(call, grid),
            },
            Kind::Vector(VectorFunction::Info) => self.info(call, grid),
            Kind::Vector(VectorFunction::StartTimestamp) => match &call.args[0].unwrapped().kind {
                ExprKind::Selector(selector) => {
                    Ok(NodeKind::StartTimestamp(self.selector(selector, grid)?))
                }
                // What is computed has no start.
                _ => self.plain_call(call, grid),
            },
            Kind::Scalar(function) => self.scalar_call(call, function, grid),
            _ => self.plain_call(call, grid),
        }
    }

    fn plain_call(&mut self, call: &'a Call, grid: Grid) -> Result<NodeKind, PlanError> {
        use VectorFunction::{HistogramAvg, HistogramCount, HistogramSum};
        let outer = self.stats;
        if call.function.name.starts_with("histogram_") {
            self.stats = matches!(
                call.function.kind,
                Kind::Vector(HistogramAvg | HistogramCount | HistogramSum)
            );
        }
        let mut args = Vec::with_capacity(call.args.len());
        for arg in &call.args {
            args.push(self.node(arg, grid)?);
        }
        self.stats = outer;
        Ok(NodeKind::Call { function: call.function, args })
    }

    fn scalar_call(
        &mut self,
        call: &'a Call,
        function: ScalarFunction,
        grid: Grid,
    ) -> Result<NodeKind, PlanError> {
        let seconds = |time: i64| time as f64 / 1000.0;
        let (start, end) = (self.params.start.millis(), self.params.end.millis());
        Ok(NodeKind::Constant(match function {
            ScalarFunction::Pi => std::f64::consts::PI,
            ScalarFunction::Start => seconds(start),
            ScalarFunction::End => seconds(end),
            ScalarFunction::Step => self.step_seconds(),
            ScalarFunction::Range => seconds(end.saturating_sub(start)),
            ScalarFunction::Time => return self.plain_call(call, grid),
            ScalarFunction::MinOf | ScalarFunction::MaxOf => {
                let computed = self.plain_call(call, grid)?;
                let NodeKind::Call { args, .. } = &computed else { return Ok(computed) };
                match args.as_slice() {
                    [
                        Node { kind: NodeKind::Constant(first), .. },
                        Node { kind: NodeKind::Constant(second), .. },
                    ] => pick_of(function, *first, *second),
                    _ => return Ok(computed),
                }
            }
        }))
    }

    fn step_seconds(&self) -> f64 {
        if self.params.step.is_zero() { 0.0 } else { self.step as f64 / 1000.0 }
    }

    fn window(
        &mut self,
        call: &'a Call,
        function: WindowFunction,
        grid: Grid,
    ) -> Result<NodeKind, PlanError> {
        let (mut range, mut params) = (None, Vec::new());
        for arg in &call.args {
            if arg.value_type() == ValueType::Matrix {
                range = Some(self.range(arg, grid)?);
            } else {
                params.push(self.node(arg, grid)?);
            }
        }
        let range = range.expect("the type checker saw a range vector among the arguments");
        Ok(NodeKind::Window { function, range, params })
    }

    fn reference(&self, shift: &Shift, span: Span) -> Result<Reference, PlanError> {
        let offset = match &shift.offset {
            Some(offset) => self.duration(offset, span)?,
            None => 0,
        };
        let at = shift.at.map(|at| match at {
            At::Millis(millis) => millis,
            At::Start => self.params.start.millis(),
            At::End => self.params.end.millis(),
        });
        Ok(Reference { at, offset })
    }

    fn selector(
        &mut self,
        selector: &VectorSelector,
        grid: Grid,
    ) -> Result<SelectorNode, PlanError> {
        let reference = self.reference(&selector.at, selector.span)?;
        let back = millis(self.params.lookback);
        let ahead = if selector.extension.is_some() { back } else { 0 };
        let reach = Reach { back, ahead, newest_only: selector.extension.is_none() };
        let selection = self.select(&selector.matchers, grid, reference, reach);
        let smoothed = selector.extension == Some(Extension::Smoothed);
        Ok(SelectorNode { selection, reference, smoothed, stats: self.stats })
    }

    /// Plans a range vector: a selector or a subquery.
    fn range(&mut self, expr: &'a Expr, grid: Grid) -> Result<RangeNode, PlanError> {
        let span = expr.unwrapped().span;
        match &expr.unwrapped().kind {
            ExprKind::Range(selector) => {
                let inner = &selector.selector;
                let range = self.positive(&selector.range, span)?;
                let reference = self.reference(&inner.at, span)?;
                let lookback = millis(self.params.lookback);
                let back = if inner.extension.is_some() { lookback } else { 0 };
                let ahead = if inner.extension == Some(Extension::Smoothed) { lookback } else { 0 };
                let reach = Reach { back: range.saturating_add(back), ahead, newest_only: false };
                let selection = self.select(&inner.matchers, grid, reference, reach);
                let source = RangeSource::Series(selection);
                Ok(RangeNode {
                    source,
                    range,
                    reference,
                    extension: inner.extension,
                    stats: self.stats,
                    span,
                })
            }
            ExprKind::Subquery(subquery) => self.subquery(subquery, span, grid),
            _ => Err(PlanError::Unsupported {
                span,
                feature: "this kind of range vector".to_owned(),
            }),
        }
    }

    fn subquery(
        &mut self,
        subquery: &'a Subquery,
        span: Span,
        grid: Grid,
    ) -> Result<RangeNode, PlanError> {
        let range = self.positive(&subquery.range, span)?;
        let step = match &subquery.step {
            Some(step) => self.positive(step, span)?,
            None => millis(self.params.subquery_step).max(1),
        };
        let reference = self.reference(&subquery.at, span)?;
        let (first, last) = (reference.time(grid.first()), reference.time(grid.last()));
        // Inner times are multiples of the step, the first one strictly inside the left-open range.
        let before = first.saturating_sub(range);
        let start = before.div_euclid(step).saturating_add(1).saturating_mul(step);
        let end = if grid.steps == 0 { start.saturating_sub(1) } else { last };
        let inner = self.grid(start, end, step, span)?;
        // Between the steps of a subquery there are samples that would be missed.
        let outer = std::mem::replace(&mut self.stats, false);
        let purpose = self.purpose;
        self.purpose = purpose.computed();
        let node = self.boxed(&subquery.expr, inner)?;
        self.purpose = purpose;
        self.stats = outer;
        let source = RangeSource::Subquery { node, grid: inner };
        Ok(RangeNode { source, range, reference, extension: None, stats: false, span })
    }

    /// The selection that answers a selector: everything in reach of the times that it looks at.
    fn select(
        &mut self,
        matchers: &[Matcher],
        grid: Grid,
        reference: Reference,
        reach: Reach,
    ) -> usize {
        let first = reference.time(grid.first()).saturating_sub(reach.back).saturating_add(1);
        let last = reference.time(grid.last()).saturating_add(reach.ahead);
        let index = self.selection(matchers, Timestamp(first), Timestamp(last.max(first)));
        let hint = self.purpose.hint(grid, reference, reach);
        if !self.hints[index].contains(&hint) {
            self.hints[index].push(hint);
        }
        index
    }

    fn selection(&mut self, matchers: &[Matcher], start: Timestamp, end: Timestamp) -> usize {
        // A wider selection of the same series serves a narrower one; the evaluation cuts what it
        // needs.
        for (index, known) in self.selections.iter_mut().enumerate() {
            if known.matchers != matchers {
                continue;
            }
            if known.start <= start && end <= known.end {
                return index;
            }
            if start <= known.start && known.end <= end {
                (known.start, known.end) = (start, end);
                return index;
            }
        }
        self.selections.push(Selection { matchers: matchers.to_vec(), start, end });
        self.hints.push(Vec::new());
        self.selections.len() - 1
    }
}

/// The expression without what changes nothing around it: parentheses and a plus sign.
fn bare(mut expr: &Expr) -> &Expr {
    loop {
        expr = match &expr.kind {
            ExprKind::Paren(inner) => inner,
            ExprKind::Unary(unary) if !unary.negative => &unary.expr,
            _ => return expr,
        };
    }
}

/// The labels of the element that `absent` makes up: those that equality matchers of a bare
/// selector pin down.
pub(crate) fn absent_labels(arg: &Expr) -> Labels {
    let matchers = match &arg.unwrapped().kind {
        ExprKind::Selector(selector) => &selector.matchers,
        ExprKind::Range(range) => &range.selector.matchers,
        _ => return Labels::empty(),
    };
    let mut builder = Labels::empty().edit();
    let mut seen: Vec<&str> = Vec::new();
    for matcher in matchers.iter().filter(|matcher| matcher.name != METRIC_NAME) {
        if matcher.op == MatchOp::Equal && !seen.contains(&matcher.name.as_str()) {
            builder.set(&matcher.name, &matcher.value);
            seen.push(&matcher.name);
        } else {
            builder.remove(&matcher.name);
        }
    }
    builder.build()
}
