//! Measures expressions over a store in memory: `cargo run --release -p storage --example
//! expression [series] [steps] [expression]`.
//!
//! The default is `rate(x[5m])` over 1000 series and 1000 steps of 10 s, with a sample each 10 s and
//! now and then a counter that starts anew. Prints CPU time a point of the answer: for fetching and
//! evaluating, and for evaluating alone.

use std::fs;
use std::io::Write;
use std::time::Duration;

use model::{Labels, Sample, Series, Timestamp};
use promql::{Output, Params, Value};
use storage::{Batch, Limits, Storage};

const START: i64 = 1_760_000_000_000;
const STEP_MILLIS: i64 = 10_000;
const WINDOW_MILLIS: i64 = 300_000;
const ROUNDS: usize = 9;

fn series(number: usize, samples: i64) -> Series {
    let labels = Labels::from_pairs([
        ("__name__", "x_total".to_owned()),
        ("endpoint", format!("host-{number:05}.dc1.example.com")),
        ("device", format!("eth{}", number % 4)),
    ]);
    let mut value = 0.0;
    let mut seed = number as u64;
    let samples = (0..samples).map(|at| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        value = if seed >> 33 & 0x3fff == 0 { 0.0 } else { value + (seed >> 54) as f64 };
        Sample::new(START + at * STEP_MILLIS, value)
    });
    Series { labels, samples: samples.collect() }
}

fn cpu_seconds() -> f64 {
    let tasks = fs::read_dir("/proc/self/task").expect("/proc is mounted");
    let nanos = tasks.flatten().filter_map(|task| {
        let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<f64>().ok()
    });
    nanos.sum::<f64>() / 1e9
}

fn points(output: &Output) -> usize {
    match &output.value {
        Value::Matrix(matrix) => matrix.iter().map(|series| series.samples.len()).sum(),
        Value::Vector(vector) => vector.len(),
        Value::Scalar(_) | Value::String { .. } => 1,
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut number =
        |default: i64| arguments.next().map_or(default, |text| text.parse().expect("a number"));
    let (count, steps) = (number(1_000), number(1_000));
    let text = arguments.next().unwrap_or_else(|| "rate(x_total[5m])".to_owned());
    let storage = Storage::memory(Limits { retention: Duration::MAX, ..Limits::default() });
    let before = WINDOW_MILLIS / STEP_MILLIS;
    for number in 0..count {
        let batch =
            Batch { series: vec![series(number as usize, before + steps)], metadata: Vec::new() };
        storage.writer().write(batch).await.expect("memory takes it");
    }
    let expr = promql::parse(&text).expect("it is PromQL");
    let start = START + WINDOW_MILLIS;
    let end = start + (steps - 1) * STEP_MILLIS;
    let step = Duration::from_millis(STEP_MILLIS.unsigned_abs());
    let params = Params::range(Timestamp(start), Timestamp(end), step);
    let (mut whole, mut evaluated) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let begun = cpu_seconds();
        let output = storage::query(&storage.reader(), &expr, params.clone(), Duration::MAX).await;
        whole.push((cpu_seconds() - begun) * 1e9 / points(&output.expect("it is good")) as f64);
        let plan = promql::plan(&expr, params.clone()).expect("it fits");
        let mut inputs = Vec::new();
        for selection in plan.selections() {
            inputs.push(storage.reader().select(selection).await.expect("the store can be read"));
        }
        let begun = cpu_seconds();
        let output = promql::evaluate(&plan, &inputs, &|| false).expect("it is good");
        evaluated.push((cpu_seconds() - begun) * 1e9 / points(&output) as f64);
    }
    let line = format!(
        "{text}: {count} series x {steps} steps: {:.1} ns a point, of which {:.1} ns evaluation",
        median(whole),
        median(evaluated)
    );
    writeln!(std::io::stdout(), "{line}").expect("the output is open");
}
