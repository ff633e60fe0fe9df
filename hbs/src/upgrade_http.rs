//! The calls of upgrades, Open-Falcon's among them byte for byte, and the files that agents fetch.

mod files;
mod origin;
mod socket;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Serialize;

pub(crate) use socket::listen as listen_socket;

use crate::upgrades::{Refusal, Upgrades};
use origin::Local;

/// A list of ten thousand long host names fits.
const BODY_BYTES_MAX: usize = 4 << 20;

/// The routes of upgrades.
pub(crate) fn routes(upgrades: Upgrades) -> Router {
    Router::new()
        .route("/agent/upgrade", get(show).post(start).delete(cancel))
        .route("/agent/upgrade/nowargs", get(now_args))
        .route("/agent/upgrade/pause", post(pause))
        .route("/agent/upgrade/resume", post(resume))
        .route("/file/{name}", get(files::serve))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(upgrades)
}

// Open-Falcon's envelope.
#[derive(Serialize)]
struct Answer<T> {
    msg: &'static str,
    data: T,
}

// The body is read as JSON whatever its content type says: plain `curl -d` sends a form's.
async fn start(State(upgrades): State<Upgrades>, local: Local, body: Bytes) -> Response {
    let outcome = upgrades.start(&body).await;
    if let Ok(plan) = &outcome {
        upgrades.audit("upgrade.start", &local.into(), plan).await;
    }
    answer(outcome.map(|plan| plan.args()))
}

async fn cancel(State(upgrades): State<Upgrades>, local: Local) -> Response {
    let outcome = upgrades.cancel().await;
    if let Ok(Some(plan)) = &outcome {
        upgrades.audit("upgrade.cancel", &local.into(), plan).await;
    }
    answer(outcome.map(|_| "取消升级成功"))
}

async fn pause(State(upgrades): State<Upgrades>, local: Local) -> Response {
    let outcome = upgrades.pause().await;
    if let Ok(plan) = &outcome {
        upgrades.audit("upgrade.pause", &local.into(), plan).await;
    }
    answer(outcome.map(|plan| plan.args()))
}

async fn resume(State(upgrades): State<Upgrades>, local: Local) -> Response {
    let outcome = upgrades.resume().await;
    if let Ok(plan) = &outcome {
        upgrades.audit("upgrade.resume", &local.into(), plan).await;
    }
    answer(outcome.map(|plan| plan.args()))
}

async fn now_args(State(upgrades): State<Upgrades>) -> Response {
    let current = upgrades.current().await;
    answer(current.map(|current| current.map(|current| current.plan.args()).unwrap_or_default()))
}

async fn show(State(upgrades): State<Upgrades>) -> Response {
    answer(upgrades.status().await)
}

fn answer<T: Serialize>(outcome: Result<T, Refusal>) -> Response {
    match outcome {
        Ok(data) => Json(Answer { msg: "success", data }).into_response(),
        Err(refusal) => {
            let status = match refusal {
                Refusal::Request(_) => StatusCode::BAD_REQUEST,
                Refusal::Conflict(_) => StatusCode::CONFLICT,
                Refusal::Away(_) => StatusCode::SERVICE_UNAVAILABLE,
            };
            (status, refusal.to_string()).into_response()
        }
    }
}
