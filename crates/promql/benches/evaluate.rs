//! What queries cost, from memory: `cargo bench -p promql`.

use std::time::Duration;

use divan::Bencher;
use model::{Labels, Sample, Series, Timestamp};
use promql::{Params, Plan, evaluate, parse, plan};

/// Milliseconds between samples.
const INTERVAL: i64 = 15_000;
/// Steps of a range query.
const STEPS: i64 = 1000;
const SERIES: usize = 1000;

fn main() {
    divan::main();
}

/// A counter with a sample every interval, for as long as a query of the benchmarks looks.
fn counter(name: &str, index: usize, extra: Option<(&str, &str)>) -> Series {
    let (host, group) = (format!("host-{index}"), format!("{}", index % 10));
    let labels = [("__name__", name), ("host", &host), ("group", &group), ("job", "bench")];
    let samples =
        (0..STEPS + 20).map(|at| Sample::new(at * INTERVAL, (at * (index as i64 % 7 + 1)) as f64));
    Series {
        labels: Labels::from_pairs(labels.into_iter().chain(extra)),
        samples: samples.collect(),
    }
}

fn counters(count: usize) -> Vec<Series> {
    (0..count).map(|index| counter("x_total", index, None)).collect()
}

fn planned(text: &str) -> Plan {
    let expr = parse(text).expect("the expression is well formed");
    let start = Timestamp(20 * INTERVAL);
    let end = Timestamp((STEPS + 19) * INTERVAL);
    let params = Params::range(start, end, Duration::from_millis(INTERVAL as u64));
    plan(&expr, params).expect("the query is within the limits")
}

fn bench(bencher: Bencher<'_, '_>, text: &str, series: &[Series]) {
    let plan = planned(text);
    let inputs: Vec<Vec<Series>> = plan.selections().iter().map(|_| series.to_vec()).collect();
    bencher.bench_local(|| evaluate(&plan, &inputs, &|| false).map(|output| output.warnings.len()));
}

#[divan::bench(sample_count = 10)]
fn selector(bencher: Bencher<'_, '_>) {
    bench(bencher, "x_total", &counters(SERIES));
}

#[divan::bench(sample_count = 10)]
fn rate(bencher: Bencher<'_, '_>) {
    bench(bencher, "rate(x_total[5m])", &counters(SERIES));
}

#[divan::bench(sample_count = 10)]
fn sum_by(bencher: Bencher<'_, '_>) {
    bench(bencher, "sum by (group) (rate(x_total[5m]))", &counters(SERIES));
}

#[divan::bench(sample_count = 10)]
fn join(bencher: Bencher<'_, '_>) {
    bench(bencher, "x_total / on (host) x_total offset 1m", &counters(SERIES));
}

#[divan::bench(sample_count = 10)]
fn histogram_quantile(bencher: Bencher<'_, '_>) {
    let bounds = ["0.1", "0.2", "0.5", "1", "2", "5", "10", "20", "50", "+Inf"];
    let bucket = |index: usize| counter("x_bucket", index / 10, Some(("le", bounds[index % 10])));
    let buckets: Vec<Series> = (0..SERIES).map(bucket).collect();
    bench(bencher, "histogram_quantile(0.9, rate(x_bucket[5m]))", &buckets);
}

#[divan::bench]
fn parse_long(bencher: Bencher<'_, '_>) {
    let term =
        "sum by (host, group) (rate(requests_total{job=\"api\",code=~\"5..\"}[5m] offset 1h))";
    let text = vec![term; 50].join(" / on (host) group_left (group) ");
    bencher.bench_local(|| parse(&text).map(|expr| expr.span));
}

#[divan::bench]
fn plan_repeated(bencher: Bencher<'_, '_>) {
    let text = vec!["sum(rate(x_total[5m]))"; 50].join(" + ");
    let expr = parse(&text).expect("the expression is well formed");
    bencher.bench_local(|| {
        let plan = plan(&expr, Params::instant(Timestamp(0)));
        plan.map(|plan| plan.selections().len())
    });
}
