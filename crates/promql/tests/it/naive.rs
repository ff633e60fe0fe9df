//! The engine against one that looks at every sample at every step.

use std::time::Duration;

use model::{Labels, Sample, Series, Timestamp};
use promql::{Params, Value};
use proptest::prelude::*;

/// What a function makes of the samples of a window; `edges` are its bounds in milliseconds.
type Naive = fn(&[Sample], (i64, i64)) -> Option<f64>;

const FUNCTIONS: [(&str, Naive); 15] = [
    ("sum_over_time", |s, _| Some(s.iter().map(|s| s.value).sum())),
    ("avg_over_time", |s, _| Some(s.iter().map(|s| s.value).sum::<f64>() / s.len() as f64)),
    ("min_over_time", |s, _| s.iter().map(|s| s.value).reduce(f64::min)),
    ("max_over_time", |s, _| s.iter().map(|s| s.value).reduce(f64::max)),
    ("count_over_time", |s, _| Some(s.len() as f64)),
    ("first_over_time", |s, _| s.first().map(|s| s.value)),
    ("last_over_time", |s, _| s.last().map(|s| s.value)),
    ("present_over_time", |_, _| Some(1.0)),
    ("stdvar_over_time", |s, _| {
        let mean = s.iter().map(|s| s.value).sum::<f64>() / s.len() as f64;
        Some(s.iter().map(|s| (s.value - mean).powi(2)).sum::<f64>() / s.len() as f64)
    }),
    ("changes", |s, _| {
        Some(s.windows(2).filter(|pair| pair[0].value != pair[1].value).count() as f64)
    }),
    ("resets", |s, _| {
        Some(s.windows(2).filter(|pair| pair[1].value < pair[0].value).count() as f64)
    }),
    ("idelta", |s, _| s.last_chunk::<2>().map(|[a, b]| b.value - a.value)),
    ("irate", |s, _| {
        let [a, b] = s.last_chunk::<2>()?;
        let change = if b.value < a.value { b.value } else { b.value - a.value };
        Some(change * 1000.0 / (b.timestamp.millis() - a.timestamp.millis()) as f64)
    }),
    ("delta", |s, edges| extrapolated(s, edges, false)),
    ("increase", |s, edges| extrapolated(s, edges, true)),
];

/// As the documentation of Prometheus describes it, word by word. Times are seconds, as there: in
/// milliseconds the products round otherwise, and a series right at the edge gets another answer.
fn extrapolated(samples: &[Sample], (start, end): (i64, i64), counter: bool) -> Option<f64> {
    if samples.len() < 2 {
        return None;
    }
    let seconds = |from: i64, to: i64| (to - from) as f64 / 1000.0;
    let (first, last) = (samples[0], samples[samples.len() - 1]);
    let mut change = last.value - first.value;
    for pair in samples.windows(2) {
        if counter && pair[1].value < pair[0].value {
            change += pair[0].value;
        }
    }
    let covered = seconds(first.timestamp.millis(), last.timestamp.millis());
    let gap = covered / (samples.len() - 1) as f64;
    let mut before = seconds(start, first.timestamp.millis());
    if before >= gap * 1.1 {
        before = gap / 2.0;
    }
    if counter && change > 0.0 && first.value >= 0.0 {
        before = before.min(covered * first.value / change);
    }
    let mut after = seconds(last.timestamp.millis(), end);
    if after >= gap * 1.1 {
        after = gap / 2.0;
    }
    Some(change * (covered + before + after) / covered)
}

fn samples() -> impl Strategy<Value = Vec<Sample>> {
    let value = prop_oneof![4 => 0..50_i32, 1 => Just(-3)];
    let gap = 1..90_i64;
    prop::collection::vec((gap, value, prop::bool::weighted(0.1)), 0..40).prop_map(|all| {
        let mut time = 0;
        let sample = |(gap, value, stale): (i64, i32, bool)| {
            time += gap * 1000;
            Sample::new(time, if stale { model::stale_nan() } else { f64::from(value) })
        };
        all.into_iter().map(sample).collect()
    })
}

