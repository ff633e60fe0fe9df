//! The tree that the evaluator walks: everything resolved that does not depend on data.

use std::fmt;

use model::{Labels, Matcher};

use crate::ast::{AggregateOp, BinaryOp, Extension, Grouping, Matching};
use crate::functions::{Function, WindowFunction};
use crate::span::Span;

/// Evaluation times: `steps` of them, `step` milliseconds apart, from `start`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Grid {
    pub(crate) start: i64,
    pub(crate) step: i64,
    pub(crate) steps: usize,
}

impl Grid {
    pub(crate) fn time(self, step: usize) -> i64 {
        self.start.saturating_add((step as i64).saturating_mul(self.step))
    }

    pub(crate) fn first(self) -> i64 {
        self.start
    }

    pub(crate) fn last(self) -> i64 {
        self.time(self.steps.saturating_sub(1))
    }
}

/// When a selector looks, given the evaluation time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reference {
    pub(crate) at: Option<i64>,
    pub(crate) offset: i64,
}

impl Reference {
    pub(crate) fn time(self, evaluation: i64) -> i64 {
        self.at.unwrap_or(evaluation).saturating_sub(self.offset)
    }
}

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) kind: NodeKind,
    /// Where it stands, parentheses left out: annotations point here.
    pub(crate) span: Span,
    /// Which shared result it has, if it may be evaluated elsewhere too.
    pub(crate) slot: Option<usize>,
}

#[derive(Debug)]
pub(crate) enum NodeKind {
    Constant(f64),
    Text(String),
    Instant(SelectorNode),
    Range(RangeNode),
    Negative(Box<Node>),
    Binary(BinaryNode),
    Aggregate {
        op: AggregateOp,
        param: Option<Box<Node>>,
        expr: Box<Node>,
        grouping: Option<Grouping>,
    },
    Window {
        function: WindowFunction,
        range: RangeNode,
        params: Vec<Node>,
    },
    Absent {
        labels: Labels,
        expr: Box<Node>,
    },
    AbsentOverTime {
        labels: Labels,
        range: RangeNode,
    },
    /// `timestamp` of a selector: the times of its samples.
    Timestamp(SelectorNode),
    /// `start_timestamp` of a selector: the start times of its samples.
    StartTimestamp(SelectorNode),
    Call {
        function: &'static Function,
        args: Vec<Node>,
    },
    Info(Box<InfoNode>),
    /// The same at every step.
    Invariant(Box<Node>),
}

/// Operators that group to the left are nested as deeply as they are many: whoever walks them does
/// so without recursion.
pub(crate) struct BinaryNode {
    pub(crate) op: BinaryOp,
    pub(crate) return_bool: bool,
    pub(crate) matching: Option<Box<Matching>>,
    pub(crate) lhs: Box<Node>,
    pub(crate) rhs: Box<Node>,
}

impl Drop for BinaryNode {
    fn drop(&mut self) {
        let leaf = || NodeKind::Constant(0.0);
        let mut lhs = std::mem::replace(&mut self.lhs.kind, leaf());
        while let NodeKind::Binary(binary) = &mut lhs {
            lhs = std::mem::replace(&mut binary.lhs.kind, leaf());
        }
    }
}

impl fmt::Debug for BinaryNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} … {:?}", self.op, self.rhs)
    }
}

#[derive(Debug)]
pub(crate) struct SelectorNode {
    /// Which of the plan's selections holds its series.
    pub(crate) selection: usize,
    pub(crate) reference: Reference,
    pub(crate) smoothed: bool,
    /// Whether only counts and sums of native histograms are looked at.
    pub(crate) stats: bool,
}

#[derive(Debug)]
pub(crate) struct RangeNode {
    pub(crate) source: RangeSource,
    /// Milliseconds.
    pub(crate) range: i64,
    pub(crate) reference: Reference,
    pub(crate) extension: Option<Extension>,
    /// Whether only counts and sums of native histograms are looked at.
    pub(crate) stats: bool,
    pub(crate) span: Span,
}

#[derive(Debug)]
pub(crate) enum RangeSource {
    Series(usize),
    Subquery { node: Box<Node>, grid: Grid },
}

/// `info()`: series and the info series that describe them.
#[derive(Debug)]
pub(crate) struct InfoNode {
    pub(crate) base: Node,
    /// The info series, looked at when the base looks at its samples.
    pub(crate) info: SelectorNode,
    /// What makes a series an info series.
    pub(crate) names: Vec<Matcher>,
    /// The labels to take over, with the conditions on them; all labels when empty.
    pub(crate) labels: Vec<Matcher>,
}
