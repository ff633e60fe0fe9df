//! Taking an alert ("I'm on it") and putting it off, by API. Errors are a JSON string, as everywhere here.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use axum::{Json, Router};
use db::alerts::AlertStatus;
use db::claims::{ClaimKind, ClaimRow};
use model::{Fingerprint, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::dispatch::Message;
use crate::http::{Api, error};

const OWNER_CHARS_MAX: usize = 190;
const NOTE_BYTES_MAX: usize = 4096;
/// An alert that is taken without saying for how long is everybody's again after this.
const ACK_FOR: Duration = Duration::from_secs(24 * 3600);
const SNOOZE_FOR: Duration = Duration::from_secs(3600);
const CLAIM_MAX: Duration = Duration::from_secs(30 * 86_400);

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

impl Posted {
    fn read(body: &[u8], kind: ClaimKind) -> Result<(Self, Duration), String> {
        let advice = "write {\"owner\":\"ann\",\"note\":\"on it\",\"duration\":\"2h\"}";
        let posted: Self = serde_json::from_slice(body)
            .map_err(|fault| format!("not a claim: {fault}; {advice}"))?;
        let owner = posted.owner.trim();
        if owner.is_empty() || owner.chars().count() > OWNER_CHARS_MAX {
            return Err(format!("owner must have 1 to {OWNER_CHARS_MAX} characters"));
        }
        if posted.note.len() > NOTE_BYTES_MAX {
            return Err(format!("note is longer than {NOTE_BYTES_MAX} bytes"));
        }
        let default = if kind == ClaimKind::Acknowledged { ACK_FOR } else { SNOOZE_FOR };
        let span = match &posted.duration {
            None => default,
            Some(text) => model::parse_duration(text).map_err(|fault| fault.to_string())?,
        };
        if span.is_zero() || span > CLAIM_MAX {
            return Err("duration must be longer than nothing and at most 30d".to_owned());
        }
        Ok((posted, span))
    }
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
        let (posted, span) =
            Posted::read(body, kind).map_err(|fault| (StatusCode::BAD_REQUEST, fault))?;
        let found = self.common.db.alerts().load(&[fingerprint]).await;
        let found = found.map_err(|fault| store_fault(&fault))?;
        let stored = found.first();
        let Some(stored) = stored.filter(|stored| stored.status != AlertStatus::Resolved) else {
            return Err((StatusCode::NOT_FOUND, "no such alert is open".to_owned()));
        };
        let now = self.common.clock.now();
        let claim = ClaimRow {
            fingerprint,
            kind,
            owner: posted.owner.trim().to_owned(),
            note: posted.note,
            // An alert may begin by the clock of its sender, ahead of ours.
            made_at: now.max(stored.alert.starts_at),
            until: now.plus(span),
        };
        self.common.claims.store(&claim).await.map_err(|fault| store_fault(&fault))?;
        tracing::info!(
            alert.fingerprint = %fingerprint, kind = kind.as_str(), owner = claim.owner, "claim stored"
        );
        Ok(claim)
    }

    async fn unclaim(&self, fingerprint: &str, kind: &str) -> Result<(), Fault> {
        let (fingerprint, kind) = read_path(fingerprint, kind)?;
        let now = self.common.clock.now();
        let known = self.common.claims.known();
        let is_it = |claim: &&&ClaimRow| {
            (claim.fingerprint, claim.kind) == (fingerprint, kind) && now <= claim.until
        };
        let claims = known.list();
        let Some(claim) = claims.iter().find(is_it) else {
            return Err((StatusCode::NOT_FOUND, "the alert is not claimed".to_owned()));
        };
        let ended = ClaimRow { until: now.minus(Duration::from_millis(1)), ..(**claim).clone() };
        self.common.claims.store(&ended).await.map_err(|fault| store_fault(&fault))?;
        if self.dispatcher.leads(now) {
            let fingerprints = vec![fingerprint];
            // Taken back by hand: nobody needs to be told of it, but what was put off is news.
            self.dispatcher.tell(Message::Offer { fingerprints, is_repeat: false }).await;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Result<(Posted, Duration), String> {
        Posted::read(body.as_bytes(), ClaimKind::Acknowledged)
    }

    #[test]
    fn a_claim_needs_an_owner_and_has_an_end() {
        let (posted, span) = read("{\"owner\":\"ann\",\"duration\":\"90m\"}").unwrap();
        assert_eq!((posted.owner.as_str(), span), ("ann", Duration::from_secs(5400)));
        assert_eq!(read("{\"owner\":\"ann\"}").unwrap().1, ACK_FOR);
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
