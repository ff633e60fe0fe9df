//! Logging in as Open-Falcon's clients do. Users are the names of `apiproxy.token_file`, and their passwords the tokens.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::json;

use crate::error;
use crate::http::App;

/// Where a client logs in: the one question that takes no login.
pub(crate) const LOGIN: &str = "/api/v1/user/login";

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route(LOGIN, post(log_in))
        .route("/api/v1/user/logout", get(log_out))
        .route("/api/v1/user/auth_session", get(check))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Login {
    name: String,
    password: String,
}

/// The answer's keys stand in the original's order.
async fn log_in(State(app): State<Arc<App>>, headers: HeaderMap, body: Bytes) -> Response {
    let Login { name, password } = match read(&headers, &body) {
        Ok(login) if !login.name.is_empty() && !login.password.is_empty() => login,
        _ => return said(StatusCode::BAD_REQUEST, "error", "name or password is blank"),
    };
    match app.gate.log_in(&name, &password, app.clock.now()) {
        Some(sig) => {
            let (sig, name) = (json!(sig), json!(name));
            let body = format!(r#"{{"sig":{sig},"name":{name},"admin":true}}"#);
            error::json(StatusCode::OK, body)
        }
        None => {
            app.metrics.refused.inc();
            tracing::warn!(user = name, "a login was refused");
            said(StatusCode::BAD_REQUEST, "error", "name or password is wrong")
        }
    }
}

fn read(headers: &HeaderMap, body: &[u8]) -> Result<Login, String> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    if kind.is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded")) {
        let request =
            axum::http::Request::builder().uri(format!("/?{}", String::from_utf8_lossy(body)));
        let request = request.body(()).map_err(|error| error.to_string())?;
        let form = axum::extract::Query::<Login>::try_from_uri(request.uri());
        // `curl -d` sends JSON under this name, too.
        if let Ok(form) = form
            && !form.name.is_empty()
        {
            return Ok(form.0);
        }
    }
    serde_json::from_slice(body).map_err(|error| error.to_string())
}

async fn log_out(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    match app.gate.log_out(&headers, app.clock.now()) {
        Ok(()) => said(StatusCode::OK, "message", "logout successful"),
        Err(why) => said(StatusCode::UNAUTHORIZED, "error", &why),
    }
}

async fn check(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    match app.gate.check_session(&headers, app.clock.now()) {
        Ok(()) => said(StatusCode::OK, "message", "session is valid"),
        Err(why) => said(StatusCode::UNAUTHORIZED, "error", &why),
    }
}

fn said(status: StatusCode, key: &str, text: &str) -> Response {
    error::json(status, json!({ key: text }).to_string())
}
