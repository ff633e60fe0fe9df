//! Runs the commands of a file.

use std::time::Duration;

use model::Timestamp;
use promql::{At, Expr, Features, Output, Params, Value};

use super::compare::{Got, GotSeries, joined};
use super::format::{Command, Eval, When, read};
use super::store::Store;
use super::{compare, rewrite};

/// How many evaluations passed, and what the others did.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) passed: usize,
    pub(crate) failures: Vec<Failure>,
}

/// An evaluation that did not do what its file says.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) line: usize,
    pub(crate) expr: String,
    pub(crate) difference: String,
}

/// Runs the text of a test file; an error means that the file itself cannot be read.
pub(crate) fn run(text: &str) -> Result<Report, String> {
    let mut store = Store::default();
    let mut report = Report::default();
    for command in read(text)? {
        match command {
            Command::Clear => store = Store::default(),
            Command::Load { step, series, starts } => {
                series.iter().for_each(|(labels, items)| store.load(labels, items, step));
                starts.iter().for_each(|(labels, items)| store.load_starts(labels, items, step));
            }
            Command::Eval(eval) => match check(&store, &eval) {
                Ok(()) => report.passed += 1,
                Err(difference) => {
                    report.failures.push(Failure { line: eval.line, expr: eval.expr, difference });
                }
            },
        }
    }
    Ok(report)
}

fn check(store: &Store, eval: &Eval) -> Result<(), String> {
    let params = match eval.when {
        When::Instant(at) => Params::instant(Timestamp(at)),
        When::Range(times) => range_params(times.start, times.end, times.step),
    };
    let expr =
        promql::parse_with(&eval.expr, Features::all()).map_err(|error| error.message().to_owned());
    let outcome = expr.and_then(|expr| evaluate(store, &expr, params).map(|output| (expr, output)));
    let (expr, output) = match (outcome, &eval.fail) {
        (Ok(outcome), None) => outcome,
        (Err(message), Some(text)) if text.accepts(&message) => return Ok(()),
        (Err(message), _) => {
            return Err(format!("want {:?}\n      got error {message:?}", eval.fail));
        }
        (Ok((_, output)), Some(text)) => {
            return Err(format!("want error {text:?}\n      got {:?}", output.value));
        }
    };
    compare::annotations(eval, &output)?;
    compare::value(eval, &output)?;
    let When::Instant(at) = eval.when else { return Ok(()) };
    repeat(store, eval, &expr, at)
}

/// The result must be the same when the expression is pinned and evaluated at other times, and in a
/// range query.
fn repeat(store: &Store, eval: &Eval, expr: &Expr, at: i64) -> Result<(), String> {
    let mut pinned = expr.clone();
    rewrite::pin(&mut pinned, At::Millis(at));
    let mut cases = vec![(expr.clone(), at)];
    if rewrite::can_be_pinned(expr) {
        // Through its text, so that printing is tested along.
        let text = pinned.to_string();
        let again = promql::parse_with(&text, Features::all())
            .map_err(|error| format!("{text}: {error}"))?;
        if again != pinned {
            return Err(format!("printing and parsing changed {text}"));
        }
        let times =
            if at == 0 { vec![-1000, 0, 1000] } else { vec![-10 * at, 0, at / 5, at, 10 * at] };
        cases.extend(times.into_iter().map(|time| (again.clone(), time)));
    }
    for (expr, time) in cases {
        let context = |fault: String| format!("{expr} at {time}: {fault}");
        let output = evaluate(store, &expr, Params::instant(Timestamp(time))).map_err(context)?;
        compare::value(eval, &output).map_err(context)?;
        let special = eval.string.is_some() || eval.range_vector.is_some() || eval.ordered;
        if special || rewrite::knows_the_query(&expr) {
            continue;
        }
        let context = |fault: String| format!("{expr} around {time}: {fault}");
        let output = evaluate(store, &expr, range_params(time - 60_000, time + 60_000, 60_000))
            .map_err(context)?;
        compare_middle(eval, &output, time).map_err(context)?;
    }
    Ok(())
}

fn compare_middle(eval: &Eval, output: &Output, time: i64) -> Result<(), String> {
    let Value::Matrix(series) = &output.value else { return Err("want a range vector".to_owned()) };
    let at = |(labels, samples): GotSeries| {
        let found = samples.into_iter().find(|(at, _)| *at == time)?;
        Some((labels, found.1))
    };
    let elements: Vec<_> = joined(series, &output.histograms).into_iter().filter_map(at).collect();
    match (eval.scalar, elements.as_slice()) {
        (Some(_), [(_, Got::Float(value))]) => compare::scalar(eval, *value),
        _ => compare::vector(eval, &elements),
    }
}

fn range_params(start: i64, end: i64, step: i64) -> Params {
    let step = Duration::from_millis(u64::try_from(step).unwrap_or(1));
    Params::range(Timestamp(start), Timestamp(end), step)
}

fn evaluate(store: &Store, expr: &Expr, params: Params) -> Result<Output, String> {
    let params = Params { delayed_name_removal: true, ..params };
    let plan = promql::plan(expr, params).map_err(|error| error.to_string())?;
    let inputs: Vec<_> =
        plan.selections().iter().map(|selection| store.select(selection)).collect();
    promql::evaluate_samples(&plan, &inputs, &|| false).map_err(|error| error.to_string())
}
