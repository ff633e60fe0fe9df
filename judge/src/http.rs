//! The API: rules and alerts as Prometheus shows them, rule groups to be changed, checks, reload.

mod answer;
mod groups;
mod rules;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, FromRequestParts, RawQuery, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use daemon::{Door, PeerAddr};
use db::Db;
use tokio::sync::Semaphore;
use wire::prom_api::ErrorKind;

use crate::api::{AlertList, GroupList, RuleFilter};
use crate::manage::Manager;
use crate::metrics::Metrics;
use crate::rule_set::RuleSource;
use crate::rule_spec::RULE_FILE_BYTES_MAX;
use crate::tick::Ticker;
use crate::web;
use answer::{failure, faulty, refused, success};
pub use rules::BACKTEST_TIMEOUT;

/// What the handlers need.
pub(crate) struct App {
    pub(crate) db: Db,
    pub(crate) rules: Arc<RuleSource>,
    pub(crate) manager: Manager,
    pub(crate) door: Arc<Door>,
    pub(crate) metrics: Metrics,
    pub(crate) ticker: Arc<Ticker>,
    /// Backtests that may run at a time.
    pub(crate) backtests: Semaphore,
}

/// Who makes a change. A handler that takes one is for those only who may.
pub(crate) struct Caller(pub(crate) daemon::Caller);

impl FromRequestParts<Arc<App>> for Caller {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Response> {
        let PeerAddr(peer) =
            PeerAddr::from_request_parts(parts, app).await.map_err(IntoResponse::into_response)?;
        app.door.admit(peer, &parts.headers).map(Self).map_err(|why| {
            app.metrics.changes_refused.inc();
            tracing::warn!(%peer, path = parts.uri.path(), why, "a change was refused");
            refused(StatusCode::FORBIDDEN, &why)
        })
    }
}

/// All routes of judge.
pub(crate) fn routes(app: Arc<App>) -> Router {
    Router::new()
        .route("/api/v1/rules", get(list_rules))
        .route("/api/v1/alerts", get(list_alerts))
        .route("/api/v1/rules/check", post(check_rules))
        .merge(groups::routes())
        .merge(rules::routes())
        .route("/-/reload", post(reload).put(reload))
        .layer(DefaultBodyLimit::max(RULE_FILE_BYTES_MAX))
        .with_state(app.clone())
        .merge(web::routes(app))
}

async fn list_rules(State(app): State<Arc<App>>, query: RawQuery) -> Response {
    let filter = RuleFilter::parse(query.0.as_deref().unwrap_or(""));
    let views = app.ticker.board.groups();
    match filter.and_then(|filter| GroupList::new(&views, &filter)) {
        Ok(list) => success(&list),
        Err(message) => failure(ErrorKind::BadData, &message),
    }
}

async fn list_alerts(State(app): State<Arc<App>>) -> Response {
    success(&AlertList::new(&app.ticker.board.groups()))
}

async fn check_rules(State(app): State<Arc<App>>, body: String) -> Response {
    match app.rules.check_file(&body) {
        Ok(groups) => {
            let rules: usize = groups.iter().map(|group| group.rules.len()).sum();
            success(&serde_json::json!({ "groups": groups.len(), "rules": rules }))
        }
        Err(faults) => faulty(&faults),
    }
}

async fn reload(State(app): State<Arc<App>>) -> Response {
    let faults = app.rules.reload().await;
    if faults.is_empty() { success(&serde_json::json!({})) } else { faulty(&faults) }
}
