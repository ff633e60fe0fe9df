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
use daemon::Clock;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::config::Config;
use crate::ingest::Ingest;
use crate::metrics::{Metrics, RequestFault};
use crate::receive::{Rejection, falcon, remote_write};

/// What the handlers share.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) config: Config,
    pub(crate) clock: Clock,
    pub(crate) ingest: Ingest,
    pub(crate) metrics: Metrics,
    turns: Semaphore,
}

impl App {
    pub(crate) fn new(config: Config, clock: Clock, ingest: Ingest, metrics: Metrics) -> Self {
        let turns = Semaphore::new(config.requests_in_flight_max.min(Semaphore::MAX_PERMITS));
        Self { config, clock, ingest, metrics, turns }
    }

    fn refuse(&self, rejection: Rejection) -> Response {
        self.metrics.refused_request(rejection.fault);
        rejection.into_response()
    }
}

/// The routes of transfer.
pub(crate) fn routes(app: Arc<App>) -> Router {
    let body_limit = DefaultBodyLimit::max(app.config.body_bytes_max);
    Router::new()
        .route("/api/v1/write", post(write))
        .route("/api/push", post(push))
        .layer(body_limit)
        .layer(middleware::from_fn_with_state(app.clone(), take_turn))
        .route("/health", get(|| async { wire::falcon_json::HEALTH_OK }))
        .with_state(app)
}

/// Bounds how many requests are worked on at a time, before their bodies are read into memory, and
/// how long each takes.
async fn take_turn(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let Ok(Ok(_turn)) = tokio::time::timeout(app.config.request_wait, app.turns.acquire()).await else {
        let text = format!(
            "transfer works on {} requests already (transfer.requests_in_flight_max); send again later",
            app.config.requests_in_flight_max
        );
        let fault = RequestFault::InFlight;
        let response = app.refuse(Rejection { status: StatusCode::TOO_MANY_REQUESTS, text, fault });
        return ([(header::RETRY_AFTER, "1")], response).into_response();
    };
    let _counted = InFlight::count(&app.metrics.requests_in_flight);
    let answer = tokio::time::timeout(app.config.request_timeout, next.run(request)).await;
    answer.unwrap_or_else(|_| {
        let text =
            "the request took longer than transfer.request_timeout; sending it again is harmless".to_owned();
        let fault = RequestFault::Timeout;
        app.refuse(Rejection { status: StatusCode::SERVICE_UNAVAILABLE, text, fault })
    })
}

/// Counts a request for as long as it is worked on, also when the client goes away in the midst of
/// it.
struct InFlight(Gauge);

impl InFlight {
    fn count(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

async fn write(State(app): State<Arc<App>>, headers: HeaderMap, request: Request) -> Response {
    if let Err(rejection) = remote_write::check_headers(&headers) {
        return app.refuse(rejection);
    }
    let decoded = read_body(&app, request).await.and_then(|body| remote_write::decode(&body, &app.config));
    let (incoming, histograms, exemplars) = match decoded {
        Ok(decoded) => decoded,
        Err(rejection) => return app.refuse(rejection),
    };
    app.metrics.skipped_histograms.inc_by(histograms as u64);
    app.metrics.skipped_exemplars.inc_by(exemplars as u64);
    match app.ingest.take(incoming).await {
        Ok(verdict) => remote_write::answer(&verdict),
        Err(error) => app.refuse(Rejection::storage(&error)),
    }
}

async fn push(State(app): State<Arc<App>>, request: Request) -> Response {
    let begun = Instant::now();
    let samples_max = app.config.samples_per_request_max;
    let decoded =
        read_body(&app, request).await.and_then(|body| falcon::decode(&body, app.clock.now(), samples_max));
    let incoming = match decoded {
        Ok(incoming) => incoming,
        Err(rejection) => return app.refuse(rejection),
    };
    match app.ingest.take(incoming).await {
        Ok(verdict) => falcon::answer(&verdict, begun.elapsed().as_millis() as u64),
        Err(error) => app.refuse(Rejection::storage(&error)),
    }
}

async fn read_body(app: &App, request: Request<Body>) -> Result<Bytes, Rejection> {
    Bytes::from_request(request, &()).await.map_err(|rejection: BytesRejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Rejection::too_large(format!(
            "the body is longer than {} bytes (transfer.body_bytes_max); send less at once",
            app.config.body_bytes_max
        )),
        _ => Rejection::malformed(format!("the body ended early: {}", rejection.body_text())),
    })
}
