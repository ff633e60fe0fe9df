//! Maintenance windows.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get};
use axum::{Json, Router};
use db::{AuditEntry, MaintenanceOf, MaintenanceRow};
use model::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{bad, fault, not_found, unavailable};
use crate::app::App;
use crate::door::Caller;
use crate::group::is_group_name;

const WINDOWS_MAX: usize = 10_000;
const TARGET_BYTES_MAX: usize = 255;
const REASON_BYTES_MAX: usize = 1024;
const LENGTH_MAX: Duration = Duration::from_secs(366 * 86_400);

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/api/v1/maintenance", get(list_windows).post(add_window))
        .route("/api/v1/maintenance/{id}", delete(end_window))
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Filter {
    /// Only those that are open now.
    active: bool,
    /// Only those this host is in now, of its own or of one of its groups.
    host: String,
    /// Only those of this group itself.
    group: String,
    /// Those that are over too, since this moment, in seconds since the epoch.
    since: Option<i64>,
}

async fn list_windows(State(app): State<Arc<App>>, Query(filter): Query<Filter>) -> Response {
    let now = app.clock.now();
    let since = filter.since.map_or(now, Timestamp::from_seconds);
    // The snapshot has what is not over: that is what is asked for when the database is away.
    let windows: Vec<Value> = if filter.since.is_some() {
        match app.db.maintenances().ending_after(since).await {
            Ok(rows) => rows.iter().map(shown_row).collect(),
            Err(error) => return unavailable(&error),
        }
    } else {
        let snapshot = app.share.current();
        let left = snapshot.maintenance().iter().filter(|window| window.ends_at > now);
        left.map(|window| {
            json!({
                "id": window.id, "host": window.host, "group": window.group,
                "starts_at": window.starts_at.rfc3339(), "ends_at": window.ends_at.rfc3339(),
                "active": window.starts_at <= now,
                "reason": window.reason, "created_by": window.created_by,
            })
        })
        .collect()
    };
    let of_host = |window: &Value| filter.host.is_empty() || covers(&app, window, &filter.host);
    let of_group = |window: &Value| filter.group.is_empty() || window["group"] == filter.group;
    let active = |window: &Value| !filter.active || window["active"] == true;
    let list: Vec<Value> = windows
        .into_iter()
        .filter(|window| active(window) && of_group(window) && of_host(window))
        .collect();
    Json(json!({ "maintenance": list })).into_response()
}

fn shown_row(row: &MaintenanceRow) -> Value {
    let of = |of: MaintenanceOf| (row.of == of).then_some(&row.target);
    json!({
        "id": row.id, "host": of(MaintenanceOf::Host), "group": of(MaintenanceOf::Group),
        "starts_at": row.starts_at.rfc3339(), "ends_at": row.ends_at.rfc3339(),
        "reason": row.reason, "created_by": row.created_by,
        "created_at": row.created_at.rfc3339(),
    })
}

fn covers(app: &App, window: &Value, host: &str) -> bool {
    if let Some(name) = window["host"].as_str() {
        return name == host;
    }
    let Some(group) = window["group"].as_str() else { return false };
    let labels = app.fleet().host(host).map(|host| host.labels.clone()).unwrap_or_default();
    let snapshot = app.share.current();
    let groups = snapshot.memberships(host, &labels);
    groups.iter().any(|member| crate::snapshot::is_or_is_below(&member.group.name, group))
}

/// A new window: of a host or of a group, from `start` (now, if it is left out) to `end` or for `for`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct NewWindow {
    host: String,
    group: String,
    /// Seconds since the epoch.
    start: Option<i64>,
    /// Seconds since the epoch.
    end: Option<i64>,
    /// A duration, as `2h`.
    #[serde(rename = "for")]
    length: String,
    reason: String,
    /// Who is told of it, besides the name of the token.
    who: String,
}

