//! Whatever parses is evaluated without panic, within limits, and the same again. The first bytes choose the
//! data and the times, the rest is the expression.
#![no_main]

use std::cell::Cell;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use model::{Labels, Sample, Selection, Series, Timestamp};
use promql::{Features, Limits, Params, Value, evaluate, parse_with, plan};

const VALUES: [f64; 8] = [0.0, 1.0, -2.5, 1e300, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 7.0];

fuzz_target!(|bytes: &[u8]| {
    let [data, start, step, text @ ..] = bytes else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let Ok(expr) = parse_with(text, Features::all()) else { return };
    let start = Timestamp(i64::from(*start) * 1000 - 10_000);
    let mut params = match step {
        0..100 => Params::instant(start),
        _ => Params::range(
            start,
            start.plus(Duration::from_secs(120)),
            Duration::from_secs(u64::from(*step) / 10),
        ),
    };
    params.limits = Limits { samples_max: 20_000, series_max: 500, ..Limits::default() };
    let limits = params.limits;
    let Ok(plan) = plan(&expr, params) else { return };
    let all = series(u64::from(*data));
    let inputs: Vec<Vec<Series>> =
        plan.selections().iter().map(|selection| answer(selection, &all)).collect();
    // Time is counted in questions, so that a run is the same again.
    let run = || {
        let asked = Cell::new(0);
        evaluate(&plan, &inputs, &|| {
            asked.set(asked.get() + 1);
            asked.get() > 20_000
        })
    };
    let first = run();
    assert_eq!(format!("{first:?}"), format!("{:?}", run()));
    if let Ok(output) = first {
        let count = match &output.value {
            Value::Matrix(series) => series.iter().map(|series| series.samples.len()).sum(),
            Value::Vector(elements) => elements.len(),
            Value::Scalar(_) | Value::String { .. } => 1,
        };
        assert!(count <= limits.samples_max, "{count} samples");
    }
});

fn series(seed: u64) -> Vec<Series> {
    let mut all = Vec::new();
    for (name, a) in [("x", "1"), ("x", "2"), ("y_total", "1"), ("b_bucket", "1"), ("b_bucket", "2")] {
        for le in ["0.5", "1", "+Inf"] {
            let labels = Labels::from_pairs([("__name__", name), ("a", a), ("le", le)]);
            let salt = seed.wrapping_mul(labels.hash() | 1);
            let sample = |round: u64| {
                let mixed = salt.wrapping_mul(2 * round + 1) >> 7;
                let value = match mixed % 16 {
                    index @ 0..8 => VALUES[index as usize],
                    8 => model::stale_nan(),
                    _ => round as f64 * 3.0,
                };
                (mixed % 5 != 0).then(|| Sample::new(round as i64 * 15_000, value))
            };
            all.push(Series { labels, samples: (0..20).filter_map(sample).collect() });
        }
    }
    all
}

fn answer(selection: &Selection, all: &[Series]) -> Vec<Series> {
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
    all.iter().filter(picked).map(cut).collect()
}
