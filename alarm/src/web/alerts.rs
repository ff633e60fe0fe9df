//! `/alerts`: what fires, most urgent first, and who was told.

use std::sync::Arc;

use askama::Template;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use daemon::page::Page;
use db::alerts::{AlertCount, AlertSearch, AlertStatus, StoredAlert, Told};
use db::{AlertList, DbError};
use model::{Fingerprint, Timestamp};
use serde_json::{Map, Value, json};

use super::alert_view::{AlertView, MomentView, severity_word, to_json};
use super::filter::{Filter, StateChoice};
use super::several::{Choice, with};
use super::{Web, store_away};
use crate::claims::Claims;
use crate::severity::Severity;
use crate::silence::Silence;
use crate::upkeep::UNDELIVERED_FOR;

const ROWS_PER_PAGE: u32 = 50;

/// A severity in the summary strip.
#[derive(Debug)]
struct Tile {
    class: &'static str,
    word: &'static str,
    alerts: u64,
    href: String,
    chosen: bool,
}

/// A choice of states.
#[derive(Debug)]
struct StateLink {
    word: &'static str,
    alerts: u64,
    href: String,
    chosen: bool,
}

/// What an empty list says.
#[derive(Debug)]
struct Empty {
    title: &'static str,
    detail: String,
    is_clear: bool,
}

#[derive(Debug)]
struct Pager {
    showing: String,
    previous: Option<String>,
    next: Option<String>,
    capped: Option<String>,
}

/// The page.
#[derive(Debug, Template)]
#[template(path = "alerts.html")]
pub(super) struct AlertsPage {
    title: String,
    tiles: Vec<Tile>,
    states: Vec<StateLink>,
    rows: Vec<AlertView>,
    pager: Pager,
    /// What the list is of, where a message leads here.
    of_message: Option<String>,
    empty: Option<Empty>,
    last_intake: Option<MomentView>,
    stale: u64,
    undelivered: u64,
    has_receivers: bool,
    /// How many alerts the form before this was done for.
    done: Option<String>,
    /// The same list with boxes to choose from.
    select_href: String,
    /// What the form says while alerts are chosen.
    choice: Option<Choice>,
    filter: Filter,
    page: Page,
}

impl AlertsPage {
    /// With boxes to choose from, if somebody wants to choose.
    pub(super) fn with(self, choice: Option<Choice>) -> Self {
        Self { choice, ..self }
    }
}

/// What the store knows for one page.
struct Found {
    alerts: Vec<StoredAlert>,
    told: Vec<Told>,
    /// Of all alerts.
    all: Vec<AlertCount>,
    /// Of those that have the search text.
    with_text: Vec<AlertCount>,
    last_update: Option<Timestamp>,
    undelivered: u64,
    /// The alerts of a message, where the address names it; the inner one is `None` when they are not known any more.
    list: Option<Option<AlertList>>,
}

impl Found {
    async fn look_up(web: &Web, filter: &Filter, now: Timestamp) -> Result<Self, DbError> {
        let alerts_table = web.common.db.alerts();
        let offset = (filter.page - 1) * ROWS_PER_PAGE;
        let list = match &filter.list {
            Some(name) => Some(web.common.db.messages().list(name).await?),
            None => None,
        };
        let among = list
            .as_ref()
            .map(|list| list.as_ref().map(|list| list.alerts.to_owned()).unwrap_or_default());
        let search = AlertSearch { among, ..filter.search() };
        let alerts = alerts_table.search(&search, offset, ROWS_PER_PAGE).await?;
        let fingerprints: Vec<Fingerprint> =
            alerts.iter().map(|stored| stored.alert.fingerprint()).collect();
        let told = alerts_table.told(&fingerprints).await?;
        let told = web.common.plans.borrow().with_unrouted(&alerts, told);
        let all = alerts_table.counts(&AlertSearch::default()).await?;
        let any_of_text = AlertSearch { statuses: Vec::new(), priorities: Vec::new(), ..search };
        let with_text = alerts_table.counts(&any_of_text).await?;
        let last_update = alerts_table.last_update().await?;
        let undelivered = alerts_table.failed_since(now.minus(UNDELIVERED_FOR)).await?;
        Ok(Self { alerts, told, all, with_text, last_update, undelivered, list })
    }

    fn total(&self, filter: &Filter) -> u64 {
        sum(&self.with_text, |count| filter.takes(count.status, count.priority))
    }
}

fn sum(counts: &[AlertCount], takes: impl Fn(&AlertCount) -> bool) -> u64 {
    counts.iter().filter(|count| takes(count)).map(|count| count.alerts).sum()
}

/// The page without boxes, or the answer in its place.
pub(super) async fn shown(web: &Web, filter: Filter, page: Page) -> Result<AlertsPage, Response> {
    match Found::look_up(web, &filter, page.now).await {
        Ok(found) => {
            let (claims, silences) = (web.common.claims.known(), web.common.silences.known());
            let held = (&*claims, silences.as_slice());
            let receivers = web.common.plans.borrow().keys();
            Ok(compose(found, filter, &receivers, held, page))
        }
        Err(error) => Err(store_away(page, &error)),
    }
}