async fn add_window(State(app): State<Arc<App>>, caller: Caller, body: Bytes) -> Response {
    let now = app.clock.now();
    let window = serde_json::from_slice::<NewWindow>(&body).map_err(|error| error.to_string());
    let row = window.and_then(|window| {
        let who = if window.who.is_empty() { &caller.actor } else { &window.who };
        row_of(&window, who, &app.trail.id(now), now)
    });
    let row = match row {
        Ok(row) => row,
        Err(why) => return bad(&format!("no maintenance window: {why}")),
    };
    let snapshot = app.share.current();
    if row.of == MaintenanceOf::Group && !snapshot.has_place(&row.target) {
        return not_found("group", &row.target);
    }
    if snapshot.maintenance().len() >= WINDOWS_MAX {
        return fault(
            StatusCode::TOO_MANY_REQUESTS,
            "there are 10000 maintenance windows: end some",
        );
    }
    let entry = AuditEntry {
        detail: shown_row(&row).to_string(),
        ..app.trail.entry(&caller, "maintenance.add", &row.target, now)
    };
    match app.db.maintenances().add(&row, &entry).await {
        Ok(()) => {
            app.share.refresh(now).await;
            (StatusCode::CREATED, Json(shown_row(&row))).into_response()
        }
        Err(error) => unavailable(&error),
    }
}

fn row_of(
    window: &NewWindow,
    who: &str,
    id: &str,
    now: Timestamp,
) -> Result<MaintenanceRow, String> {
    let (of, target) = match (window.host.as_str(), window.group.as_str()) {
        (host, "") if !host.is_empty() => (MaintenanceOf::Host, host),
        ("", group) if is_group_name(group) => (MaintenanceOf::Group, group),
        _ => return Err("give either `host` or `group`".to_owned()),
    };
    let starts_at = window.start.map_or(now, Timestamp::from_seconds);
    let ends_at = match (window.end, window.length.as_str()) {
        (Some(end), "") => Timestamp::from_seconds(end),
        (None, length) if !length.is_empty() => {
            starts_at.plus(model::parse_duration(length).map_err(|error| error.to_string())?)
        }
        _ => return Err("give either `end` in seconds since the epoch or `for`, as 2h".to_owned()),
    };
    if ends_at <= starts_at || ends_at <= now || ends_at.since(starts_at) > LENGTH_MAX {
        return Err("it must end after its start and after now, within 366 days".to_owned());
    }
    let is_long = window.reason.len() > REASON_BYTES_MAX || who.chars().count() > 190;
    if is_long || target.len() > TARGET_BYTES_MAX {
        return Err("a text is too long".to_owned());
    }
    Ok(MaintenanceRow {
        id: id.to_owned(),
        of,
        target: target.to_owned(),
        starts_at,
        ends_at,
        reason: window.reason.clone(),
        created_by: who.to_owned(),
        created_at: now,
    })
}

async fn end_window(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Response {
    let now = app.clock.now();
    let entry = app.trail.entry(&caller, "maintenance.end", &id, now);
    match app.db.maintenances().end(&id, now, &entry).await {
        Ok(true) => {
            app.share.refresh(now).await;
            StatusCode::NO_CONTENT.into_response()
        }
        Ok(false) => not_found("open maintenance window", &id),
        Err(error) => unavailable(&error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(json: Value) -> Result<MaintenanceRow, String> {
        let window =
            serde_json::from_value(json).map_err(|error: serde_json::Error| error.to_string())?;
        row_of(&window, "ann", "id", Timestamp::from_seconds(100))
    }

    #[test]
    fn a_window_begins_now_unless_it_says_when() {
        let window = row(json!({ "host": "web-01", "for": "2h" })).expect("valid");
        assert_eq!(window.starts_at, Timestamp::from_seconds(100));
        assert_eq!(window.ends_at, Timestamp::from_seconds(7300));
        let window = row(json!({ "group": "a.b", "start": 200, "end": 300 })).expect("valid");
        assert_eq!((window.of, window.starts_at.seconds()), (MaintenanceOf::Group, 200));
    }

    #[test]
    fn a_window_without_an_end_a_target_or_a_future_is_refused() {
        for json in [
            json!({ "host": "a" }),
            json!({ "for": "1h" }),
            json!({ "host": "a", "group": "b", "for": "1h" }),
            json!({ "host": "a", "end": 99 }),
            json!({ "host": "a", "end": 300, "for": "1h" }),
            json!({ "host": "a", "start": 300, "end": 200 }),
            json!({ "host": "a", "for": "400d" }),
            json!({ "host": "a", "for": "1h", "reason": "x".repeat(2000) }),
            json!({ "host": "a", "for": "1h", "until": 5 }),
        ] {
            assert!(row(json.clone()).is_err(), "{json}");
        }
    }
}
