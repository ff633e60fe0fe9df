//! Every function of the language: name, arguments, result, and which evaluator computes it.

mod table;

use crate::ast::ValueType;

pub(crate) use table::FUNCTIONS;

/// A function as the type checker sees it.
#[derive(Debug)]
pub struct Function {
    /// Its name.
    pub name: &'static str,
    /// The types of its arguments; the last one repeats when more are allowed.
    pub args: &'static [ValueType],
    /// How many arguments there may be, least and most; `None` for no upper bound.
    pub arity: (usize, Option<usize>),
    /// What it returns.
    pub returns: ValueType,
    /// Whether Prometheus calls it experimental.
    pub experimental: bool,
    pub(crate) kind: Kind,
}

/// Functions are the same when their names are.
impl PartialEq for Function {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Function {
    /// By name.
    pub fn find(name: &str) -> Option<&'static Self> {
        FUNCTIONS.iter().find(|function| function.name == name)
    }
}

/// Which evaluator computes a function.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    /// Value by value.
    Map(fn(f64) -> f64),
    /// A part of the date that a value stands for, or of the evaluation time.
    Date(fn(f64) -> f64),
    /// Window by window over a range vector.
    Window(WindowFunction),
    /// `absent_over_time`
    AbsentOverTime,
    /// Others over instant vectors.
    Vector(VectorFunction),
    /// Scalars from scalars.
    Scalar(ScalarFunction),
}

/// Functions over the samples of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WindowFunction {
    Rate,
    Increase,
    Delta,
    Irate,
    Idelta,
    Deriv,
    PredictLinear,
    Changes,
    Resets,
    Smoothing,
    Quantile,
    Sum,
    Avg,
    Min,
    Max,
    Count,
    First,
    Last,
    Present,
    Stddev,
    Stdvar,
    Mad,
    TimeOfFirst,
    TimeOfLast,
    TimeOfMin,
    TimeOfMax,
}

/// Functions over instant vectors that need more than one value at a time, or labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum VectorFunction {
    Absent,
    Clamp,
    ClampMax,
    ClampMin,
    Round,
    LabelReplace,
    LabelJoin,
    Sort,
    SortDesc,
    SortByLabel,
    SortByLabelDesc,
    Scalar,
    Vector,
    Timestamp,
    HistogramQuantile,
    HistogramQuantiles,
    HistogramFraction,
    HistogramAvg,
    HistogramCount,
    HistogramStddev,
    HistogramStdvar,
    HistogramSum,
    Info,
    StartTimestamp,
}

/// Functions that need no vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ScalarFunction {
    Time,
    Pi,
    Start,
    End,
    Step,
    Range,
    MinOf,
    MaxOf,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_ninety_functions_are_known_once() {
        let mut names: Vec<_> = FUNCTIONS.iter().map(|function| function.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!((names.len(), FUNCTIONS.len()), (90, 90));
        assert!(Function::find("rate").is_some() && Function::find("integral").is_none());
    }
}
