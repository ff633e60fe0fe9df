//! `/templates/{name}`: a text with what it makes of an alert, by channel and language. One of the
//! database is changed here; nothing is stored before its preview was looked at.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Form, Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use channels::sign;
use daemon::PeerAddr;
use daemon::page::{Page, rendered};
use db::ExpectedVersion;

use super::person::{Fields, Refusals, field};
use super::templates::{alert_of, href, previewed};
use super::{Web, not_found};
use crate::directory_http::expected;
use crate::plan::Plan;
use crate::routing::ObjectKind;
use crate::routing::edit::{Edited, Wish};
use crate::routing::http::status_of;
use crate::routing::store::ChangeFault;
use crate::texts::TextConfig;
use crate::texts::preview::{Asked, Shown};

/// What stands in the address of the page for a new one.
const NEW: &str = "+new";
/// Definitions that a page previews.
const DEFINITIONS_MAX: usize = 20;
/// The kinds of channels that the form offers.
const KINDS: [&str; 13] = [
    "slack",
    "telegram",
    "mail",
    "dingtalk_robot",
    "dingtalk_app",
    "feishu_bot",
    "feishu_app",
    "wecom_webhook",
    "wecom_app",
    "pagerduty",
    "twilio",
    "alibaba",
    "tencent",
];

/// What the form says, as it was sent or as the page begins.
#[derive(Debug, Default)]
struct Typed {
    name: String,
    text: String,
    version: i64,
    kind: String,
    labels: String,
    alert: String,
}

/// A definition and what it makes of the alert.
#[derive(Debug)]
struct Definition {
    name: String,
    shown: Vec<Shown>,
    faults: Vec<String>,
}

/// The page.
#[derive(Debug, Template)]
#[template(path = "template.html")]
struct TemplatePage {
    typed: Typed,
    is_new: bool,
    is_fixed: bool,
    is_saved: bool,
    asks_to_look: bool,
    /// The mark of the text that was looked at.
    seen: String,
    faults: Vec<String>,
    definitions: Vec<Definition>,
    page: Page,
}

impl TemplatePage {
    fn kinds(&self) -> [&'static str; KINDS.len()] {
        KINDS
    }

    /// Lines of the field for the text.
    fn rows(&self) -> usize {
        self.typed.text.lines().count().clamp(8, 40) + 2
    }
}

/// What says that a text was looked at as it is.
fn mark(text: &str) -> String {
    sign::hex(sign::sha256(text.as_bytes()))
}

/// Browsers send line ends as two characters.
fn plain_lines(text: &str) -> String {
    text.replace("\r\n", "\n")
}

pub(super) async fn page(
    State(web): State<Arc<Web>>,
    Path(name): Path<String>,
    page: Page,
) -> Response {
    let asked = |name: &str| page.parameter(name).unwrap_or_default();
    let mut typed = Typed {
        kind: Some(asked("kind")).filter(|kind| !kind.is_empty()).unwrap_or(KINDS[0].to_owned()),
        labels: asked("labels"),
        alert: asked("alert"),
        ..Typed::default()
    };
    let is_new = name == NEW;
    let plan = web.common.plans.borrow().clone();
    let rows = web.common.routing.rows();
    let row = rows.iter().find(|row| row.kind == ObjectKind::Template.as_str() && row.name == name);
    let (is_fixed, mut faults) = match row {
        Some(row) => {
            (typed.text, typed.version) = (row.body.clone(), row.version);
            let stored = plan.stored.iter().find(|one| one.kind == row.kind && one.name == name);
            let fault = stored.map_or("", |stored| stored.fault.as_str());
            (false, Vec::from_iter((!fault.is_empty()).then(|| fault.to_owned())))
        }
        None if is_new => (false, Vec::new()),
        None => match plan.library.texts().get(name.as_str()) {
            Some(text) => {
                (*text).clone_into(&mut typed.text);
                (true, Vec::new())
            }
            None => {
                let detail = page.text("templates.unknown").to_owned();
                return not_found(page, detail);
            }
        },
    };
    let seen = mark(&typed.text);
    typed.name = if is_new { String::new() } else { name };
    let definitions = match define(&web, plan, &typed, &page).await {
        Ok(definitions) => definitions,
        Err(fault) => {
            faults.push(fault);
            Vec::new()
        }
    };
    let is_saved = page.parameter("saved").is_some();
    let asks_to_look = false;
    rendered(&TemplatePage {
        typed,
        is_new,
        is_fixed,
        is_saved,
        asks_to_look,
        seen,
        faults,
        definitions,
        page,
    })
}

