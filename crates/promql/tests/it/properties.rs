//! Properties: the parser survives anything, printing loses nothing, evaluation survives anything
//! that parses.

use std::sync::Arc;
use std::time::Duration;

use model::{Labels, Sample, Series, Timestamp};
use promql::{
    CUSTOM_SCHEMA, Features, Histogram, HistogramSample, HistogramSeries, Limits, Params,
    ResetHint, SeriesSet, Value, parse_with,
};
use proptest::prelude::*;

/// Words that occur in expressions, and some that should not.
const WORDS: [&str; 66] = [
    "x",
    "y_total",
    "up",
    "sum",
    "topk",
    "count_values",
    "quantile",
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "group_right",
    "bool",
    "offset",
    "@",
    "start",
    "end",
    "and",
    "or",
    "unless",
    "atan2",
    "rate",
    "increase",
    "abs",
    "label_replace",
    "histogram_quantile",
    "absent",
    "time",
    "scalar",
    "vector",
    "(",
    ")",
    "(",
    ")",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "=",
    "!=",
    "=~",
    "==",
    "<",
    ">=",
    "+",
    "-",
    "*",
    "/",
    "%",
    "^",
    "1",
    "0x1F",
    "5m",
    "1h30m",
    "Inf",
    "NaN",
    "\"a\"",
    "'b'",
    "`c`",
    "fill",
    "smoothed",
    "</",
    "\u{e4}",
];

fn parse(text: &str) -> Result<promql::Expr, promql::ParseError> {
    parse_with(text, Features::all())
}

/// Expressions that are instant vectors.
fn vector() -> impl Strategy<Value = String> {
    let label = prop::sample::select(vec!["a", "b", "le"]);
    let leaf = prop_oneof![
        prop::sample::select(vec![
            "x",
            "y_total",
            "{\"a.b\"}",
            "{a=\"1\"}",
            "x{a!=\"1\",b=~\"1|2\"}",
            "vector(2)"
        ])
        .prop_map(str::to_owned),
        prop::sample::select(vec![
            "x offset 1m",
            "x @ 60",
            "x @ end() offset -1m",
            "y_total offset 90s"
        ])
        .prop_map(str::to_owned),
    ];
    leaf.prop_recursive(4, 24, 3, move |inner| {
        let binary =
            ["+", "-", "*", "/", "%", "^", "==", "> bool", "<=", "and", "or", "unless", "atan2"];
        let matching = ["", "on (a)", "ignoring (b)"];
        let operators =
            (prop::sample::select(binary.to_vec()), prop::sample::select(matching.to_vec()));
        let calls =
            ["abs", "sort", "absent", "timestamp", "floor", "-", "(", "histogram_quantile(0.9, "];
        let windows = [
            "rate",
            "increase",
            "sum_over_time",
            "stddev_over_time",
            "changes",
            "deriv",
            "last_over_time",
        ];
        let aggregates = ["sum", "avg", "topk", "count", "stdvar", "quantile", "limitk"];
        prop_oneof![
            (inner.clone(), operators, inner.clone())
                .prop_map(|(lhs, (op, matching), rhs)| format!("{lhs} {op} {matching} {rhs}")),
            (prop::sample::select(calls.to_vec()), inner.clone()).prop_map(
                |(name, arg)| match name {
                    "-" => format!("-{arg}"),
                    "(" => format!("({arg})"),
                    _ if name.ends_with(' ') => format!("{name}{arg})"),
                    _ => format!("{name}({arg})"),
                }
            ),
            (prop::sample::select(windows.to_vec()), inner.clone())
                .prop_map(|(name, arg)| format!("{name}(({arg})[2m:30s])")),
            (prop::sample::select(windows.to_vec()), prop::sample::select(vec!["x", "y_total"]))
                .prop_map(|(name, arg)| format!("{name}({arg}[90s])")),
            (prop::sample::select(aggregates.to_vec()), label.clone(), inner).prop_map(
                |(name, label, arg)| match name {
                    "topk" | "limitk" => format!("{name} by ({label}) (2, {arg})"),
                    "quantile" => format!("{name} without ({label}) (0.5, {arg})"),
                    _ => format!("{name} by ({label}) ({arg})"),
                }
            ),
        ]
    })
}

