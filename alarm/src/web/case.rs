//! `/alerts/{fingerprint}`: one alert, what happened to it, who was told, and why somebody was not.

use std::sync::Arc;

use askama::Template;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use db::DbError;
use db::alerts::{AlertEvent, AlertStatus, Delivery, DeliveryResult, EventKind, StoredAlert, Told};
use db::claims::ClaimKind;
use model::{Fingerprint, Timestamp};
use serde_json::{Value, json};

use super::alert_view::{AlertView, MomentView, silent_for, status_word, to_json};
use super::claim::{ClaimsView, owner_of};
use super::{Web, not_found, store_away};
use crate::claim_http::listed;
use crate::config::is_web_address;
use page::{Page, rendered};

const ENTRIES_MAX: u32 = 200;

/// An entry of the timeline.
#[derive(Debug)]
struct Entry {
    /// Picks the mark and its colour.
    class: &'static str,
    anchor: String,
    moment: MomentView,
    what: String,
    detail: String,
}

/// The page.
#[derive(Debug, Template)]
#[template(path = "case.html")]
struct CasePage {
    alert: AlertView,
    silent_for: Option<String>,
    since: MomentView,
    ended: Option<MomentView>,
    lease: Option<MomentView>,
    updated: MomentView,
    source: Option<String>,
    labels: Vec<(String, String)>,
    /// Name, text, and whether the text may be a link.
    annotations: Vec<(String, String, bool)>,
    timeline: Vec<Entry>,
    claims: ClaimsView,
    page: Page,
}

struct Found {
    stored: StoredAlert,
    told: Vec<Told>,
    events: Vec<AlertEvent>,
    deliveries: Vec<Delivery>,
}

impl Found {
    async fn look_up(web: &Web, fingerprint: Fingerprint) -> Result<Option<Self>, DbError> {
        let table = web.common.db.alerts();
        let Some(stored) = table.load(&[fingerprint]).await?.pop() else {
            return Ok(None);
        };
        let told = table.told(&[fingerprint]).await?;
        let told = web.common.plans.borrow().with_unrouted(std::slice::from_ref(&stored), told);
        Ok(Some(Self {
            stored,
            told,
            events: table.events_of(fingerprint, ENTRIES_MAX).await?,
            deliveries: table.deliveries_of(fingerprint, ENTRIES_MAX).await?,
        }))
    }
}

pub(super) async fn page(
    State(web): State<Arc<Web>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    page: Page,
) -> Response {
    let (id, as_json) = id.strip_suffix(".json").map_or((id.as_str(), false), |id| (id, true));
    let found = match Fingerprint::parse(id) {
        Some(fingerprint) => Found::look_up(&web, fingerprint).await,
        None => Ok(None),
    };
    match found {
        Ok(Some(found)) if as_json => {
            let claims = web.common.claims.known();
            let mut body = twin(&found);
            let claims = [ClaimKind::Acknowledged, ClaimKind::Snoozed]
                .into_iter()
                .filter_map(|kind| claims.on(&found.stored, kind, page.now))
                .map(|claim| listed(claim, page.now));
            body["claims"] = claims.collect();
            Json(body).into_response()
        }
        Ok(Some(found)) => {
            let known = web.common.claims.known();
            let claims = ClaimsView::of(&found.stored, &known, &web, &page, owner_of(&headers));
            let receivers = web.common.plans.borrow().keys();
            rendered(&compose(found, &receivers, claims, page))
        }
        Ok(None) if as_json => {
            (StatusCode::NOT_FOUND, Json("there is no such alert")).into_response()
        }
        Ok(None) => {
            let id: String = id.chars().take(64).collect();
            let detail = page.fill("error.alert_unknown", &[("id", &id)]);
            not_found(page, detail)
        }
        Err(error) => store_away(page, &error),
    }
}

fn twin(found: &Found) -> Value {
    let mut body = to_json(&found.stored, &found.told);
    let event = |event: &AlertEvent| {
        let kind = event.kind.as_str();
        json!({ "kind": kind, "at": event.at.rfc3339(), "value": event.value })
    };
    let delivery = |delivery: &Delivery| {
        json!({
            "receiver": delivery.receiver, "status": delivery.status.as_str(), "at": delivery.at.rfc3339(),
            "result": delivery.result.as_str(), "attempt": delivery.attempt, "code": delivery.code,
            "durationMs": delivery.duration_ms, "detail": delivery.detail,
        })
    };
    body["events"] = found.events.iter().map(event).collect();
    body["deliveries"] = found.deliveries.iter().map(delivery).collect();
    body
}

