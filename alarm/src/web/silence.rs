//! `/silences/new`, `/silences/{id}`: the form that makes a silence, prolongs it, changes it and ends it. Nothing is
//! stored before the page has shown which alerts it would hold.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Form, Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use daemon::PeerAddr;
use daemon::page::{Page, is_same_origin, rendered};
use db::alerts::StoredAlert;
use model::{Fingerprint, Labels, Matcher};

use super::alert_view::{SeverityView, name_of};
use super::claim::{owner_of, remembering};
use super::silence_form::{ENDS_AFTER, REFUSED, SPANS, Scope, SilenceForm, read_matchers};
use super::silences::{SilenceView, href, open_alerts};
use super::{Web, not_found, refused, store_away};
use crate::matchers::matchers_all;
use crate::severity::{SEVERITY, Severity};
use crate::silence::{Silence, SilenceFault};
use crate::silences::ChangeError;

/// Alerts that a preview names; the rest is counted.
const ALERTS_SHOWN: usize = 50;

/// A choice of how much of an alert's surroundings is silenced.
#[derive(Debug)]
struct ScopeLink {
    label: &'static str,
    href: String,
    chosen: bool,
}

/// What a silence with these matchers would hold.
#[derive(Debug)]
struct Preview {
    sentence: String,
    alerts: Vec<Line>,
    more: Option<String>,
    /// How many of the most urgent are among them; empty when none is.
    warning: String,
}

#[derive(Debug)]
struct Line {
    href: String,
    severity: SeverityView,
    name: String,
    labels: String,
    since: String,
}

/// The page.
#[derive(Debug, Template)]
#[template(path = "silence.html")]
struct SilencePage {
    title: &'static str,
    form: SilenceForm,
    /// The silence that is changed.
    shown: Option<SilenceView>,
    scopes: Vec<ScopeLink>,
    faults: Vec<String>,
    is_saved: bool,
    /// Whether the form was sent and its preview is to be looked at first.
    asks_again: bool,
    preview: Option<Preview>,
    page: Page,
}

impl SilencePage {
    fn spans(&self) -> [&'static str; 8] {
        SPANS
    }

    /// Lines of the field for matchers.
    fn rows(&self) -> usize {
        self.form.matchers.lines().count().clamp(3, 19) + 1
    }

    fn ends_after(&self) -> [&'static str; 4] {
        ENDS_AFTER
    }

    /// A span that the form does not offer: what somebody chose elsewhere.
    fn other_end(&self) -> Option<&str> {
        let chosen = self.form.ends_after.as_str();
        (!chosen.is_empty() && !ENDS_AFTER.contains(&chosen)).then_some(chosen)
    }

    /// A span of the form in words.
    fn words(&self, span: &str) -> String {
        model::parse_duration(span).map_or_else(|_| span.to_owned(), |span| self.page.span(span))
    }
}

fn blank(form: SilenceForm, page: Page) -> SilencePage {
    let title = match form.id.is_empty() {
        true => page.text("silence.new"),
        false => page.text("silence.change"),
    };
    SilencePage {
        title,
        form,
        shown: None,
        scopes: Vec::new(),
        faults: Vec::new(),
        is_saved: false,
        asks_again: false,
        preview: None,
        page,
    }
}

