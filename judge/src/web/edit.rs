//! `/rule-groups/…`: a form for a group of the database, to make, change, test, switch, restore and remove it.
//!
//! A form is taken from a page of this judge on this machine (the browser says so by its origin), or with a token
//! that no other site knows. So another site cannot make somebody's browser change rules.

use std::sync::Arc;

use askama::Template;
use axum::Form;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use daemon::page::{Page, rendered};
use daemon::{Caller, PeerAddr};
use db::{DbError, EditOutcome, ExpectedVersion, RuleGroupVersion};
use serde::Deserialize;

use super::groups::moment;
use super::{message, store_away};
use crate::http::App;
use crate::manage::{Change, ChangeError};

/// Versions on the page.
const VERSIONS_SHOWN: u32 = 20;
const EMPTY_GROUP: &str = "interval: 1m\nrules:\n- alert: HostDown\n  expr: agent_alive == 0\n  \
                           for: 2m\n  labels: {severity: critical}\n  annotations:\n    \
                           summary: '{{ $labels.endpoint }} is silent'\n";

/// The address of a group's form.
pub(super) fn address(name: &str) -> String {
    let escaped: String = form_urlencoded::byte_serialize(name.as_bytes()).collect();
    format!("/rule-groups/{}", escaped.replace('+', "%20"))
}

#[derive(Debug, Template)]
#[template(path = "edit.html")]
struct EditPage {
    form: EditForm,
    is_new: bool,
    title: String,
    notice: String,
    faults: Vec<String>,
    results: Vec<Tested>,
    versions: Vec<Version>,
    page: Page,
}

#[derive(Debug)]
struct Tested {
    name: String,
    count: String,
    elements: Vec<(String, String)>,
}

#[derive(Debug)]
struct Version {
    number: i64,
    words: String,
    at: String,
    by: String,
    body: String,
}

/// What the form sends.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct EditForm {
    name: String,
    owner: String,
    body: String,
    /// `on` when the box is ticked.
    enabled: String,
    /// The version that the form shows; 0 for a new group.
    version: i64,
    token: String,
    /// Which button: save, test, remove, restore-N.
    action: String,
}

pub(super) async fn new_page(page: Page) -> Response {
    let form =
        EditForm { body: EMPTY_GROUP.to_owned(), enabled: "on".to_owned(), ..EditForm::default() };
    shown(form, page)
}

pub(super) async fn page(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    page: Page,
) -> Response {
    match stored(&app, &name).await {
        Ok(Some(form)) => with_versions(&app, blank(form, page)).await,
        Ok(None) => {
            let detail = page.fill("error.group_unknown", &[("name", &name)]);
            message(StatusCode::NOT_FOUND, page, "error.not_found", detail)
        }
        Err(error) => store_away(page, &error),
    }
}

async fn stored(app: &App, name: &str) -> Result<Option<EditForm>, DbError> {
    let row = app.db.rule_groups().one(name).await?;
    Ok(row.map(|row| EditForm {
        name: row.name,
        owner: row.owner,
        body: row.body,
        enabled: if row.enabled { "on".to_owned() } else { String::new() },
        version: row.version,
        ..EditForm::default()
    }))
}

fn blank(form: EditForm, page: Page) -> EditPage {
    let is_new = form.version == 0;
    let title = match is_new {
        true => page.text("edit.new").to_owned(),
        false => page.fill("edit.title", &[("name", &form.name)]),
    };
    let (faults, results, versions) = (Vec::new(), Vec::new(), Vec::new());
    EditPage { form, is_new, title, notice: String::new(), faults, results, versions, page }
}

fn shown(form: EditForm, page: Page) -> Response {
    rendered(&blank(form, page))
}

async fn with_versions(app: &App, mut edit: EditPage) -> Response {
    match app.db.rule_groups().versions(&edit.form.name, 0, VERSIONS_SHOWN).await {
        Ok(versions) => {
            edit.versions = versions.into_iter().map(|v| version(v, &edit.page)).collect();
            rendered(&edit)
        }
        Err(error) => store_away(edit.page, &error),
    }
}

fn version(version: RuleGroupVersion, page: &Page) -> Version {
    let values = [("action", version.action), ("actor", version.actor)];
    Version {
        number: version.version,
        words: page.fill("edit.version", &[("version", &version.version.to_string())]),
        at: moment(version.changed_at),
        by: page.fill("edit.by", &values),
        body: version.body,
    }
}

