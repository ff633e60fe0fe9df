//! The page behind a signed link that takes alerts or puts them off. `GET` shows and changes nothing; `POST` from
//! that page takes once and puts off once for each link, and gives back as often as one likes.

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::extract::{Form, Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::get;
use channels::link::ClaimLink;
use daemon::page::{Language, Page, Words, rendered};
use db::claims::{ClaimKind, ClaimRow};
use model::{ALERT_NAME, ENDPOINT, Timestamp};
use serde::Deserialize;

use crate::claiming::Wanted;
use crate::mute_page::{failed, is_own, nonce, with_cookie};
use crate::notify::buttons::Handled;
use crate::people::People;
use crate::web::text::WORDS;

const COOKIE: &str = "saker_claim";
/// Alerts that the page names; the rest is counted.
const NAMED_MAX: usize = 20;

/// The routes.
pub(crate) fn routes() -> Router<Arc<People>> {
    Router::new().route("/c/{token}", get(show).post(change))
}

/// What the page shows.
#[derive(Debug, Template)]
#[template(path = "claim.html")]
struct ClaimPage {
    /// Names of the alerts, each with its endpoint.
    alerts: Vec<String>,
    more: usize,
    /// Who took it and until when, and who put it off.
    holding: Vec<String>,
    is_taken: bool,
    is_put_off: bool,
    /// Who would be the owner; empty in a chat, where the form asks.
    owner: String,
    is_used: bool,
    nonce: String,
    page: Page,
}

/// What the form sends.
#[derive(Debug, Deserialize)]
struct Posted {
    nonce: String,
    act: String,
    #[serde(default)]
    owner: String,
    #[serde(default)]
    duration: String,
}

async fn show(
    State(people): State<Arc<People>>,
    Path(token): Path<String>,
    page: Page,
) -> Response {
    match people.office.links.read_claim(&token, people.now()) {
        Ok(link) => people.claim_page(&link, page).await,
        Err(fault) => people.refused_link(fault, page),
    }
}

async fn change(
    State(people): State<Arc<People>>,
    Path(token): Path<String>,
    headers: HeaderMap,
    page: Page,
    Form(posted): Form<Posted>,
) -> Response {
    let link = match people.office.links.read_claim(&token, people.now()) {
        Ok(link) => link,
        Err(fault) => return people.refused_link(fault, page),
    };
    if !is_own(&headers, COOKIE, &posted.nonce) {
        return failed(StatusCode::FORBIDDEN, page, "claim.fault.foreign");
    }
    match people.claim_by_link(&link, &posted).await {
        Ok(Ok(())) => people.claim_page(&link, page).await,
        Ok(Err(fault)) => {
            let title = page.text("error.refused");
            page.message(StatusCode::BAD_REQUEST, title, fault, false)
        }
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "a link did nothing");
            failed(StatusCode::SERVICE_UNAVAILABLE, page, "claim.fault.store")
        }
    }
}

impl People {
    /// Does what the form asks for; the inner fault is for who asked.
    async fn claim_by_link(
        &self,
        link: &ClaimLink,
        posted: &Posted,
    ) -> anyhow::Result<Result<(), String>> {
        let Some(handled) = self.office.handled(&link.handle).await? else { return Ok(Ok(())) };
        let alerts = handled.fingerprints();
        let (kind, is_end) = match posted.act.as_str() {
            "ack" => (ClaimKind::Acknowledged, false),
            "snooze" => (ClaimKind::Snoozed, false),
            "unack" => (ClaimKind::Acknowledged, true),
            "unsnooze" => (ClaimKind::Snoozed, true),
            _ => return Ok(Ok(())),
        };
        let owner = if handled.is_chat { posted.owner.as_str() } else { &link.user };
        if is_end {
            self.claimer.release(&alerts, kind, owner).await?;
            return Ok(Ok(()));
        }
        let duration = Some(posted.duration.as_str()).filter(|text| !text.is_empty());
        let wanted = match Wanted::read(kind, owner, "via link".to_owned(), duration) {
            Ok(wanted) => wanted,
            Err(fault) => return Ok(Err(fault)),
        };
        let used = used_name(link, kind);
        let until = Timestamp(link.expires.saturating_mul(1000));
        if !self.office.common.db.mutes().claim(&used, until, "").await? {
            return Ok(Ok(()));
        }
        if let Err(fault) = self.claimer.claim(&alerts, &wanted).await {
            // It did not happen, so the link is still good.
            self.office.common.db.mutes().release(&used).await?;
            return Err(fault.into());
        }
        Ok(Ok(()))
    }

