//! `/api/v1/query`, `/api/v1/query_range`, `/api/v1/format_query` and `/api/v1/parse_query`.

use std::time::Duration;

use model::Timestamp;
use promql::{Expr, Output, Value};
use wire::prom_api::{self, Notes};

use crate::config::Config;
use crate::error::ApiError;
use crate::params::Params;

const TRUNCATED: &str = "results truncated due to limit";

/// What is asked: an expression, when, and how much of the answer is wanted.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) expr: Expr,
    pub(crate) params: promql::Params,
    /// How long the client will wait.
    pub(crate) timeout: Duration,
    /// Series wanted; 0 is without limit.
    limit: usize,
    /// Whether an answer that was kept will do; `nocache=1` wants a new one.
    pub(crate) may_be_kept: bool,
}

/// An instant query that came in at `now`.
pub(crate) fn instant(
    params: &Params,
    now: Timestamp,
    config: &Config,
) -> Result<Question, ApiError> {
    let at = params.time_or("time", now)?;
    question(params, promql::Params::instant(at), config)
}

/// A range query.
pub(crate) fn range(params: &Params, config: &Config) -> Result<Question, ApiError> {
    let (start, end) = (params.time("start")?, params.time("end")?);
    if end < start {
        return Err(ApiError::parameter("end", "end timestamp must not be before start time"));
    }
    let step = params.step()?;
    if end.since(start).as_millis() / step.as_millis() > config.points_max as u128 {
        let limit = with_thousands(config.points_max);
        let message = format!("exceeded maximum resolution of {limit} points per timeseries");
        return Err(ApiError::bad_data(format!(
            "{message}. Try decreasing the query resolution (?step=XX)"
        )));
    }
    question(params, promql::Params::range(start, end, step), config)
}

fn question(
    params: &Params,
    mut times: promql::Params,
    config: &Config,
) -> Result<Question, ApiError> {
    let limit = params.limit("limit")?;
    let timeout = params
        .duration("timeout")?
        .map_or(config.query_timeout, |asked| asked.min(config.query_timeout));
    times.lookback = params.duration("lookback_delta")?.unwrap_or(config.lookback);
    times.limits.samples_max = config.samples_max;
    let may_be_kept = params.get("nocache").is_none_or(|text| text == "0");
    Ok(Question { expr: expression(params)?, params: times, timeout, limit, may_be_kept })
}

/// The answer of `/api/v1/parse_query`: the tree of the expression in `query`.
pub(crate) fn tree(params: &Params) -> Result<String, ApiError> {
    let tree = promql::ast_json(&expression(params)?);
    Ok(prom_api::success(|out| out.push_str(&tree), &Notes::default()))
}

/// The expression in `query`.
pub(crate) fn expression(params: &Params) -> Result<Expr, ApiError> {
    promql::parse(params.get("query").unwrap_or(""))
        .map_err(|error| ApiError::parameter("query", error))
}

/// Writes the answer to a query; at most `limit` series of it.
pub(crate) fn render(output: Output, limit: usize) -> String {
    // The store holds floats only, so no answer has native histograms.
    let Output { mut value, warnings, infos, histograms: _ } = output;
    let mut notes = Notes { warnings, infos };
    let cut = match &mut value {
        Value::Vector(vector) => truncate(vector, limit),
        Value::Matrix(matrix) => truncate(matrix, limit),
        Value::Scalar(_) | Value::String { .. } => false,
    };
    if cut {
        notes.warnings.insert(0, TRUNCATED.to_owned());
    }
    prom_api::success(
        |out| match &value {
            Value::Scalar(sample) => prom_api::put_scalar(out, sample),
            Value::String { timestamp, text } => prom_api::put_text_result(out, *timestamp, text),
            Value::Vector(vector) => prom_api::put_vector(out, vector),
            Value::Matrix(matrix) => prom_api::put_matrix(out, matrix),
        },
        &notes,
    )
}

impl Question {
    /// How many series of the answer are wanted; 0 is without limit.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }
}

fn truncate<T>(items: &mut Vec<T>, limit: usize) -> bool {
    let cut = limit > 0 && items.len() > limit;
    if cut {
        items.truncate(limit);
    }
    cut
}

fn with_thousands(number: usize) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use model::{Labels, Sample};

    use super::*;

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!(
            [1, 999, 1000, 11_000, 1_234_567].map(with_thousands),
            ["1", "999", "1,000", "11,000", "1,234,567"]
        );
    }

    #[test]
    fn an_answer_is_cut_to_its_limit_with_a_warning() {
        let vector = ["a", "b", "c"]
            .map(|job| (Labels::from_pairs([("job", job)]), Sample::new(1_000, 1.0)));
        let output = Output {
            value: Value::Vector(vector.to_vec()),
            histograms: vec![],
            warnings: vec![],
            infos: vec!["i".into()],
        };
        let json: serde_json::Value =
            serde_json::from_str(&render(output.clone(), 2)).expect("it is JSON");
        assert_eq!(json["data"]["result"].as_array().map(Vec::len), Some(2));
        assert_eq!((&json["warnings"][0], &json["infos"][0]), (&TRUNCATED.into(), &"i".into()));
        let json: serde_json::Value = serde_json::from_str(&render(output, 3)).expect("it is JSON");
        assert_eq!(json.get("warnings"), None);
    }
}
