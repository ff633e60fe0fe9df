//! `/rules`: every group with its rules, their states and how their last evaluation went.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use daemon::page::{Page, rendered};

use super::{state_word, store_away};
use crate::api::state_of;
use crate::board::{GroupView, RuleView};
use crate::group::Health;
use crate::http::App;
use crate::rules::{DATABASE, Rule, RuleKind};

/// Groups on the page.
const GROUPS_MAX: usize = 200;

#[derive(Debug, Template)]
#[template(path = "groups.html")]
struct GroupsPage {
    groups: Vec<Group>,
    /// Groups of the database that are switched off.
    off: Vec<String>,
    search: String,
    cut: Option<String>,
    page: Page,
}

#[derive(Debug)]
struct Group {
    name: String,
    file: String,
    edit: Option<String>,
    every: String,
    last: String,
    rules: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    id: String,
    name: String,
    query: String,
    state: &'static str,
    word: &'static str,
    error: String,
    alerts: usize,
    last: String,
    took: String,
}

pub(super) async fn page(State(app): State<Arc<App>>, page: Page) -> Response {
    let search = page.parameter("q").unwrap_or_default();
    let off = match app.db.rule_groups().all().await {
        Ok(rows) => {
            let off = rows.into_iter().filter(|row| !row.enabled && row.name.contains(&search));
            off.map(|row| row.name).collect()
        }
        Err(error) => return store_away(page, &error),
    };
    let views = app.ticker.board.groups();
    let found = views.iter().filter_map(|view| group(view, &search, &page));
    let mut groups: Vec<Group> = found.take(GROUPS_MAX + 1).collect();
    let cut = (groups.len() > GROUPS_MAX)
        .then(|| page.fill("groups.cut", &[("count", &GROUPS_MAX.to_string())]));
    groups.truncate(GROUPS_MAX);
    rendered(&GroupsPage { groups, off, search, cut, page })
}

/// A group with those of its rules that the search finds; all of them when it finds the group.
fn group(view: &GroupView, search: &str, page: &Page) -> Option<Group> {
    let key = &view.group.key;
    let finds_group = key.name.contains(search) || key.file.contains(search);
    let finds =
        |rule: &Rule| finds_group || rule.name.contains(search) || rule.query.text.contains(search);
    let rules = view.group.rules.iter().zip(&view.rules).filter(|(rule, _)| finds(rule));
    let rules: Vec<Row> = rules.map(|(rule, shown)| row(rule, shown, page)).collect();
    if rules.is_empty() && !finds_group {
        return None;
    }
    let last = match view.last {
        None => page.text("groups.never").to_owned(),
        Some((at, took)) => {
            let values = [("at", moment(at)), ("took", format!("{took:.1?}"))];
            page.fill("groups.took", &values)
        }
    };
    Some(Group {
        name: key.name.clone(),
        file: key.file.clone(),
        edit: (key.file == DATABASE).then(|| super::edit::address(&key.name)),
        every: page
            .fill("groups.every", &[("interval", &model::format_duration(view.group.interval))]),
        last,
        rules,
    })
}

fn row(rule: &Rule, shown: &RuleView, page: &Page) -> Row {
    let (state, error) = match (&shown.health, &rule.kind) {
        (Health::Failed(reason), _) => ("err", reason.clone()),
        (Health::Ok, RuleKind::Recording) => ("ok", String::new()),
        (_, RuleKind::Recording) => ("unknown", String::new()),
        (_, RuleKind::Alerting { .. }) => (state_of(shown), String::new()),
    };
    Row {
        id: shown.id.to_string(),
        name: rule.name.clone(),
        query: rule.query.text.trim().to_owned(),
        state,
        word: state_word(page, state),
        error,
        alerts: shown.alerts.len(),
        last: shown.last.map_or_else(|| "–".to_owned(), |(at, _)| moment(at)),
        took: shown.last.map_or_else(|| "–".to_owned(), |(_, took)| format!("{took:.1?}")),
    }
}

/// A moment as the pages write it.
pub(super) fn moment(at: model::Timestamp) -> String {
    at.rfc3339().replace('T', " ").trim_end_matches('Z').split('.').next().unwrap_or("").to_owned()
}