/// Expressions that look at native histograms in every way there is.
fn native() -> impl Strategy<Value = String> {
    let shapes = [
        "histogram_count({})",
        "histogram_sum({})",
        "histogram_avg({})",
        "histogram_stddev({})",
        "histogram_quantile(0.3, {})",
        "histogram_quantile(0.9, {})",
        "histogram_fraction(-1, 2, {})",
        "histogram_quantiles({}, \"q\", 0.1, 0.5)",
        "{} </ 1.5",
        "{} >/ -0.5",
        "count_values(\"v\", {})",
        "avg({})",
        "sum by (a) ({})",
        "limitk(2, {})",
        "-({})",
        "({}) * 2",
        "({}) / 0",
        "({}) == ({})",
        "({}) - ignoring(b) ({})",
        "rate(x[1m] smoothed) or ({})",
        "increase(x[1m] anchored) or ({})",
        "(x smoothed) or ({})",
        "resets(x[90s] anchored) or ({})",
        "sum_over_time(({})[2m:30s])",
        "irate(({})[2m:30s])",
        "delta(x[90s]) or ({})",
    ];
    (vector(), prop::sample::select(shapes.to_vec()))
        .prop_map(|(inner, shape)| shape.replace("{}", &inner))
}

fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        8 => -10.0..100.0_f64,
        1 => Just(f64::NAN),
        1 => Just(f64::INFINITY),
        1 => Just(model::stale_nan()),
        1 => Just(0.0),
    ]
}

fn all_series() -> impl Strategy<Value = Vec<Series>> {
    let series = (prop::sample::select(vec!["x", "y_total", "a.b"]), 0..3_u8, 0..3_u8).prop_map(
        |(name, a, b)| [("__name__", name.to_owned()), ("a", a.to_string()), ("b", b.to_string())],
    );
    prop::collection::vec((series, prop::collection::vec(prop::option::of(value()), 0..12)), 0..6)
        .prop_map(|all| {
            let mut found: Vec<Series> = all
                .into_iter()
                .map(|(labels, values)| Series {
                    labels: Labels::from_pairs(labels),
                    samples: samples(&values),
                })
                .collect();
            found.sort_by(|a, b| a.labels.cmp(&b.labels));
            found.dedup_by(|a, b| a.labels == b.labels);
            found
        })
}

/// Native histograms of any shape, also such as no store should hold.
fn histogram() -> impl Strategy<Value = Histogram> {
    let buckets = || {
        prop::collection::btree_map(-3..6_i32, prop_oneof![3 => 0.0..9.0_f64, 1 => Just(0.0)], 0..4)
            .prop_map(|buckets| buckets.into_iter().collect::<Vec<_>>())
    };
    let bounds =
        prop::sample::select(vec![vec![], vec![0.0], vec![-1.0, 2.0], vec![1.0, 2.0, 4.0]]);
    let reset = prop::sample::select(vec![
        ResetHint::Unknown,
        ResetHint::Reset,
        ResetHint::NotReset,
        ResetHint::Gauge,
    ]);
    let schema = prop::sample::select(vec![CUSTOM_SCHEMA, -4, 0, 1, 8]);
    let zero = (prop::sample::select(vec![0.0, 0.25, 1.5]), 0.0..3.0_f64);
    (schema, zero, value(), value(), (buckets(), buckets()), bounds, reset).prop_map(
        |(
            schema,
            (zero_threshold, zero_count),
            count,
            sum,
            (positive, negative),
            bounds,
            reset,
        )| {
            let custom = schema == CUSTOM_SCHEMA;
            let listed = |(index, _): &(i32, f64)| {
                usize::try_from(*index).is_ok_and(|at| at <= bounds.len())
            };
            Histogram {
                schema,
                zero_threshold: if custom { 0.0 } else { zero_threshold },
                zero_count: if custom { 0.0 } else { zero_count },
                count,
                sum,
                positive: positive.into_iter().filter(|bucket| !custom || listed(bucket)).collect(),
                negative: if custom { Vec::new() } else { negative },
                bounds: if custom { bounds.clone() } else { Vec::new() },
                reset,
            }
        },
    )
}

fn native_series() -> impl Strategy<Value = Vec<HistogramSeries>> {
    let samples = prop::collection::vec(prop::option::of(histogram()), 0..12);
    let series = (prop::sample::select(vec!["x", "y_total"]), 0..3_u8, samples).prop_map(
        |(name, a, values)| {
            let sample = |(index, histogram): (usize, Option<Histogram>)| {
                let timestamp = Timestamp(index as i64 * 15_000 + 7000);
                Some(HistogramSample { timestamp, histogram: Arc::new(histogram?) })
            };
            let labels = Labels::from_pairs([("__name__", name.to_owned()), ("a", a.to_string())]);
            HistogramSeries {
                labels,
                samples: values.into_iter().enumerate().filter_map(sample).collect(),
            }
        },
    );
    prop::collection::vec(series, 0..4).prop_map(|mut all| {
        all.sort_by(|a, b| a.labels.cmp(&b.labels));
        all.dedup_by(|a, b| a.labels == b.labels);
        all
    })
}

