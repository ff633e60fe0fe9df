//! The engine against an evaluator that is as plain as can be: every step on its own, every window cut from all samples,
//! no sharing, no sliding.

use std::collections::BTreeMap;
use std::time::Duration;

use model::{Labels, METRIC_NAME, Sample, Series, Timestamp};
use promql::{Params, Value, evaluate, parse, plan};
use proptest::prelude::*;

const LOOKBACK: i64 = 300_000;
const STEP: i64 = 37_000;
const STEPS: i64 = 12;

const WINDOWS: [&str; 13] = [
    "rate",
    "increase",
    "delta",
    "irate",
    "idelta",
    "changes",
    "resets",
    "avg_over_time",
    "sum_over_time",
    "min_over_time",
    "max_over_time",
    "count_over_time",
    "last_over_time",
];
const AGGREGATES: [&str; 6] = ["", "sum", "avg", "min", "max", "count"];

/// A query as its parts: `aggregate by (g) (function(x[range] offset offset))`.
#[derive(Debug, Clone)]
struct Query {
    aggregate: &'static str,
    /// None for the plain selector.
    function: Option<(&'static str, i64)>,
    offset: i64,
}

impl Query {
    fn text(&self) -> String {
        let offset = format!("offset {}s", self.offset / 1000);
        let inner = match self.function {
            Some((name, range)) => format!("{name}(x[{}s] {offset})", range / 1000),
            None => format!("x {offset}"),
        };
        if self.aggregate.is_empty() { inner } else { format!("{} by (g) ({inner})", self.aggregate) }
    }

    fn value(&self, samples: &[Sample], at: i64) -> Option<f64> {
        let end = at - self.offset;
        let within = |from: i64| {
            samples.iter().filter(move |s| s.timestamp.millis() > from && s.timestamp.millis() <= end)
        };
        match self.function {
            None => {
                within(end - LOOKBACK).next_back().map(|s| s.value).filter(|value| !model::is_stale(*value))
            }
            Some((name, range)) => {
                let start = end - range;
                let window: Vec<(f64, f64)> = within(start)
                    .filter(|s| !model::is_stale(s.value))
                    .map(|s| (s.timestamp.millis() as f64 / 1000.0, s.value))
                    .collect();
                window_value(name, &window, start as f64 / 1000.0, end as f64 / 1000.0)
            }
        }
    }

