//! Taking an alert, putting it off and giving it back from the page of the alert.

use std::sync::Arc;

use axum::extract::{Form, Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use daemon::page::{Page, cookie, is_same_origin};
use db::alerts::StoredAlert;
use db::claims::{ClaimKind, ClaimRow};
use model::Fingerprint;
use serde::Deserialize;

use super::alert_view::MomentView;
use super::{Web, refused, store_away};
use crate::claiming::Wanted;
use crate::claims::Claims;

const OWNER_COOKIE: &str = "saker_owner";
/// Names that the form offers.
const NAMES_MAX: usize = 500;

/// What the page of an alert shows of claims, and what its form begins with.
#[derive(Debug, Default)]
pub(super) struct ClaimsView {
    pub(super) held: Vec<HeldView>,
    pub(super) can_take: bool,
    pub(super) can_put_off: bool,
    /// Whether the form is open.
    pub(super) is_asked: bool,
    /// Who took an alert in this browser before.
    pub(super) owner: String,
    /// Names of users.
    pub(super) names: Vec<String>,
}

/// A claim that holds.
#[derive(Debug)]
pub(super) struct HeldView {
    pub(super) sentence: String,
    pub(super) note: String,
    pub(super) since: MomentView,
    /// What the form sends to give it back.
    pub(super) act: &'static str,
    pub(super) label: &'static str,
}

impl ClaimsView {
    pub(super) fn of(
        stored: &StoredAlert,
        claims: &Claims,
        web: &Web,
        page: &Page,
        owner: String,
    ) -> Self {
        let on = |kind| claims.on(stored, kind, page.now);
        let (taken, put_off) = (on(ClaimKind::Acknowledged), on(ClaimKind::Snoozed));
        let is_open = stored.status != db::alerts::AlertStatus::Resolved;
        let directory = web.common.directory.known();
        Self {
            held: [taken, put_off].into_iter().flatten().map(|claim| held(claim, page)).collect(),
            can_take: is_open && taken.is_none(),
            can_put_off: is_open && put_off.is_none(),
            is_asked: is_open && page.parameter("claim").is_some(),
            owner,
            names: directory.users.keys().take(NAMES_MAX).cloned().collect(),
        }
    }
}

fn held(claim: &ClaimRow, page: &Page) -> HeldView {
    let until = page.absolute(claim.until);
    let values = [("owner", claim.owner.as_str()), ("until", until.as_str())];
    let (sentence, act, label) = match claim.kind {
        ClaimKind::Acknowledged => {
            (page.fill("claim.taken", &values), "unack", page.text("claim.unack"))
        }
        ClaimKind::Snoozed => {
            (page.fill("claim.put_off", &values), "unsnooze", page.text("claim.unsnooze"))
        }
    };
    let since = MomentView::absolute(claim.made_at, page);
    HeldView { sentence, note: claim.note.clone(), since, act, label }
}

/// Who took an alert in this browser before.
pub(super) fn owner_of(headers: &HeaderMap) -> String {
    let written = cookie(headers, OWNER_COOKIE).unwrap_or("");
    let query = format!("owner={written}");
    daemon::page::parameter(&query, "owner").unwrap_or_default()
}

/// What the form sends.
#[derive(Debug, Deserialize)]
pub(super) struct Posted {
    act: String,
    #[serde(default)]
    owner: String,
    #[serde(default)]
    note: String,
    #[serde(default)]
    duration: String,
}

pub(super) async fn change(
    State(web): State<Arc<Web>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    page: Page,
    Form(posted): Form<Posted>,
) -> Response {
    let Some(fingerprint) = Fingerprint::parse(&id) else {
        return refused(page, StatusCode::BAD_REQUEST, "error.page_unknown", String::new());
    };
    if !is_same_origin(&headers) {
        return refused(page, StatusCode::FORBIDDEN, "claim.fault.foreign", String::new());
    }
    let (kind, is_end) = match posted.act.as_str() {
        "ack" => (ClaimKind::Acknowledged, false),
        "unack" => (ClaimKind::Acknowledged, true),
        "snooze" => (ClaimKind::Snoozed, false),
        "unsnooze" => (ClaimKind::Snoozed, true),
        _ => return refused(page, StatusCode::BAD_REQUEST, "error.page_unknown", String::new()),
    };
    let done = if is_end {
        let named = Some(posted.owner.trim()).filter(|owner| !owner.is_empty());
        let by = named.map_or_else(|| owner_of(&headers), str::to_owned);
        web.claimer.release(&[fingerprint], kind, &by).await
    } else {
        let duration = Some(posted.duration.as_str()).filter(|text| !text.is_empty());
        let wanted = match Wanted::read(kind, &posted.owner, posted.note, duration) {
            Ok(wanted) => wanted,
            Err(fault) => {
                return refused(page, StatusCode::BAD_REQUEST, "claim.fault.form", fault);
            }
        };
        web.claimer.claim(&[fingerprint], &wanted).await.map(|made| made.len())
    };
    match done {
        Ok(0) if !is_end => refused(page, StatusCode::CONFLICT, "claim.fault.over", String::new()),
        Ok(_) => remembering(&posted.owner, Redirect::to(&format!("/alerts/{fingerprint}#claim"))),
        Err(error) => store_away(page, &error),
    }
}

/// The next form knows who took this one.
pub(super) fn remembering(owner: &str, to: Redirect) -> Response {
    let mut response = to.into_response();
    let owner: String = form_urlencoded::byte_serialize(owner.trim().as_bytes()).collect();
    let cookie =
        format!("{OWNER_COOKIE}={owner}; Path=/; Max-Age=31536000; SameSite=Lax; HttpOnly");
    if let Ok(cookie) = HeaderValue::from_str(&cookie)
        && !owner.is_empty()
    {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    response
}