/// Evaluates over series of both kinds, and answers how it went. Selections are not cut to their
/// times.
fn evaluate_mixed(
    text: &str,
    floats: &[Series],
    native: &[HistogramSeries],
    params: Params,
) -> Result<promql::Output, String> {
    let expr = parse(text).map_err(|error| format!("{text}: {error}"))?;
    let plan = promql::plan(&expr, params).map_err(|error| error.to_string())?;
    let answer = |selection: &model::Selection| {
        let picked = |labels: &Labels| selection.matchers.iter().all(|m| m.matches_labels(labels));
        SeriesSet {
            floats: floats.iter().filter(|series| picked(&series.labels)).cloned().collect(),
            histograms: native.iter().filter(|series| picked(&series.labels)).cloned().collect(),
            starts: Vec::new(),
        }
    };
    let inputs: Vec<SeriesSet> = plan.selections().iter().map(answer).collect();
    promql::evaluate_samples(&plan, &inputs, &|| false).map_err(|error| error.to_string())
}

fn samples(values: &[Option<f64>]) -> Vec<Sample> {
    let sample =
        |(index, value): (usize, &Option<f64>)| Some(Sample::new(index as i64 * 15_000, (*value)?));
    values.iter().enumerate().filter_map(sample).collect()
}

/// Evaluates over some series, and answers how it went.
fn evaluate(text: &str, series: &[Series], params: Params) -> Result<promql::Output, String> {
    let expr = parse(text).map_err(|error| format!("{text}: {error}"))?;
    let plan = promql::plan(&expr, params).map_err(|error| error.to_string())?;
    let answer = |selection: &model::Selection| {
        let cut = |series: &Series| Series {
            labels: series.labels.clone(),
            samples: series
                .samples
                .iter()
                .filter(|sample| {
                    selection.start <= sample.timestamp && sample.timestamp <= selection.end
                })
                .copied()
                .collect(),
        };
        let picked =
            |series: &&Series| selection.matchers.iter().all(|m| m.matches_labels(&series.labels));
        series.iter().filter(picked).map(cut).collect()
    };
    let inputs: Vec<Vec<Series>> = plan.selections().iter().map(answer).collect();
    promql::evaluate(&plan, &inputs, &|| false).map_err(|error| error.to_string())
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in "\\PC{0,60}") {
        let _ = parse(&text);
    }

    #[test]
    fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        let _ = parse(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn no_words_make_the_parser_panic(words in prop::collection::vec(prop::sample::select(WORDS.to_vec()), 0..16)) {
        if let Ok(expr) = parse(&words.join(" ")) {
            let printed = expr.to_string();
            prop_assert_eq!(parse(&printed), Ok(expr), "{}", printed);
        }
    }

    #[test]
    fn what_is_printed_parses_to_the_same(text in vector()) {
        let expr = parse(&text).map_err(|error| TestCaseError::fail(format!("{text}: {error}")))?;
        let printed = expr.to_string();
        prop_assert_eq!(parse(&expr.pretty()), parse(&printed));
        prop_assert_eq!(parse(&printed), Ok(expr), "{}", printed);
    }

    #[test]
    fn evaluation_never_panics_and_is_the_same_every_time(text in vector(), series in all_series()) {
        let params = || Params::range(Timestamp(-30_000), Timestamp(240_000), Duration::from_secs(30));
        let first = evaluate(&text, &series, params());
        prop_assert_eq!(first, evaluate(&text, &series, params()));
    }

    #[test]
    fn native_histograms_make_nothing_panic(
        text in native(),
        floats in all_series(),
        histograms in native_series(),
    ) {
        let params = Params::range(Timestamp(-30_000), Timestamp(240_000), Duration::from_secs(30));
        if let Ok(output) = evaluate_mixed(&text, &floats, &histograms, params) {
            let ordered = output.histograms.windows(2).all(|pair| pair[0].labels < pair[1].labels);
            prop_assert!(ordered, "{}", text);
        }
    }

    #[test]
    fn adding_histograms_adds_their_counts(a in histogram(), b in histogram()) {
        let (Some(sum), true) = (a.plus(&b), (a.count + b.count).is_finite()) else { return Ok(()) };
        prop_assert!((sum.count - (a.count + b.count)).abs() < 1e-9);
        let all = |h: &Histogram| {
            h.positive.iter().chain(&h.negative).map(|(_, count)| count).sum::<f64>() + h.zero_count
        };
        prop_assert!((all(&sum) - (all(&a) + all(&b))).abs() < 1e-9, "{} + {} = {}", a, b, sum);
        prop_assert!(a.plus(&b).map(|sum| sum.schema) == b.plus(&a).map(|sum| sum.schema));
    }

    #[test]
    fn a_range_query_is_its_instants_put_together(text in vector(), series in all_series()) {
        // `end()` is another moment in every query.
        let text = text.replace("end()", "100");
        let params = Params::range(Timestamp(0), Timestamp(180_000), Duration::from_secs(45));
        let Ok(whole) = evaluate(&text, &series, params) else { return Ok(()) };
        let promql::Value::Matrix(whole) = whole.value else { return Err(TestCaseError::fail("no matrix")) };
        for at in [0, 45_000, 90_000, 180_000] {
            let single = evaluate(&text, &series, Params::instant(Timestamp(at)));
            let single = single.map_err(|fault| TestCaseError::fail(format!("{text} at {at}: {fault}")))?;
            let promql::Value::Vector(mut single) = single.value else { return Err(TestCaseError::fail("no vector")) };
            single.sort_by(|a, b| a.0.cmp(&b.0));
            let sample = |series: &Series| {
                let sample = series.samples.iter().find(|sample| sample.timestamp == Timestamp(at));
                sample.map(|sample| (series.labels.clone(), *sample))
            };
            let slice: Vec<_> = whole.iter().filter_map(sample).collect();
            // A pick orders an instant vector, and sums of other orders differ in their last
            // digits.
            let same = |(a, b): (&(Labels, Sample), &(Labels, Sample))| {
                let (x, y) = (a.1.value, b.1.value);
                let close = (x - y).abs() <= 1e-9 * x.abs().max(y.abs()).max(1e-3);
                a.0 == b.0 && (close || x.to_bits() == y.to_bits() || (x.is_nan() && y.is_nan()))
            };
            let all_same = slice.len() == single.len() && slice.iter().zip(&single).all(same);
            prop_assert!(all_same, "{} at {}: {:?} is not {:?}", text, at, slice, single);
        }
    }

    #[test]
    fn samples_are_never_held_beyond_the_limit(text in vector(), series in all_series()) {
        let mut params = Params::range(Timestamp(0), Timestamp(180_000), Duration::from_secs(15));
        params.limits = Limits { samples_max: 60, ..Limits::default() };
        match evaluate(&text, &series, params) {
            Ok(output) => {
                let promql::Value::Matrix(series) = output.value else { return Ok(()) };
                prop_assert!(series.iter().map(|series| series.samples.len()).sum::<usize>() <= 60);
            }
            Err(fault) => prop_assert!(!fault.is_empty()),
        }
    }
}

