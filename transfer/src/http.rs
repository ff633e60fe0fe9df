//! The HTTP interface of transfer.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, FromRequest, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tokio::time::Instant;

use crate::gate::Gate;
use crate::metrics::RequestFault;
use crate::receive::{Rejection, falcon, remote_write};

/// The routes of transfer.
pub(crate) fn routes(gate: Arc<Gate>) -> Router {
    let body_limit = DefaultBodyLimit::max(gate.config.body_bytes_max);
    Router::new()
        .route("/api/v1/write", post(write))
        .route("/api/push", post(push))
        .layer(body_limit)
        .layer(middleware::from_fn_with_state(gate.clone(), take_turn))
        .route("/health", get(|| async { wire::falcon_json::HEALTH_OK }))
        .with_state(gate)
}

/// Bounds how many requests are worked on at a time, before their bodies are read into memory, and
/// how long each takes.
async fn take_turn(State(gate): State<Arc<Gate>>, request: Request, next: Next) -> Response {
    let _turn = match gate.turn().await {
        Ok(turn) => turn,
        Err(rejection) => {
            return ([(header::RETRY_AFTER, "1")], gate.refuse(rejection)).into_response();
        }
    };
    let answer = tokio::time::timeout(gate.config.request_timeout, next.run(request)).await;
    answer.unwrap_or_else(|_| {
        let text =
            "the request took longer than transfer.request_timeout; sending it again is harmless".to_owned();
        let fault = RequestFault::Timeout;
        gate.refuse(Rejection { status: StatusCode::SERVICE_UNAVAILABLE, text, fault }).into_response()
    })
}

async fn write(State(gate): State<Arc<Gate>>, headers: HeaderMap, request: Request) -> Response {
    answer(&gate, take_write(&gate, &headers, request).await)
}

async fn take_write(gate: &Gate, headers: &HeaderMap, request: Request) -> Result<Response, Rejection> {
    remote_write::check_headers(headers)?;
    let body = read_body(gate, request).await?;
    let (incoming, histograms, exemplars) = remote_write::decode(&body, &gate.config)?;
    gate.metrics.skipped_histograms.inc_by(histograms as u64);
    gate.metrics.skipped_exemplars.inc_by(exemplars as u64);
    Ok(remote_write::answer(&gate.take(incoming).await?))
}

async fn push(State(gate): State<Arc<Gate>>, request: Request) -> Response {
    answer(&gate, take_push(&gate, request).await)
}

async fn take_push(gate: &Gate, request: Request) -> Result<Response, Rejection> {
    let begun = Instant::now();
    let body = read_body(gate, request).await?;
    let incoming = falcon::decode(&body, gate.clock.now(), gate.config.samples_per_request_max)?;
    let verdict = gate.take(incoming).await?;
    Ok(falcon::answer(&verdict, begun.elapsed().as_millis() as u64))
}

fn answer(gate: &Gate, outcome: Result<Response, Rejection>) -> Response {
    outcome.unwrap_or_else(|rejection| gate.refuse(rejection).into_response())
}

async fn read_body(gate: &Gate, request: Request<Body>) -> Result<Bytes, Rejection> {
    Bytes::from_request(request, &()).await.map_err(|rejection: BytesRejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Rejection::too_large(format!(
            "the body is longer than {} bytes (transfer.body_bytes_max); send less at once",
            gate.config.body_bytes_max
        )),
        _ => Rejection::malformed(format!("the body ended early: {}", rejection.body_text())),
    })
}
