//! The pages of the rules: server-rendered, without scripts, in two languages and two colour schemes. Their frame is
//! that of alarm's pages, so that both look the same.

mod edit;
mod groups;
mod rule;

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use daemon::page::{Frame, Page};
use jiff::tz::TimeZone;

use crate::http::App;
use crate::text::WORDS;

const OWN_STYLE: &str = include_str!("../assets/rules.css");
const MENU: &[(&str, &str)] = &[("/rules", "app.rules")];

/// The routes of the pages.
pub(crate) fn routes(app: Arc<App>) -> Router {
    let clock = app.manager.clock.clone();
    let frame = Frame::new(&WORDS, MENU, clock, TimeZone::UTC).with_style(OWN_STYLE);
    let pages = Router::new()
        .route("/rules", get(groups::page))
        .route("/rules/{id}", get(rule::page))
        .route("/rule-groups/new", get(edit::new_page))
        .route("/rule-groups/{name}", get(edit::page))
        .route("/rule-groups/save", post(edit::save))
        .with_state(app);
    frame.dress(pages).merge(frame.assets())
}

/// The word for a state or health.
fn state_word(page: &Page, state: &str) -> &'static str {
    page.text(&format!("state.{state}"))
}

fn message(status: StatusCode, page: Page, key: &str, detail: String) -> Response {
    let title = page.text(key);
    page.message(status, title, detail, false)
}

fn store_away(page: Page, error: &db::DbError) -> Response {
    let error = daemon::error_chain(error);
    tracing::error!(error, "a page cannot be shown");
    message(StatusCode::SERVICE_UNAVAILABLE, page, "error.store", error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pages_ask_for_nothing_that_their_policy_forbids() {
        for template in [
            include_str!("../templates/groups.html"),
            include_str!("../templates/rule.html"),
            include_str!("../templates/edit.html"),
        ] {
            for forbidden in ["<script", "style=", "onclick", "http://", "https://", "|safe"] {
                assert!(!template.contains(forbidden), "{forbidden}");
            }
        }
        assert!(!OWN_STYLE.contains("url(") && !OWN_STYLE.contains("@import"));
    }
}
