//! `/templates`: which texts there are, where they come from, and what a receiver's messages look like
//! with them.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use daemon::page::{Page, rendered};
use model::{Alert, Fingerprint, Labels};

use super::Web;
use super::routing::{ObjectView, objects};
use crate::plan::Plan;
use crate::preview::read_labels;
use crate::routing::ObjectKind;
use crate::texts::preview::{Asked, Shown, sample, shown};

/// Names of definitions on the list.
const NAMES_SHOWN: usize = 8;

/// A template on the list.
#[derive(Debug)]
struct Row {
    href: String,
    object: ObjectView,
    defines: String,
}

/// The page.
#[derive(Debug, Template)]
#[template(path = "templates.html")]
struct TemplatesPage {
    rows: Vec<Row>,
    receivers: Vec<String>,
    receiver: String,
    labels: String,
    alert: String,
    previews: Vec<Shown>,
    faults: Vec<String>,
    page: Page,
}

/// The first names of a long list.
fn listed(names: &[&str]) -> String {
    let shown = names.iter().take(NAMES_SHOWN).copied().collect::<Vec<_>>().join(", ");
    if names.len() > NAMES_SHOWN { format!("{shown}, …") } else { shown }
}

/// The page of a template.
pub(super) fn href(name: &str) -> String {
    let name: String = form_urlencoded::byte_serialize(name.as_bytes()).collect();
    format!("/templates/{}", name.replace('+', "%20"))
}

pub(super) async fn page(State(web): State<Arc<Web>>, page: Page) -> Response {
    let plan = web.common.plans.borrow().clone();
    let row = |object: ObjectView| Row {
        href: href(&object.name),
        defines: listed(&plan.library.names_in(&object.name)),
        object,
    };
    let rows = objects(&web, &[ObjectKind::Template], &page).into_iter().map(row).collect();
    let asked = |name: &str| page.parameter(name).unwrap_or_default();
    let (receiver, labels, alert) = (asked("receiver"), asked("labels"), asked("alert"));
    let (mut previews, mut faults) = (Vec::new(), Vec::new());
    if !receiver.is_empty() {
        match alert_of(&web, &labels, &alert, &page).await {
            Ok(alerts) => {
                let receiver = receiver.to_owned();
                let asked = Asked { receiver, alerts, ..Asked::default() };
                match previewed(&web, Arc::clone(&plan), vec![asked], &page).await.pop() {
                    Some(Ok(found)) => previews = found,
                    Some(Err(found)) => faults = found,
                    None => {}
                }
            }
            Err(fault) => faults.push(fault),
        }
    }
    let receivers = plan.receivers.to_vec();
    rendered(&TemplatesPage { rows, receivers, receiver, labels, alert, previews, faults, page })
}

/// The alert that a preview is about: a known one, one with these labels, or none for a sample.
pub(super) async fn alert_of(
    web: &Web,
    labels: &str,
    fingerprint: &str,
    page: &Page,
) -> Result<Vec<Alert>, String> {
    if !fingerprint.trim().is_empty() {
        let unknown = || page.text("templates.alert.unknown").to_owned();
        let fingerprint = Fingerprint::parse(fingerprint.trim()).ok_or_else(unknown)?;
        let found = web.common.db.alerts().load(&[fingerprint]).await;
        let found = found.map_err(|_| page.text("error.store").to_owned())?;
        let alert = found.into_iter().next().ok_or_else(unknown)?.alert;
        return Ok(vec![alert]);
    }
    if labels.trim().is_empty() {
        return Ok(Vec::new());
    }
    let labels: Labels = read_labels(labels)?;
    Ok(vec![Alert { labels, ..sample(page.now) }])
}

/// The messages of each preview, or what is wrong with it.
pub(super) async fn previewed(
    web: &Web,
    plan: Arc<Plan>,
    asked: Vec<Asked>,
    page: &Page,
) -> Vec<Result<Vec<Shown>, Vec<String>>> {
    let (url, zone) = (web.common.config.external_url.to_owned(), page.zone().to_owned());
    let now = page.now;
    let count = asked.len();
    // A template may take its time; the requests of others do not wait for it.
    let work = move || {
        let one = |asked| shown(&plan, asked, (&url, &zone), now).map_err(|(_, faults)| faults);
        asked.into_iter().map(one).collect::<Vec<_>>()
    };
    let failed =
        |_| (0..count).map(|_| Err(vec!["the preview came to no end".to_owned()])).collect();
    tokio::task::spawn_blocking(work).await.unwrap_or_else(failed)
}
