//! Receivers, one a protocol: they decode and word the answer, and decide nothing about samples.

pub(crate) mod falcon;
pub(crate) mod influx;
pub(crate) mod json_rpc;
pub(crate) mod line;
pub(crate) mod opentsdb;
pub(crate) mod prometheus_text;
pub(crate) mod remote_write;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::ingest::Verdict;
use crate::metrics::RequestFault;
use crate::outlet::OutletError;
use crate::queue::QueueError;

/// A request that is refused as a whole.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Rejection {
    pub(crate) status: StatusCode,
    /// One line for whoever reads the client's log.
    pub(crate) text: String,
    pub(crate) fault: RequestFault,
}

impl Rejection {
    pub(crate) fn malformed(text: String) -> Self {
        Self { status: StatusCode::BAD_REQUEST, text, fault: RequestFault::Malformed }
    }

    pub(crate) fn too_large(text: String) -> Self {
        Self { status: StatusCode::PAYLOAD_TOO_LARGE, text, fault: RequestFault::TooLarge }
    }

    /// The way out does not take samples: the client is to send the same again.
    pub(crate) fn outlet(error: &OutletError) -> Self {
        let text = daemon::error_chain(error);
        let is_full = matches!(error, OutletError::Queue { source: QueueError::Full { .. }, .. });
        let (status, fault) = if is_full {
            (StatusCode::TOO_MANY_REQUESTS, RequestFault::QueueFull)
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, RequestFault::Storage)
        };
        Self { status, text, fault }
    }
}

impl IntoResponse for Rejection {
    fn into_response(self) -> Response {
        let content_type = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
        let newline = if self.text.ends_with('\n') { "" } else { "\n" };
        let mut response =
            (self.status, content_type, format!("{}{newline}", self.text)).into_response();
        match self.status {
            StatusCode::TOO_MANY_REQUESTS => {
                response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            StatusCode::UNAUTHORIZED => {
                let scheme = HeaderValue::from_static("Bearer");
                response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
            }
            _ => {}
        }
        response
    }
}

/// 204, or 400 when samples came at the wrong time or beyond a limit: sending them again will not
/// help. The good samples of the request are stored in both cases.
pub(crate) fn answer_in_words(verdict: &Verdict) -> Response {
    let told = verdict.refusals.told();
    if told.is_empty() {
        return StatusCode::NO_CONTENT.into_response();
    }
    let text =
        format!("{} of {} samples are stored, refused: {told}\n", verdict.stored, verdict.received);
    (StatusCode::BAD_REQUEST, text).into_response()
}

/// A body that has to be text.
pub(crate) fn text_of(body: &[u8]) -> Result<&str, Rejection> {
    str::from_utf8(body).map_err(|error| {
        Rejection::malformed(format!("the body is not UTF-8 from byte {} on", error.valid_up_to()))
    })
}
