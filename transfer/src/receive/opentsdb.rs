//! OpenTSDB's `POST /api/put`.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use model::Timestamp;
use wire::opentsdb::{self, DecodeError, Decoded, ErrorReply, PointError, Summary};

use crate::ingest::{Incoming, Verdict};
use crate::metrics::Protocol;
use crate::reason::Reason;
use crate::receive::Rejection;

/// Refused points that are told one by one.
const DETAILS_MAX: usize = 1000;
const EXAMPLE_CHARS_MAX: usize = 200;

/// How much the client wants to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    Status,
    Summary,
    Details,
}

impl Wanted {
    pub(crate) fn of(parameters: &[(String, String)]) -> Self {
        let has =
            |name: &str| parameters.iter().any(|(key, value)| key == name && value != "false");
        match (has("details"), has("summary")) {
            (true, _) => Self::Details,
            (false, true) => Self::Summary,
            (false, false) => Self::Status,
        }
    }
}

/// A decoded body that arrived at `now`; borrows from it, for the details of the answer.
pub(crate) fn decode(
    body: &[u8],
    now: Timestamp,
    points_max: usize,
) -> Result<Decoded<'_>, Rejection> {
    opentsdb::decode(body, now, points_max).map_err(|error| match error {
        DecodeError::NotJson(_) => Rejection::malformed(daemon::error_chain(&error)),
        DecodeError::TooManyPoints { .. } => Rejection::too_large(error.to_string()),
    })
}

/// The decoded points as a request.
pub(crate) fn incoming(decoded: &mut Decoded<'_>) -> Incoming {
    let mut incoming = Incoming::new(Protocol::OpenTsdb);
    incoming.series = std::mem::take(&mut decoded.series);
    for (point, fault) in &decoded.refused {
        let example = || point.get().chars().take(EXAMPLE_CHARS_MAX).collect();
        incoming.refusals.add(Reason::OpenTsdb(*fault), 1, example);
    }
    incoming
}

/// 204 when all points are stored, 400 when one is not, 200 instead of 204 with a summary.
pub(crate) fn answer(verdict: &Verdict, decoded: &Decoded<'_>, wanted: Wanted) -> Response {
    let failed = verdict.refusals.faults();
    let (success, wants_status) = (verdict.received - failed, wanted == Wanted::Status);
    if failed == 0 && wants_status {
        return StatusCode::NO_CONTENT.into_response();
    }
    let status = if failed == 0 { StatusCode::OK } else { StatusCode::BAD_REQUEST };
    if wants_status {
        let text =
            format!("{failed} of {} points are refused: {}", verdict.received, verdict.refusals);
        return (status, Json(ErrorReply::new(status.as_u16(), text))).into_response();
    }
    let errors = (wanted == Wanted::Details).then(|| details(verdict, decoded));
    (status, Json(Summary { success, failed, errors })).into_response()
}

/// The points that could not be read, one by one, and what the corridor refused, by reason.
fn details<'a>(verdict: &Verdict, decoded: &Decoded<'a>) -> Vec<PointError<'a>> {
    let unread = decoded.refused.iter().take(DETAILS_MAX);
    let mut errors: Vec<PointError<'a>> = unread
        .map(|(point, fault)| PointError {
            datapoint: Some(point),
            error: fault.as_str().to_owned(),
        })
        .collect();
    for (reason, samples, example) in verdict.refusals.report() {
        if !matches!(reason, Reason::OpenTsdb(_)) {
            let error = format!("{samples} {} (such as {example})", reason.as_str());
            errors.push(PointError { datapoint: None, error });
        }
    }
    errors
}
