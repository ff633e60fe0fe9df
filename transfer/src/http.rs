//! The HTTP interface of transfer.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, FromRequest, Query, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tokio::time::Instant;

use crate::gate::Gate;
use crate::ingest::Incoming;
use crate::insight;
use crate::metrics::RequestFault;
use crate::receive::opentsdb::{self, Wanted};
use crate::receive::{Rejection, answer_in_words, falcon, influx, prometheus_text, remote_write};
use crate::tokens::TokenId;

/// The parameters of a URL, in their order.
type Parameters = Vec<(String, String)>;

/// The token that a request came with.
#[derive(Debug, Clone, Copy)]
struct Shown(Option<TokenId>);

/// The routes of transfer.
pub(crate) fn routes(gate: Arc<Gate>) -> Router {
    let body_limit = DefaultBodyLimit::max(gate.config.body_bytes_max);
    Router::new()
        .route("/api/v1/write", post(write))
        .route("/api/push", post(push))
        .route("/openfalcon/push", post(openfalcon_push))
        .route("/api/v1/import/prometheus", post(import_prometheus))
        .route("/api/put", post(put))
        .route("/opentsdb/put", post(put))
        .route("/write", post(influx_write))
        .route("/api/v2/write", post(influx_write))
        .layer(body_limit)
        .layer(middleware::from_fn_with_state(Arc::clone(&gate), take_turn))
        .route("/health", get(|| async { wire::falcon_json::HEALTH_OK }))
        .route("/ping", get(|| async { StatusCode::NO_CONTENT }))
        .with_state(Arc::clone(&gate))
        .merge(insight::routes(gate))
}

/// Bounds how many requests are worked on at a time, before their bodies are read into memory, and
/// how long each takes.
async fn take_turn(State(gate): State<Arc<Gate>>, mut request: Request, next: Next) -> Response {
    match gate.ingest.tokens.identify(request.headers()) {
        Ok(token) => drop(request.extensions_mut().insert(Shown(token))),
        Err(rejection) => return gate.refuse(rejection).into_response(),
    }
    let _turn = match gate.turn().await {
        Ok(turn) => turn,
        Err(rejection) => return gate.refuse(rejection).into_response(),
    };
    let answer = tokio::time::timeout(gate.config.request_timeout, next.run(request)).await;
    answer.unwrap_or_else(|_| {
        let text =
            "the request took longer than transfer.request_timeout; sending it again is harmless"
                .to_owned();
        let fault = RequestFault::Timeout;
        gate.refuse(Rejection { status: StatusCode::SERVICE_UNAVAILABLE, text, fault })
            .into_response()
    })
}

async fn write(State(gate): State<Arc<Gate>>, headers: HeaderMap, request: Request) -> Response {
    answer(&gate, take_write(&gate, &headers, request).await)
}

async fn take_write(
    gate: &Gate,
    headers: &HeaderMap,
    request: Request,
) -> Result<Response, Rejection> {
    let version = remote_write::check_headers(headers)?;
    let (body, token) = read_body(gate, request).await?;
    if version == remote_write::Version::One
        && let Some(verdict) = gate.take_encoded(&body, token).await?
    {
        return Ok(remote_write::answer(version, &verdict));
    }
    let (incoming, histograms, exemplars) =
        remote_write::decode(version, &body, &gate.config, &gate.known)?;
    gate.metrics.skipped_histograms.inc_by(histograms as u64);
    gate.metrics.skipped_exemplars.inc_by(exemplars as u64);
    Ok(remote_write::answer(version, &gate.take(Incoming { token, ..incoming }).await?))
}

async fn push(
    State(gate): State<Arc<Gate>>,
    Query(parameters): Query<Parameters>,
    request: Request,
) -> Response {
    let verbose = parameters.iter().any(|(key, value)| key == "verbose" && value != "0");
    answer(&gate, take_push(&gate, verbose, request).await)
}

async fn take_push(gate: &Gate, verbose: bool, request: Request) -> Result<Response, Rejection> {
    let begun = Instant::now();
    let (body, token) = read_body(gate, request).await?;
    let incoming =
        falcon::decode(&body, gate.clock.now(), gate.config.samples_per_request_max, &gate.known)?;
    let verdict = gate.take(Incoming { token, ..incoming }).await?;
    Ok(falcon::answer(&verdict, begun.elapsed().as_millis() as u64, verbose))
}

async fn openfalcon_push(State(gate): State<Arc<Gate>>, request: Request) -> Response {
    let taking = async {
        let (body, token) = read_body(&gate, request).await?;
        let samples_max = gate.config.samples_per_request_max;
        let incoming =
            falcon::decode_list_or_one(&body, gate.clock.now(), samples_max, &gate.known)?;
        Ok(falcon::answer_received(&gate.take(Incoming { token, ..incoming }).await?))
    };
    answer(&gate, taking.await)
}

async fn import_prometheus(
    State(gate): State<Arc<Gate>>,
    Query(parameters): Query<Parameters>,
    request: Request,
) -> Response {
    let taking = async {
        let (body, token) = read_body(&gate, request).await?;
        let lines_max = gate.config.samples_per_request_max;
        let incoming = prometheus_text::decode(&body, &parameters, gate.clock.now(), lines_max)?;
        Ok(answer_in_words(&gate.take(Incoming { token, ..incoming }).await?))
    };
    answer(&gate, taking.await)
}

async fn put(
    State(gate): State<Arc<Gate>>,
    Query(parameters): Query<Parameters>,
    request: Request,
) -> Response {
    let taking = async {
        let (body, token) = read_body(&gate, request).await?;
        let mut decoded =
            opentsdb::decode(&body, gate.clock.now(), gate.config.samples_per_request_max)?;
        let verdict = gate.take(Incoming { token, ..opentsdb::incoming(&mut decoded) }).await?;
        Ok(opentsdb::answer(&verdict, &decoded, Wanted::of(&parameters)))
    };
    answer(&gate, taking.await)
}

async fn influx_write(
    State(gate): State<Arc<Gate>>,
    Query(parameters): Query<Parameters>,
    request: Request,
) -> Response {
    let taking = async {
        let (body, token) = read_body(&gate, request).await?;
        let fields_max = gate.config.samples_per_request_max;
        let incoming = influx::decode(&body, &parameters, gate.clock.now(), fields_max)?;
        Ok(influx::answer(&gate.take(Incoming { token, ..incoming }).await?))
    };
    answer(&gate, taking.await)
}

fn answer(gate: &Gate, outcome: Result<Response, Rejection>) -> Response {
    outcome.unwrap_or_else(|rejection| gate.refuse(rejection).into_response())
}

/// The body of a request, and the token it came with.
async fn read_body(
    gate: &Gate,
    request: Request<Body>,
) -> Result<(Bytes, Option<TokenId>), Rejection> {
    let token = request.extensions().get::<Shown>().and_then(|shown| shown.0);
    let body = Bytes::from_request(request, &()).await;
    body.map(|body| (body, token)).map_err(|rejection: BytesRejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Rejection::too_large(format!(
            "the body is longer than {} bytes (transfer.body_bytes_max); send less at once",
            gate.config.body_bytes_max
        )),
        _ => Rejection::malformed(format!("the body ended early: {}", rejection.body_text())),
    })
}
