//! What occurs twice is computed once, and nobody can tell but by the time it takes.

use std::cell::Cell;
use std::time::Duration;

use model::{Labels, Sample, Series, Timestamp};
use promql::{Limits, Output, Params, evaluate, parse, plan};

fn series(count: usize) -> Vec<Series> {
    let one = |index: usize| Series {
        labels: Labels::from_pairs([("__name__", "x_total"), ("i", &index.to_string())]),
        samples: (0..60).map(|minute| Sample::new(minute * 15_000, (minute * 3) as f64)).collect(),
    };
    (0..count).map(one).collect()
}

fn run(text: &str, limits: Limits) -> Result<(Output, usize), promql::EvalError> {
    let mut params = Params::range(Timestamp(0), Timestamp(900_000), Duration::from_secs(15));
    params.limits = limits;
    let expr = parse(text).expect("the expression is well formed");
    let plan = plan(&expr, params).expect("it is within the limits");
    let inputs: Vec<Vec<Series>> = plan.selections().iter().map(|_| series(50)).collect();
    let asked = Cell::new(0);
    let count = || {
        asked.set(asked.get() + 1);
        false
    };
    evaluate(&plan, &inputs, &count).map(|output| (output, asked.get()))
}

/// How often the evaluation looked whether it was cancelled: at least once a series it computed.
fn work(text: &str) -> usize {
    run(text, Limits::default()).expect("it is within the limits").1
}

#[test]
fn a_repeated_subexpression_costs_nothing() {
    let twice = work("rate(x_total[5m]) + rate(x_total[6m])");
    assert!(work("rate(x_total[5m]) + rate(x_total[5m])") + 50 <= twice);
    let once = work("sum(rate(x_total[5m]))");
    let text = "sum(rate(x_total[5m])) / (sum(rate(x_total[5m])) + sum(rate(x_total[5m])))";
    assert!(work(text) < once + 20);
}

#[test]
fn a_shared_result_is_the_one_it_would_be_alone() {
    let shared = run("rate(x_total[5m]) * 2 - rate(x_total[5m])", Limits::default()).unwrap().0;
    let alone = run("rate(x_total[5m]) * 2 - rate(x_total[300s])", Limits::default()).unwrap().0;
    assert_eq!(shared, alone);
}

#[test]
fn annotations_point_at_every_place() {
    let found = run("quantile(2, x_total) + quantile(2, x_total)", Limits::default()).unwrap().0;
    assert_eq!(found.warnings.len(), 2, "{:?}", found.warnings);
    assert!(
        found.warnings[0].contains("(1:10)") && found.warnings[1].contains("(1:33)"),
        "{found:?}"
    );
}

#[test]
fn results_are_not_kept_beyond_the_limit() {
    let text = "count(rate(x_total[5m]) > 0) + count(count_over_time(x_total[5m])) + count(rate(x_total[5m]))";
    let samples = 50 * 61;
    // Room for the input and one intermediate result, and a little more.
    let limits = Limits { samples_max: 2 * samples + 500, ..Limits::default() };
    let (output, asked) = run(text, limits).unwrap();
    assert_eq!(output, run(text, Limits::default()).unwrap().0);
    assert!(asked > work(text));
}
