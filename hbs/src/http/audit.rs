//! Who changed what, page by page.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use db::AuditEntry;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{page_size, unavailable};
use crate::app::App;

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new().route("/api/v1/audit", get(list_entries))
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Page {
    /// Older than the entry of this id.
    before: String,
    /// Only changes of this target.
    target: String,
    limit: Option<usize>,
}

async fn list_entries(State(app): State<Arc<App>>, Query(page): Query<Page>) -> Response {
    let limit = page_size(page.limit);
    let most = u32::try_from(limit + 1).unwrap_or(u32::MAX);
    let entries = match app.db.audit().page(&page.before, &page.target, most).await {
        Ok(entries) => entries,
        Err(error) => return unavailable(&error),
    };
    let next = entries.get(limit).and(entries.get(limit - 1)).map(|entry| &entry.id);
    let list: Vec<Value> = entries.iter().take(limit).map(shown).collect();
    Json(json!({ "entries": list, "next_before": next })).into_response()
}

fn shown(entry: &AuditEntry) -> Value {
    let detail =
        serde_json::from_str(&entry.detail).unwrap_or_else(|_| Value::String(entry.detail.clone()));
    json!({
        "id": entry.id,
        "at": entry.at.rfc3339(),
        "actor": entry.actor,
        "peer": entry.peer,
        "action": entry.action,
        "target": entry.target,
        "detail": detail,
    })
}
