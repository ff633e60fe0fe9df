//! `/noise`: which rules make noise.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use daemon::page::{Page, rendered};

use super::{Web, not_found, store_away};
use crate::noise::{Noise, WINDOW_DEFAULT, read_window, report};

/// Rows of rules that are shown; the API has all.
const ROWS_MAX: usize = 200;
const WINDOWS: [&str; 4] = ["1d", "7d", "30d", "90d"];

/// A line of a table.
#[derive(Debug)]
struct Row {
    rule: String,
    team: String,
    fired: u64,
    acked: u64,
    muted: u64,
    flapped: u64,
    median: String,
}

#[derive(Debug)]
struct WindowLink {
    window: &'static str,
    is_chosen: bool,
}

/// The page.
#[derive(Debug, Template)]
#[template(path = "noise.html")]
struct NoisePage {
    windows: Vec<WindowLink>,
    is_cut: bool,
    rules: Vec<Row>,
    teams: Vec<Row>,
    page: Page,
}

pub(super) async fn page(State(web): State<Arc<Web>>, page: Page) -> Response {
    let text = page.parameter("window").unwrap_or_else(|| WINDOW_DEFAULT.to_owned());
    let window = match read_window(&text) {
        Ok(window) => window,
        Err(fault) => return not_found(page, fault),
    };
    match report(&web.common, window).await {
        Ok(report) => {
            let rows = |noise: &[Noise]| {
                noise.iter().take(ROWS_MAX).map(|row| shown(row, &page)).collect()
            };
            let (rules, teams) = (rows(&report.rules), rows(&report.teams));
            let link = |window: &'static str| WindowLink { window, is_chosen: window == text };
            let windows = WINDOWS.map(link).into();
            rendered(&NoisePage { windows, is_cut: report.is_cut, rules, teams, page })
        }
        Err(error) => store_away(page, &error),
    }
}

fn shown(noise: &Noise, page: &Page) -> Row {
    let or_none = |text: &str| if text.is_empty() { "–".to_owned() } else { text.to_owned() };
    Row {
        rule: or_none(&noise.rule),
        team: or_none(&noise.team),
        fired: noise.fired,
        acked: noise.acked,
        muted: noise.muted,
        flapped: noise.flapped,
        median: noise.median_to_ack.map_or("–".to_owned(), |wait| page.span(wait)),
    }
}
