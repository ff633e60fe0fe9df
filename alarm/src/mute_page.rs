//! The page behind a signed mute link. `GET` shows and changes nothing, since chats and mail gateways open links
//! by themselves; `POST` from that page mutes, once for each link.

use std::sync::Arc;
use std::time::Duration;

use askama::Template;
use axum::Router;
use axum::extract::{Form, Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::routing::get;
use channels::link::{LinkFault, MuteLink};
use channels::mute::Subject;
use channels::sign;
use daemon::page::{Page, cookie, is_same_origin, rendered};
use model::Timestamp;
use serde::Deserialize;

use crate::mutes::Wish;
use crate::people::People;

const COOKIE: &str = "saker_mute";
/// Lengths that the page offers, in seconds.
const LENGTHS: [u64; 5] = [900, 3_600, 3 * 3_600, 6 * 3_600, 24 * 3_600];

/// The routes.
pub(crate) fn routes() -> Router<Arc<People>> {
    Router::new().route("/m/{token}", get(show).post(change))
}

/// What the page shows.
#[derive(Debug, Template)]
#[template(path = "mute.html")]
struct MutePage {
    user: String,
    endpoint: String,
    metric: String,
    /// Until when it is muted now; empty when it is not.
    until: String,
    actor: String,
    is_used: bool,
    lengths: Vec<Length>,
    nonce: String,
    page: Page,
}

/// A length that a form offers.
#[derive(Debug)]
pub(crate) struct Length {
    pub(crate) seconds: u64,
    pub(crate) label: String,
    pub(crate) is_chosen: bool,
}

async fn show(
    State(people): State<Arc<People>>,
    Path(token): Path<String>,
    page: Page,
) -> Response {
    match people.office.links.read(&token, people.now()) {
        Ok(link) => people.mute_page(&link, page).await,
        Err(fault) => people.refused_link(fault, page),
    }
}

/// What the form sends.
#[derive(Debug, Deserialize)]
struct Posted {
    nonce: String,
    act: String,
    #[serde(default)]
    seconds: u64,
}

async fn change(
    State(people): State<Arc<People>>,
    Path(token): Path<String>,
    headers: HeaderMap,
    page: Page,
    Form(posted): Form<Posted>,
) -> Response {
    let link = match people.office.links.read(&token, people.now()) {
        Ok(link) => link,
        Err(fault) => return people.refused_link(fault, page),
    };
    if !is_own(&headers, COOKIE, &posted.nonce) {
        return failed(StatusCode::FORBIDDEN, page, "claim.fault.foreign");
    }
    let done = match posted.act.as_str() {
        "mute" => people.mute_once(&link, posted.seconds).await,
        "unmute" => people.unmute_by(&link).await,
        _ => Ok(()),
    };
    match done {
        Ok(()) => people.mute_page(&link, page).await,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "a mute link did nothing");
            failed(StatusCode::SERVICE_UNAVAILABLE, page, "claim.fault.store")
        }
    }
}

impl People {
    /// Mutes, unless this link has muted before.
    async fn mute_once(&self, link: &MuteLink, seconds: u64) -> anyhow::Result<()> {
        let Some(subject) = subject(link) else { return Ok(()) };
        let asked = if seconds == 0 { link.seconds } else { seconds };
        let seconds = asked.clamp(channels::mute::SECONDS_MIN, LENGTHS[LENGTHS.len() - 1]);
        let name = used_name(link);
        let until = Timestamp(link.expires.saturating_mul(1000));
        let claims = self.office.common.db.mutes();
        if !claims.claim(&name, until, "").await? {
            return Ok(());
        }
        let wish = Wish::about(&link.user, &subject, seconds, format!("{} via link", link.user));
        if let Err(fault) = self.office.mutes.mute(wish, self.now()).await {
            // It did not happen, so the link is still good.
            claims.release(&name).await?;
            return Err(fault.into());
        }
        Ok(())
    }

    async fn unmute_by(&self, link: &MuteLink) -> anyhow::Result<()> {
        let Some(subject) = subject(link) else { return Ok(()) };
        let wish = Wish::about(&link.user, &subject, 0, format!("{} via link", link.user));
        Ok(self.office.mutes.unmute(wish, self.now()).await?)
    }

    async fn mute_page(&self, link: &MuteLink, page: Page) -> Response {
        let Some(subject) = subject(link) else {
            return self.refused_link(LinkFault::Forged, page);
        };
        let now = self.now();
        let used = self.office.common.db.mutes().claimed(&used_name(link), now).await;
        let known = self.office.mutes.known();
        let mute = known.holding(&link.user, &subject, now);
        let chosen = if link.seconds == 0 { 3_600 } else { link.seconds };
        let shown = MutePage {
            user: link.user.clone(),
            endpoint: subject.endpoint.unwrap_or_default(),
            metric: subject.metric,
            until: mute.map(|mute| page.absolute(mute.until)).unwrap_or_default(),
            actor: mute.map(|mute| mute.actor.clone()).unwrap_or_default(),
            is_used: matches!(used, Ok(Some(_))),
            lengths: lengths(&page, chosen),
            nonce: nonce(),
            page,
        };
        with_cookie(rendered(&shown), (COOKIE, "/m", &shown.nonce))
    }

    /// The page that says what is wrong with a link.
    pub(crate) fn refused_link(&self, fault: LinkFault, page: Page) -> Response {
        self.office.metrics.refused_links.inc();
        match fault {
            LinkFault::Forged => failed(StatusCode::NOT_FOUND, page, "claim.fault.none"),
            LinkFault::Expired => failed(StatusCode::GONE, page, "claim.fault.old"),
        }
    }
}

/// The page that says why nothing was done, under a key.
pub(crate) fn failed(status: StatusCode, page: Page, key: &str) -> Response {
    let (title, detail) = (page.text("error.refused"), page.text(key).to_owned());
    page.message(status, title, detail, false)
}

/// What a page puts into its form and its cookie.
pub(crate) fn nonce() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

/// Whether a form comes from the page that set this cookie.
pub(crate) fn is_own(headers: &HeaderMap, name: &str, nonce: &str) -> bool {
    let given = cookie(headers, name).unwrap_or("");
    !given.is_empty() && sign::equal(given.as_bytes(), nonce.as_bytes()) && is_same_origin(headers)
}

/// The answer with a nonce that only the next form of the page repeats: name, path and value.
pub(crate) fn with_cookie(
    mut response: Response,
    (name, path, value): (&str, &str, &str),
) -> Response {
    let cookie = format!("{name}={value}; Path={path}; Max-Age=900; HttpOnly; SameSite=Strict");
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    response
}

fn subject(link: &MuteLink) -> Option<Subject> {
    Subject::parse(&link.counter, &link.scope)
}

fn used_name(link: &MuteLink) -> String {
    format!("link:{}", link.id)
}

/// The lengths that forms offer, with the one that is chosen to begin with.
pub(crate) fn lengths(page: &Page, chosen: u64) -> Vec<Length> {
    let length = |seconds| {
        let label = page.span(Duration::from_secs(seconds));
        Length { seconds, label, is_chosen: seconds == chosen }
    };
    LENGTHS.map(length).into()
}

#[cfg(test)]
mod tests {
    use daemon::page::Language;

    use super::*;
    use crate::web::tests::page;

    #[test]
    fn the_page_offers_lengths_with_that_of_the_link_chosen() {
        let offered = lengths(&page(Language::English, ""), 6 * 3_600);
        let chosen: Vec<_> = offered.iter().filter(|length| length.is_chosen).collect();
        assert_eq!((chosen.len(), chosen[0].label.as_str()), (1, "6 h"));
    }
}
