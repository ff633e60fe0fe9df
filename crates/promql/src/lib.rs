//! PromQL: parse, plan, evaluate. No I/O, no async, no clock.
//!
//! [`parse`] turns text into a typed tree with positions, [`plan`] says which samples are needed,
//! the caller fetches them, [`evaluate`] computes. See the crate's README for an example and what
//! is covered.

mod annotations;
mod ast;
mod error;
mod eval;
mod features;
mod functions;
mod histogram;
mod lexer;
mod number;
mod parser;
mod plan;
mod printer;
mod samples;
mod span;
mod token;
mod typecheck;

pub use ast::{
    Aggregate, AggregateOp, At, Binary, BinaryOp, Call, Cardinality, DurationExpr, Expr, ExprKind, Extension,
    Grouping, Matching, Number, RangeSelector, Shift, Subquery, Unary, ValueType, VectorSelector,
};
pub use error::{EvalError, ParseError, PlanError};
pub use eval::{Output, Value, evaluate, evaluate_samples};
pub use features::Features;
pub use functions::Function;
pub use histogram::{CUSTOM_SCHEMA, Histogram, ResetHint};
pub use parser::{parse, parse_with};
pub use plan::{Limits, Params, Plan, plan};
pub use samples::{HistogramSample, HistogramSeries, SeriesSet, StartTimes};
pub use span::Span;
