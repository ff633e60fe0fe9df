//! The hosts: listed, and forgotten.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::App;

const PAGE_SIZE_DEFAULT: usize = 100;
const PAGE_SIZE_MAX: usize = 1000;

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/agentversions", get(agent_versions))
        .route("/api/v1/hosts", get(list_hosts))
        .route("/api/v1/hosts/{name}", delete(forget_host))
}

// Open-Falcon's shape, kept byte for byte for the runbooks that read it.
async fn agent_versions(State(app): State<Arc<App>>) -> Response {
    #[derive(Serialize)]
    struct Answer<'a> {
        msg: &'static str,
        data: BTreeMap<&'a str, &'a str>,
    }
    let fleet = app.fleet();
    let data = fleet.rows().map(|row| (row.name.as_str(), row.agent_version.as_str())).collect();
    Json(Answer { msg: "success", data }).into_response()
}

#[derive(Debug, Deserialize)]
struct Page {
    #[serde(default)]
    after: String,
    limit: Option<usize>,
}

async fn list_hosts(State(app): State<Arc<App>>, Query(page): Query<Page>) -> Json<Value> {
    let limit = page.limit.unwrap_or(PAGE_SIZE_DEFAULT).clamp(1, PAGE_SIZE_MAX);
    let now = app.clock.now();
    let fleet = app.fleet();
    let mut rows = fleet
        .rows()
        .skip_while(|row| !page.after.is_empty() && row.name.as_str() <= page.after.as_str());
    let hosts: Vec<Value> = rows
        .by_ref()
        .take(limit)
        .map(|row| {
            json!({
                "name": row.name,
                "ip": row.ip,
                "agent_version": row.agent_version,
                "plugin_version": row.plugin_version,
                "facts": serde_json::from_str::<Value>(&row.facts).unwrap_or_default(),
                "first_seen_at": model::Timestamp(row.first_seen_at).rfc3339(),
                "seen_at": model::Timestamp(row.seen_at).rfc3339(),
                "heartbeat_age_seconds": now.since(model::Timestamp(row.seen_at)).as_secs_f64(),
            })
        })
        .collect();
    let next = rows.next().and(hosts.last()).map(|host| host["name"].clone());
    Json(json!({ "total": fleet.len(), "hosts": hosts, "next_after": next }))
}

async fn forget_host(State(app): State<Arc<App>>, Path(name): Path<String>) -> Response {
    if let Err(error) = app.db.hosts().remove(&name).await {
        return (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", daemon::error_chain(&error)))
            .into_response();
    }
    if !app.fleet().forget(&name) {
        return (StatusCode::NOT_FOUND, format!("host {name:?} is not known\n")).into_response();
    }
    tracing::info!(host.name = name, "host forgotten");
    StatusCode::NO_CONTENT.into_response()
}