pub(super) async fn save(
    State(app): State<Arc<App>>,
    PeerAddr(peer): PeerAddr,
    page: Page,
    headers: HeaderMap,
    Form(form): Form<EditForm>,
) -> Response {
    let admitted = match form.token.as_str() {
        "" => app.door.admit(peer, &headers),
        token => app.door.admit_token(peer, token.trim()),
    };
    let caller = match admitted {
        Ok(caller) => caller,
        Err(why) => {
            app.metrics.changes_refused.inc();
            tracing::warn!(%peer, why, "a change by form was refused");
            let mut edit = blank(EditForm { token: String::new(), ..form }, page);
            edit.notice = format!("{}: {why}", edit.page.text("error.refused"));
            return (StatusCode::FORBIDDEN, rendered(&edit)).into_response();
        }
    };
    // The token is not sent back to the page.
    let form = EditForm { token: String::new(), ..form };
    if form.action == "test" {
        return tested(&app, blank(form, page)).await;
    }
    let outcome = made(&app, &caller, &form).await;
    answer(&app, form, page, outcome).await
}

async fn made(app: &App, caller: &Caller, form: &EditForm) -> Result<EditOutcome, ChangeError> {
    let expected = match form.version {
        0 => ExpectedVersion::None,
        version => ExpectedVersion::Is(version),
    };
    let name = form.name.trim();
    if form.action == "remove" {
        return app.manager.remove(caller, name, expected).await;
    }
    if let Some(number) = form.action.strip_prefix("restore-") {
        let number = number.parse().unwrap_or(0);
        return app.manager.restore(caller, name, number, expected).await;
    }
    let change = Change {
        body: Some(form.body.replace("\r\n", "\n")),
        owner: Some(form.owner.trim().to_owned()),
        enabled: Some(form.enabled == "on"),
        action: "rule_group.put",
    };
    app.manager.change(caller, name, change, expected).await
}

async fn answer(
    app: &App,
    mut form: EditForm,
    page: Page,
    outcome: Result<EditOutcome, ChangeError>,
) -> Response {
    let is_removal = form.action == "remove";
    let (notice, faults) = match outcome {
        Ok(EditOutcome::Made(_)) if is_removal => return Redirect::to("/rules").into_response(),
        Ok(EditOutcome::Made(row) | EditOutcome::Unchanged(row)) => {
            return Redirect::to(&address(&row.name)).into_response();
        }
        Ok(EditOutcome::Conflict(Some(there))) => {
            form.version = there;
            (page.fill("edit.conflict", &[("version", &there.to_string())]), Vec::new())
        }
        Ok(EditOutcome::Conflict(None) | EditOutcome::Missing) => {
            form.version = 0;
            (page.text("edit.gone").to_owned(), Vec::new())
        }
        Err(ChangeError::Faults(faults)) => {
            (String::new(), faults.iter().map(ToString::to_string).collect())
        }
        Err(ChangeError::Refused(why)) => (why, Vec::new()),
        Err(ChangeError::NoVersion(_)) => (page.text("error.not_found").to_owned(), Vec::new()),
        Err(ChangeError::Database(error)) => return store_away(page, &error),
    };
    let edit = EditPage { notice, faults, ..blank(form, page) };
    let status = StatusCode::UNPROCESSABLE_ENTITY;
    (status, with_versions(app, edit).await).into_response()
}

async fn tested(app: &App, mut edit: EditPage) -> Response {
    match app.manager.rules.check_group(edit.form.name.trim(), &edit.form.body) {
        Ok(group) => {
            let now = app.manager.clock.now();
            for rule in &group.rules {
                let result = app.tested(&group, rule, now).await;
                edit.results.push(tested_rule(&result, &edit.page));
            }
        }
        Err(faults) => edit.faults = faults.iter().map(ToString::to_string).collect(),
    }
    with_versions(app, edit).await
}

fn tested_rule(result: &serde_json::Value, page: &Page) -> Tested {
    let text = |value: &serde_json::Value| value.as_str().unwrap_or("").to_owned();
    let count = match result["error"].as_str() {
        Some(error) => page.fill("edit.result.failed", &[("error", error)]),
        None => page.fill("rule.parts.elements", &[("count", &result["elements"].to_string())]),
    };
    let element = |element: &serde_json::Value| {
        let labels: model::Labels =
            serde_json::from_value(element["labels"].clone()).unwrap_or_default();
        (labels.to_string(), text(&element["value"]))
    };
    let elements = result["result"].as_array().into_iter().flatten().map(element).collect();
    Tested { name: text(&result["name"]), count, elements }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_in_addresses() {
        assert_eq!(address("a b/c?ü"), "/rule-groups/a%20b%2Fc%3F%C3%BC");
    }
}