    async fn claim_page(&self, link: &ClaimLink, page: Page) -> Response {
        let handled = match self.office.handled(&link.handle).await {
            Ok(Some(handled)) => handled,
            Ok(None) => return failed(StatusCode::GONE, page, "claim.fault.old"),
            Err(error) => return cannot_show(&error, page),
        };
        match self.composed(link, &handled, page).await {
            Ok(shown) => with_cookie(rendered(&shown), (COOKIE, "/c", &shown.nonce)),
            Err((error, page)) => cannot_show(&error, page),
        }
    }

    async fn composed(
        &self,
        link: &ClaimLink,
        handled: &Handled,
        page: Page,
    ) -> Result<ClaimPage, (db::DbError, Page)> {
        let (db, now) = (&self.office.common.db, self.now());
        let alerts = handled.fingerprints();
        let looked_up = async || {
            let named = db.alerts().load(&alerts[..alerts.len().min(NAMED_MAX)]).await?;
            let is_used = async |kind| db.mutes().claimed(&used_name(link, kind), now).await;
            let is_used = is_used(ClaimKind::Acknowledged).await?.is_some()
                && is_used(ClaimKind::Snoozed).await?.is_some();
            Ok((named, is_used))
        };
        let (named, is_used) = match looked_up().await {
            Ok(found) => found,
            Err(error) => return Err((error, page)),
        };
        let names = named.iter().map(|stored| {
            let label = |name| stored.alert.labels.get(name).unwrap_or("");
            format!("{} {}", label(ALERT_NAME), label(ENDPOINT)).trim().to_owned()
        });
        let held = |kind| self.holding(handled, kind);
        let (taken, put_off) = (held(ClaimKind::Acknowledged), held(ClaimKind::Snoozed));
        let sentences = [&taken, &put_off].into_iter().flatten();
        Ok(ClaimPage {
            alerts: names.collect(),
            more: alerts.len().saturating_sub(NAMED_MAX),
            holding: sentences.map(|claim| self.sentence(claim, page.words)).collect(),
            is_taken: taken.is_some(),
            is_put_off: put_off.is_some(),
            owner: if handled.is_chat { String::new() } else { link.user.clone() },
            is_used,
            nonce: nonce(),
            page,
        })
    }

    /// The claim that holds on the first alert of a message that is claimed.
    pub(crate) fn holding(&self, handled: &Handled, kind: ClaimKind) -> Option<ClaimRow> {
        let (known, now) = (self.office.common.claims.known(), self.now());
        let claims = handled.fingerprints().into_iter().filter_map(|alert| known.get(alert, kind));
        claims.filter(|claim| now <= claim.until).max_by_key(|claim| claim.until).cloned()
    }

    /// Who claimed it until when.
    pub(crate) fn sentence(&self, claim: &ClaimRow, words: Words) -> String {
        let until = daemon::page::absolute(claim.until, &self.office.zone);
        let values = [("owner", claim.owner.as_str()), ("until", &until)];
        match claim.kind {
            ClaimKind::Acknowledged => words.fill("claim.taken", &values),
            ClaimKind::Snoozed => words.fill("claim.put_off", &values),
        }
    }
}

fn used_name(link: &ClaimLink, kind: ClaimKind) -> String {
    format!("link:{}:{}", link.id, kind.as_str())
}

/// The words of pages in a language of messages.
pub(crate) fn words(language: channels::Language) -> Words {
    WORDS.words(match language {
        channels::Language::English => Language::English,
        channels::Language::Chinese => Language::Chinese,
    })
}

fn cannot_show(error: &db::DbError, page: Page) -> Response {
    tracing::error!(error = daemon::error_chain(error), "cannot show what to take");
    failed(StatusCode::SERVICE_UNAVAILABLE, page, "claim.fault.store")
}
