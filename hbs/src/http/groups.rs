//! The groups and their members.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use db::{AuditEntry, DbError};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{bad, fault, not_found, page_size, unavailable};
use crate::app::App;
use crate::door::Caller;
use crate::group::{GroupSpec, is_group_name};
use crate::snapshot::{Group, is_or_is_below};
use crate::upkeep;

/// A group, or a list of its members, as it is sent.
const BODY_BYTES_MAX: usize = 1 << 20;
const HOST_BYTES_MAX: usize = 255;
/// Memberships by hand, for each host that hbs may hold.
const BY_HAND_PER_HOST_MAX: usize = 4;

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/api/v1/groups", get(list_groups))
        .route("/api/v1/groups/{name}", get(show_group).put(put_group).delete(remove_group))
        .route("/api/v1/groups/{name}/hosts", get(list_hosts))
        .route("/api/v1/groups/{name}/members", post(change_members))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct GroupPage {
    /// Behind this name, in order of names.
    after: String,
    limit: Option<usize>,
    /// This group and those below it.
    below: String,
}

async fn list_groups(State(app): State<Arc<App>>, Query(page): Query<GroupPage>) -> Response {
    // Without the database the groups are shown all the same, only not their sizes.
    let counts: Option<BTreeMap<String, i64>> =
        app.db.groups().host_counts().await.ok().map(|counts| counts.into_iter().collect());
    let snapshot = app.share.current();
    let mut groups: Vec<&Group> = snapshot
        .groups()
        .iter()
        .filter(|group| page.below.is_empty() || is_or_is_below(&group.name, &page.below))
        .filter(|group| group.name > page.after)
        .collect();
    groups.sort_by_key(|group| &group.name);
    let limit = page_size(page.limit);
    let next = groups.get(limit).and(groups.get(limit - 1)).map(|group| &group.name);
    let shown = |group: &&Group| {
        let mut shown = shown(group);
        let hosts = counts.as_ref().map(|counts| counts.get(&group.name).copied().unwrap_or(0));
        shown["hosts"] = json!(hosts);
        shown
    };
    let list: Vec<Value> = groups.iter().take(limit).map(shown).collect();
    let total = snapshot.groups().len();
    Json(json!({ "total": total, "groups": list, "next_after": next })).into_response()
}

fn shown(group: &Group) -> Value {
    json!({
        "name": group.name,
        "version": group.version,
        "updated_at": group.updated_at.rfc3339(),
        "spec": group.spec,
    })
}

async fn show_group(State(app): State<Arc<App>>, Path(name): Path<String>) -> Response {
    match app.share.current().group(&name) {
        Some(group) => Json(shown(group)).into_response(),
        None => not_found("group", &name),
    }
}

// The body is read as JSON whatever its content type says, so that plain `curl -d` works.
async fn put_group(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(name): Path<String>,
    body: Bytes,
) -> Response {
    let spec = match read_group(&name, &body) {
        Ok(spec) => spec,
        Err(faults) => return bad(&faults),
    };
    let snapshot = app.share.current();
    if snapshot.group(&name).is_none() && snapshot.groups().len() >= app.config.groups_max {
        let text = format!("there are {} groups, the limit hbs.groups_max", app.config.groups_max);
        return fault(StatusCode::TOO_MANY_REQUESTS, &text);
    }
    let stored = serde_json::to_string(&spec).expect("texts and numbers have a JSON form");
    let now = app.clock.now();
    let entry =
        AuditEntry { detail: stored.clone(), ..app.trail.entry(&caller, "group.put", &name, now) };
    match app.db.groups().put(&name, &stored, now, &entry).await {
        Ok(version) => {
            app.share.refresh(now).await;
            let matched = upkeep::match_group(&app, &app.share.current(), &name).await;
            if let Err(error) = matched {
                let error = format!("{error:#}");
                tracing::warn!(error, "the list of the group's hosts follows later");
            }
            Json(json!({ "name": name, "version": version })).into_response()
        }
        Err(error) => unavailable(&error),
    }
}

