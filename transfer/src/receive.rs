//! Receivers, one a protocol: they decode and word the answer, and decide nothing about samples.

pub(crate) mod falcon;
pub(crate) mod json_rpc;
pub(crate) mod line;
pub(crate) mod remote_write;

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::metrics::RequestFault;

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

    /// The store failed: the client is to send the same again.
    pub(crate) fn storage(error: &storage::WriteError) -> Self {
        let text = format!("the store does not take samples at the moment: {}", chain(error));
        Self { status: StatusCode::SERVICE_UNAVAILABLE, text, fault: RequestFault::Storage }
    }
}

impl IntoResponse for Rejection {
    fn into_response(self) -> Response {
        let content_type = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
        let newline = if self.text.ends_with('\n') { "" } else { "\n" };
        (self.status, content_type, format!("{}{newline}", self.text)).into_response()
    }
}

/// An error with all its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}
