//! Limits hold, and a caller can stop an evaluation.

use std::cell::Cell;
use std::time::Duration;

use model::{Labels, Sample, Series, Timestamp};
use promql::{EvalError, Limits, Params, Plan, PlanError, Value, parse, plan};

fn planned(text: &str, limits: Limits) -> Result<Plan, PlanError> {
    let mut params = Params::range(Timestamp(0), Timestamp(600_000), Duration::from_secs(1));
    params.limits = limits;
    plan(&parse(text).expect("the expression is well formed"), params)
}

fn inputs(plan: &Plan, count: usize) -> Vec<Vec<Series>> {
    let series = |index: usize| Series {
        labels: Labels::from_pairs([("__name__", "x"), ("i", &index.to_string())]),
        samples: (0..600).map(|second| Sample::new(second * 1000, second as f64)).collect(),
    };
    plan.selections().iter().map(|_| (0..count).map(series).collect()).collect()
}

#[test]
fn too_many_samples_end_the_query() {
    let limits = Limits { samples_max: 10_000, ..Limits::default() };
    let plan = planned("rate(x[1m]) * 2", limits).expect("it is small enough to plan");
    assert!(promql::evaluate(&plan, &inputs(&plan, 4), &|| false).is_ok());
    let refused = promql::evaluate(&plan, &inputs(&plan, 20), &|| false);
    assert_eq!(refused, Err(EvalError::TooManySamples { limit: 10_000 }));
}

#[test]
fn too_many_series_end_the_query() {
    let plan = planned("x", Limits { series_max: 3, ..Limits::default() })
        .expect("it is small enough to plan");
    let refused = promql::evaluate(&plan, &inputs(&plan, 4), &|| false);
    assert_eq!(refused, Err(EvalError::TooManySeries { limit: 3 }));
}

#[test]
fn a_subquery_with_too_many_steps_is_refused_before_it_runs() {
    let error = planned("sum_over_time(x[1y:1ms])", Limits::default()).map(|_| ());
    assert!(matches!(error, Err(PlanError::TooManySteps { .. })), "{error:?}");
}

#[test]
fn nesting_beyond_the_limit_is_refused() {
    let error =
        planned("abs(abs(abs(x)))", Limits { depth_max: 3, ..Limits::default() }).map(|_| ());
    assert!(matches!(error, Err(PlanError::TooDeep { limit: 3, .. })), "{error:?}");
}

#[test]
fn a_query_can_be_cancelled_while_it_runs() {
    let plan = planned("sum(rate(x[1m]))", Limits::default()).expect("it is small enough to plan");
    let asked = Cell::new(0);
    let cancelled = || {
        asked.set(asked.get() + 1);
        asked.get() > 3
    };
    assert_eq!(promql::evaluate(&plan, &inputs(&plan, 10), &cancelled), Err(EvalError::Cancelled));
}

#[test]
fn the_number_of_inputs_must_be_that_of_the_selections() {
    let plan = planned("x + y", Limits::default()).expect("it is small enough to plan");
    assert_eq!(
        promql::evaluate(&plan, &[], &|| false),
        Err(EvalError::Inputs { expected: 2, got: 0 })
    );
}

#[test]
fn the_deepest_expression_fits_a_small_stack() {
    let text = format!("{}x{}", "-(".repeat(126), ")".repeat(126));
    on_small_stack(move || {
        let plan = planned(&text, Limits::default()).expect("it is just small enough");
        assert!(promql::evaluate(&plan, &inputs(&plan, 1), &|| false).is_ok());
    });
}

fn on_small_stack(work: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new()
        .stack_size(1 << 20)
        .spawn(work)
        .expect("a thread can be started");
    thread.join().expect("the thread does not panic");
}

#[test]
fn a_chain_of_operators_is_not_nested() {
    on_small_stack(|| {
        let operands = 10_001;
        for (operand, operator) in
            [("x", " + "), ("x", " or "), ("1", " * "), ("x{a=\"b\"}", " > ")]
        {
            let text = vec![operand; operands].join(operator);
            let expr = parse(&text).expect("it has as many operators as there may be");
            let copy = expr.clone();
            assert_eq!(copy, expr);
            assert_eq!(expr.to_string(), text);
            assert!(format!("{expr:?}").len() > text.len());
            assert_eq!(promql::ast_json(&expr).matches("binaryExpr").count(), operands - 1);
            assert_eq!(parse(&expr.pretty()), Ok(expr.clone()));
            promql::output_labels(&expr);
            let output = promql::RuleOutput::Record("r");
            assert_eq!(promql::rule_batches(&[promql::RuleNode { output, expr: &expr }]).len(), 1);
            let plan = plan(&expr, Params::instant(Timestamp(60_000))).expect("it is not deep");
            drop((expr, copy));
            let output =
                promql::evaluate(&plan, &inputs(&plan, 1), &|| false).expect("it is small");
            if (operand, operator) == ("x", " + ") {
                let sample = Sample::new(60_000, 60.0 * operands as f64);
                let labels = Labels::from_pairs([("i", "0")]);
                assert_eq!(output.value, Value::Vector(vec![(labels, sample)]));
            }
        }
    });
}