fn compose(found: Found, receivers: &[String], claims: ClaimsView, page: Page) -> CasePage {
    let Found { stored, told, events, deliveries } = found;
    let alert = &stored.alert;
    let is_over = stored.status == AlertStatus::Resolved;
    let end = MomentView::absolute(alert.ends_at, &page);
    let (ended, lease) = if is_over { (Some(end), None) } else { (None, Some(end)) };
    let view = AlertView::new(&stored, &told, receivers, &page);
    let (silent_for, since) =
        (silent_for(&stored, &page), MomentView::absolute(alert.starts_at, &page));
    let updated = MomentView::absolute(stored.updated_at, &page);
    let labels =
        alert.labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let annotation = |(name, text): (String, String)| {
        let is_link = is_web_address(&text);
        (name, text, is_link)
    };
    CasePage {
        alert: view,
        silent_for,
        since,
        ended,
        lease,
        updated,
        source: Some(stored.alert.generator_url).filter(|address| is_web_address(address)),
        labels,
        annotations: stored.alert.annotations.into_iter().map(annotation).collect(),
        timeline: timeline(&events, &deliveries, &page),
        claims,
        page,
    }
}

/// Events and attempts in one list, newest first.
fn timeline(events: &[AlertEvent], deliveries: &[Delivery], page: &Page) -> Vec<Entry> {
    let events = events.iter().map(|event| (event.at, event_entry(event, page)));
    let deliveries =
        deliveries.iter().map(|delivery| (delivery.at, delivery_entry(delivery, page)));
    // At the same moment the notification follows what it tells of, so it is listed above.
    let mut entries: Vec<(Timestamp, Entry)> = deliveries.chain(events).collect();
    entries.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
    entries.into_iter().map(|(_, entry)| entry).collect()
}

fn event_entry(event: &AlertEvent, page: &Page) -> Entry {
    let words = page.words;
    let what = match event.kind {
        EventKind::Firing => words.text("event.firing"),
        EventKind::Renewed => words.text("event.renewed"),
        EventKind::Stale => words.text("event.stale"),
        EventKind::Resolved => words.text("event.resolved"),
    };
    let detail = match (event.kind, event.value.as_str()) {
        (EventKind::Stale, _) => words.text("event.stale.why").to_owned(),
        (_, "") => String::new(),
        (_, value) => words.fill("event.value", &[("value", value)]),
    };
    Entry {
        class: event.kind.as_str(),
        anchor: format!("event-{}-{}", event.kind.as_str(), event.at.0),
        moment: MomentView::absolute(event.at, page),
        what: what.to_owned(),
        detail,
    }
}

fn delivery_entry(delivery: &Delivery, page: &Page) -> Entry {
    let words = page.words;
    let status = status_word(delivery.status, words);
    let names = [("receiver", delivery.receiver.as_str()), ("status", status)];
    let what = match delivery.result {
        DeliveryResult::Sent => words.fill("delivery.sent", &names),
        DeliveryResult::Retrying => words.fill("delivery.retrying", &names),
        DeliveryResult::Failed => words.fill("delivery.failed", &names),
        DeliveryResult::Skipped => words.fill("delivery.skipped", &names),
    };
    let (code, millis, attempt) =
        (delivery.code.to_string(), delivery.duration_ms.to_string(), delivery.attempt.to_string());
    let figures = [
        ("code", code.as_str()),
        ("millis", &millis),
        ("attempt", &attempt),
        ("detail", &delivery.detail),
    ];
    let detail = match (delivery.code, delivery.result) {
        (_, DeliveryResult::Sent) => words.fill("delivery.detail", &figures),
        // What went wrong says the code itself.
        _ => words.fill("delivery.detail.no_answer", &figures),
    };
    Entry {
        class: delivery.result.as_str(),
        anchor: format!("delivery-{}-{}", delivery.at.0, delivery.attempt),
        moment: MomentView::absolute(delivery.at, page),
        what,
        detail,
    }
}
