//! `/rules/{id}`: one rule, why it fires or does not, and its last evaluations.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use daemon::page::{Page, rendered};

use super::groups::moment;
use super::{message, state_word};
use crate::api::state_of;
use crate::board::Evaluation;
use crate::explain::{Explanation, Question, explain};
use crate::group::Health;
use crate::http::App;
use crate::rule_extras::Extras;
use crate::rules::{DATABASE, Rule, RuleKind};
use crate::template::Template as Text;

#[derive(Debug, Template)]
#[template(path = "rule.html")]
struct RulePage {
    name: String,
    state: &'static str,
    word: &'static str,
    reasons: Vec<String>,
    query: String,
    group: String,
    file: String,
    edit: Option<String>,
    owner: String,
    /// What the rule is, name and text.
    facts: Vec<(&'static str, String)>,
    is_alert: bool,
    labels: Vec<(String, String)>,
    annotations: Vec<(String, String)>,
    id: String,
    explanation: Explanation,
    evaluations: Vec<Run>,
    page: Page,
}

#[derive(Debug)]
struct Run {
    at: String,
    took: String,
    samples: String,
    error: String,
    changes: Vec<String>,
}

pub(super) async fn page(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    page: Page,
) -> Response {
    let Some((view, at)) = app.ticker.board.rule(&id) else {
        let id: String = id.chars().take(64).collect();
        let detail = page.fill("error.rule_unknown", &[("id", &id)]);
        return message(StatusCode::NOT_FOUND, page, "error.not_found", detail);
    };
    let (rule, shown) = (&view.group.rules[at], &view.rules[at]);
    let now = app.manager.clock.now();
    let question = Question { view: &view, rule: at, at: now, is_now: true, filter: &[] };
    let explanation = explain(&app.ticker.evaluator, &question).await;
    let annotations = match &rule.kind {
        RuleKind::Alerting { annotations, .. } => pairs(annotations),
        RuleKind::Recording => Vec::new(),
    };
    let is_alert = matches!(rule.kind, RuleKind::Alerting { .. });
    let state = match (&shown.health, is_alert) {
        (Health::Failed(_), _) => "err",
        (Health::Ok, false) => "ok",
        (_, false) => "unknown",
        (_, true) => state_of(shown),
    };
    let key = &view.group.key;
    let found = RulePage {
        name: rule.name.clone(),
        state,
        word: state_word(&page, state),
        reasons: explanation.sentences.iter().map(|s| s.told(page.words)).collect(),
        query: rule.query.expr.pretty(),
        group: key.name.clone(),
        file: key.file.clone(),
        edit: (key.file == DATABASE).then(|| super::edit::address(&key.name)),
        owner: view.group.owner.to_owned(),
        facts: facts(rule, &page),
        is_alert,
        labels: pairs(&rule.labels),
        annotations,
        id,
        explanation,
        evaluations: shown.evaluations.list().iter().rev().map(|e| run(e, &page)).collect(),
        page,
    };
    rendered(&found)
}

/// The times of a rule, and what rules of Prometheus do not have.
fn facts(rule: &Rule, page: &Page) -> Vec<(&'static str, String)> {
    let RuleKind::Alerting { hold, keep_firing_for, .. } = &rule.kind else { return Vec::new() };
    let Extras { recover, no_data, active_times, priority, max_notifications, runbook } =
        &rule.extras;
    let windows: Vec<String> = active_times.specs().iter().map(ToString::to_string).collect();
    let facts = [
        ("rule.for", Some(model::format_duration(*hold))),
        ("rule.keep", Some(model::format_duration(*keep_firing_for))),
        ("rule.recover", recover.as_ref().map(|recover| recover.text.to_owned())),
        ("rule.no_data", no_data.as_ref().map(|no_data| no_data.policy.to_string())),
        ("rule.priority", priority.map(|level| format!("P{level}"))),
        ("rule.max_notifications", max_notifications.map(|most| most.to_string())),
        ("rule.active_times", (!windows.is_empty()).then(|| windows.join("; "))),
        ("rule.runbook", runbook.as_ref().map(|text| text.to_owned())),
    ];
    facts.into_iter().filter_map(|(key, text)| Some((page.text(key), text?))).collect()
}

fn pairs(texts: &[(String, Text)]) -> Vec<(String, String)> {
    texts.iter().map(|(name, text)| (name.clone(), text.source().to_owned())).collect()
}

fn run(evaluation: &Evaluation, page: &Page) -> Run {
    let change = |change: &crate::board::Change| {
        let values = [
            ("labels", change.labels.to_string()),
            ("from", state_word(page, change.from).to_owned()),
            ("to", state_word(page, change.to).to_owned()),
        ];
        page.fill("rule.changes", &values)
    };
    Run {
        at: moment(evaluation.at),
        took: format!("{:.1?}", evaluation.took),
        samples: page.fill("rule.samples", &[("count", &evaluation.samples.to_string())]),
        error: evaluation.error.clone().unwrap_or_default(),
        changes: evaluation.changes.iter().map(change).collect(),
    }
}
