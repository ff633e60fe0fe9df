//! PromQL: parse, plan, evaluate. No I/O, no async, no clock.
//!
//! [`parse`] turns text into a typed tree with positions, [`plan`] says which samples are needed,
//! the caller fetches them, [`evaluate`] computes. See the crate's README for an example and what
//! is covered.

mod annotations;
mod ast;
mod ast_json;
mod distribute;
mod error;
mod eval;
mod features;
mod functions;
mod histogram;
mod lexer;
mod number;
mod output;
mod parser;
mod plan;
mod printer;
mod rules;
mod samples;
mod shape;
mod span;
mod token;
mod typecheck;

pub use ast::{
    Aggregate, AggregateOp, At, Binary, BinaryOp, Call, Cardinality, DurationExpr, Expr, ExprKind,
    Extension, Grouping, Matching, Number, RangeSelector, Shift, Subquery, Unary, ValueType,
    VectorSelector,
};
pub use ast_json::ast_json;
pub use distribute::{Distributed, Merge, Part, SITE_LABEL, distribute, part_of, with_matchers};
pub use error::{EvalError, ParseError, PlanError};
pub use eval::{Fold, Output, Single, Value, evaluate, evaluate_samples, evaluate_shared};
pub use features::Features;
pub use functions::Function;
pub use histogram::{CUSTOM_SCHEMA, Histogram, ResetHint};
pub use output::{OutputLabels, output_labels};
pub use parser::{parse, parse_with};
pub use plan::{Hint, Limits, Params, Plan, plan};
pub use rules::{RuleNode, RuleOutput, rule_batches, rule_dependencies};
pub use samples::{HistogramSample, HistogramSeries, SeriesSet, StartTimes};
pub use shape::{Shape, Threshold, narrowed, splits_by};
pub use span::Span;