/// The elements and histograms of an instant query with a label value, as text since NaN differs from
/// itself.
fn part(output: &promql::Output, value: &str, accepts: impl Fn(f64) -> bool) -> String {
    let is_in = |labels: &Labels| labels.get("a").unwrap_or("") == value;
    let Value::Vector(vector) = &output.value else { return format!("{:?}", output.value) };
    let vector: Vec<_> =
        vector.iter().filter(|(labels, sample)| is_in(labels) && accepts(sample.value)).collect();
    let histograms: Vec<_> =
        output.histograms.iter().filter(|series| is_in(&series.labels)).collect();
    format!("{vector:?} {histograms:?}")
}

proptest! {
    #[test]
    fn an_expression_that_splits_by_a_label_is_answered_in_parts(
        text in prop_oneof![vector(), native()],
        floats in all_series(),
        natives in native_series(),
        value in prop::sample::select(vec!["1", "2", ""]),
        bound in -5_i32..60,
    ) {
        let Ok(expr) = parse(&text) else { return Ok(()) };
        if expr.value_type() != promql::ValueType::Vector || !promql::splits_by(&expr, "a") {
            return Ok(());
        }
        let params = Params::instant(Timestamp(150_000));
        let Ok(whole) = evaluate_mixed(&expr.to_string(), &floats, &natives, params.clone()) else {
            return Ok(());
        };
        let conditions = [model::Matcher::equal("a", value)];
        let narrow = promql::narrowed(&expr, &conditions).to_string();
        let alone = evaluate_mixed(&narrow, &floats, &natives, params.clone());
        let alone = alone.map_err(|error| TestCaseError::fail(format!("{narrow}: {error}")))?;
        prop_assert_eq!(part(&whole, value, |_| true), part(&alone, value, |_| true), "{}", narrow);

        // A judge shares answers without histograms only, since a comparison drops these.
        let compared = format!("({narrow}) > {bound}");
        let expr = parse(&compared).expect("it is PromQL");
        let Some(shape) = promql::Shape::of(&expr) else { return Ok(()) };
        let common = shape.common.to_string();
        let Ok(whole) = evaluate_mixed(&common, &floats, &natives, params.clone()) else {
            return Ok(());
        };
        let is_part = !value.is_empty() && shape.values == [value];
        if whole.histograms.is_empty() && is_part {
            let alone = evaluate_mixed(&compared, &floats, &natives, params);
            let alone = alone.map_err(|error| TestCaseError::fail(format!("{compared}: {error}")))?;
            let threshold = shape.threshold.expect("it is compared");
            let accepts = |value: f64| threshold.accepts(value);
            prop_assert_eq!(part(&whole, value, accepts), part(&alone, value, |_| true), "{}", compared);
        }
    }
}
