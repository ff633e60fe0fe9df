//! `/routing`: who would be told of an alert with these labels, and where each object comes from.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use daemon::page::{Page, rendered};
use serde_json::Value;

use super::{Web, store_away};
use crate::plan::Stored;
use crate::preview::{Preview, preview, read_labels};
use crate::routing::ObjectKind;
use crate::routing::document::base_objects;
use crate::texts::DEFAULTS;

/// The page.
#[derive(Debug, Template)]
#[template(path = "routing.html")]
struct RoutingPage {
    /// As they were typed.
    labels: String,
    /// What is wrong with them; empty when nothing is.
    fault: String,
    preview: Option<Preview>,
    objects: Vec<ObjectView>,
    /// How many objects of the database are left out, in words; empty when none is.
    left_out: String,
    /// Where what is not in the database comes from.
    origin: String,
    page: Page,
}

/// An object and where it comes from.
#[derive(Debug)]
pub(super) struct ObjectView {
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) origin: String,
    /// Who changed it last and when; empty for what is not in the database.
    pub(super) changed: String,
    /// Why it is left out; empty when it is in use.
    pub(super) fault: String,
}

/// The objects of the kinds that are asked for: those that are left out first, then the other ones of the database.
pub(super) fn objects(web: &Web, kinds: &[ObjectKind], page: &Page) -> Vec<ObjectView> {
    let (plan, base) = (web.common.plans.borrow().clone(), web.common.routing.base());
    let word = |kind: &str| match ObjectKind::parse(kind) {
        Some(kind) => page.text(&format!("routing.kind.{}", kind.as_str())).to_owned(),
        None => kind.to_owned(),
    };
    let is_asked = |stored: &&Stored| {
        let kind = ObjectKind::parse(&stored.kind);
        kind.map_or(kinds.len() > 1, |kind| kinds.contains(&kind))
    };
    let mut stored: Vec<&Stored> = plan.stored.iter().filter(is_asked).collect();
    stored.sort_by_key(|stored| stored.fault.is_empty());
    let stored = stored.into_iter().map(|stored| ObjectView {
        kind: word(&stored.kind),
        name: stored.name.to_owned(),
        origin: page.text("routing.origin.database").to_owned(),
        changed: match stored.changed_by.as_str() {
            "" => String::new(),
            by => format!("{by}, {}", page.ago(stored.changed_at)),
        },
        fault: stored.fault.to_owned(),
    });
    let of_base = kinds.iter().flat_map(|kind| {
        base_objects(&base, *kind).into_iter().map(|(name, object)| ObjectView {
            kind: word(kind.as_str()),
            origin: match name == DEFAULTS && *kind == ObjectKind::Template {
                true => page.text("routing.origin.built_in").to_owned(),
                false => base.origin.to_owned(),
            },
            name: if name.is_empty() { matchers_of(&object) } else { name },
            changed: String::new(),
            fault: String::new(),
        })
    });
    stored.chain(of_base).collect()
}

/// What a route of a file, which has no name, is known by.
fn matchers_of(object: &Value) -> String {
    let matchers = object["matchers"].as_array().into_iter().flatten().filter_map(Value::as_str);
    format!("{{{}}}", matchers.collect::<Vec<_>>().join(","))
}

impl RoutingPage {
    /// Why a way is shut, in words.
    fn reason(&self, word: &str) -> &'static str {
        self.page.text(&format!("reason.{word}"))
    }
}

pub(super) async fn page(State(web): State<Arc<Web>>, page: Page) -> Response {
    let labels = page.parameter("labels").unwrap_or_default();
    let mut kinds = ObjectKind::ALL.to_vec();
    kinds.retain(|kind| *kind != ObjectKind::Template);
    let objects = objects(&web, &kinds, &page);
    let origin = web.common.routing.base().origin.to_owned();
    let left_out = match objects.iter().filter(|object| !object.fault.is_empty()).count() {
        0 => String::new(),
        n => page.fill("routing.left_out", &[("n", n.to_string())]),
    };
    let fault = String::new();
    let shown = RoutingPage { labels, fault, preview: None, objects, left_out, origin, page };
    if shown.labels.trim().is_empty() {
        return rendered(&shown);
    }
    let read = match read_labels(&shown.labels) {
        Ok(read) => read,
        Err(fault) => return rendered(&RoutingPage { fault, ..shown }),
    };
    match preview(&web.common, &read).await {
        Ok(found) => rendered(&RoutingPage { preview: Some(found), ..shown }),
        Err(error) => store_away(shown.page, &error),
    }
}
