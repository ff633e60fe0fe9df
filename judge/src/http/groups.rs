//! Rule groups in the database: read, change, switch, look back, restore.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Query, RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};
use wire::prom_api::ErrorKind;

use super::answer::{failure, faulty, internal, refused, success, versioned};
use super::{App, Caller};
use crate::api::StoredGroup;
use crate::manage::{Change, ChangeError};
use db::{EditOutcome, ExpectedVersion, RuleGroupVersion};

const PAGE_SIZE_DEFAULT: u32 = 1_000;
const PAGE_SIZE_MAX: u32 = 10_000;

/// The routes of rule groups.
pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/api/v1/rule-groups", get(list))
        .route("/api/v1/rule-groups/{name}", get(show).put(put).delete(remove))
        .route("/api/v1/rule-groups/{name}/enable", post(enable))
        .route("/api/v1/rule-groups/{name}/disable", post(disable))
        .route("/api/v1/rule-groups/{name}/restore", post(restore))
        .route("/api/v1/rule-groups/{name}/versions", get(versions))
        .route("/api/v1/rule-groups/{name}/versions/{version}", get(version))
        .route("/api/v1/audit", get(audit))
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Page {
    /// Behind this name, in order of names.
    after: String,
    limit: Option<u32>,
}

async fn list(State(app): State<Arc<App>>, Query(page): Query<Page>) -> Response {
    let limit = page.limit.unwrap_or(PAGE_SIZE_DEFAULT).clamp(1, PAGE_SIZE_MAX);
    let mut rows = match app.db.rule_groups().page(&page.after, limit + 1).await {
        Ok(rows) => rows,
        Err(error) => return internal(error),
    };
    let is_cut = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    let next = rows.last().filter(|_| is_cut).map(|row| next_link(&row.name, limit));
    let mut response = success(&rows.into_iter().map(StoredGroup::from).collect::<Vec<_>>());
    if let Some(link) = next.and_then(|link| HeaderValue::from_str(&link).ok()) {
        response.headers_mut().insert(header::LINK, link);
    }
    response
}

fn next_link(after: &str, limit: u32) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("after", after).append_pair("limit", &limit.to_string());
    format!("</api/v1/rule-groups?{}>; rel=\"next\"", query.finish())
}

