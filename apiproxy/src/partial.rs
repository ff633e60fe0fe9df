//! Answers without some data centre say so, and are refused to those who want all or nothing.

use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use wire::prom_api::ErrorKind;

use crate::error::ApiError;
use crate::site::Ask;

/// Names the data centres that are missing from an answer.
const PARTIAL: HeaderName = HeaderName::from_static("x-saker-partial");

/// An answer with the names of the data centres that are missing from it.
pub(crate) fn marked(response: Response, ask: &Ask) -> Response {
    without(response, &ask.missing().into_keys().collect::<Vec<_>>())
}

/// An answer with the names of data centres that are missing from it.
pub(crate) fn without(mut response: Response, names: &[String]) -> Response {
    if !names.is_empty()
        && let Ok(value) = HeaderValue::from_str(&names.join(", "))
    {
        response.headers_mut().insert(PARTIAL, value);
    }
    response
}

/// With `partial=deny` in its address a question gets an error rather than a partial answer.
pub(crate) async fn denied(request: Request, next: Next) -> Response {
    let query = request.uri().query().unwrap_or("");
    let denies = query.split('&').any(|pair| pair == "partial=deny");
    let response = next.run(request).await;
    match response.headers().get(PARTIAL).and_then(|names| names.to_str().ok()) {
        Some(names) if denies => {
            let message = format!(
                "data centres are missing ({names}), and partial=deny asks for all or nothing"
            );
            ApiError { kind: ErrorKind::Unavailable, message }.into_response()
        }
        _ => response,
    }
}