/// The answer of the engine at every step.
fn answer(text: &str, samples: &[Sample], params: Params) -> Vec<(i64, f64)> {
    let expr = promql::parse(text).expect("the expression is well formed");
    let plan = promql::plan(&expr, params).expect("the expression can be planned");
    let labels = Labels::from_pairs([("__name__", "x")]);
    let cut = |selection: &model::Selection| {
        let inside = |s: &&Sample| selection.start <= s.timestamp && s.timestamp <= selection.end;
        vec![Series {
            labels: labels.clone(),
            samples: samples.iter().filter(inside).copied().collect(),
        }]
    };
    let inputs: Vec<_> = plan.selections().iter().map(cut).collect();
    let output = promql::evaluate(&plan, &inputs, &|| false).expect("one series cannot clash");
    let Value::Matrix(series) = output.value else { panic!("a range query gives a matrix") };
    series
        .iter()
        .flat_map(|series| &series.samples)
        .map(|s| (s.timestamp.millis(), s.value))
        .collect()
}

fn close(a: &[(i64, f64)], b: &[(i64, f64)]) -> bool {
    let same = |(a, b): (&(i64, f64), &(i64, f64))| {
        a.0 == b.0 && ((a.1 - b.1).abs() <= 1e-9 * a.1.abs().max(b.1.abs()).max(1.0) || a.1 == b.1)
    };
    a.len() == b.len() && a.iter().zip(b).all(same)
}

proptest! {
    #[test]
    fn windows_hold_what_a_look_at_every_sample_finds(
        samples in samples(),
        range in 1..400_i64,
        offset in -100..100_i64,
        step in 1..120_i64,
        function in prop::sample::select(FUNCTIONS.to_vec()),
    ) {
        let (name, naive) = function;
        let mut wanted = Vec::new();
        for time in (0..=1200).step_by(step as usize).map(|seconds| seconds * 1000) {
            let edges = (time - (offset + range) * 1000, time - offset * 1000);
            let window: Vec<Sample> = samples
                .iter()
                .filter(|s| edges.0 < s.timestamp.millis() && s.timestamp.millis() <= edges.1)
                .filter(|s| !model::is_stale(s.value))
                .copied()
                .collect();
            if let Some(value) = Some(&window).filter(|w| !w.is_empty()).and_then(|w| naive(w, edges)) {
                wanted.push((time, value));
            }
        }
        let step = Duration::from_secs(step as u64);
        let params = Params::range(Timestamp(0), Timestamp(1_200_000), step);
        let got = answer(&format!("{name}(x[{range}] offset {offset}s)"), &samples, params);
        prop_assert!(close(&got, &wanted), "{name}: got {got:?}, wanted {wanted:?}");
    }

    #[test]
    fn a_selector_gives_the_newest_sample_of_the_lookback(
        samples in samples(),
        lookback in 1..400_u64,
        step in 1..120_i64,
    ) {
        let mut wanted = Vec::new();
        for time in (0..=1500).step_by(step as usize).map(|seconds| seconds * 1000) {
            let newest = samples.iter().rfind(|s| s.timestamp.millis() <= time);
            let fresh = |s: &&Sample| s.timestamp.millis() > time - lookback as i64 * 1000;
            if let Some(sample) = newest.filter(fresh).filter(|s| !model::is_stale(s.value)) {
                wanted.push((time, sample.value));
            }
        }
        let step = Duration::from_secs(step as u64);
        let mut params = Params::range(Timestamp(0), Timestamp(1_500_000), step);
        params.lookback = Duration::from_secs(lookback);
        prop_assert!(close(&answer("x", &samples, params), &wanted));
    }

    #[test]
    fn a_subquery_is_the_function_over_what_its_steps_give(
        samples in samples(),
        range in 1..300_i64,
        inner in 1..70_i64,
    ) {
        let ask = |text: &str, start: i64, end: i64, step: i64| {
            let step = Duration::from_secs(step as u64);
            answer(text, &samples, Params::range(Timestamp(start), Timestamp(end), step))
        };
        // All moments that are multiples of the inner step, from before the first window on.
        let all = ask("x", -inner * 400 * 1000, 1_200_000, inner);
        let mut wanted = Vec::new();
        for time in (0..=1_200_000).step_by(50_000) {
            let inside = all.iter().filter(|(at, _)| time - range * 1000 < *at && *at <= time);
            let values: Vec<f64> = inside.map(|(_, value)| *value).collect();
            if !values.is_empty() {
                wanted.push((time, values.iter().sum()));
            }
        }
        let got = ask(&format!("sum_over_time(x[{range}s:{inner}s])"), 0, 1_200_000, 50);
        prop_assert!(close(&got, &wanted), "got {got:?}, wanted {wanted:?}");
    }
}
