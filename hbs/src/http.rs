//! The HTTP interface of hbs: what the handlers share. The routes are in a file a subject below.

mod audit;
mod bundles;
mod feed;
mod groups;
mod heartbeats;
mod hosts;
mod maintenance;

use std::sync::Arc;

use axum::Router;
use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use daemon::PeerAddr;
use db::DbError;

use crate::app::App;
use crate::door::Caller;

const PAGE_SIZE_DEFAULT: usize = 100;
const PAGE_SIZE_MAX: usize = 1000;

/// The routes of hbs.
pub(crate) fn routes(app: Arc<App>) -> Router {
    Router::new()
        .merge(heartbeats::routes())
        .merge(hosts::routes())
        .merge(feed::routes())
        .merge(groups::routes())
        .merge(maintenance::routes())
        .merge(bundles::routes(app.config.bundle_bytes_max))
        .merge(audit::routes())
        .with_state(app)
}

/// A handler that takes this is for those only who may make changes.
impl FromRequestParts<Arc<App>> for Caller {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Response> {
        let PeerAddr(peer) =
            PeerAddr::from_request_parts(parts, app).await.map_err(IntoResponse::into_response)?;
        app.door.admit(peer, &parts.headers).map(Self::from).map_err(|why| {
            app.metrics.changes_refused.inc();
            tracing::warn!(%peer, path = parts.uri.path(), why, "a change was refused");
            fault(StatusCode::FORBIDDEN, &why)
        })
    }
}

/// How many things a page has.
fn page_size(asked: Option<usize>) -> usize {
    asked.unwrap_or(PAGE_SIZE_DEFAULT).clamp(1, PAGE_SIZE_MAX)
}

fn fault(status: StatusCode, text: &str) -> Response {
    (status, format!("{text}\n")).into_response()
}

fn bad(text: &str) -> Response {
    fault(StatusCode::BAD_REQUEST, text)
}

fn not_found(what: &str, name: &str) -> Response {
    fault(StatusCode::NOT_FOUND, &format!("{what} {name:?} is not known"))
}

/// The database is away: the change was not made, and may be tried again.
fn unavailable(error: &DbError) -> Response {
    fault(StatusCode::SERVICE_UNAVAILABLE, &daemon::error_chain(error))
}
