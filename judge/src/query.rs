//! Asks the store what a rule wants to know.

use std::time::Duration;

use model::{Labels, Timestamp};
use promql::{Expr, Params, Value};
use storage::Reader;
use tokio::time::Instant;

/// The instant vector of an expression at a moment; a scalar is one element without labels. The error says why there
/// is no answer: then the rule keeps its state, since no answer is not an empty answer.
pub(crate) async fn vector(
    reader: &Reader,
    expr: &Expr,
    at: Timestamp,
    timeout: Duration,
) -> Result<Vec<(Labels, f64)>, String> {
    let begun = Instant::now();
    let too_long = || format!("the query took longer than {}", model::format_duration(timeout));
    let plan = promql::plan(expr, Params::instant(at)).map_err(|error| error.to_string())?;
    let mut inputs = Vec::with_capacity(plan.selections().len());
    for selection in plan.selections() {
        let left = timeout.saturating_sub(begun.elapsed());
        let series = tokio::time::timeout(left, reader.select(selection)).await.map_err(|_| too_long())?;
        inputs.push(series.map_err(|error| error.to_string())?);
    }
    let is_late = || begun.elapsed() >= timeout;
    let output = promql::evaluate(&plan, &inputs, &is_late)
        .map_err(|error| if is_late() { too_long() } else { error.to_string() })?;
    match output.value {
        Value::Vector(vector) => {
            Ok(vector.into_iter().map(|(labels, sample)| (labels, sample.value)).collect())
        }
        Value::Scalar(sample) => Ok(vec![(Labels::empty(), sample.value)]),
        Value::String { .. } => Err("the expression gives a text; a rule needs an instant vector".to_owned()),
        Value::Matrix(_) => {
            Err("the expression gives a range vector; a rule needs an instant vector".to_owned())
        }
    }
}
