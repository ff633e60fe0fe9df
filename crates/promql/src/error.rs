//! What can go wrong, and where.

use model::Labels;
use thiserror::Error;

use crate::printer::quote;
use crate::span::Span;

/// Why a text is not an expression, and at which character.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{span}: parse error: {message}")]
pub struct ParseError {
    message: String,
    /// The piece of the text that is at fault.
    pub span: Span,
}

impl ParseError {
    pub(crate) fn new(span: Span, message: impl Into<String>) -> Self {
        Self { message: message.into(), span }
    }

    /// Line of the fault, from 1.
    pub const fn line(&self) -> usize {
        self.span.line
    }

    /// Column of the fault in characters, from 1.
    pub const fn column(&self) -> usize {
        self.span.column
    }

    /// What is wrong, without the position.
    pub fn message(&self) -> &str {
        &self.message
    }
}

/// Why an expression cannot be planned for the given times and limits.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PlanError {
    /// The end of the query lies before its start.
    #[error("end timestamp must not be before start time")]
    EndBeforeStart,
    /// A duration expression came out unusable.
    #[error("{span}: {message}")]
    Duration {
        /// Where it stands.
        span: Span,
        /// What is wrong with it.
        message: String,
    },
    /// A range query over something that has no value per step.
    #[error("invalid expression type {0:?} for range query, must be Scalar or instant Vector")]
    RangeQueryType(String),
    /// A query, or a subquery in it, has more steps than samples are allowed.
    #[error("{span}: the query has {steps} steps here; at most {limit} are allowed")]
    TooManySteps {
        /// Where.
        span: Span,
        /// How many.
        steps: u64,
        /// [`crate::Limits::samples_max`].
        limit: usize,
    },
    /// The expression is nested deeper than allowed.
    #[error("{span}: the expression is nested deeper than {limit} levels")]
    TooDeep {
        /// Where.
        span: Span,
        /// [`crate::Limits::depth_max`].
        limit: usize,
    },
    /// Part of the language that this version parses but does not evaluate.
    #[error("{span}: {feature} is not supported by this version")]
    Unsupported {
        /// Where.
        span: Span,
        /// What.
        feature: String,
    },
}

/// Why an evaluation failed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EvalError {
    /// The caller asked to stop.
    #[error("query was canceled")]
    Cancelled,
    /// [`crate::Limits::samples_max`] was reached.
    #[error(
        "query processing would load too many samples into memory in query execution (limit {limit}): \
         narrow the selectors, shorten the range or widen the step"
    )]
    TooManySamples {
        /// The limit.
        limit: usize,
    },
    /// [`crate::Limits::series_max`] was reached.
    #[error("the query touches more than {limit} series: narrow its selectors")]
    TooManySeries {
        /// The limit.
        limit: usize,
    },
    /// The number of inputs is not the number of selections of the plan.
    #[error("the plan has {expected} selections but {got} inputs were given")]
    Inputs {
        /// Selections of the plan.
        expected: usize,
        /// Inputs given.
        got: usize,
    },
    /// Two elements of a result have the same labels.
    #[error("vector cannot contain metrics with the same labelset")]
    DuplicateLabels,
    /// Two elements of the side that must be unique share a match group.
    #[error(
        "found duplicate series for the match group {} on the {side} hand-side of the operation: \
         [{}, {}];many-to-many matching not allowed: matching labels must be unique on one side",
        braced(group),
        braced(first),
        braced(second)
    )]
    DuplicateMatch {
        /// The labels of the group.
        group: Labels,
        /// `left` or `right`.
        side: &'static str,
        /// One of them.
        first: Labels,
        /// The other one.
        second: Labels,
    },
    /// Several elements match one without `group_left` or `group_right`.
    #[error(
        "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)"
    )]
    ManyToOne,
    /// With `group_left` or `group_right`, two results have the same labels.
    #[error("multiple matches for labels: grouping labels must ensure unique matches")]
    GroupingNotUnique,
    /// An argument has a value that the function cannot work with.
    #[error("{0}")]
    Argument(String),
}

/// Labels as Prometheus' errors show them, the name among them.
fn braced(labels: &Labels) -> String {
    let pairs: Vec<String> =
        labels.iter().map(|(name, value)| format!("{name}={}", quote(value))).collect();
    format!("{{{}}}", pairs.join(", "))
}
