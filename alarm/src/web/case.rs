//! `/alerts/{fingerprint}`: one alert, what happened to it, who was told, and why somebody was not.

use std::sync::Arc;

use askama::Template;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use daemon::page::{Page, rendered};
use db::DbError;
use db::alerts::{AlertEvent, AlertStatus, Delivery, DeliveryResult, EventKind, StoredAlert, Told};
use db::claims::{ClaimKind, ClaimStep};
use db::messages::{MessageRow, Stage};
use model::{Fingerprint, Timestamp};
use serde_json::{Value, json};

use super::alert_view::{AlertView, MomentView, silent_for, status_word, to_json};
use super::claim::{ClaimsView, owner_of};
use super::mute::MutesView;
use super::silences::href as silence_href;
use super::{Web, not_found, store_away};
use crate::claim_http::listed;
use crate::config::is_web_address;
use crate::incident::{self, Act, Step};
use crate::silence::Silence;

const ENTRIES_MAX: u32 = 200;
/// Silences that hold now and are named above all else.
const SILENCES_NAMED_MAX: usize = 5;

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
    /// Silences that hold for it: address, sentence and reason.
    silenced: Vec<(String, String, String)>,
    is_over: bool,
    claims: ClaimsView,
    mutes: Option<MutesView>,
    /// Whether a form is open, which a renewed page would empty.
    is_asked: bool,
    page: Page,
}

struct Found {
    stored: StoredAlert,
    told: Vec<Told>,
    events: Vec<AlertEvent>,
    deliveries: Vec<Delivery>,
    steps: Vec<ClaimStep>,
    /// Messages that were not sent, since the person has muted them.
    muted: Vec<MessageRow>,
}

impl Found {
    async fn look_up(web: &Web, fingerprint: Fingerprint) -> Result<Option<Self>, DbError> {
        let table = web.common.db.alerts();
        let Some(stored) = table.load(&[fingerprint]).await?.pop() else {
            return Ok(None);
        };
        let told = table.told(&[fingerprint]).await?;
        let told = web.common.plans.borrow().with_unrouted(std::slice::from_ref(&stored), told);
        let mut muted = web.common.db.messages().about(fingerprint, ENTRIES_MAX).await?;
        muted.retain(|message| message.stage == Stage::Muted);
        Ok(Some(Self {
            stored,
            told,
            events: table.events_of(fingerprint, ENTRIES_MAX).await?,
            deliveries: table.deliveries_of(fingerprint, ENTRIES_MAX).await?,
            steps: web.common.db.claims().steps(fingerprint, ENTRIES_MAX).await?,
            muted,
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
            let silences = web.common.silences.known();
            let mutes = MutesView::of(&found.stored, &web, &page);
            rendered(&compose(found, &receivers, &silences, (claims, mutes), page))
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

fn compose(
    found: Found,
    receivers: &[String],
    silences: &[Silence],
    (claims, mutes): (ClaimsView, Option<MutesView>),
    page: Page,
) -> CasePage {
    let is_asked = claims.is_asked || mutes.as_ref().is_some_and(|mutes| mutes.is_asked);
    let timeline = timeline(&found, silences, &page);
    let Found { stored, told, .. } = found;
    let holding = silences.iter().filter(|silence| silence.holds(&stored.alert.labels, page.now));
    let silenced = holding.take(SILENCES_NAMED_MAX).map(|silence| {
        let values = [("author", &silence.created_by), ("until", &page.absolute(silence.ends_at))];
        (silence_href(&silence.id), page.fill("case.silenced", &values), silence.comment.clone())
    });
    let silenced = silenced.collect();
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
        timeline,
        silenced,
        is_over,
        claims,
        mutes,
        is_asked,
        page,
    }
}

/// Events, attempts, and what people did, in one list, newest first.
fn timeline(found: &Found, silences: &[Silence], page: &Page) -> Vec<Entry> {
    let alert = &found.stored.alert;
    let over_at = (found.stored.status == AlertStatus::Resolved).then_some(alert.ends_at);
    let steps = incident::steps(&found.steps, page.now, over_at);
    let steps = steps.iter().map(|step| (step.at, step_entry(step, page)));
    let muted = found.muted.iter().map(|message| (message.done_at, muted_entry(message, page)));
    let silences = incident::silences(silences, &alert.labels, page.now);
    let silences = silences.flat_map(|silence| silence_entries(silence, page));
    let events = found.events.iter().map(|event| (event.at, event_entry(event, page)));
    let deliveries =
        found.deliveries.iter().map(|delivery| (delivery.at, delivery_entry(delivery, page)));
    // At the same moment the notification follows what it tells of, so it is listed above.
    let all = deliveries.chain(muted).chain(steps).chain(silences).chain(events);
    let mut entries: Vec<(Timestamp, Entry)> = all.collect();
    entries.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
    entries.into_iter().map(|(_, entry)| entry).collect()
}

fn entry(class: &'static str, at: Timestamp, what: String, detail: String, page: &Page) -> Entry {
    let moment = MomentView::absolute(at, page);
    Entry { class, anchor: format!("{class}-{}", at.0), moment, what, detail }
}

fn step_entry(step: &Step<'_>, page: &Page) -> Entry {
    let by = if step.by.is_empty() { page.text("case.somebody") } else { step.by };
    let until = page.absolute(step.until);
    let values = [("owner", step.owner), ("by", by), ("until", &until)];
    let (class, what) = match (step.act, step.kind) {
        (Act::Made, ClaimKind::Acknowledged) => ("claimed", page.fill("claim.taken", &values)),
        (Act::Made, ClaimKind::Snoozed) => ("claimed", page.fill("claim.put_off", &values)),
        (Act::TakenBack, ClaimKind::Acknowledged) => {
            ("unclaimed", page.fill("claim.given_back", &values))
        }
        (Act::TakenBack, ClaimKind::Snoozed) => {
            ("unclaimed", page.fill("claim.brought_back", &values))
        }
        (Act::RanOut, ClaimKind::Acknowledged) => {
            ("unclaimed", page.fill("claim.ran_out", &values))
        }
        (Act::Reminded, _) => ("claimed", page.fill("claim.reminded", &values)),
        (Act::Unreached, _) => ("unclaimed", page.fill("claim.unreached", &values)),
        (Act::RanOut, ClaimKind::Snoozed) => {
            ("unclaimed", page.fill("claim.put_off_ended", &values))
        }
    };
    let detail = if step.act == Act::Made { step.note.to_owned() } else { String::new() };
    entry(class, step.at, what, detail, page)
}

fn muted_entry(message: &MessageRow, page: &Page) -> Entry {
    let values = [("user", &message.recipient)];
    let what = page.fill("case.muted", &values);
    entry("muted", message.done_at, what, message.detail.clone(), page)
}

/// From when a silence held, and when it ended.
fn silence_entries(silence: &Silence, page: &Page) -> Vec<(Timestamp, Entry)> {
    let until = page.absolute(silence.ends_at);
    let values = [("author", silence.created_by.as_str()), ("until", &until)];
    let (starts, ends) = (silence.starts_at, silence.ends_at);
    let what = page.fill("case.silenced", &values);
    let mut entries =
        vec![(starts, entry("silenced", starts, what, silence.comment.clone(), page))];
    if ends < page.now {
        let what = page.fill("case.silence_ended", &values);
        entries.push((ends, entry("unsilenced", ends, what, silence.comment.clone(), page)));
    }
    entries
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
