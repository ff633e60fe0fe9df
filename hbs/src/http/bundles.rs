//! Plugin bundles: uploaded as archives, fetched file by file.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use axum::{Json, Router};
use db::{AuditEntry, FileRow};
use serde_json::json;

use super::{bad, fault, not_found, unavailable};
use crate::app::App;
use crate::bundle::{BundleLimits, unpack};
use crate::door::Caller;
use crate::group::is_bundle_name;

const BUNDLES_MAX: usize = 1000;
const FILES_MAX: usize = 1000;
const SIGNATURE: &str = "x-saker-signature";

pub(super) fn routes(bytes_max: usize) -> Router<Arc<App>> {
    // The archive has headers besides the files.
    let body_limit = DefaultBodyLimit::max(bytes_max + (2 << 20));
    Router::new()
        .route("/api/v1/bundles", get(list_bundles))
        .route("/api/v1/bundles/{name}", put(put_bundle).layer(body_limit).delete(remove_bundle))
        .route("/v1/plugins/{sha256}", get(file))
}

async fn list_bundles(State(app): State<Arc<App>>) -> Response {
    let snapshot = app.share.current();
    Json(json!({ "bundles": snapshot.bundles().values().collect::<Vec<_>>() })).into_response()
}

async fn put_bundle(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if !is_bundle_name(&name) {
        return bad("a bundle's name has 1 to 64 letters, digits, _ and -");
    }
    let snapshot = app.share.current();
    if !snapshot.bundles().contains_key(&name) && snapshot.bundles().len() >= BUNDLES_MAX {
        return fault(StatusCode::TOO_MANY_REQUESTS, "there are 1000 bundles: remove some");
    }
    let signature = headers.get(SIGNATURE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let limits = BundleLimits {
        file_bytes: app.config.bundle_file_bytes_max,
        bytes: app.config.bundle_bytes_max,
        files: FILES_MAX,
    };
    let unpacked = match unpack(&name, signature, &body, limits) {
        Ok(unpacked) => unpacked,
        Err(why) => return bad(&why),
    };
    let stored =
        serde_json::to_string(&unpacked.bundle).expect("texts and numbers have a JSON form");
    let files: Vec<FileRow> =
        unpacked.files.into_iter().map(|(sha256, body)| FileRow { sha256, body }).collect();
    let now = app.clock.now();
    let entry = AuditEntry {
        detail: json!({ "digest": unpacked.bundle.digest, "files": unpacked.bundle.files.len() })
            .to_string(),
        ..app.trail.entry(&caller, "bundle.put", &name, now)
    };
    match app.db.bundles().put(&name, &stored, &files, now, &entry).await {
        Ok(()) => {
            app.share.refresh(now).await;
            Json(unpacked.bundle).into_response()
        }
        Err(error) => unavailable(&error),
    }
}

async fn remove_bundle(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(name): Path<String>,
) -> Response {
    let now = app.clock.now();
    let entry = app.trail.entry(&caller, "bundle.remove", &name, now);
    match app.db.bundles().remove(&name, &entry).await {
        Ok(true) => {
            app.share.refresh(now).await;
            StatusCode::NO_CONTENT.into_response()
        }
        Ok(false) => not_found("bundle", &name),
        Err(error) => unavailable(&error),
    }
}

async fn file(State(app): State<Arc<App>>, Path(sha256): Path<String>) -> Response {
    let body = match app.files.file(&sha256) {
        Some(body) => body,
        None => match app.db.bundles().file(&sha256).await {
            Ok(Some(body)) => {
                let body = Bytes::from(body);
                app.files.keep(&sha256, &body);
                body
            }
            Ok(None) => return not_found("plugin file", &sha256),
            Err(error) => return unavailable(&error),
        },
    };
    ([(header::CONTENT_TYPE, "application/octet-stream")], body).into_response()
}
