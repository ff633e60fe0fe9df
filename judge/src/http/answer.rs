//! Answers in Prometheus' envelope.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;
use wire::prom_api::{self, ErrorKind, Notes};

use crate::rule_fault::Fault;

/// Faults that one answer lists; the rest is counted.
const FAULTS_LISTED_MAX: usize = 100;

/// `{"status":"success","data":…}`
pub(crate) fn success<T: Serialize>(answer: &T) -> Response {
    let body = prom_api::success(|out| prom_api::put_json(out, answer), &Notes::default());
    json_text(StatusCode::OK, body)
}

/// As [`success`], for something that has a version: the next change can say that it is meant for this one.
pub(crate) fn versioned<T: Serialize>(answer: &T, version: i64) -> Response {
    let mut response = success(answer);
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{version}\"")) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

/// `{"status":"error",…}` with the status of the kind.
pub(crate) fn failure(kind: ErrorKind, message: &str) -> Response {
    let status =
        StatusCode::from_u16(kind.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    json_text(status, prom_api::error(kind, message))
}

/// `{"status":"error",…}` with a status that Prometheus has no word for.
pub(crate) fn refused(status: StatusCode, message: &str) -> Response {
    json_text(status, prom_api::error(ErrorKind::BadData, message))
}

/// One fault a line, so that none of them has to be found in a second attempt, and each by itself in `faults`.
pub(crate) fn faulty(faults: &[Fault]) -> Response {
    let lines: Vec<String> = faults.iter().map(Fault::to_string).collect();
    let listed: Vec<_> = faults.iter().take(FAULTS_LISTED_MAX).map(fault_json).collect();
    let body = json!({
        "status": "error",
        "errorType": ErrorKind::BadData.as_str(),
        "error": lines.join("\n"),
        "faults": listed,
    });
    json_text(StatusCode::BAD_REQUEST, body.to_string())
}

/// A fault with its places: `line` in the text, and `expr` within the expression.
pub(crate) fn fault_json(fault: &Fault) -> serde_json::Value {
    let place = expression_place(&fault.message);
    json!({
        "file": fault.file,
        "line": fault.line,
        "group": fault.group,
        "rule": fault.rule,
        "message": fault.message,
        "expr": place.map(|(line, column)| json!({ "line": line, "column": column })),
    })
}

/// The place that the message of a fault in an expression begins with.
pub(crate) fn expression_place(message: &str) -> Option<(usize, usize)> {
    let (line, rest) = message.strip_prefix("expr ")?.split_once(':')?;
    let (column, _) = rest.split_once(':')?;
    Some((line.parse().ok()?, column.parse().ok()?))
}

/// The database is away or fails: nothing was changed.
pub(crate) fn internal(error: db::DbError) -> Response {
    let error = anyhow::Error::from(error);
    tracing::error!(error = %format!("{error:#}"), "a request for rule groups failed");
    failure(ErrorKind::Internal, &format!("{error:#}"))
}

fn json_text(status: StatusCode, body: String) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_a_fault_in_an_expression_is_found() {
        let error = promql::parse("up ==\n  )").expect_err("no operand");
        let place = expression_place(&format!("expr {error}"));
        assert_eq!(place, Some((error.line(), error.column())));
        assert_eq!(expression_place("label \"x\": 1:2: no"), None);
        assert_eq!(expression_place("expr nothing"), None);
    }
}
