//! `/silences`: what is held back, by whom, why and until when.

use std::cmp::Reverse;
use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use daemon::page::{Page, rendered};
use db::DbError;
use db::alerts::{AlertSearch, AlertStatus, StoredAlert};
use wire::silence::SilenceState;

use super::alert_view::MomentView;
use super::{Web, store_away};
use crate::matchers::matcher_text;
use crate::silence::Silence;

/// Silences on the page; a search finds others.
const ROWS_MAX: usize = 200;
const SEARCH_CHARS_MAX: usize = 200;

/// A silence with all that a row or the head of its page shows.
#[derive(Debug)]
pub(super) struct SilenceView {
    pub(super) href: String,
    pub(super) id: String,
    /// Picks the colour: active, pending, expired.
    pub(super) state: &'static str,
    pub(super) state_word: &'static str,
    pub(super) matchers: Vec<String>,
    pub(super) author: String,
    pub(super) comment: String,
    /// Until when, from when, or since when it is over.
    pub(super) when: MomentView,
    /// That it ends with its alerts, in words; empty when it does not.
    pub(super) ends_with: String,
    /// How many alerts it holds, or would hold; nothing when it is over.
    pub(super) alerts: Option<usize>,
    pub(super) is_over: bool,
}

impl SilenceView {
    /// `open` are the alerts that are not resolved.
    pub(super) fn new(silence: &Silence, open: &[StoredAlert], page: &Page) -> Self {
        let state = silence.state(page.now);
        let (class, word) = match state {
            SilenceState::Active => ("active", page.text("silences.active")),
            SilenceState::Pending => ("pending", page.text("silences.pending")),
            SilenceState::Expired => ("expired", page.text("silences.expired")),
        };
        let at = if state == SilenceState::Pending { silence.starts_at } else { silence.ends_at };
        let when = MomentView {
            words: match state {
                SilenceState::Active => page.ahead(at),
                SilenceState::Pending => page.fill("silences.begins", &[("when", page.ahead(at))]),
                SilenceState::Expired => page.ago(at),
            },
            machine: at.rfc3339(),
            title: page.absolute(at),
        };
        let ends_after = silence.ends_after().map(|span| [("span", page.span(span))]);
        let is_over = state == SilenceState::Expired;
        Self {
            href: href(&silence.id),
            id: silence.id.clone(),
            state: class,
            state_word: word,
            matchers: silence.matchers().iter().map(matcher_text).collect(),
            author: silence.created_by.clone(),
            comment: silence.comment.clone(),
            when,
            ends_with: ends_after
                .map_or_else(String::new, |values| page.fill("silences.ends_with", &values)),
            alerts: (!is_over).then(|| held(silence, open).count()),
            is_over,
        }
    }
}

/// The page of a silence.
pub(super) fn href(id: &str) -> String {
    let id: String = form_urlencoded::byte_serialize(id.as_bytes()).collect();
    format!("/silences/{}", id.replace('+', "%20"))
}

/// The alerts among these that a silence is about.
pub(super) fn held<'a>(
    silence: &'a Silence,
    open: &'a [StoredAlert],
) -> impl Iterator<Item = &'a StoredAlert> {
    open.iter().filter(|stored| silence.is_for(&stored.alert.labels))
}

/// All alerts that are not resolved.
pub(super) async fn open_alerts(web: &Web) -> Result<Vec<StoredAlert>, DbError> {
    let statuses = vec![AlertStatus::Firing, AlertStatus::Stale];
    let unresolved = AlertSearch { statuses, ..AlertSearch::default() };
    web.common.db.alerts().search(&unresolved, 0, u32::MAX).await
}

#[derive(Debug)]
struct Choice {
    word: &'static str,
    silences: usize,
    href: &'static str,
    chosen: bool,
}

/// The page.
#[derive(Debug, Template)]
#[template(path = "silences.html")]
struct SilencesPage {
    choices: Vec<Choice>,
    rows: Vec<SilenceView>,
    search: String,
    shows_past: bool,
    has_ended: bool,
    capped: Option<String>,
    page: Page,
}

