//! The page behind a signed link that takes alerts or puts them off. `GET` shows and changes nothing; `POST` from
//! that page takes once and puts off once for each link, and gives back as often as one likes.

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::extract::{Form, Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::get;
use channels::Language;
use channels::link::{ClaimLink, LinkFault};
use channels::sign;
use db::claims::{ClaimKind, ClaimRow};
use model::{ALERT_NAME, ENDPOINT, Timestamp};
use serde::Deserialize;

use crate::claiming::Wanted;
use crate::mute_page::{self, moment};
use crate::notify::buttons::Handled;
use crate::people::People;
use crate::web;
use crate::web::text::Language as Catalogue;

const COOKIE: &str = "saker_claim";
/// Alerts that the page names; the rest is counted.
const NAMED_MAX: usize = 20;

/// The routes.
pub(crate) fn routes() -> Router<Arc<People>> {
    Router::new()
        .route("/c/{token}", get(show).post(change))
        .layer(axum::middleware::map_response(web::protect))
        .layer(axum::middleware::map_response(mute_page::hide_from_robots))
}

/// What the page shows.
#[derive(Debug, Template)]
#[template(path = "claim.html")]
struct Page {
    tag: &'static str,
    words: Catalogue,
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
    /// Why nothing can be done; empty when something can.
    fault: String,
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
    headers: HeaderMap,
) -> Response {
    let language = mute_page::language(&headers);
    match people.office.links.read_claim(&token, people.now()) {
        Ok(link) => people.claim_page(&link, language).await,
        Err(fault) => people.refused_claim(fault, language),
    }
}

async fn change(
    State(people): State<Arc<People>>,
    Path(token): Path<String>,
    headers: HeaderMap,
    Form(posted): Form<Posted>,
) -> Response {
    let language = mute_page::language(&headers);
    let link = match people.office.links.read_claim(&token, people.now()) {
        Ok(link) => link,
        Err(fault) => return people.refused_claim(fault, language),
    };
    let given = mute_page::cookie(&headers, COOKIE).unwrap_or("");
    let is_own = !given.is_empty() && sign::equal(given.as_bytes(), posted.nonce.as_bytes());
    let words = catalogue(language);
    if !is_own || !mute_page::is_same_origin(&headers) {
        return failed(StatusCode::FORBIDDEN, words.text("claim.fault.foreign"), language);
    }
    match people.claim_by_link(&link, &posted).await {
        Ok(Ok(())) => people.claim_page(&link, language).await,
        Ok(Err(fault)) => failed(StatusCode::BAD_REQUEST, &fault, language),
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "a link did nothing");
            failed(StatusCode::SERVICE_UNAVAILABLE, words.text("claim.fault.store"), language)
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

    async fn claim_page(&self, link: &ClaimLink, language: Language) -> Response {
        let words = catalogue(language);
        match self.composed(link, language).await {
            Ok(Some(page)) => {
                let cookie = (COOKIE, "/c", page.nonce.clone());
                mute_page::with_cookie(mute_page::rendered(StatusCode::OK, &page), &cookie)
            }
            Ok(None) => failed(StatusCode::GONE, words.text("claim.fault.old"), language),
            Err(error) => {
                tracing::error!(error = daemon::error_chain(&error), "cannot show what to take");
                failed(StatusCode::SERVICE_UNAVAILABLE, words.text("claim.fault.store"), language)
            }
        }
    }

    async fn composed(
        &self,
        link: &ClaimLink,
        language: Language,
    ) -> Result<Option<Page>, db::DbError> {
        let Some(handled) = self.office.handled(&link.handle).await? else { return Ok(None) };
        let (db, now) = (&self.office.common.db, self.now());
        let alerts = handled.fingerprints();
        let named = db.alerts().load(&alerts[..alerts.len().min(NAMED_MAX)]).await?;
        let names = named.iter().map(|stored| {
            let label = |name| stored.alert.labels.get(name).unwrap_or("");
            format!("{} {}", label(ALERT_NAME), label(ENDPOINT)).trim().to_owned()
        });
        let held = |kind| self.holding(&handled, kind);
        let (taken, put_off) = (held(ClaimKind::Acknowledged), held(ClaimKind::Snoozed));
        let sentences = [&taken, &put_off].into_iter().flatten();
        let is_used = async |kind| db.mutes().claimed(&used_name(link, kind), now).await;
        Ok(Some(Page {
            tag: language.tag(),
            words: catalogue(language),
            alerts: names.collect(),
            more: alerts.len().saturating_sub(NAMED_MAX),
            holding: sentences.map(|claim| self.sentence(claim, language)).collect(),
            is_taken: taken.is_some(),
            is_put_off: put_off.is_some(),
            owner: if handled.is_chat { String::new() } else { link.user.clone() },
            is_used: is_used(ClaimKind::Acknowledged).await?.is_some()
                && is_used(ClaimKind::Snoozed).await?.is_some(),
            nonce: uuid::Uuid::new_v4().simple().to_string(),
            fault: String::new(),
        }))
    }

    /// The claim that holds on the first alert of a message that is claimed.
    pub(crate) fn holding(&self, handled: &Handled, kind: ClaimKind) -> Option<ClaimRow> {
        let (known, now) = (self.office.common.claims.known(), self.now());
        let claims = handled.fingerprints().into_iter().filter_map(|alert| known.get(alert, kind));
        claims.filter(|claim| now <= claim.until).max_by_key(|claim| claim.until).cloned()
    }

    /// Who claimed it until when.
    pub(crate) fn sentence(&self, claim: &ClaimRow, language: Language) -> String {
        let until = moment(claim.until, &self.office.zone);
        let values = [("owner", claim.owner.as_str()), ("until", &until)];
        let words = catalogue(language);
        match claim.kind {
            ClaimKind::Acknowledged => words.fill("claim.taken", &values),
            ClaimKind::Snoozed => words.fill("claim.put_off", &values),
        }
    }

    fn refused_claim(&self, fault: LinkFault, language: Language) -> Response {
        self.office.metrics.refused_links.inc();
        let words = catalogue(language);
        match fault {
            LinkFault::Forged => {
                failed(StatusCode::NOT_FOUND, words.text("claim.fault.none"), language)
            }
            LinkFault::Expired => failed(StatusCode::GONE, words.text("claim.fault.old"), language),
        }
    }
}

fn used_name(link: &ClaimLink, kind: ClaimKind) -> String {
    format!("link:{}:{}", link.id, kind.as_str())
}

/// The words of pages in a language of messages.
pub(crate) const fn catalogue(language: Language) -> Catalogue {
    match language {
        Language::English => Catalogue::English,
        Language::Chinese => Catalogue::Chinese,
    }
}

fn failed(status: StatusCode, fault: &str, language: Language) -> Response {
    let page = Page {
        tag: language.tag(),
        words: catalogue(language),
        alerts: Vec::new(),
        more: 0,
        holding: Vec::new(),
        is_taken: false,
        is_put_off: false,
        owner: String::new(),
        is_used: false,
        nonce: String::new(),
        fault: fault.to_owned(),
    };
    mute_page::rendered(status, &page)
}
