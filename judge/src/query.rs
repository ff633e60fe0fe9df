//! Asks the store what a rule wants to know.

use std::time::Duration;

use model::{Labels, Timestamp};
use promql::{Expr, Params, Value};
use storage::Reader;

/// The instant vector of an expression at a moment; a scalar is one element without labels. The error says
/// why there is no answer: then the rule keeps its state, since no answer is not an empty answer.
pub(crate) async fn vector(
    reader: &Reader,
    expr: &Expr,
    at: Timestamp,
    timeout: Duration,
) -> anyhow::Result<Vec<(Labels, f64)>> {
    let output = storage::query(reader, expr, Params::instant(at), timeout).await?;
    match output.value {
        Value::Vector(vector) => {
            Ok(vector.into_iter().map(|(labels, sample)| (labels, sample.value)).collect())
        }
        Value::Scalar(sample) => Ok(vec![(Labels::empty(), sample.value)]),
        Value::String { .. } => {
            anyhow::bail!("the expression gives a text; a rule needs an instant vector")
        }
        Value::Matrix(_) => {
            anyhow::bail!("the expression gives a range vector; a rule needs an instant vector")
        }
    }
}
