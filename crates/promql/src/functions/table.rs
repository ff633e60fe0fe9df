//! The table of functions.

use super::{Function, Kind, ScalarFunction, VectorFunction, WindowFunction};
use crate::ast::ValueType::{self, Matrix, Scalar, Text, Vector};
use crate::eval::date;

const fn stable(
    name: &'static str,
    args: &'static [ValueType],
    returns: ValueType,
    kind: Kind,
) -> Function {
    Function {
        name,
        args,
        arity: (args.len(), Some(args.len())),
        returns,
        experimental: false,
        kind,
    }
}

const fn experimental(
    name: &'static str,
    args: &'static [ValueType],
    returns: ValueType,
    kind: Kind,
) -> Function {
    Function {
        name,
        args,
        arity: (args.len(), Some(args.len())),
        returns,
        experimental: true,
        kind,
    }
}

const fn with_arity(function: Function, least: usize, most: Option<usize>) -> Function {
    Function { arity: (least, most), ..function }
}

/// All functions, by name.
pub(crate) static FUNCTIONS: [Function; 90] = [
    stable("abs", &[Vector], Vector, Kind::Map(f64::abs)),
    stable("absent", &[Vector], Vector, Kind::Vector(VectorFunction::Absent)),
    stable("absent_over_time", &[Matrix], Vector, Kind::AbsentOverTime),
    stable("acos", &[Vector], Vector, Kind::Map(f64::acos)),
    stable("acosh", &[Vector], Vector, Kind::Map(f64::acosh)),
    stable("asin", &[Vector], Vector, Kind::Map(f64::asin)),
    stable("asinh", &[Vector], Vector, Kind::Map(f64::asinh)),
    stable("atan", &[Vector], Vector, Kind::Map(f64::atan)),
    stable("atanh", &[Vector], Vector, Kind::Map(f64::atanh)),
    stable("avg_over_time", &[Matrix], Vector, Kind::Window(WindowFunction::Avg)),
    stable("ceil", &[Vector], Vector, Kind::Map(f64::ceil)),
    stable("changes", &[Matrix], Vector, Kind::Window(WindowFunction::Changes)),
    stable("clamp", &[Vector, Scalar, Scalar], Vector, Kind::Vector(VectorFunction::Clamp)),
    stable("clamp_max", &[Vector, Scalar], Vector, Kind::Vector(VectorFunction::ClampMax)),
    stable("clamp_min", &[Vector, Scalar], Vector, Kind::Vector(VectorFunction::ClampMin)),
    stable("cos", &[Vector], Vector, Kind::Map(f64::cos)),
    stable("cosh", &[Vector], Vector, Kind::Map(f64::cosh)),
    stable("count_over_time", &[Matrix], Vector, Kind::Window(WindowFunction::Count)),
    with_arity(
        stable("day_of_month", &[Vector], Vector, Kind::Date(date::day_of_month)),
        0,
        Some(1),
    ),
    with_arity(stable("day_of_week", &[Vector], Vector, Kind::Date(date::day_of_week)), 0, Some(1)),
    with_arity(stable("day_of_year", &[Vector], Vector, Kind::Date(date::day_of_year)), 0, Some(1)),
    with_arity(
        stable("days_in_month", &[Vector], Vector, Kind::Date(date::days_in_month)),
        0,
        Some(1),
    ),
    stable("deg", &[Vector], Vector, Kind::Map(f64::to_degrees)),
    stable("delta", &[Matrix], Vector, Kind::Window(WindowFunction::Delta)),
    stable("deriv", &[Matrix], Vector, Kind::Window(WindowFunction::Deriv)),
    experimental(
        "double_exponential_smoothing",
        &[Matrix, Scalar, Scalar],
        Vector,
        Kind::Window(WindowFunction::Smoothing),
    ),
    experimental("end", &[], Scalar, Kind::Scalar(ScalarFunction::End)),
    stable("exp", &[Vector], Vector, Kind::Map(f64::exp)),
    stable("first_over_time", &[Matrix], Vector, Kind::Window(WindowFunction::First)),
    stable("floor", &[Vector], Vector, Kind::Map(f64::floor)),
    stable("histogram_avg", &[Vector], Vector, Kind::Vector(VectorFunction::HistogramAvg)),
    stable("histogram_count", &[Vector], Vector, Kind::Vector(VectorFunction::HistogramCount)),
    stable(
        "histogram_fraction",
        &[Scalar, Scalar, Vector],
        Vector,
        Kind::Vector(VectorFunction::HistogramFraction),
    ),
    stable(
        "histogram_quantile",
        &[Scalar, Vector],
        Vector,
        Kind::Vector(VectorFunction::HistogramQuantile),
    ),
    with_arity(
        experimental(
            "histogram_quantiles",
            &[Vector, Text, Scalar],
            Vector,
            Kind::Vector(VectorFunction::HistogramQuantiles),
        ),
        3,
        Some(12),
    ),
    stable("histogram_stddev", &[Vector], Vector, Kind::Vector(VectorFunction::HistogramStddev)),
    stable("histogram_stdvar", &[Vector], Vector, Kind::Vector(VectorFunction::HistogramStdvar)),
    stable("histogram_sum", &[Vector], Vector, Kind::Vector(VectorFunction::HistogramSum)),
    with_arity(stable("hour", &[Vector], Vector, Kind::Date(date::hour)), 0, Some(1)),
    stable("idelta", &[Matrix], Vector, Kind::Window(WindowFunction::Idelta)),
    stable("increase", &[Matrix], Vector, Kind::Window(WindowFunction::Increase)),
    with_arity(
        experimental("info", &[Vector, Vector], Vector, Kind::Vector(VectorFunction::Info)),
        1,
        Some(2),
    ),
    stable("irate", &[Matrix], Vector, Kind::Window(WindowFunction::Irate)),
    with_arity(
        stable(
            "label_join",
            &[Vector, Text, Text, Text],
            Vector,
            Kind::Vector(VectorFunction::LabelJoin),
        ),
        3,
        None,
    ),
    stable(
        "label_replace",
        &[Vector, Text, Text, Text, Text],
        Vector,
        Kind::Vector(VectorFunction::LabelReplace),
    ),
    stable("last_over_time", &[Matrix], Vector, Kind::Window(WindowFunction::Last)),
    stable("ln", &[Vector], Vector, Kind::Map(f64::ln)),
    stable("log10", &[Vector], Vector, Kind::Map(f64::log10)),
    stable("log2", &[Vector], Vector, Kind::Map(f64::log2)),
    experimental("mad_over_time", &[Matrix], Vector, Kind::Window(WindowFunction::Mad)),
    experimental("max_of", &[Scalar, Scalar], Scalar, Kind::Scalar(ScalarFunction::MaxOf)),
    stable("max_over_time", &[Matrix], Vector, Kind::Window(WindowFunction::Max)),
    experimental("min_of", &[Scalar, Scalar], Scalar, Kind::Scalar(ScalarFunction::MinOf)),
    stable("min_over_time", &[Matrix], Vector, Kind::Window(WindowFunction::Min)),
    with_arity(stable("minute", &[Vector], Vector, Kind::Date(date::minute)), 0, Some(1)),
    with_arity(stable("month", &[Vector], Vector, Kind::Date(date::month)), 0, Some(1)),
    stable("pi", &[], Scalar, Kind::Scalar(ScalarFunction::Pi)),
    stable(
        "predict_linear",
        &[Matrix, Scalar],
        Vector,
        Kind::Window(WindowFunction::PredictLinear),
    ),
    stable("present_over_time", &[Matrix], Vector, Kind::Window(WindowFunction::Present)),
    stable("quantile_over_time", &[Scalar, Matrix], Vector, Kind::Window(WindowFunction::Quantile)),
    stable("rad", &[Vector], Vector, Kind::Map(f64::to_radians)),
    experimental("range", &[], Scalar, Kind::Scalar(ScalarFunction::Range)),
    stable("rate", &[Matrix], Vector, Kind::Window(WindowFunction::Rate)),
    stable("resets", &[Matrix], Vector, Kind::Window(WindowFunction::Resets)),
    with_arity(
        stable("round", &[Vector, Scalar], Vector, Kind::Vector(VectorFunction::Round)),
        1,
        Some(2),
    ),
    stable("scalar", &[Vector], Scalar, Kind::Vector(VectorFunction::Scalar)),
    stable("sgn", &[Vector], Vector, Kind::Map(sign)),
    stable("sin", &[Vector], Vector, Kind::Map(f64::sin)),
    stable("sinh", &[Vector], Vector, Kind::Map(f64::sinh)),
    stable("sort", &[Vector], Vector, Kind::Vector(VectorFunction::Sort)),
    with_arity(
        experimental(
            "sort_by_label",
            &[Vector, Text],
            Vector,
            Kind::Vector(VectorFunction::SortByLabel),
        ),
        1,
        None,
    ),
    with_arity(
        experimental(
            "sort_by_label_desc",
            &[Vector, Text],
            Vector,
            Kind::Vector(VectorFunction::SortByLabelDesc),
        ),
        1,
        None,
    ),
    stable("sort_desc", &[Vector], Vector, Kind::Vector(VectorFunction::SortDesc)),
    stable("sqrt", &[Vector], Vector, Kind::Map(f64::sqrt)),
    experimental("start", &[], Scalar, Kind::Scalar(ScalarFunction::Start)),
    experimental(
        "start_timestamp",
        &[Vector],
        Vector,
        Kind::Vector(VectorFunction::StartTimestamp),
    ),
    stable("stddev_over_time", &[Matrix], Vector, Kind::Window(WindowFunction::Stddev)),
    stable("stdvar_over_time", &[Matrix], Vector, Kind::Window(WindowFunction::Stdvar)),
    experimental("step", &[], Scalar, Kind::Scalar(ScalarFunction::Step)),
    stable("sum_over_time", &[Matrix], Vector, Kind::Window(WindowFunction::Sum)),
    stable("tan", &[Vector], Vector, Kind::Map(f64::tan)),
    stable("tanh", &[Vector], Vector, Kind::Map(f64::tanh)),
    stable("time", &[], Scalar, Kind::Scalar(ScalarFunction::Time)),
    stable("timestamp", &[Vector], Vector, Kind::Vector(VectorFunction::Timestamp)),
    experimental(
        "ts_of_first_over_time",
        &[Matrix],
        Vector,
        Kind::Window(WindowFunction::TimeOfFirst),
    ),
    experimental(
        "ts_of_last_over_time",
        &[Matrix],
        Vector,
        Kind::Window(WindowFunction::TimeOfLast),
    ),
    experimental("ts_of_max_over_time", &[Matrix], Vector, Kind::Window(WindowFunction::TimeOfMax)),
    experimental("ts_of_min_over_time", &[Matrix], Vector, Kind::Window(WindowFunction::TimeOfMin)),
    stable("vector", &[Scalar], Vector, Kind::Vector(VectorFunction::Vector)),
    with_arity(stable("year", &[Vector], Vector, Kind::Date(date::year)), 0, Some(1)),
];

// The sign of a value; NaN stays NaN, zero stays zero.
fn sign(value: f64) -> f64 {
    if value > 0.0 {
        1.0
    } else if value < 0.0 {
        -1.0
    } else {
        value
    }
}
