//! The expression as a tree. Equality ignores where in the text things stand.

mod chain;
mod operator;

use std::borrow::Cow;
use std::fmt;

use model::Matcher;

use crate::functions::Function;
use crate::span::Span;

pub(crate) use chain::Chain;
pub use operator::{AggregateOp, BinaryOp};

/// An expression and where it stands.
#[derive(Debug, Clone)]
pub struct Expr {
    /// What it is.
    pub kind: ExprKind,
    /// Where it stands.
    pub span: Span,
}

impl PartialEq for Expr {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind
    }
}

/// The kinds of expressions.
#[derive(Debug, Clone, PartialEq)]
pub enum ExprKind {
    /// `1.5`, `5m`
    Number(Number),
    /// `"text"`
    Text(String),
    /// `up{job="a"} offset 5m`
    Selector(VectorSelector),
    /// `up[5m]`
    Range(RangeSelector),
    /// `rate(x[1m])[10m:1m]`
    Subquery(Subquery),
    /// `-x`, `+x`
    Unary(Unary),
    /// `a + b`
    Binary(Binary),
    /// `sum by (a) (x)`
    Aggregate(Aggregate),
    /// `rate(x[5m])`
    Call(Call),
    /// `(x)`
    Paren(Box<Expr>),
}

/// A literal number; durations are numbers too (in seconds) and remember how they were written.
#[derive(Debug, Clone, Copy)]
pub struct Number {
    /// The value, in seconds when it was written as a duration.
    pub value: f64,
    /// Whether it was written as a duration.
    pub duration: bool,
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        let same = self.value == other.value || (self.value.is_nan() && other.value.is_nan());
        same && self.duration == other.duration
    }
}

/// An instant vector selector.
#[derive(Debug, Clone)]
pub struct VectorSelector {
    /// The name of the metric where one was written outside or at the head of the braces.
    pub name: Option<String>,
    /// All conditions, the one on the name included.
    pub matchers: Vec<Matcher>,
    /// When to look.
    pub at: Shift,
    /// Whether values between and at the edges of samples are made up.
    pub extension: Option<Extension>,
    /// Where the selector stands, modifiers included.
    pub span: Span,
}

impl PartialEq for VectorSelector {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, &self.matchers, &self.at, self.extension)
            == (&other.name, &other.matchers, &other.at, other.extension)
    }
}

/// The modifiers of when to look: `offset 5m`, `@ 1700000000`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Shift {
    /// How far back; negative looks ahead.
    pub offset: Option<DurationExpr>,
    /// A moment that does not move with the evaluation time.
    pub at: Option<At>,
}

/// The argument of `@`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// Milliseconds since the epoch.
    Millis(i64),
    /// `start()`
    Start,
    /// `end()`
    End,
}

/// The experimental modifiers `anchored` and `smoothed`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extension {
    /// The window is extended to the sample before it.
    Anchored,
    /// Values at the edges are interpolated.
    Smoothed,
}

impl Extension {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Anchored => "anchored",
            Self::Smoothed => "smoothed",
        }
    }
}

/// A range vector selector. Offset, `@` and extension are those of the inner selector.
#[derive(Debug, Clone, PartialEq)]
pub struct RangeSelector {
    /// Which series.
    pub selector: VectorSelector,
    /// How long.
    pub range: DurationExpr,
}

/// An instant vector expression evaluated over a range.
#[derive(Debug, Clone, PartialEq)]
pub struct Subquery {
    /// What to evaluate.
    pub expr: Box<Expr>,
    /// How long.
    pub range: DurationExpr,
    /// How often; the default of the engine when absent.
    pub step: Option<DurationExpr>,
    /// When to look.
    pub at: Shift,
}

/// An expression for a duration, computed before evaluation. Literals without a unit are seconds.
#[derive(Debug, Clone, PartialEq)]
pub enum DurationExpr {
    /// `5m`, `300`
    Literal(Number),
    /// `step()`: the step of the query
    Step,
    /// `range()`: the end of the query minus its start
    Range,
    /// `-x`
    Negative(Box<DurationExpr>),
    /// `+x`
    Positive(Box<DurationExpr>),
    /// `a + b`; one of `+ - * / % ^`
    Binary(Box<DurationExpr>, BinaryOp, Box<DurationExpr>),
    /// `min_of(a, b)`
    MinOf(Box<DurationExpr>, Box<DurationExpr>),
    /// `max_of(a, b)`
    MaxOf(Box<DurationExpr>, Box<DurationExpr>),
    /// `(x)`
    Paren(Box<DurationExpr>),
}

/// A sign before an expression.
#[derive(Debug, Clone, PartialEq)]
pub struct Unary {
    /// Whether the sign is a minus.
    pub negative: bool,
    /// What it stands before.
    pub expr: Box<Expr>,
}

/// Two operands.
pub struct Binary {
    /// The operator.
    pub op: BinaryOp,
    /// Where the operator stands, with what belongs to it such as `bool` and `on (a)`.
    pub op_span: Span,
    /// Whether a comparison answers 0 or 1 instead of filtering.
    pub return_bool: bool,
    /// How elements of two vectors find each other, where that was written.
    pub matching: Option<Matching>,
    /// Left operand.
    pub lhs: Box<Expr>,
    /// Right operand.
    pub rhs: Box<Expr>,
}

