//! The Alertmanager API v2: alerts in and out. Errors are a JSON string, as its clients expect.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Query, Request, State};
use axum::http::{StatusCode, Uri};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use daemon::page::is_same_origin;
use db::DbError;
use db::alerts::{AlertSearch, AlertStatus};
use model::Timestamp;
use wire::alert::{self, Receiver as ReceiverName};

use crate::app::Common;
use crate::claim_http;
use crate::claiming::Claimer;
use crate::intake::{Intake, IntakeError, check};
use crate::noise;
use crate::preview;
use crate::silence_http;
use crate::texts;
use crate::view::{View, Wanted};

/// Faults that one answer lists; the rest is counted.
const FAULTS_LISTED_MAX: usize = 20;

/// What the handlers need.
#[derive(Debug)]
pub(crate) struct Api {
    pub(crate) common: Common,
    pub(crate) intake: Intake,
    pub(crate) claimer: Claimer,
    pub(crate) started_at: Timestamp,
}

/// The routes of the API.
pub(crate) fn routes(api: Arc<Api>) -> Router {
    let body_limit = DefaultBodyLimit::max(api.common.config.body_bytes_max);
    Router::new()
        .route(alert::PATH, get(list_alerts).post(post_alerts).layer(body_limit))
        .route("/api/v2/alerts/groups", get(list_groups))
        .route("/api/v2/status", get(status))
        .route("/api/v2/receivers", get(list_receivers))
        .route("/api/v1/alerts", axum::routing::any(gone))
        .route("/api/v1/silences", axum::routing::any(gone))
        .route("/api/v1/silence/{id}", axum::routing::any(gone))
        .route("/api/v1/status", axum::routing::any(gone))
        .route("/api/v2/{*rest}", axum::routing::any(unknown))
        .route("/-/reload", axum::routing::post(reload))
        .merge(silence_http::routes())
        .merge(claim_http::routes())
        .merge(noise::routes())
        .merge(preview::routes())
        .merge(texts::preview::routes())
        .layer(middleware::from_fn(from_own_pages))
        .with_state(api)
}

/// A page of another site can have a browser post here without anybody noticing, but it cannot hide where it comes
/// from. Programs do not say, and pass.
async fn from_own_pages(request: Request, next: Next) -> Response {
    if request.method().is_safe() || is_same_origin(request.headers()) {
        return next.run(request).await;
    }
    error(StatusCode::FORBIDDEN, "a page of another site cannot change anything here")
}

async fn post_alerts(State(api): State<Arc<Api>>, body: Result<Bytes, BytesRejection>) -> Response {
    match api.take(body).await {
        Ok(()) => StatusCode::OK.into_response(),
        Err((status, fault)) => error(status, &fault),
    }
}

impl Api {
    async fn take(&self, body: Result<Bytes, BytesRejection>) -> Result<(), (StatusCode, String)> {
        let body =
            body.map_err(|rejection| body_fault(&rejection, self.common.config.body_bytes_max))?;
        let posted = alert::decode(&body).map_err(|fault| {
            let advice = "send a JSON list such as [{\"labels\":{\"alertname\":\"DiskFull\"}}]";
            (StatusCode::BAD_REQUEST, format!("not a list of alerts: {fault}; {advice}"))
        })?;
        let most = self.common.config.alerts_per_request_max;
        if posted.len() > most {
            let fault = format!(
                "{} alerts are more than alarm.alerts_per_request_max = {most}",
                posted.len()
            );
            return Err((StatusCode::PAYLOAD_TOO_LARGE, fault));
        }
        let now = self.common.clock.now();
        let resolve_timeout = self.common.plans.borrow().resolve_timeout;
        let (mut good, mut faults) = (Vec::with_capacity(posted.len()), Vec::new());
        for (position, posted) in posted.into_iter().enumerate() {
            match check(posted, now, resolve_timeout, &self.common.config) {
                Ok(news) => good.push(news),
                Err((refusal, fault)) => {
                    self.common.metrics.refused_alerts(refusal, 1);
                    faults.push(format!("alert {position}: {fault}"));
                }
            }
        }
        if !good.is_empty() {
            let refused = self.intake.take(good).await.map_err(intake_fault)?;
            faults.extend(refused.into_iter().map(|refused| refused.text));
        }
        if faults.is_empty() { Ok(()) } else { Err((StatusCode::BAD_REQUEST, joined(&faults))) }
    }

