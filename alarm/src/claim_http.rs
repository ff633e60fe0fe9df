//! Taking an alert ("I'm on it") and putting it off, by API. Errors are a JSON string, as everywhere here.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use axum::{Json, Router};
use db::claims::{ClaimKind, ClaimRow};
use model::{Fingerprint, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::claiming::Wanted;
use crate::http::{Api, error};

/// The routes of claims.
pub(crate) fn routes() -> Router<Arc<Api>> {
    Router::new()
        .route("/api/v1/claims", get(list))
        .route("/api/v1/alerts/{fingerprint}/{kind}", put(make).post(make).delete(take_back))
}

/// What the body of a claim says.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Posted {
    owner: String,
    #[serde(default)]
    note: String,
    /// How long it holds, as `2h`.
    duration: Option<String>,
}

fn read(body: &[u8], kind: ClaimKind) -> Result<Wanted, String> {
    let advice = "write {\"owner\":\"ann\",\"note\":\"on it\",\"duration\":\"2h\"}";
    let posted: Posted =
        serde_json::from_slice(body).map_err(|fault| format!("not a claim: {fault}; {advice}"))?;
    Wanted::read(kind, &posted.owner, posted.note, posted.duration.as_deref())
}

async fn list(State(api): State<Arc<Api>>) -> Response {
    let now = api.common.clock.now();
    let claims = api.common.claims.known();
    Json(claims.list().into_iter().map(|claim| listed(claim, now)).collect::<Vec<_>>())
        .into_response()
}

/// A claim as it is listed.
pub(crate) fn listed(claim: &ClaimRow, now: Timestamp) -> Value {
    json!({
        "fingerprint": claim.fingerprint.to_string(), "kind": claim.kind.as_str(), "owner": claim.owner,
        "note": claim.note, "madeAt": claim.made_at.rfc3339(), "until": claim.until.rfc3339(),
        "holds": now <= claim.until,
    })
}

async fn make(
    State(api): State<Arc<Api>>,
    Path((fingerprint, kind)): Path<(String, String)>,
    body: Bytes,
) -> Response {
    match api.claim(&fingerprint, &kind, &body).await {
        Ok(claim) => Json(listed(&claim, api.common.clock.now())).into_response(),
        Err((status, fault)) => error(status, &fault),
    }
}

async fn take_back(
    State(api): State<Arc<Api>>,
    Path((fingerprint, kind)): Path<(String, String)>,
) -> Response {
    match api.unclaim(&fingerprint, &kind).await {
        Ok(()) => StatusCode::OK.into_response(),
        Err((status, fault)) => error(status, &fault),
    }
}

type Fault = (StatusCode, String);

fn read_path(fingerprint: &str, kind: &str) -> Result<(Fingerprint, ClaimKind), Fault> {
    let id = Fingerprint::parse(fingerprint).ok_or_else(|| {
        (StatusCode::BAD_REQUEST, "a fingerprint has 16 hexadecimal digits".to_owned())
    })?;
    let kind = ClaimKind::parse(kind)
        .ok_or_else(|| (StatusCode::NOT_FOUND, "an alert has /ack and /snooze".to_owned()))?;
    Ok((id, kind))
}

fn store_fault(fault: &db::DbError) -> Fault {
    tracing::error!(error = daemon::error_chain(fault), "cannot store a claim");
    (StatusCode::INTERNAL_SERVER_ERROR, "claims cannot be stored now; send again".to_owned())
}

impl Api {
    async fn claim(&self, fingerprint: &str, kind: &str, body: &[u8]) -> Result<ClaimRow, Fault> {
        let (fingerprint, kind) = read_path(fingerprint, kind)?;
        let wanted = read(body, kind).map_err(|fault| (StatusCode::BAD_REQUEST, fault))?;
        let made = self.claimer.claim(&[fingerprint], &wanted).await;
        let made = made.map_err(|fault| store_fault(&fault))?.pop();
        made.ok_or_else(|| (StatusCode::NOT_FOUND, "no such alert is open".to_owned()))
    }

    async fn unclaim(&self, fingerprint: &str, kind: &str) -> Result<(), Fault> {
        let (fingerprint, kind) = read_path(fingerprint, kind)?;
        let ended = self.claimer.release(&[fingerprint], kind, "").await;
        if ended.map_err(|fault| store_fault(&fault))? == 0 {
            return Err((StatusCode::NOT_FOUND, "the alert is not claimed".to_owned()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn read(body: &str) -> Result<Wanted, String> {
        super::read(body.as_bytes(), ClaimKind::Acknowledged)
    }

    #[test]
    fn a_claim_needs_an_owner_and_has_an_end() {
        let wanted = read("{\"owner\":\" ann\",\"duration\":\"90m\"}").unwrap();
        assert_eq!((wanted.owner.as_str(), wanted.span), ("ann", Duration::from_secs(5400)));
        assert_eq!(read("{\"owner\":\"ann\"}").unwrap().span, Duration::from_secs(24 * 3600));
        for (body, expected) in [
            ("{}", "owner"),
            ("{\"owner\":\" \"}", "1 to 190"),
            ("{\"owner\":\"a\",\"duration\":\"0\"}", "longer than nothing"),
            ("{\"owner\":\"a\",\"duration\":\"31d\"}", "at most 30d"),
            ("{\"owner\":\"a\",\"until\":\"x\"}", "until"),
        ] {
            let fault = read(body).expect_err(body);
            assert!(fault.contains(expected), "{body}: {fault}");
        }
    }

    #[test]
    fn the_address_names_an_alert_and_what_is_done_with_it() {
        assert!(read_path("00000000000000ff", "ack").is_ok());
        assert_eq!(read_path("xyz", "ack").unwrap_err().0, StatusCode::BAD_REQUEST);
        assert_eq!(read_path("00000000000000ff", "love").unwrap_err().0, StatusCode::NOT_FOUND);
    }
}