impl Binary {
    /// How elements of the operands find each other, written or not; `None` unless both are vectors.
    pub(crate) fn effective_matching(&self) -> Option<Cow<'_, Matching>> {
        self.matching_of([self.lhs.value_type(), self.rhs.value_type()])
    }

    /// As [`Self::effective_matching`] for operands of known types.
    pub(crate) fn matching_of(&self, types: [ValueType; 2]) -> Option<Cow<'_, Matching>> {
        if types != [ValueType::Vector; 2] {
            return None;
        }
        Some(
            self.matching
                .as_ref()
                .map_or_else(|| Cow::Owned(Matching::plain(self.op)), Cow::Borrowed),
        )
    }
}

/// How many elements of either side may share a match group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cardinality {
    /// One each.
    OneToOne,
    /// `group_left`
    ManyToOne,
    /// `group_right`
    OneToMany,
    /// Set operators.
    ManyToMany,
}

/// How elements of two vectors find each other.
#[derive(Debug, Clone, PartialEq)]
pub struct Matching {
    /// How many may match.
    pub cardinality: Cardinality,
    /// Whether `labels` are the ones to compare (`on`) or the ones to leave out (`ignoring`).
    pub on: bool,
    /// The labels.
    pub labels: Vec<String>,
    /// Labels of the "one" side that the result takes over.
    pub include: Vec<String>,
    /// Value that stands in for a missing left side.
    pub fill_left: Option<Number>,
    /// Value that stands in for a missing right side.
    pub fill_right: Option<Number>,
}

impl Matching {
    /// By all labels.
    fn plain(op: BinaryOp) -> Self {
        let cardinality = if op.is_set() { Cardinality::ManyToMany } else { Cardinality::OneToOne };
        let (labels, include) = (Vec::new(), Vec::new());
        Self { cardinality, on: false, labels, include, fill_left: None, fill_right: None }
    }
}

/// An aggregation.
#[derive(Debug, Clone, PartialEq)]
pub struct Aggregate {
    /// Which.
    pub op: AggregateOp,
    /// The parameter of `topk`, `quantile` and their like.
    pub param: Option<Box<Expr>>,
    /// What is aggregated.
    pub expr: Box<Expr>,
    /// How it is grouped; `None` without `by` and `without`.
    pub grouping: Option<Grouping>,
}

/// `by (a, b)` or `without (a, b)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grouping {
    /// Whether the labels are those to leave out.
    pub without: bool,
    /// The labels.
    pub labels: Vec<String>,
}

/// A function call.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// The function.
    pub function: &'static Function,
    /// Its arguments.
    pub args: Vec<Expr>,
}

/// The types of the language.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ValueType {
    /// A number.
    Scalar,
    /// A text.
    Text,
    /// Series with one value each.
    Vector,
    /// Series with samples over a range.
    Matrix,
}

impl ValueType {
    /// The word for it in the API.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Text => "string",
            Self::Vector => "vector",
            Self::Matrix => "matrix",
        }
    }
}

/// As Prometheus' messages name the type.
impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scalar => "scalar",
            Self::Text => "string",
            Self::Vector => "instant vector",
            Self::Matrix => "range vector",
        })
    }
}

impl Expr {
    /// The type of what it evaluates to.
    pub fn value_type(&self) -> ValueType {
        match &self.kind {
            ExprKind::Number(_) => ValueType::Scalar,
            ExprKind::Text(_) => ValueType::Text,
            ExprKind::Selector(_) | ExprKind::Aggregate(_) => ValueType::Vector,
            ExprKind::Range(_) | ExprKind::Subquery(_) => ValueType::Matrix,
            ExprKind::Unary(unary) => unary.expr.value_type(),
            ExprKind::Binary(_) => {
                let scalars =
                    self.parts().into_iter().all(|part| part.value_type() == ValueType::Scalar);
                if scalars { ValueType::Scalar } else { ValueType::Vector }
            }
            ExprKind::Call(call) => call.function.returns,
            ExprKind::Paren(inner) => inner.value_type(),
        }
    }

    /// All selectors in it, from left to right.
    pub fn selectors(&self) -> Vec<&VectorSelector> {
        let mut found = Vec::new();
        self.collect_selectors(&mut found);
        found
    }

    fn collect_selectors<'a>(&'a self, found: &mut Vec<&'a VectorSelector>) {
        match &self.kind {
            ExprKind::Selector(selector) => found.push(selector),
            ExprKind::Range(range) => found.push(&range.selector),
            _ => self.parts().into_iter().for_each(|part| part.collect_selectors(found)),
        }
    }

    /// The expressions directly inside it, from left to right.
    pub fn children(&self) -> Vec<&Expr> {
        match &self.kind {
            ExprKind::Number(_)
            | ExprKind::Text(_)
            | ExprKind::Selector(_)
            | ExprKind::Range(_) => Vec::new(),
            ExprKind::Subquery(subquery) => vec![&subquery.expr],
            ExprKind::Unary(unary) => vec![&unary.expr],
            ExprKind::Binary(binary) => vec![&binary.lhs, &binary.rhs],
            ExprKind::Aggregate(aggregate) => {
                aggregate.param.iter().map(Box::as_ref).chain([aggregate.expr.as_ref()]).collect()
            }
            ExprKind::Call(call) => call.args.iter().collect(),
            ExprKind::Paren(inner) => vec![inner],
        }
    }

    /// The expression without the parentheses around it.
    pub fn unwrapped(&self) -> &Self {
        let mut expr = self;
        while let ExprKind::Paren(inner) = &expr.kind {
            expr = inner;
        }
        expr
    }
}