/// What each definition of the text makes of the chosen alert, by a plan that has the text.
async fn define(
    web: &Web,
    plan: Arc<Plan>,
    typed: &Typed,
    page: &Page,
) -> Result<Vec<Definition>, String> {
    let alerts = alert_of(web, &typed.labels, &typed.alert, page).await?;
    let names = plan.library.names_in(&typed.name).into_iter().take(DEFINITIONS_MAX);
    let names: Vec<String> = names.map(str::to_owned).collect();
    let asked = names.iter().map(|name| {
        let call = format!("{{{{ template {name:?} . }}}}");
        let html = (typed.kind == "mail").then(|| call.to_owned());
        Asked {
            // The built-in title would stand above what the definition says.
            texts: TextConfig {
                title: Some(String::new()),
                text: Some(call),
                html,
                ..TextConfig::default()
            },
            kind: typed.kind.to_owned(),
            alerts: alerts.to_vec(),
            ..Asked::default()
        }
    });
    let made = previewed(web, Arc::clone(&plan), asked.collect(), page).await;
    let definition = |(name, made)| match made {
        Ok(shown) => Definition { name, shown, faults: Vec::new() },
        Err(faults) => Definition { name, shown: Vec::new(), faults },
    };
    Ok(names.into_iter().zip(made).map(definition).collect())
}

impl From<ChangeFault> for Refusals {
    fn from(fault: ChangeFault) -> Self {
        Self { status: status_of(&fault), faults: vec![fault.to_string()] }
    }
}

/// What a form has in it. Blanks at the ends of a text are its own.
fn typed_of(path: String, is_new: bool, fields: &Fields) -> Typed {
    let text = fields.iter().find(|(name, _)| name == "text").map_or("", |(_, text)| text);
    Typed {
        name: if is_new { field(fields, "name").to_owned() } else { path },
        text: plain_lines(text),
        version: field(fields, "version").parse().unwrap_or(0),
        kind: field(fields, "kind").to_owned(),
        labels: field(fields, "labels").to_owned(),
        alert: field(fields, "alert").to_owned(),
    }
}

impl Typed {
    fn wish(&self, body: Option<String>, expected: ExpectedVersion) -> Wish {
        Wish { kind: ObjectKind::Template, name: self.name.to_owned(), body, expected }
    }
}

pub(super) async fn save(
    State(web): State<Arc<Web>>,
    peer: PeerAddr,
    Path(path): Path<String>,
    headers: HeaderMap,
    page: Page,
    Form(fields): Form<Fields>,
) -> Response {
    let is_new = path == NEW;
    let typed = typed_of(path, is_new, &fields);
    let action = field(&fields, "action");
    let is_looked_at = field(&fields, "seen") == mark(&typed.text);
    let mut refusals = Refusals::default();
    if action == "remove" || (action == "save" && is_looked_at) {
        let is_kept = action == "save";
        let done = async {
            let caller = web.admit(peer, &headers, &fields)?;
            let body = is_kept.then(|| typed.text.to_owned());
            let wishes = [typed.wish(body, expected(Some(typed.version)))];
            web.common.routing.change(&caller, &wishes, false, page.now).await?;
            Ok::<(), Refusals>(())
        };
        match done.await {
            Ok(()) if is_kept => {
                let address = format!("{}?saved=1", href(&typed.name));
                return Redirect::to(&address).into_response();
            }
            Ok(()) => return Redirect::to("/templates").into_response(),
            Err(refused) => refusals = refused,
        }
    }
    looked_at(&web, typed, is_new, action == "save", refusals, page).await
}

/// The page with what the typed text would make of the chosen alert, or with what is wrong with it.
async fn looked_at(
    web: &Web,
    typed: Typed,
    is_new: bool,
    would_save: bool,
    mut refusals: Refusals,
    page: Page,
) -> Response {
    let wish = typed.wish(Some(typed.text.to_owned()), ExpectedVersion::Any);
    let mut definitions = Vec::new();
    match web.common.routing.trial(vec![wish]) {
        Ok(Edited { plan, .. }) => match define(web, Arc::new(plan), &typed, &page).await {
            Ok(found) => definitions = found,
            Err(fault) => refusals.faults.push(fault),
        },
        Err(fault) if refusals.faults.is_empty() => refusals = ChangeFault::from(fault).into(),
        Err(_) => {}
    }
    let is_good = refusals.faults.is_empty();
    // What failed was not seen.
    let seen = if is_good { mark(&typed.text) } else { String::new() };
    let shown = TemplatePage {
        typed,
        is_new,
        is_fixed: false,
        is_saved: false,
        asks_to_look: is_good && would_save,
        seen,
        faults: refusals.faults,
        definitions,
        page,
    };
    let status = if is_good { StatusCode::OK } else { refusals.status };
    (status, rendered(&shown)).into_response()
}
