//! Properties: the parser survives anything, printing loses nothing, evaluation survives anything
//! that parses.

use std::time::Duration;

use model::{Labels, Sample, Series, Timestamp};
use promql::{Features, Limits, Params, parse_with};
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
        prop::sample::select(vec!["x offset 1m", "x @ 60", "x @ end() offset -1m", "y_total offset 90s"])
            .prop_map(str::to_owned),
    ];
    leaf.prop_recursive(4, 24, 3, move |inner| {
        let binary = ["+", "-", "*", "/", "%", "^", "==", "> bool", "<=", "and", "or", "unless", "atan2"];
        let matching = ["", "on (a)", "ignoring (b)"];
        let operators = (prop::sample::select(binary.to_vec()), prop::sample::select(matching.to_vec()));
        let calls = ["abs", "sort", "absent", "timestamp", "floor", "-", "(", "histogram_quantile(0.9, "];
        let windows =
            ["rate", "increase", "sum_over_time", "stddev_over_time", "changes", "deriv", "last_over_time"];
        let aggregates = ["sum", "avg", "topk", "count", "stdvar", "quantile", "limitk"];
        prop_oneof![
            (inner.clone(), operators, inner.clone())
                .prop_map(|(lhs, (op, matching), rhs)| format!("{lhs} {op} {matching} {rhs}")),
            (prop::sample::select(calls.to_vec()), inner.clone()).prop_map(|(name, arg)| match name {
                "-" => format!("-{arg}"),
                "(" => format!("({arg})"),
                _ if name.ends_with(' ') => format!("{name}{arg})"),
                _ => format!("{name}({arg})"),
            }),
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
    let series = (prop::sample::select(vec!["x", "y_total", "a.b"]), 0..3_u8, 0..3_u8)
        .prop_map(|(name, a, b)| [("__name__", name.to_owned()), ("a", a.to_string()), ("b", b.to_string())]);
    prop::collection::vec((series, prop::collection::vec(prop::option::of(value()), 0..12)), 0..6).prop_map(
        |all| {
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
        },
    )
}

fn samples(values: &[Option<f64>]) -> Vec<Sample> {
    let sample = |(index, value): (usize, &Option<f64>)| Some(Sample::new(index as i64 * 15_000, (*value)?));
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
                .filter(|sample| selection.start <= sample.timestamp && sample.timestamp <= selection.end)
                .copied()
                .collect(),
        };
        let picked = |series: &&Series| selection.matchers.iter().all(|m| m.matches_labels(&series.labels));
        series.iter().filter(picked).map(cut).collect()
    };
    let inputs: Vec<Vec<Series>> = plan.selections().iter().map(answer).collect();
    promql::evaluate(&plan, &inputs, &|| false).map_err(|error| error.to_string())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

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
        prop_assert_eq!(parse(&printed), Ok(expr), "{}", printed);
    }

    #[test]
    fn evaluation_never_panics_and_is_the_same_every_time(text in vector(), series in all_series()) {
        let params = || Params::range(Timestamp(-30_000), Timestamp(240_000), Duration::from_secs(30));
        let first = evaluate(&text, &series, params());
        prop_assert_eq!(first, evaluate(&text, &series, params()));
    }

    #[test]
    fn a_range_query_is_its_instants_put_together(text in vector(), series in all_series()) {
        // What depends on the query itself differs, and so does what only one step may fail on.
        if text.contains("end()") {
            return Ok(());
        }
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
            prop_assert_eq!(&slice, &single, "{} at {}", text, at);
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
