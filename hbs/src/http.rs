//! The HTTP interface of hbs.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use daemon::{Clock, PeerAddr};
use db::Db;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use wire::heartbeat::{self, DesiredState, HeartbeatReply, HeartbeatRequest};

use crate::Config;
use crate::fleet::{Fleet, Heard};
use crate::metrics::{HeartbeatResult, Metrics};

const PAGE_SIZE_DEFAULT: usize = 100;
const PAGE_SIZE_MAX: usize = 1000;

/// What the handlers share.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) config: Config,
    pub(crate) clock: Clock,
    pub(crate) db: Db,
    pub(crate) fleet: Arc<Mutex<Fleet>>,
    pub(crate) metrics: Metrics,
}

impl App {
    fn fleet(&self) -> MutexGuard<'_, Fleet> {
        self.fleet.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The routes of hbs.
pub(crate) fn routes(app: Arc<App>) -> Router {
    let body_limit = DefaultBodyLimit::max(heartbeat::BODY_BYTES_MAX);
    Router::new()
        .route(heartbeat::PATH, post(take_heartbeat).layer(body_limit))
        .route("/agentversions", get(agent_versions))
        .route("/api/v1/hosts", get(list_hosts))
        .route("/api/v1/hosts/{name}", delete(forget_host))
        .with_state(app)
}

// The body is read as JSON whatever its content type says, so that plain `curl -d` works.
async fn take_heartbeat(
    State(app): State<Arc<App>>,
    PeerAddr(peer): PeerAddr,
    body: Bytes,
) -> Response {
    let heartbeat = match HeartbeatRequest::decode(&body) {
        Ok(heartbeat) => heartbeat,
        Err(error) => {
            app.metrics.count(HeartbeatResult::Malformed);
            return (StatusCode::BAD_REQUEST, format!("{}\n", daemon::error_chain(&error)))
                .into_response();
        }
    };
    let now = app.clock.now();
    let (heard, hosts) = {
        let mut fleet = app.fleet();
        (fleet.hear(&heartbeat, &peer.ip().to_string(), now), fleet.len())
    };
    app.metrics.count(result_of(heard));
    app.metrics.hosts.set(i64::try_from(hosts).unwrap_or(i64::MAX));
    if heard == Heard::Full {
        let text = format!(
            "hbs holds {hosts} hosts, its limit hbs.hosts_max; raise it or remove hosts that are gone\n"
        );
        return (StatusCode::TOO_MANY_REQUESTS, text).into_response();
    }
    let interval = u32::try_from(app.config.heartbeat_interval.as_secs()).unwrap_or(u32::MAX);
    let desired = DesiredState { heartbeat_interval_seconds: interval, ..DesiredState::default() };
    Json(HeartbeatReply { desired: Some(desired), upgrade: None, server_time: now }).into_response()
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

fn result_of(heard: Heard) -> HeartbeatResult {
    match heard {
        Heard::New => HeartbeatResult::New,
        Heard::Changed => HeartbeatResult::Changed,
        Heard::Same => HeartbeatResult::Same,
        Heard::Full => HeartbeatResult::Full,
    }
}
