//! What a request that fails is answered.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use promql::EvalError;
use storage::{QueryError, ReadError, RemoteError};
use wire::prom_api::{self, ErrorKind};

/// An error of the API: its kind and a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    pub(crate) kind: ErrorKind,
    pub(crate) message: String,
}

impl ApiError {
    /// A parameter is wrong, in Prometheus' wording.
    pub(crate) fn parameter(name: &str, fault: impl std::fmt::Display) -> Self {
        Self { kind: ErrorKind::BadData, message: format!("invalid parameter {name:?}: {fault}") }
    }

    /// Something that is needed for an answer is away.
    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self { kind: ErrorKind::Unavailable, message: message.into() }
    }

    /// Something else about the request is wrong.
    pub(crate) fn bad_data(message: impl Into<String>) -> Self {
        Self { kind: ErrorKind::BadData, message: message.into() }
    }
}

impl From<QueryError> for ApiError {
    fn from(error: QueryError) -> Self {
        let kind = match &error {
            QueryError::Plan(error) => return Self::parameter("query", error),
            QueryError::Evaluate(EvalError::Cancelled) => ErrorKind::Canceled,
            QueryError::Evaluate(_) => ErrorKind::Execution,
            QueryError::TimedOut(_) => ErrorKind::Timeout,
            QueryError::Remote(error) => kind_of(error),
            QueryError::Damaged(_) | QueryError::Interrupted => ErrorKind::Internal,
        };
        Self { kind, message: daemon::error_chain(&error) }
    }
}

impl From<ReadError> for ApiError {
    fn from(error: ReadError) -> Self {
        let kind = match &error {
            ReadError::Remote(error) => kind_of(error),
            _ => ErrorKind::Internal,
        };
        Self { kind, message: daemon::error_chain(&error) }
    }
}

/// What a store behind the network said, in the same words.
fn kind_of(error: &RemoteError) -> ErrorKind {
    let all = [
        ErrorKind::BadData,
        ErrorKind::Execution,
        ErrorKind::Canceled,
        ErrorKind::Timeout,
        ErrorKind::Unavailable,
        ErrorKind::NotFound,
    ];
    all.into_iter().find(|kind| kind.as_str() == error.kind()).unwrap_or(ErrorKind::Internal)
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.kind.http_status())
            .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        json(status, prom_api::error(self.kind, &self.message))
    }
}

/// A JSON answer.
pub(crate) fn json(status: StatusCode, body: String) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn check(error: QueryError, kind: ErrorKind) {
        assert_eq!(ApiError::from(error).kind, kind);
    }

    #[test]
    fn every_failure_of_a_query_has_its_kind() {
        check(QueryError::Evaluate(EvalError::Cancelled), ErrorKind::Canceled);
        check(QueryError::Evaluate(EvalError::ManyToOne), ErrorKind::Execution);
        check(QueryError::TimedOut(Duration::from_secs(1)), ErrorKind::Timeout);
        check(QueryError::Interrupted, ErrorKind::Internal);
        check(QueryError::Plan(promql::PlanError::EndBeforeStart), ErrorKind::BadData);
    }

    #[test]
    fn the_status_follows_the_kind() {
        assert_eq!(
            ApiError::parameter("time", "x").into_response().status(),
            StatusCode::BAD_REQUEST
        );
        let canceled = ApiError { kind: ErrorKind::Canceled, message: String::new() };
        assert_eq!(canceled.into_response().status().as_u16(), 499);
    }
}
