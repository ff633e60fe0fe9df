//! The web view: server-rendered pages that need no script, in two languages and two colour schemes.

mod alert_view;
mod alerts;
mod case;
mod claim;
mod filter;
mod mute;
mod noise;
mod person;
mod roster;
mod routing;
mod several;
mod silence;
mod silence_form;
mod silences;
mod template;
mod templates;
pub(crate) mod text;

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use daemon::page::{Frame, Page};
use daemon::{Clock, Door};
use db::DbError;
use jiff::tz::TimeZone;

use crate::app::Common;
use crate::claiming::Claimer;
use crate::mutes::MuteBook;
use text::WORDS;

const MENU: &[(&str, &str)] = &[
    ("/alerts", "app.alerts"),
    ("/silences", "app.silences"),
    ("/people", "app.people"),
    ("/noise", "app.noise"),
    ("/routing", "app.routing"),
    ("/templates", "app.templates"),
];

/// What the pages need.
#[derive(Debug)]
pub(crate) struct Web {
    pub(crate) common: Common,
    pub(crate) door: Arc<Door>,
    pub(crate) claimer: Claimer,
    pub(crate) mutes: MuteBook,
}

/// What all pages of alarm have around them.
pub(crate) fn frame(clock: Clock, zone: TimeZone) -> Frame {
    Frame::new(&WORDS, MENU, clock, zone)
}

/// The routes of the web view.
pub(crate) fn routes(web: Arc<Web>, frame: &Frame) -> Router {
    let pages = Router::new()
        .route("/alerts", get(several::list))
        .route("/alerts.json", get(alerts::json))
        .route("/alerts/act", post(several::act))
        .route("/alerts/{fingerprint}", get(case::page))
        .route("/noise", get(noise::page))
        .route("/routing", get(routing::page))
        .route("/templates", get(templates::page))
        .route("/templates/{name}", get(template::page).post(template::save))
        .route("/alerts/{fingerprint}/claims", post(claim::change))
        .route("/alerts/{fingerprint}/mutes", post(mute::change))
        .route("/silences", get(silences::page))
        .route("/silences/new", get(silence::new_page))
        .route("/silences/save", post(silence::save))
        .route("/silences/{id}", get(silence::page))
        .route("/people", get(roster::page))
        .route("/people/users/{name}", get(person::user_page).post(person::save_user))
        .route("/people/teams/{name}", get(person::team_page).post(person::save_team))
        .fallback(page_unknown)
        .with_state(web);
    frame.dress(pages).merge(frame.assets())
}

fn not_found(page: Page, detail: String) -> Response {
    let title = page.text("error.not_found");
    page.message(StatusCode::NOT_FOUND, title, detail, false)
}

/// A page that says why something was not done: a sentence of the catalogue, and what exactly is wrong.
fn refused(page: Page, status: StatusCode, key: &'static str, exactly: String) -> Response {
    let (title, sentence) = (page.text("error.refused"), page.text(key));
    let detail =
        if exactly.is_empty() { sentence.to_owned() } else { format!("{sentence} {exactly}") };
    page.message(status, title, detail, false)
}

fn store_away(page: Page, error: &DbError) -> Response {
    tracing::error!(error = daemon::error_chain(error), "a page cannot be shown");
    let (title, detail) = (page.text("error.store"), page.text("error.store.detail").to_owned());
    page.message(StatusCode::SERVICE_UNAVAILABLE, title, detail, true)
}

async fn page_unknown(page: Page) -> Response {
    let detail = page.text("error.page_unknown").to_owned();
    not_found(page, detail)
}

#[cfg(test)]
pub(crate) mod tests {
    use axum::http::{HeaderMap, HeaderValue, Uri, header};
    use daemon::page::Language;
    use model::Timestamp;

    use super::*;

    /// A page at 2025-10-09 17:01:00 in Shanghai.
    pub(crate) fn page(language: Language, query: &str) -> Page {
        let clock = Clock::manual(Timestamp(1_760_000_460_000));
        let frame = frame(clock, TimeZone::get("Asia/Shanghai").unwrap());
        let language = HeaderValue::from_static(language.tag());
        let headers = HeaderMap::from_iter([(header::ACCEPT_LANGUAGE, language)]);
        let uri: Uri = format!("/alerts?{query}").parse().unwrap();
        Page::of(&frame, &uri, &headers)
    }

    #[test]
    fn the_pages_ask_for_nothing_that_their_policy_forbids() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/templates");
        let templates = std::fs::read_dir(folder).unwrap().flatten();
        let texts = templates.map(|file| std::fs::read_to_string(file.path()).unwrap());
        let mut read = 0;
        for template in texts {
            for forbidden in ["<script", "style=", "onclick", "http://", "https://", "|safe"] {
                assert!(!template.contains(forbidden), "{forbidden}");
            }
            read += 1;
        }
        assert!(read > 8, "{read}");
    }
}