async fn show(State(app): State<Arc<App>>, Path(name): Path<String>) -> Response {
    match app.db.rule_groups().one(&name).await {
        Ok(Some(row)) => {
            let version = row.version;
            versioned(&StoredGroup::from(row), version)
        }
        Ok(None) => no_such_group(&name),
        Err(error) => internal(error),
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    owner: Option<String>,
    enabled: Option<bool>,
}

async fn put(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(name): Path<String>,
    Query(settings): Query<Settings>,
    headers: HeaderMap,
    body: String,
) -> Response {
    let change = Change {
        body: Some(body),
        owner: settings.owner,
        enabled: settings.enabled,
        action: "rule_group.put",
    };
    make(&app, &caller, &name, change, &headers).await
}

async fn enable(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Response {
    make(&app, &caller, &name, Change::switch(true), &headers).await
}

async fn disable(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Response {
    make(&app, &caller, &name, Change::switch(false), &headers).await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    version: i64,
}

async fn restore(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(name): Path<String>,
    Query(which): Query<Which>,
    headers: HeaderMap,
) -> Response {
    let expected = match expected(&headers) {
        Ok(expected) => expected,
        Err(message) => return failure(ErrorKind::BadData, &message),
    };
    let outcome = app.manager.restore(&caller.0, &name, which.version, expected).await;
    app.answer(&name, outcome).await
}

async fn remove(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Response {
    match expected(&headers) {
        Ok(expected) => match app.manager.remove(&caller.0, &name, expected).await {
            Ok(EditOutcome::Made(_)) => success(&serde_json::json!({ "name": name })),
            other => app.answer(&name, other).await,
        },
        Err(message) => failure(ErrorKind::BadData, &message),
    }
}

async fn make(
    app: &App,
    caller: &Caller,
    name: &str,
    change: Change,
    headers: &HeaderMap,
) -> Response {
    match expected(headers) {
        Ok(expected) => {
            let outcome = app.manager.change(&caller.0, name, change, expected).await;
            app.answer(name, outcome).await
        }
        Err(message) => failure(ErrorKind::BadData, &message),
    }
}

impl App {
    async fn answer(&self, name: &str, outcome: Result<EditOutcome, ChangeError>) -> Response {
        match outcome {
            Ok(EditOutcome::Made(row) | EditOutcome::Unchanged(row)) => {
                let version = row.version;
                let answer = serde_json::json!({
                    "name": row.name, "version": version, "owner": row.owner, "enabled": row.enabled,
                });
                versioned(&answer, version)
            }
            Ok(EditOutcome::Conflict(there)) => {
                let there = there.map_or("there is no such group".to_owned(), |version| {
                    format!("it is at version {version} now")
                });
                let message = format!(
                    "the change of rule group {name:?} is meant for another version: {there}; \
                     read it again and repeat the change"
                );
                refused(StatusCode::PRECONDITION_FAILED, &message)
            }
            Ok(EditOutcome::Missing) => no_such_group(name),
            Err(ChangeError::Faults(faults)) => faulty(&faults),
            Err(ChangeError::Refused(message)) => failure(ErrorKind::BadData, &message),
            Err(ChangeError::NoVersion(version)) => {
                let message = format!("rule group {name:?} has no rules in a version {version}");
                failure(ErrorKind::NotFound, &message)
            }
            Err(ChangeError::Database(error)) => internal(error),
        }
    }
}

/// The version that a change is meant for: `If-Match: "3"`, or `If-None-Match: *` for a new group.
fn expected(headers: &HeaderMap) -> Result<ExpectedVersion, String> {
    let text = |name| {
        headers.get(name).map(|value: &HeaderValue| value.to_str().unwrap_or("?").trim().to_owned())
    };
    match (text(header::IF_MATCH), text(header::IF_NONE_MATCH)) {
        (None, None) => Ok(ExpectedVersion::Any),
        (None, Some(star)) if star == "*" => Ok(ExpectedVersion::None),
        (Some(tag), None) => {
            let digits = tag.trim_start_matches("W/").trim_matches('"');
            digits.parse().map(ExpectedVersion::Is).map_err(|_| {
                format!("If-Match: {tag:?} is no version; give the number of ETag, as \"3\"")
            })
        }
        _ => Err("give If-Match: \"VERSION\" or If-None-Match: *, not both".to_owned()),
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct VersionPage {
    /// Older than this one.
    before: i64,
    limit: Option<u32>,
}

/// A version as the API shows it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'a> {
    version: i64,
    changed_at: String,
    actor: &'a str,
    peer: &'a str,
    action: &'a str,
    owner: &'a str,
    enabled: bool,
    /// The group before the change; absent when that version is forgotten or there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<&'a str>,
    /// The group after the change; empty when it was removed.
    after: &'a str,
}

impl<'a> Shown<'a> {
    fn new(version: &'a RuleGroupVersion, before: Option<&'a RuleGroupVersion>) -> Self {
        Self {
            version: version.version,
            changed_at: version.changed_at.rfc3339(),
            actor: &version.actor,
            peer: &version.peer,
            action: &version.action,
            owner: &version.owner,
            enabled: version.enabled,
            before: before.map(|before| before.body.as_str()),
            after: &version.body,
        }
    }
}

async fn versions(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    Query(page): Query<VersionPage>,
) -> Response {
    let limit = page.limit.unwrap_or(20).clamp(1, 200);
    // One more: the oldest of the page shows what was before it.
    match app.db.rule_groups().versions(&name, page.before, limit + 1).await {
        Ok(found) if found.is_empty() && page.before == 0 => no_such_group(&name),
        Ok(found) => {
            let shown = found.iter().enumerate().take(limit as usize);
            let shown = shown.map(|(at, version)| Shown::new(version, found.get(at + 1)));
            success(&shown.collect::<Vec<_>>())
        }
        Err(error) => internal(error),
    }
}

async fn version(
    State(app): State<Arc<App>>,
    Path((name, version)): Path<(String, i64)>,
) -> Response {
    match app.db.rule_groups().versions(&name, version.saturating_add(1), 2).await {
        Ok(found) => match found.first().filter(|first| first.version == version) {
            Some(first) => success(&Shown::new(first, found.get(1))),
            None => {
                let message = format!("rule group {name:?} has no version {version}");
                failure(ErrorKind::NotFound, &message)
            }
        },
        Err(error) => internal(error),
    }
}

async fn audit(State(app): State<Arc<App>>, RawQuery(query): RawQuery) -> Response {
    let query = query.unwrap_or_default();
    let mut wanted = (String::new(), String::new(), 100);
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match name.as_ref() {
            "before" => wanted.0 = value.into_owned(),
            "target" => wanted.1 = value.into_owned(),
            "limit" => match value.parse::<u32>() {
                Ok(limit) => wanted.2 = limit.clamp(1, 1_000),
                Err(_) => return failure(ErrorKind::BadData, "limit must be a number"),
            },
            other => {
                let message = format!("no parameter {other:?}: give target, before or limit");
                return failure(ErrorKind::BadData, &message);
            }
        }
    }
    match app.db.audit().page(&wanted.0, &wanted.1, wanted.2).await {
        Ok(entries) => {
            let shown = entries.iter().map(|entry| {
                serde_json::json!({
                    "id": entry.id, "at": entry.at.rfc3339(), "actor": entry.actor, "peer": entry.peer,
                    "action": entry.action, "target": entry.target, "detail": entry.detail,
                })
            });
            success(&shown.collect::<Vec<_>>())
        }
        Err(error) => internal(error),
    }
}

fn no_such_group(name: &str) -> Response {
    failure(ErrorKind::NotFound, &format!("there is no rule group {name:?} in the database"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(header::HeaderName, &str)]) -> Result<ExpectedVersion, String> {
        let pairs = pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap()));
        expected(&pairs.collect())
    }

    #[test]
    fn the_expected_version_is_read_from_the_headers() {
        assert_eq!(read(&[]), Ok(ExpectedVersion::Any));
        for tag in ["\"3\"", "3", "W/\"3\""] {
            assert_eq!(read(&[(header::IF_MATCH, tag)]), Ok(ExpectedVersion::Is(3)), "{tag}");
        }
        assert_eq!(read(&[(header::IF_NONE_MATCH, "*")]), Ok(ExpectedVersion::None));
        assert!(read(&[(header::IF_MATCH, "*")]).is_err());
        assert!(read(&[(header::IF_MATCH, "\"3\""), (header::IF_NONE_MATCH, "*")]).is_err());
        assert!(read(&[(header::IF_NONE_MATCH, "\"3\"")]).is_err());
    }
}