fn read_group(name: &str, body: &[u8]) -> Result<GroupSpec, String> {
    if !is_group_name(name) {
        return Err("a group's name is words of letters, digits, _ and - with dots between, as \
                    corp.pay.web: at most 16 words and 190 letters"
            .to_owned());
    }
    let spec: GroupSpec =
        serde_json::from_slice(body).map_err(|error| format!("the body is no group: {error}"))?;
    let faults = spec.faults();
    if faults.is_empty() { Ok(spec) } else { Err(faults.join("\n")) }
}

async fn remove_group(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(name): Path<String>,
) -> Response {
    let now = app.clock.now();
    let entry = app.trail.entry(&caller, "group.remove", &name, now);
    match app.db.groups().remove(&name, &entry).await {
        Ok(true) => {
            app.share.refresh(now).await;
            StatusCode::NO_CONTENT.into_response()
        }
        Ok(false) => not_found("group", &name),
        Err(error) => unavailable(&error),
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct MemberPage {
    /// Behind this, as an earlier page said.
    after: String,
    limit: Option<usize>,
}

// The database is asked rather than the memory: it knows the hosts of every hbs.
async fn list_hosts(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    Query(page): Query<MemberPage>,
) -> Response {
    if !app.share.current().has_place(&name) {
        return not_found("group", &name);
    }
    let limit = page_size_of_members(page.limit);
    let after = page.after.split_once('/').unwrap_or(("", ""));
    let most = u32::try_from(limit + 1).unwrap_or(u32::MAX);
    let rows = match app.db.groups().hosts(&name, after, most).await {
        Ok(rows) => rows,
        Err(error) => return unavailable(&error),
    };
    let next = rows.get(limit).and(rows.get(limit - 1));
    let next = next.map(|row| format!("{}/{}", row.group, row.host));
    let hosts: Vec<Value> = rows
        .iter()
        .take(limit)
        .map(|row| json!({ "host": row.host, "group": row.group, "by": row.by.as_str() }))
        .collect();
    Json(json!({ "hosts": hosts, "next_after": next })).into_response()
}

// A host list has short lines, and the callers want all of it.
fn page_size_of_members(asked: Option<usize>) -> usize {
    const MEMBERS_MAX: usize = 10_000;
    asked.unwrap_or(1000).clamp(1, MEMBERS_MAX)
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Members {
    add: BTreeSet<String>,
    remove: BTreeSet<String>,
}

async fn change_members(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(name): Path<String>,
    body: Bytes,
) -> Response {
    let members: Members = match serde_json::from_slice(&body) {
        Ok(members) => members,
        Err(error) => {
            return bad(&format!(
                "the body must be like {{\"add\":[\"web-01\"],\"remove\":[]}}: {error}"
            ));
        }
    };
    let is_host = |host: &String| {
        !host.is_empty() && host.len() <= HOST_BYTES_MAX && !host.chars().any(char::is_control)
    };
    if !members.add.iter().all(is_host) {
        return bad("a host's name has 1 to 255 bytes and no control characters");
    }
    let snapshot = app.share.current();
    if snapshot.group(&name).is_none() {
        return not_found("group", &name);
    }
    let most = app.config.hosts_max.saturating_mul(BY_HAND_PER_HOST_MAX);
    if snapshot.by_hand() + members.add.len() > most {
        let text = format!("at most {most} memberships by hand are kept: use patterns or labels");
        return fault(StatusCode::TOO_MANY_REQUESTS, &text);
    }
    match store_members(&app, &caller, &name, &members).await {
        Ok(()) => Json(json!({ "added": members.add.len(), "removed": members.remove.len() }))
            .into_response(),
        Err(error) => unavailable(&error),
    }
}

async fn store_members(
    app: &App,
    caller: &Caller,
    name: &str,
    members: &Members,
) -> Result<(), DbError> {
    let now = app.clock.now();
    let detail = json!({ "add": members.add, "remove": members.remove }).to_string();
    let entry = AuditEntry { detail, ..app.trail.entry(caller, "group.members", name, now) };
    app.db.groups().change_members(name, &members.add, &members.remove, &entry).await?;
    app.share.refresh(now).await;
    Ok(())
}