/// With `?alert=` about an alert, with `?filter=` about matchers, with `?again=` like an earlier one.
pub(super) async fn new_page(
    State(web): State<Arc<Web>>,
    headers: HeaderMap,
    page: Page,
) -> Response {
    let open = match open_alerts(&web).await {
        Ok(open) => open,
        Err(error) => return store_away(page, &error),
    };
    let author = owner_of(&headers);
    if let Some(id) = page.parameter("again") {
        let known = web.common.silences.known();
        if let Some(earlier) = known.iter().find(|silence| silence.id == id) {
            let mut form = SilenceForm::about(earlier.matchers(), author);
            form.comment.clone_from(&earlier.comment);
            return rendered(&previewed(blank(form, page), &open));
        }
    }
    let fingerprint = page.parameter("alert").and_then(|id| Fingerprint::parse(&id));
    if let Some(fingerprint) = fingerprint {
        let found = match web.common.db.alerts().load(&[fingerprint]).await {
            Ok(mut found) => found.pop(),
            Err(error) => return store_away(page, &error),
        };
        let Some(stored) = found else {
            let id = fingerprint.to_string();
            let detail = page.fill("error.alert_unknown", &[("id", id)]);
            return not_found(page, detail);
        };
        return rendered(&about(&web, &stored, author, &open, page));
    }
    let filters = form_urlencoded::parse(page.query().as_bytes());
    let filters: Vec<_> =
        filters.filter(|(key, _)| key == "filter").map(|(_, value)| value).collect();
    let (text, mut faults) = (filters.join("\n"), Vec::new());
    let matchers = match text.is_empty() {
        true => Vec::new(),
        false => read_matchers(&text).unwrap_or_else(|fault| {
            faults.push(fault);
            Vec::new()
        }),
    };
    let shown = blank(SilenceForm::about(&matchers, author), page);
    rendered(&previewed(SilencePage { faults, ..shown }, &open))
}

/// The form for a silence about an alert, or about more than it.
fn about(
    web: &Web,
    stored: &StoredAlert,
    author: String,
    open: &[StoredAlert],
    page: Page,
) -> SilencePage {
    let labels = &stored.alert.labels;
    let group = group_of(web, labels);
    let chosen = page.parameter("scope");
    let chosen = Scope::ALL.into_iter().find(|scope| chosen.as_deref() == Some(scope.word()));
    let chosen = chosen.unwrap_or(Scope::Alert);
    let matchers = |scope: Scope| scope.matchers(labels, &group);
    let scopes = Scope::ALL.into_iter().filter(|scope| !matchers(*scope).is_empty());
    let fingerprint = stored.alert.fingerprint();
    let scopes = scopes.map(|scope| ScopeLink {
        label: scope.label(&page),
        href: format!("/silences/new?alert={fingerprint}&scope={}", scope.word()),
        chosen: scope == chosen,
    });
    let scopes = scopes.collect();
    let shown = blank(SilenceForm::about(&matchers(chosen), author), page);
    previewed(SilencePage { scopes, ..shown }, open)
}

/// The labels of the group that an alert is told in, by its first way through the routes.
fn group_of(web: &Web, labels: &Labels) -> Labels {
    let plan = web.common.plans.borrow();
    let leaves = plan.tree.leaves_of(labels);
    let first = leaves.first().map(|at| &plan.tree.leaves()[*at]);
    first.map_or_else(Labels::default, |leaf| leaf.options.group_by.labels_of(labels))
}

/// The page with what its matchers would hold, if they can be read.
fn previewed(shown: SilencePage, open: &[StoredAlert]) -> SilencePage {
    let preview = read_matchers(&shown.form.matchers).ok();
    let preview = preview.map(|matchers| preview_of(&matchers, open, &shown.page));
    SilencePage { preview, ..shown }
}

fn preview_of(matchers: &[Matcher], open: &[StoredAlert], page: &Page) -> Preview {
    let held: Vec<&StoredAlert> =
        open.iter().filter(|stored| matchers_all(matchers, &stored.alert.labels)).collect();
    let urgent = held
        .iter()
        .filter(|stored| Severity::from_rank(stored.priority) == Severity::Critical)
        .count();
    let counted = |key: &str, n: usize| page.fill(key, &[("n", n.to_string())]);
    Preview {
        sentence: match held.len() {
            0 => page.text("silence.preview.none").to_owned(),
            1 => page.text("silence.preview.one").to_owned(),
            n => counted("silence.preview.many", n),
        },
        more: held
            .len()
            .checked_sub(ALERTS_SHOWN + 1)
            .map(|more| counted("silence.preview.more", more + 1)),
        warning: match urgent {
            0 => String::new(),
            n => counted("silence.preview.urgent", n),
        },
        alerts: held.into_iter().take(ALERTS_SHOWN).map(|stored| line(stored, page)).collect(),
    }
}

