//! The hosts: listed, explained, and forgotten.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use model::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{bad, not_found, page_size, unavailable};
use crate::app::App;
use crate::door::Caller;
use crate::fleet::Host;
use crate::group::glob;
use crate::snapshot::{Snapshot, is_or_is_below};

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/agentversions", get(agent_versions))
        .route("/api/v1/hosts", get(list_hosts))
        .route("/api/v1/hosts/{name}", get(show_host).delete(forget_host))
        .route("/api/v1/hosts/{name}/desired", get(explain_host))
}

// Open-Falcon's shape, kept byte for byte for the runbooks that read it.
async fn agent_versions(State(app): State<Arc<App>>) -> Response {
    #[derive(Serialize)]
    struct Answer<'a> {
        msg: &'static str,
        data: BTreeMap<&'a str, &'a str>,
    }
    let fleet = app.fleet();
    let versions = |host: &'_ Host| (host.row.name.clone(), host.row.agent_version.clone());
    let data: Vec<(String, String)> = fleet.hosts().map(versions).collect();
    drop(fleet);
    let data = data.iter().map(|(name, version)| (name.as_str(), version.as_str())).collect();
    Json(Answer { msg: "success", data }).into_response()
}

/// Which hosts are asked for; all of what is given must hold.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Filter {
    /// Behind this name, in order of names.
    after: String,
    limit: Option<usize>,
    /// A name with `*` and `?`.
    name: String,
    /// In this group or one below it.
    group: String,
    /// Version of the agent.
    version: String,
    /// Silent for at least `hbs.silent_after`, or not.
    silent: Option<bool>,
    /// In a maintenance window, or not.
    maintenance: Option<bool>,
    /// Could not apply all of its desired state, or could.
    faulty: Option<bool>,
    /// A label of its own, as `name=value`.
    label: String,
}

impl Filter {
    fn admits(&self, app: &App, snapshot: &Snapshot, host: &Host, now: Timestamp) -> bool {
        let is = |wanted: Option<bool>, found: &dyn Fn() -> bool| {
            wanted.is_none_or(|wanted| wanted == found())
        };
        let name = host.row.name.as_str();
        let label = || {
            let (label, value) = self.label.split_once('=')?;
            Some(host.labels.get(label).is_some_and(|found| found == value))
        };
        let in_group = || {
            let groups = snapshot.memberships(name, &host.labels);
            groups.iter().any(|member| is_or_is_below(&member.group.name, &self.group))
        };
        (self.name.is_empty() || glob(&self.name, name))
            && (self.version.is_empty() || self.version == host.row.agent_version)
            && (self.label.is_empty() || label() == Some(true))
            && is(self.silent, &|| host.age(now) >= app.config.silent_after)
            && is(self.faulty, &|| !host.reported.desired_faults.is_empty())
            && is(self.maintenance, &|| snapshot.window_of(name, &host.labels, now).is_some())
            && (self.group.is_empty() || in_group())
    }
}

async fn list_hosts(State(app): State<Arc<App>>, Query(filter): Query<Filter>) -> Response {
    if !filter.label.is_empty() && !filter.label.contains('=') {
        return bad("label must be like name=value");
    }
    let limit = page_size(filter.limit);
    let (now, snapshot) = (app.clock.now(), app.share.current());
    let fleet = app.fleet();
    let admitted = |host: &&Host| filter.admits(&app, &snapshot, host, now);
    let mut found = fleet.hosts_after(&filter.after).filter(admitted);
    let hosts: Vec<Value> =
        found.by_ref().take(limit).map(|host| shown(&app, &snapshot, host, now)).collect();
    let next = found.next().and(hosts.last()).map(|host| host["name"].clone());
    let total = fleet.len();
    Json(json!({ "total": total, "hosts": hosts, "next_after": next })).into_response()
}

fn shown(app: &App, snapshot: &Snapshot, host: &Host, now: Timestamp) -> Value {
    let row = &host.row;
    let groups = snapshot.memberships(&row.name, &host.labels);
    let groups: Vec<&str> = groups.iter().map(|member| member.group.name.as_str()).collect();
    let window = snapshot.window_of(&row.name, &host.labels, now);
    json!({
        "name": row.name,
        "ip": row.ip,
        "agent_version": row.agent_version,
        "plugin_version": row.plugin_version,
        "facts": serde_json::from_str::<Value>(&row.facts).unwrap_or_default(),
        "first_seen_at": Timestamp(row.first_seen_at).rfc3339(),
        "seen_at": Timestamp(row.seen_at).rfc3339(),
        "heartbeat_age_seconds": host.age(now).as_secs_f64(),
        "silent": host.age(now) >= app.config.silent_after,
        "clock_skew_seconds": host.skew_millis.map(|skew| skew as f64 / 1000.0),
        "groups": groups,
        "maintenance": window.map(|window| &window.id),
        "applied_hash": host.reported.desired_hash,
        "desired_faults": host.reported.desired_faults,
    })
}

async fn show_host(State(app): State<Arc<App>>, Path(name): Path<String>) -> Response {
    let (now, snapshot) = (app.clock.now(), app.share.current());
    let fleet = app.fleet();
    match fleet.host(&name) {
        Some(host) => Json(shown(&app, &snapshot, host, now)).into_response(),
        None => not_found("host", &name),
    }
}

// Also for a host that was not heard yet: what it will be given is worth knowing before it comes.
async fn explain_host(State(app): State<Arc<App>>, Path(name): Path<String>) -> Response {
    let snapshot = app.share.current();
    let (labels, applied) = {
        let fleet = app.fleet();
        let host = fleet.host(&name);
        let applied = host.map(|host| host.reported.desired_hash.clone());
        (host.map(|host| host.labels.clone()).unwrap_or_default(), applied)
    };
    let groups: Vec<Value> = snapshot
        .memberships(&name, &labels)
        .iter()
        .map(|member| {
            let (group, version) = (&member.group.name, member.group.version);
            json!({ "group": group, "version": version, "because": member.reason })
        })
        .collect();
    let desired = app.merge(&snapshot, &name, &labels);
    Json(json!({
        "host": name,
        "known": applied.is_some(),
        "applied": applied.is_some_and(|hash| hash == desired.state.hash),
        "groups": groups,
        "desired": desired.state,
        "origins": desired.origins,
        "faults": desired.faults,
    }))
    .into_response()
}

async fn forget_host(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(name): Path<String>,
) -> Response {
    let entry = app.trail.entry(&caller, "host.forget", &name, app.clock.now());
    let was_stored = match app.db.hosts().remove(&name, &entry).await {
        Ok(was_stored) => was_stored,
        Err(error) => return unavailable(&error),
    };
    let was_known = app.fleet().forget(&name);
    if !was_stored && !was_known {
        return not_found("host", &name);
    }
    app.share.refresh(app.clock.now()).await;
    tracing::info!(host.name = name, actor = caller.actor, "host forgotten");
    StatusCode::NO_CONTENT.into_response()
}