    fn answer(&self, series: &[Series], at: i64) -> BTreeMap<Labels, f64> {
        let mut groups: BTreeMap<Labels, Vec<f64>> = BTreeMap::new();
        for series in series {
            let Some(value) = self.value(&series.samples, at) else { continue };
            let keeps = self.function.is_none_or(|(name, _)| name == "last_over_time");
            let labels = match self.aggregate {
                "" if keeps => series.labels.clone(),
                "" => series.labels.without(&[METRIC_NAME]),
                _ => series.labels.only(&["g"]),
            };
            groups.entry(labels).or_default().push(value);
        }
        groups.into_iter().map(|(labels, values)| (labels, folded(self.aggregate, &values))).collect()
    }
}

fn folded(aggregate: &str, values: &[f64]) -> f64 {
    match aggregate {
        "sum" => values.iter().sum(),
        "avg" => values.iter().sum::<f64>() / values.len() as f64,
        // Any number beats NaN.
        "min" => values.iter().copied().fold(f64::NAN, f64::min),
        "max" => values.iter().copied().fold(f64::NAN, f64::max),
        "count" => values.len() as f64,
        _ => values[0],
    }
}

fn window_value(name: &str, window: &[(f64, f64)], start: f64, end: f64) -> Option<f64> {
    let values: Vec<f64> = window.iter().map(|(_, value)| *value).collect();
    let pairs = || values.windows(2).map(|pair| (pair[0], pair[1]));
    let (first, last) = (*window.first()?, *window.last()?);
    match name {
        "rate" => Some(extrapolated(window, start, end, true)? / (end - start)),
        "increase" => extrapolated(window, start, end, true),
        "delta" => extrapolated(window, start, end, false),
        "irate" | "idelta" => {
            let [.., before, last] = window else { return None };
            let change = last.1 - before.1;
            if name == "idelta" {
                return Some(change);
            }
            Some(if last.1 < before.1 { last.1 } else { change } / (last.0 - before.0))
        }
        "changes" => Some(pairs().filter(|(a, b)| a != b && !(a.is_nan() && b.is_nan())).count() as f64),
        "resets" => Some(pairs().filter(|(a, b)| b < a).count() as f64),
        "last_over_time" => Some(last.1),
        "count_over_time" => Some(values.len() as f64),
        "sum_over_time" => Some(folded("sum", &values)),
        "avg_over_time" => Some(folded("avg", &values)),
        "min_over_time" => Some(folded("min", &values)),
        "max_over_time" => Some(folded("max", &values)),
        _ => Some(first.1),
    }
}

/// The change between first and last, drops of counters made good, stretched to the edges of the window.
fn extrapolated(window: &[(f64, f64)], start: f64, end: f64, counter: bool) -> Option<f64> {
    let [first, .., last] = window else { return None };
    let mut change = last.1 - first.1;
    if counter {
        for pair in window.windows(2) {
            if pair[1].1 < pair[0].1 {
                change += pair[0].1;
            }
        }
    }
    let covered = last.0 - first.0;
    let gap = covered / (window.len() - 1) as f64;
    let mut left = first.0 - start;
    if left >= gap * 1.1 {
        left = gap / 2.0;
    }
    if counter && change > 0.0 && first.1 >= 0.0 {
        left = left.min(covered * first.1 / change);
    }
    let mut right = end - last.0;
    if right >= gap * 1.1 {
        right = gap / 2.0;
    }
    Some(change * (covered + left + right) / covered)
}

fn queries() -> impl Strategy<Value = Query> {
    let range = prop::sample::select(vec![15_000_i64, 31_000, 60_000, 200_000, 600_000]);
    let function = prop::option::weighted(0.8, (prop::sample::select(WINDOWS.to_vec()), range));
    let offset = prop::sample::select(vec![0_i64, 7_000, -20_000, 120_000]);
    (prop::sample::select(AGGREGATES.to_vec()), function, offset)
        .prop_map(|(aggregate, function, offset)| Query { aggregate, function, offset })
}

/// Up to four series with gaps, jumps, staleness markers, NaN and infinite values.
fn data() -> impl Strategy<Value = Vec<Series>> {
    let value = prop_oneof![
        10 => (0_i32..2000).prop_map(|value| f64::from(value) / 8.0),
        3 => Just(42.0),
        1 => Just(model::stale_nan()),
        1 => Just(f64::NAN),
        1 => prop::sample::select(vec![f64::INFINITY, f64::NEG_INFINITY, -3.5]),
    ];
    let gap = prop_oneof![6 => Just(15_000_i64), 2 => 1_i64..30_000, 1 => 100_000_i64..400_000];
    let samples = prop::collection::vec((gap, value), 0..40).prop_map(|steps| {
        let place = |time: &mut i64, (gap, value): (i64, f64)| {
            *time += gap;
            Some(Sample::new(*time, value))
        };
        steps.into_iter().scan(-200_000, place).collect::<Vec<Sample>>()
    });
    prop::collection::vec(samples, 0..5).prop_map(|all| {
        let series = |(index, samples): (usize, Vec<Sample>)| {
            let (id, group) = (index.to_string(), (index % 2).to_string());
            Series { labels: Labels::from_pairs([(METRIC_NAME, "x"), ("id", &id), ("g", &group)]), samples }
        };
        all.into_iter().enumerate().map(series).collect()
    })
}

/// The engine's answer by time and labels.
fn engine(text: &str, series: &[Series]) -> BTreeMap<(i64, Labels), f64> {
    let end = Timestamp((STEPS - 1) * STEP);
    let params = Params::range(Timestamp(0), end, Duration::from_millis(STEP.unsigned_abs()));
    let plan = plan(&parse(text).expect("it is well formed"), params).expect("it is small");
    let cut = |series: &Series, selection: &model::Selection| {
        let within = |s: &&Sample| selection.start <= s.timestamp && s.timestamp <= selection.end;
        let samples = series.samples.iter().filter(within).copied().collect();
        Series { labels: series.labels.clone(), samples }
    };
    let answer = |selection| series.iter().map(|series| cut(series, selection)).collect();
    let inputs: Vec<Vec<Series>> = plan.selections().iter().map(answer).collect();
    let output = evaluate(&plan, &inputs, &|| false).expect("nothing is ambiguous");
    let Value::Matrix(all) = output.value else { panic!("a range query answers with a matrix") };
    let points = all.iter().flat_map(|series| {
        series.samples.iter().map(|s| ((s.timestamp.millis(), series.labels.clone()), s.value))
    });
    points.collect()
}

fn close(a: f64, b: f64) -> bool {
    a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-11 * a.abs().max(b.abs()).max(1e-3)
}

proptest! {
    #[test]
    fn the_engine_answers_like_the_plainest_evaluator(query in queries(), series in data()) {
        let ours = engine(&query.text(), &series);
        let plain: BTreeMap<(i64, Labels), f64> = (0..STEPS)
            .flat_map(|step| {
                let at = step * STEP;
                query.answer(&series, at).into_iter().map(move |(labels, value)| ((at, labels), value))
            })
            .collect();
        prop_assert!(ours.keys().eq(plain.keys()), "{}: {ours:?}\n{plain:?}", query.text());
        for ((key, ours), plain) in ours.iter().zip(plain.values()) {
            prop_assert!(close(*ours, *plain), "{} at {key:?}: {ours}, plainly {plain}", query.text());
        }
    }
}