fn line(stored: &StoredAlert, page: &Page) -> Line {
    let is_shown = |name: &str| ![model::ALERT_NAME, SEVERITY].contains(&name);
    let others = stored.alert.labels.iter().filter(|(name, _)| is_shown(name));
    let others: Vec<String> = others.map(|(name, value)| format!("{name}={value}")).collect();
    Line {
        href: format!("/alerts/{}", stored.alert.fingerprint()),
        severity: SeverityView::of(stored, page.words),
        name: name_of(stored),
        labels: others.join(" "),
        since: page.ago(stored.alert.starts_at),
    }
}

pub(super) async fn page(
    State(web): State<Arc<Web>>,
    Path(id): Path<String>,
    page: Page,
) -> Response {
    let known = web.common.silences.known();
    let Some(silence) = known.iter().find(|silence| silence.id == id) else {
        let detail = page.text("silence.unknown").to_owned();
        return not_found(page, detail);
    };
    let is_saved = page.parameter("saved").is_some();
    match open_alerts(&web).await {
        Ok(open) => {
            let view = SilenceView::new(silence, &open, &page);
            let shown = blank(SilenceForm::of(silence, &page), page);
            let shown = SilencePage { shown: Some(view), is_saved, ..shown };
            rendered(&previewed(shown, &open))
        }
        Err(error) => store_away(page, &error),
    }
}

pub(super) async fn save(
    State(web): State<Arc<Web>>,
    PeerAddr(peer): PeerAddr,
    headers: HeaderMap,
    page: Page,
    Form(form): Form<SilenceForm>,
) -> Response {
    if !is_same_origin(&headers) {
        return refused(page, StatusCode::FORBIDDEN, "claim.fault.foreign", String::new());
    }
    let actor = match form.action.as_str() {
        "end" => owner_of(&headers),
        _ => form.author.trim().to_owned(),
    };
    let (by, now) = ((actor.as_str(), &*peer.ip().to_string()), page.now);
    if form.action == "end" {
        return match web.common.silences.expire(&form.id, by, now).await {
            Ok(()) => Redirect::to("/silences?ended=1").into_response(),
            Err(ChangeError::Refused(fault)) => {
                refused(page, StatusCode::NOT_FOUND, "silence.unknown", fault.to_string())
            }
            Err(ChangeError::Store(error)) => store_away(page, &error),
        };
    }
    let known = web.common.silences.known();
    let old = known.iter().find(|silence| silence.id == form.id);
    let read = match form.read(old, &page) {
        Ok(read) => read,
        Err(faults) => return again(&web, form, old, Asked::Faults(faults), page).await,
    };
    if form.action != "save" || read.text() != form.seen {
        let seen = read.text();
        return again(&web, SilenceForm { seen, ..form }, old, Asked::Preview, page).await;
    }
    match web.common.silences.post(read.posted, by, now).await {
        Ok(id) => {
            let to = Redirect::to(&format!("{}?saved=1", href(&id)));
            remembering(&actor, to)
        }
        Err(ChangeError::Refused(fault)) => {
            let faults = vec![fault_words(&fault, &page)];
            again(&web, form, old, Asked::Faults(faults), page).await
        }
        Err(ChangeError::Store(error)) => store_away(page, &error),
    }
}

/// Why the form is shown again.
enum Asked {
    Faults(Vec<String>),
    Preview,
}

async fn again(
    web: &Web,
    form: SilenceForm,
    old: Option<&Silence>,
    asked: Asked,
    page: Page,
) -> Response {
    let open = match open_alerts(web).await {
        Ok(open) => open,
        Err(error) => return store_away(page, &error),
    };
    let view = old.map(|silence| SilenceView::new(silence, &open, &page));
    let shown = SilencePage { shown: view, ..blank(form, page) };
    match asked {
        Asked::Preview => rendered(&previewed(SilencePage { asks_again: true, ..shown }, &open)),
        Asked::Faults(faults) => {
            let shown = previewed(SilencePage { faults, ..shown }, &open);
            (REFUSED, rendered(&shown)).into_response()
        }
    }
}

/// The commonest refusals in the language of the reader; the others as the API words them.
fn fault_words(fault: &SilenceFault, page: &Page) -> String {
    match fault {
        SilenceFault::InThePast | SilenceFault::Reversed => {
            page.text("silence.fault.past").to_owned()
        }
        SilenceFault::MatchesEverything => page.text("silence.fault.everything").to_owned(),
        other => other.to_string(),
    }
}
