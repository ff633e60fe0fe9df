//! Influx line protocol: `POST /write` and `POST /api/v2/write`.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use model::Timestamp;
use serde_json::json;
use wire::influx::{self, Precision};

use crate::ingest::{Incoming, Verdict};
use crate::metrics::Protocol;
use crate::reason::Reason;
use crate::receive::{Rejection, text_of};

/// Decoded lines that arrived at `now`.
pub(crate) fn decode(
    body: &[u8],
    parameters: &[(String, String)],
    now: Timestamp,
    fields_max: usize,
) -> Result<Incoming, Rejection> {
    let precision =
        parameters.iter().find(|(key, _)| key == "precision").map_or("", |(_, value)| value);
    let precision = Precision::parse(precision).ok_or_else(|| {
        Rejection::malformed(format!("precision {precision:?} is none of ns, us, ms, s, m and h"))
    })?;
    let decoded = influx::decode(text_of(body)?, precision, now, fields_max)
        .map_err(|error| Rejection::too_large(error.to_string()))?;
    let mut incoming = Incoming::new(Protocol::Influx);
    incoming.series = decoded.series;
    for (line, fault) in decoded.refused {
        incoming.refusals.add(Reason::Influx(fault), 1, || format!("line {line}"));
    }
    Ok(incoming)
}

/// 204, or 400 in the words that Influx clients take as "do not send it again".
pub(crate) fn answer(verdict: &Verdict) -> Response {
    let told = verdict.refusals.told();
    if told.is_empty() {
        return StatusCode::NO_CONTENT.into_response();
    }
    let text = format!(
        "partial write: {} of {} values are stored, dropped: {told}",
        verdict.stored, verdict.received
    );
    (StatusCode::BAD_REQUEST, Json(json!({ "code": "invalid", "error": text, "message": text })))
        .into_response()
}