pub(super) async fn json(State(web): State<Arc<Web>>, page: Page) -> Response {
    let filter = Filter::read(page.query());
    let found = match Found::look_up(&web, &filter, page.now).await {
        Ok(found) => found,
        Err(error) => {
            tracing::error!(error = daemon::error_chain(&error), "cannot list alerts");
            return (StatusCode::SERVICE_UNAVAILABLE, Json("alerts cannot be read now; ask again"))
                .into_response();
        }
    };
    let mut counts = Map::new();
    for status in StateChoice::All.statuses() {
        let of_severity = |severity: Severity| {
            let takes =
                |count: &AlertCount| (count.status, count.priority) == (*status, severity.rank());
            (severity.as_str().to_owned(), Value::from(sum(&found.with_text, takes)))
        };
        counts.insert(
            status.as_str().to_owned(),
            Severity::ALL.into_iter().map(of_severity).collect(),
        );
    }
    let alerts: Vec<Value> =
        found.alerts.iter().map(|stored| to_json(stored, &found.told)).collect();
    let total = found.total(&filter);
    Json(json!({ "total": total, "page": filter.page, "counts": counts, "alerts": alerts }))
        .into_response()
}

fn compose(
    found: Found,
    filter: Filter,
    receivers: &[String],
    (claims, silences): (&Claims, &[Silence]),
    page: Page,
) -> AlertsPage {
    let words = page.words;
    let rows: Vec<AlertView> = found
        .alerts
        .iter()
        .map(|stored| {
            let view = AlertView::new(stored, &found.told, receivers, &page);
            view.noted(stored, claims, silences, &page)
        })
        .collect();
    let unresolved = sum(&found.all, |count| count.status != AlertStatus::Resolved);
    let title = match unresolved {
        0 => words.text("alerts.title").to_owned(),
        n => words.fill("alerts.title.count", &[("n", &n.to_string())]),
    };
    AlertsPage {
        title,
        tiles: Severity::ALL
            .into_iter()
            .map(|severity| tile(severity, &found, &filter, &page))
            .collect(),
        states: StateChoice::ALL
            .into_iter()
            .map(|state| state_link(state, &found, &filter, &page))
            .collect(),
        of_message: found.list.as_ref().map(|list| of_message(list.as_ref(), &page)),
        pager: pager(&filter, found.total(&filter), rows.len(), &page),
        empty: rows.is_empty().then(|| empty(&filter, &found, &page)),
        rows,
        last_intake: found.last_update.map(|moment| MomentView::ago(moment, &page)),
        stale: sum(&found.all, |count| count.status == AlertStatus::Stale),
        undelivered: found.undelivered,
        has_receivers: !receivers.is_empty(),
        done: page
            .parameter("done")
            .and_then(|n| n.parse::<u32>().ok())
            .map(|n| page.fill("several.done", &[("n", &n.to_string())])),
        select_href: with(&filter.address(), "select=1"),
        choice: None,
        filter,
        page,
    }
}

fn of_message(list: Option<&AlertList>, page: &Page) -> String {
    let Some(list) = list else { return page.text("alerts.list.gone").to_owned() };
    let (count, time) = (list.alerts.len().to_string(), page.absolute(list.created_at));
    page.fill("alerts.list", &[("n", &count), ("time", &time)])
}

fn tile(severity: Severity, found: &Found, filter: &Filter, page: &Page) -> Tile {
    let takes =
        |count: &AlertCount| filter.takes_status(count.status) && count.priority == severity.rank();
    Tile {
        class: severity.tone(),
        word: severity_word(severity, page.words),
        alerts: sum(&found.with_text, takes),
        href: filter.toggled(severity).address(),
        chosen: filter.severities.contains(&severity),
    }
}

fn state_link(state: StateChoice, found: &Found, filter: &Filter, page: &Page) -> StateLink {
    let word = match state {
        StateChoice::Active => page.text("alerts.state.active"),
        StateChoice::Firing => page.text("alerts.state.firing"),
        StateChoice::Stale => page.text("alerts.state.stale"),
        StateChoice::Resolved => page.text("alerts.state.resolved"),
        StateChoice::All => page.text("alerts.state.all"),
    };
    let takes = |count: &AlertCount| {
        state.statuses().contains(&count.status) && filter.takes_priority(count.priority)
    };
    let alerts = sum(&found.with_text, takes);
    StateLink {
        word,
        alerts,
        href: filter.with_state(state).address(),
        chosen: state == filter.state,
    }
}

fn empty(filter: &Filter, found: &Found, page: &Page) -> Empty {
    if filter.is_default() && filter.page == 1 {
        let time = page.absolute(page.now);
        let detail = page.fill("alerts.empty.clear.detail", &[("time", &time)]);
        return Empty { title: page.text("alerts.empty.clear"), detail, is_clear: true };
    }
    let without_filter =
        sum(&found.all, |count| Filter::default().takes_status(count.status)).to_string();
    let detail = page.fill("alerts.empty.filtered.detail", &[("n", &without_filter)]);
    Empty { title: page.text("alerts.empty.filtered"), detail, is_clear: false }
}

fn pager(filter: &Filter, total: u64, rows: usize, page: &Page) -> Pager {
    let first = u64::from(filter.page - 1) * u64::from(ROWS_PER_PAGE);
    let last = first + rows as u64;
    let (from, to, all) = ((first + 1).to_string(), last.to_string(), total.to_string());
    let next_page = filter.at_page(filter.page + 1);
    let is_capped = last < total && next_page.is_none();
    Pager {
        showing: page.fill("alerts.showing", &[("from", &from), ("to", &to), ("total", &all)]),
        previous: filter.at_page(filter.page - 1).map(|filter| filter.address()),
        next: next_page.filter(|_| last < total).map(|filter| filter.address()),
        capped: is_capped.then(|| page.fill("alerts.capped", &[("n", &to)])),
    }
}