#[test]
fn parts_of_a_chain_are_shared_and_pinned_as_others_are() {
    let ask = |text: &str| {
        let mut params = Params::range(Timestamp(0), Timestamp(60_000), Duration::from_secs(10));
        params.limits.samples_max = 100_000;
        let plan = plan(&parse(text).expect("it is well formed"), params).expect("it is small");
        promql::evaluate(&plan, &inputs(&plan, 2), &|| false).expect("it is small").value
    };
    let sums = "sum(x) + count(x) - 1";
    assert_eq!(
        ask(&format!("({sums}) * ({sums} + 5)")),
        ask(&format!("({sums}) * (5 + ({sums}))"))
    );
    assert_eq!(ask("x @ 30 + x @ 10 * 2 - x"), ask("(x @ 30 + (x @ 10) * 2) - x"));
    assert_eq!(ask("1 + 2 + x @ 30 + x"), ask("3 + (x @ 30 + x)"));
}

#[test]
fn a_series_a_value_counts_against_the_limit_too() {
    let limits = Limits { samples_max: 50_000, ..Limits::default() };
    let plan = planned("count_values(\"v\", x)", limits).expect("it is small enough to plan");
    let refused = promql::evaluate(&plan, &inputs(&plan, 1), &|| false);
    assert_eq!(refused, Err(EvalError::TooManySamples { limit: 50_000 }));
}

#[test]
fn labels_cannot_be_doubled_without_end() {
    let nested = |levels: usize| {
        let (open, close) =
            ("label_join(".repeat(levels), ", \"a\", \"\", \"a\", \"a\")".repeat(levels));
        format!("{open}label_replace(x, \"a\", \"0123456789\", \"i\", \".*\"){close}")
    };
    for (levels, fits) in [(10, true), (60, false)] {
        let plan = planned(&nested(levels), Limits::default()).expect("it is small enough to plan");
        let outcome = promql::evaluate(&plan, &inputs(&plan, 1), &|| false);
        assert_eq!(outcome.is_ok(), fits, "{levels} levels");
        if let Err(fault) = outcome {
            assert!(fault.to_string().contains("limit 65536"), "{fault}");
        }
    }
}

#[test]
fn a_pinned_value_is_not_spread_over_more_steps_than_may_be_held() {
    let limits = Limits { samples_max: 10_000, ..Limits::default() };
    let plan = planned("x @ 60", limits).expect("it is small enough to plan");
    let mut inputs = inputs(&plan, 20);
    inputs.iter_mut().flatten().for_each(|series| series.samples.truncate(1));
    inputs.iter_mut().flatten().for_each(|series| series.samples[0].timestamp = Timestamp(59_000));
    let refused = promql::evaluate(&plan, &inputs, &|| false);
    assert_eq!(refused, Err(EvalError::TooManySamples { limit: 10_000 }));
}

#[test]
fn wide_windows_ask_more_often_whether_to_go_on() {
    let asked = |text: &str| {
        let plan = planned(text, Limits::default()).expect("it is small enough to plan");
        let count = Cell::new(0);
        let go_on = || {
            count.set(count.get() + 1);
            false
        };
        promql::evaluate(&plan, &inputs(&plan, 1), &go_on).expect("nothing stops it");
        count.get()
    };
    assert!(asked("quantile_over_time(0.5, x[10m])") > asked("quantile_over_time(0.5, x[10s])"));
}

#[test]
fn long_loops_ask_whether_to_go_on() {
    let asked_after_input = |text: &str, count: usize| {
        let expr = promql::parse_with(text, promql::Features::all()).expect("it is well formed");
        let plan = plan(&expr, Params::instant(Timestamp(60_000))).expect("it is small");
        let asked = Cell::new(0);
        let go_on = || {
            asked.set(asked.get() + 1);
            false
        };
        promql::evaluate(&plan, &inputs(&plan, count), &go_on).expect("nothing stops it");
        asked.get()
    };
    for text in [
        "x and x",
        "x or x",
        "sum(x)",
        "stddev by (i) (x)",
        "count_values(\"v\", x)",
        "label_replace(x, \"a\", \"b\", \"\", \"\")",
        "label_join(x, \"a\", \"b\", \"i\")",
    ] {
        let (few, many) = (asked_after_input(text, 10), asked_after_input(text, 110));
        let selectors = text.matches('x').count().min(2) - usize::from(text.contains("\"a\""));
        assert!(many - few >= 100 * (selectors.max(1) + 1), "{text}: {few}, {many}");
    }
    let plain = asked_after_input("x", 10);
    for text in ["quantile(0.5, x)", "topk(1, x)", "sort(x)", "sort_by_label(x, \"i\")"] {
        assert!(asked_after_input(text, 10) > plain + 1, "{text}");
    }
}
