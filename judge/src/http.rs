//! The API: rules and alerts as Prometheus shows them, rule groups to be changed, checks, reload.

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use daemon::Clock;
use db::{Db, RuleGroupRow};
use serde::Serialize;
use wire::prom_api::{self, ErrorKind, Notes};

use crate::api::{AlertList, GroupList, RuleFilter, StoredGroup};
use crate::rule_file::{Fault, RULE_FILE_BYTES_MAX};
use crate::rule_set::RuleSource;
use crate::tick::Ticker;

/// Names of groups longer than this are refused: the database takes 190 characters.
const NAME_CHARS_MAX: usize = 190;

/// What the handlers need.
pub(crate) struct App {
    pub(crate) clock: Clock,
    pub(crate) db: Db,
    pub(crate) rules: Arc<RuleSource>,
    pub(crate) ticker: Arc<Ticker>,
}

/// All routes of judge.
pub(crate) fn routes(app: Arc<App>) -> Router {
    Router::new()
        .route("/api/v1/rules", get(list_rules))
        .route("/api/v1/alerts", get(list_alerts))
        .route("/api/v1/rules/check", post(check_rules))
        .route("/api/v1/rule-groups", get(list_groups))
        .route("/api/v1/rule-groups/{name}", get(read_group).put(put_group).delete(remove_group))
        .route("/-/reload", post(reload).put(reload))
        .layer(DefaultBodyLimit::max(RULE_FILE_BYTES_MAX))
        .with_state(app)
}

async fn list_rules(State(app): State<Arc<App>>, query: axum::extract::RawQuery) -> Response {
    match RuleFilter::parse(query.0.as_deref().unwrap_or("")) {
        Ok(filter) => success(&GroupList::new(&app.ticker.board.groups(), &filter)),
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

async fn list_groups(State(app): State<Arc<App>>) -> Response {
    match app.db.rule_groups().all().await {
        Ok(rows) => success(&rows.into_iter().map(StoredGroup::from).collect::<Vec<_>>()),
        Err(error) => internal(error),
    }
}

async fn read_group(State(app): State<Arc<App>>, Path(name): Path<String>) -> Response {
    match app.db.rule_groups().one(&name).await {
        Ok(Some(row)) => success(&StoredGroup::from(row)),
        Ok(None) => no_such_group(&name),
        Err(error) => internal(error),
    }
}

async fn put_group(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    body: String,
) -> Response {
    if name.is_empty() || name.chars().count() > NAME_CHARS_MAX {
        return failure(
            ErrorKind::BadData,
            &format!("a group's name has 1 to {NAME_CHARS_MAX} characters"),
        );
    }
    if let Err(faults) = app.rules.check_group(&name, &body) {
        return faulty(&faults);
    }
    let now = app.clock.now();
    match app.db.rule_groups().put(&name, &body, now).await {
        Ok(version) => {
            app.rules.poll_database().await;
            let row = RuleGroupRow { name, body, version, created_at: now, updated_at: now };
            success(&serde_json::json!({ "name": row.name, "version": row.version }))
        }
        Err(error) => internal(error),
    }
}

async fn remove_group(State(app): State<Arc<App>>, Path(name): Path<String>) -> Response {
    match app.db.rule_groups().remove(&name).await {
        Ok(true) => {
            app.rules.poll_database().await;
            success(&serde_json::json!({ "name": name }))
        }
        Ok(false) => no_such_group(&name),
        Err(error) => internal(error),
    }
}

async fn reload(State(app): State<Arc<App>>) -> Response {
    let faults = app.rules.reload().await;
    if faults.is_empty() { success(&serde_json::json!({})) } else { faulty(&faults) }
}

fn success<T: Serialize>(answer: &T) -> Response {
    json(
        StatusCode::OK,
        prom_api::success(|out| prom_api::put_json(out, answer), &Notes::default()),
    )
}

fn failure(kind: ErrorKind, message: &str) -> Response {
    let status =
        StatusCode::from_u16(kind.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    json(status, prom_api::error(kind, message))
}

/// One fault a line, so that none of them has to be found in a second attempt.
fn faulty(faults: &[Fault]) -> Response {
    let lines: Vec<String> = faults.iter().map(Fault::to_string).collect();
    failure(ErrorKind::BadData, &lines.join("\n"))
}

fn no_such_group(name: &str) -> Response {
    failure(ErrorKind::NotFound, &format!("there is no rule group {name:?} in the database"))
}

fn internal(error: db::DbError) -> Response {
    let error = anyhow::Error::from(error);
    tracing::error!(error = %format!("{error:#}"), "a request for rule groups failed");
    failure(ErrorKind::Internal, &format!("{error:#}"))
}

fn json(status: StatusCode, body: String) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}