pub(super) async fn page(State(web): State<Arc<Web>>, page: Page) -> Response {
    let shows_past = page.parameter("state").is_some_and(|state| state == "expired");
    let search: String =
        page.parameter("q").unwrap_or_default().trim().chars().take(SEARCH_CHARS_MAX).collect();
    let known = web.common.silences.known();
    let found = chosen(&known, shows_past, &search, &page);
    let total = found.len();
    let open = match shows_past || found.is_empty() {
        true => Ok(Vec::new()),
        false => open_alerts(&web).await,
    };
    let open = match open {
        Ok(open) => open,
        Err(error) => return store_away(page, &error),
    };
    let rows = found.into_iter().take(ROWS_MAX);
    let rows = rows.map(|silence| SilenceView::new(silence, &open, &page)).collect();
    let is_past = |silence: &&Silence| silence.state(page.now) == SilenceState::Expired;
    let past = known.iter().filter(is_past).count();
    let choices = [
        ("silences.current", known.len() - past, "/silences", !shows_past),
        ("silences.past", past, "/silences?state=expired", shows_past),
    ];
    let choice =
        |(key, silences, href, chosen)| Choice { word: page.text(key), silences, href, chosen };
    let shown = SilencesPage {
        choices: choices.map(choice).into(),
        rows,
        search,
        shows_past,
        has_ended: page.parameter("ended").is_some(),
        capped: (total > ROWS_MAX)
            .then(|| page.fill("alerts.capped", &[("n", ROWS_MAX.to_string())])),
        page,
    };
    rendered(&shown)
}

/// Those that hold come first, the soonest to end before others; then those to come. Of those that are over, the
/// latest first.
fn chosen<'a>(known: &'a [Silence], past: bool, search: &str, page: &Page) -> Vec<&'a Silence> {
    let search = search.to_lowercase();
    let has = |text: &str| text.to_lowercase().contains(&search);
    let is_chosen = |silence: &&Silence| {
        (silence.state(page.now) == SilenceState::Expired) == past
            && (has(&silence.created_by)
                || has(&silence.comment)
                || has(&silence.id)
                || silence.matchers().iter().any(|matcher| has(&matcher_text(matcher))))
    };
    let mut found: Vec<&Silence> = known.iter().filter(is_chosen).collect();
    found.sort_by_key(|silence| match silence.state(page.now) {
        SilenceState::Active => (SilenceState::Active, silence.ends_at.0, Reverse(0)),
        SilenceState::Pending => (SilenceState::Pending, silence.starts_at.0, Reverse(0)),
        SilenceState::Expired => (SilenceState::Expired, 0, Reverse(silence.ends_at.0)),
    });
    found
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use daemon::page::Language;

    use super::*;
    use crate::silence::tests::{matcher, silence};
    use crate::web::tests::page;

    #[test]
    fn the_list_has_what_holds_and_what_will_and_finds_by_any_word() {
        let page = page(Language::English, "");
        let minutes = |n: u64| Duration::from_secs(n * 60);
        let about =
            |id: &str, team: &str, from| silence(id, vec![matcher("team", team, false)], from);
        let known = [
            about("over", "db", page.now.minus(minutes(90))),
            about("old", "db", page.now.minus(minutes(300))),
            about("late", "db", page.now.minus(minutes(10))),
            about("soon", "web", page.now.minus(minutes(50))),
            about("next", "db", page.now.plus(minutes(10))),
        ];
        let ids = |past, search| -> Vec<&str> {
            chosen(&known, past, search, &page).iter().map(|silence| silence.id.as_str()).collect()
        };
        assert_eq!(ids(false, ""), ["soon", "late", "next"]);
        assert_eq!(ids(true, ""), ["over", "old"]);
        assert_eq!(ids(false, "TEAM=\"web"), ["soon"]);
        assert_eq!(ids(false, "nobody").len(), 0);
        let view = |at: usize| SilenceView::new(&known[at], &[], &page);
        assert_eq!((view(3).when.words.as_str(), view(3).alerts), ("in 10 min", Some(0)));
        assert_eq!((view(0).when.words.as_str(), view(0).alerts), ("30 min ago", None));
    }
}
