//! Where somebody looks who misses data: traces, counters, and what each endpoint sends.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::json;

use crate::counters::Counters;
use crate::gate::Gate;
use crate::trace::{Question, WATCHES_MAX};

/// Endpoints in one answer, unless the client wants more.
const ENDPOINTS_DEFAULT: usize = 1000;

#[derive(Debug, Clone)]
struct Insight {
    gate: Arc<Gate>,
    counters: Arc<Counters>,
}

/// The routes of this file.
pub(crate) fn routes(gate: Arc<Gate>) -> Router {
    let counters = Arc::new(Counters::new(gate.clock.now()));
    Router::new()
        .route("/trace", get(trace))
        .route("/counter/all", get(counters_of_all))
        .route("/statistics/all", get(counters_of_all))
        .route("/endpoints", get(endpoints))
        .with_state(Insight { gate, counters })
}

#[derive(Debug, Deserialize)]
struct TraceQuery {
    endpoint: Option<String>,
    metric: Option<String>,
}

async fn trace(State(insight): State<Insight>, Query(query): Query<TraceQuery>) -> Response {
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    let question = Question { endpoint: given(query.endpoint), metric: given(query.metric) };
    if question.endpoint.is_none() && question.metric.is_none() {
        let text = "say which series: /trace?endpoint=HOST&metric=NAME, or one of the two\n";
        return (StatusCode::BAD_REQUEST, text).into_response();
    }
    let gate = &insight.gate;
    match gate.ingest.trace.ask(question, gate.clock.now()) {
        Some(answer) => Json(answer).into_response(),
        None => {
            let text = format!(
                "{WATCHES_MAX} traces are watched already; each ends 5 minutes after it was asked for\n"
            );
            (StatusCode::TOO_MANY_REQUESTS, text).into_response()
        }
    }
}

async fn counters_of_all(State(insight): State<Insight>) -> Response {
    Json(insight.counters.read(&insight.gate.metrics, insight.gate.clock.now())).into_response()
}

#[derive(Debug, Deserialize)]
struct EndpointsQuery {
    limit: Option<usize>,
}

async fn endpoints(
    State(insight): State<Insight>,
    Query(query): Query<EndpointsQuery>,
) -> Response {
    let (known, busiest) = {
        let endpoints = insight.gate.ingest.endpoints();
        (endpoints.len(), endpoints.busiest(query.limit.unwrap_or(ENDPOINTS_DEFAULT)))
    };
    Json(json!({ "known": known, "endpoints": busiest })).into_response()
}
