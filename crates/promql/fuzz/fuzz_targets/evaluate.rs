//! Random expressions over random small data: an answer or an error, the same every time.
#![no_main]

use std::time::Duration;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use model::{Labels, Sample, Selection, Series, Timestamp};
use promql::{Features, Limits, Params, evaluate, parse_with, plan};

/// Shapes with holes for what is inside of them.
const SHAPES: [&str; 24] = [
    "sum by (a) ({})",
    "topk(2, {})",
    "quantile without (b) (0.5, {})",
    "count_values(\"v\", {})",
    "{} + on (a) {}",
    "{} / ignoring (b) {}",
    "{} and {}",
    "{} or {}",
    "{} unless {}",
    "{} > bool {}",
    "-({})",
    "abs({})",
    "absent({})",
    "timestamp({})",
    "histogram_quantile(0.9, {})",
    "label_replace({}, \"c\", \"$1\", \"a\", \"(.*)\")",
    "clamp({}, scalar({}), 5)",
    "rate(({})[2m:30s])",
    "max_over_time(({})[90s:15s] offset 30s)",
    "stddev_over_time(({})[1m:10s] @ end())",
    "predict_linear(({})[1m:10s], 60)",
    "sort_desc({})",
    "round({}, 0.5)",
    "{} ^ {} % {}",
];

const LEAVES: [&str; 10] = [
    "x",
    "y_total",
    "x{a=\"1\"}",
    "{a=~\"1|2\"}",
    "rate(y_total[1m])",
    "increase(y_total[90s] offset 15s)",
    "sum_over_time(x[1m] @ 60)",
    "x @ start()",
    "vector(time())",
    "deriv(x[2m])",
];

#[derive(Debug, Arbitrary)]
struct Input {
    /// Chooses shapes, outermost first; then leaves.
    choices: Vec<u8>,
    /// Name and labels by the number, then a value every 15 s; `None` is a gap.
    series: Vec<(u8, Vec<Option<f64>>)>,
    start: i16,
    steps: u8,
    step: u8,
}

fn expression(choices: &mut impl Iterator<Item = u8>, depth: usize) -> String {
    let choice = usize::from(choices.next().unwrap_or(0));
    if depth == 0 || choice % 3 == 0 {
        return LEAVES[choice % LEAVES.len()].to_owned();
    }
    let parts: Vec<&str> = SHAPES[choice % SHAPES.len()].split("{}").collect();
    let mut text = parts[0].to_owned();
    for part in &parts[1..] {
        text.push_str(&format!("({})", expression(choices, depth - 1)));
        text.push_str(part);
    }
    text
}

fn series((number, values): &(u8, Vec<Option<f64>>)) -> Series {
    let name = if number % 2 == 0 { "x" } else { "y_total" };
    let (a, b) = (number / 2 % 3, number / 6 % 3);
    let sample = |(index, value): (usize, &Option<f64>)| Some(Sample::new(index as i64 * 15_000, (*value)?));
    Series {
        labels: Labels::from_pairs([("__name__", name), ("a", &a.to_string()), ("b", &b.to_string())]),
        samples: values.iter().take(20).enumerate().filter_map(sample).collect(),
    }
}

fuzz_target!(|input: Input| {
    let text = expression(&mut input.choices.iter().copied(), 4);
    let expr = parse_with(&text, Features::all()).unwrap_or_else(|fault| panic!("{text}: {fault}"));
    let mut all: Vec<Series> = input.series.iter().take(8).map(series).collect();
    all.sort_by(|a, b| a.labels.cmp(&b.labels));
    all.dedup_by(|a, b| a.labels == b.labels);
    let start = i64::from(input.start) * 100;
    let step = Duration::from_secs(u64::from(input.step));
    let end = start + i64::from(input.steps % 40) * step.as_millis() as i64;
    let mut params = Params::range(Timestamp(start), Timestamp(end), step);
    params.limits = Limits { samples_max: 100_000, ..Limits::default() };
    let Ok(plan) = plan(&expr, params) else { return };
    let answer = |selection: &Selection| {
        let matches = |series: &&Series| selection.matchers.iter().all(|m| m.matches_labels(&series.labels));
        let cut = |series: &Series| {
            let inside = |sample: &&Sample| {
                selection.start <= sample.timestamp && sample.timestamp <= selection.end
            };
            let samples = series.samples.iter().filter(inside).copied().collect();
            Series { labels: series.labels.clone(), samples }
        };
        all.iter().filter(matches).map(cut).collect::<Vec<Series>>()
    };
    let inputs: Vec<Vec<Series>> = plan.selections().iter().map(answer).collect();
    let run = || format!("{:?}", evaluate(&plan, &inputs, &|| false));
    assert_eq!(run(), run(), "{text}");
});