    /// All unresolved alerts, and how things stand with them.
    async fn view(&self) -> Result<View, DbError> {
        // Whether a stale alert still fires is unknown, so it is not left out.
        let unresolved = AlertSearch {
            statuses: vec![AlertStatus::Firing, AlertStatus::Stale],
            ..AlertSearch::default()
        };
        let alerts = self.common.db.alerts().search(&unresolved, 0, u32::MAX).await?;
        let plan = self.common.plans.borrow().clone();
        let (silences, claims) = (self.common.silences.known(), self.common.claims.known());
        Ok(View::new(plan, silences, claims, alerts, self.common.clock.now()))
    }
}

fn body_fault(rejection: &BytesRejection, limit: usize) -> (StatusCode, String) {
    match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => (
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the body is larger than alarm.body_bytes_max = {limit}"),
        ),
        status => (status, rejection.body_text()),
    }
}

fn intake_fault(error: IntakeError) -> (StatusCode, String) {
    let status = match error {
        IntakeError::Busy => StatusCode::SERVICE_UNAVAILABLE,
        IntakeError::Store(_) => StatusCode::INTERNAL_SERVER_ERROR,
    };
    (status, error.to_string())
}

fn joined(faults: &[String]) -> String {
    let mut text =
        faults.iter().take(FAULTS_LISTED_MAX).map(String::as_str).collect::<Vec<_>>().join("; ");
    if faults.len() > FAULTS_LISTED_MAX {
        text.push_str(&format!("; and {} more", faults.len() - FAULTS_LISTED_MAX));
    }
    text
}

pub(crate) fn error(status: StatusCode, text: &str) -> Response {
    (status, Json(text)).into_response()
}

async fn list_alerts(
    State(api): State<Arc<Api>>,
    Query(query): Query<Vec<(String, String)>>,
) -> Response {
    api.listed(&query, |view, wanted| Json(view.alerts(wanted)).into_response()).await
}

async fn list_groups(
    State(api): State<Arc<Api>>,
    Query(query): Query<Vec<(String, String)>>,
) -> Response {
    api.listed(&query, |view, wanted| Json(view.groups(wanted)).into_response()).await
}

impl Api {
    async fn listed(
        &self,
        query: &[(String, String)],
        show: impl FnOnce(&View, &Wanted) -> Response + Send,
    ) -> Response {
        let wanted = match Wanted::read(query) {
            Ok(wanted) => wanted,
            Err(fault) => return error(StatusCode::BAD_REQUEST, &fault),
        };
        match self.view().await {
            Ok(view) => show(&view, &wanted),
            Err(fault) => {
                tracing::error!(error = daemon::error_chain(&fault), "cannot list alerts");
                let text = "alerts cannot be read now; ask again";
                error(StatusCode::INTERNAL_SERVER_ERROR, text)
            }
        }
    }
}

async fn list_receivers(State(api): State<Arc<Api>>) -> Response {
    let named = |name: &String| ReceiverName { name: name.clone() };
    Json(api.common.plans.borrow().receivers.iter().map(named).collect::<Vec<_>>()).into_response()
}

async fn status(State(api): State<Arc<Api>>) -> Response {
    let version = env!("CARGO_PKG_VERSION");
    let body = serde_json::json!({
        "cluster": { "name": "", "status": "disabled", "peers": [] },
        "config": { "original": api.common.plans.borrow().original },
        "uptime": api.started_at.rfc3339(),
        "versionInfo": {
            "version": version, "revision": "", "branch": "",
            "buildUser": "", "buildDate": "", "goVersion": "",
        },
    });
    Json(body).into_response()
}

async fn reload(State(api): State<Arc<Api>>) -> Response {
    match api.common.routing.reload(api.common.clock.now()) {
        Ok(()) => StatusCode::OK.into_response(),
        Err(fault) => error(StatusCode::INTERNAL_SERVER_ERROR, &format!("{fault:#}")),
    }
}

/// What the API does not have. Without it a page would answer, which no program can read.
async fn unknown(uri: Uri) -> Response {
    let advice = "there are alerts, alerts/groups, receivers, silences, silence/{id} and status";
    error(StatusCode::NOT_FOUND, &format!("there is no {} here; {advice}", uri.path()))
}

/// The API that Alertmanager had before 2022.
async fn gone() -> Response {
    error(StatusCode::GONE, "the v1 API of Alertmanager is gone; use /api/v2")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_faults_is_cut() {
        let faults: Vec<String> = (0..50).map(|n| n.to_string()).collect();
        assert!(joined(&faults).ends_with("19; and 30 more"));
    }

    #[test]
    fn a_sender_that_comes_too_fast_is_told_to_come_again() {
        let (status, text) = intake_fault(IntakeError::Busy);
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(text.contains("send again in a second"), "{text}");
    }
}
