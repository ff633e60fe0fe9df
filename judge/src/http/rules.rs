//! One rule: try it now, run it over the past, look at its evaluations.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, Query, RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use model::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use wire::prom_api::{ErrorKind, format_value, parse_time};

use super::App;
use super::answer::{failure, faulty, refused, success};
use crate::backtest::{Replay, STEPS_MAX, Span};
use crate::backtest_report::Report;
use crate::board::Evaluation;
use crate::expand::{self, Budget, Expanded};
use crate::explain::{Question, explain};
use crate::query;
use crate::record::{self, Written};
use crate::rule_fault::Fault;
use crate::rules::{Rule, RuleGroup, RuleKind};
use crate::template_scene::{Lookups, Scene};

/// A backtest that takes longer is given up.
pub const BACKTEST_TIMEOUT: Duration = Duration::from_secs(120);
/// Elements that a test shows of each rule; further ones are counted.
const ELEMENTS_MAX: usize = 100;

/// The routes of single rules.
pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/api/v1/rules/test", post(test))
        .route("/api/v1/rules/backtest", post(backtest))
        .route("/api/v1/rules/{id}/history", get(history))
        .route("/api/v1/rules/{id}/explain", get(explained))
}

/// The answer for a rule that is not there.
pub(super) fn no_such_rule(id: &str) -> Response {
    let message = format!("there is no rule {id:?}: /api/v1/rules shows the id of every rule");
    failure(ErrorKind::NotFound, &message)
}

async fn history(State(app): State<Arc<App>>, Path(id): Path<String>) -> Response {
    let Some((view, at)) = app.ticker.board.rule(&id) else { return no_such_rule(&id) };
    let (rule, shown) = (&view.group.rules[at], &view.rules[at]);
    let evaluations: Vec<Value> =
        shown.evaluations.list().iter().rev().map(|e| evaluation(e)).collect();
    success(&json!({
        "id": id,
        "name": rule.name,
        "group": view.group.key.name,
        "file": view.group.key.file,
        "evaluations": evaluations,
    }))
}

async fn explained(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Response {
    let Some((view, place)) = app.ticker.board.rule(&id) else { return no_such_rule(&id) };
    let (mut at, mut filter) = (At::default(), Vec::new());
    for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        match name.as_ref() {
            "at" => at.at = Some(value.into_owned()),
            "match[]" => match crate::api::matchers(&value) {
                Ok(conditions) => filter.extend(conditions),
                Err(why) => {
                    let message = format!("invalid parameter \"match[]\": {why}");
                    return failure(ErrorKind::BadData, &message);
                }
            },
            _ => {}
        }
    }
    let is_now = at.at.is_none();
    match at.moment(app.manager.clock.now()) {
        Ok(at) => {
            let question = Question { view: &view, rule: place, at, is_now, filter: &filter };
            let explanation = explain(&app.ticker.evaluator, &question).await;
            let rule = &view.group.rules[place];
            let mut answer = json!(explanation);
            answer["id"] = json!(id);
            answer["name"] = json!(rule.name);
            answer["group"] = json!(view.group.key.name);
            answer["query"] = json!(rule.query.text);
            success(&answer)
        }
        Err(message) => failure(ErrorKind::BadData, &message),
    }
}

fn evaluation(evaluation: &Evaluation) -> Value {
    let change = |change: &crate::board::Change| json!({ "labels": change.labels, "from": change.from, "to": change.to });
    json!({
        "at": evaluation.at.rfc3339(),
        "evaluationTime": evaluation.took.as_secs_f64(),
        "samples": evaluation.samples,
        "error": evaluation.error,
        "transitions": evaluation.changes.iter().map(change).collect::<Vec<_>>(),
        "moreTransitions": evaluation.more_changes,
    })
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct At {
    at: Option<String>,
}

impl At {
    /// The moment asked for; now when there is none.
    fn moment(&self, now: Timestamp) -> Result<Timestamp, String> {
        match &self.at {
            None => Ok(now),
            Some(text) => parse_time(text).ok_or_else(|| {
                format!("invalid parameter \"at\": {text:?} is neither seconds nor RFC 3339")
            }),
        }
    }
}

/// Evaluates rules once and keeps nothing of it.
async fn test(State(app): State<Arc<App>>, Query(at): Query<At>, body: String) -> Response {
    let at = match at.moment(app.manager.clock.now()) {
        Ok(at) => at,
        Err(message) => return failure(ErrorKind::BadData, &message),
    };
    match read_rules(&app, &body) {
        Ok(group) => {
            let mut rules = Vec::with_capacity(group.rules.len());
            for rule in &group.rules {
                rules.push(app.tested(&group, rule, at).await);
            }
            success(&json!({ "at": at.rfc3339(), "rules": rules }))
        }
        Err(faults) => faulty(&faults),
    }
}

/// A group as the API takes it, or one rule by itself.
fn read_rules(app: &App, body: &str) -> Result<RuleGroup, Vec<Fault>> {
    let is_one = body.lines().any(|line| line.starts_with("alert:") || line.starts_with("record:"))
        || serde_json::from_str::<Value>(body).is_ok_and(|value| value.get("expr").is_some());
    if is_one { one_rule(app, body, None) } else { app.rules.check_group("test", body) }
}

/// A rule by itself, YAML or JSON, as a group.
fn one_rule(app: &App, rule: &str, interval: Option<&str>) -> Result<RuleGroup, Vec<Fault>> {
    let mut text = String::from("name: test\n");
    if let Some(interval) = interval {
        text.push_str(&format!("interval: {interval:?}\n"));
    }
    text.push_str("rules:\n");
    for (at, line) in rule.trim_end().lines().enumerate() {
        text.push_str(if at == 0 { "- " } else { "  " });
        text.push_str(line);
        text.push('\n');
    }
    app.rules.check_group("test", &text)
}

impl App {
    /// What a rule would give now.
    pub(crate) async fn tested(&self, group: &RuleGroup, rule: &Rule, at: Timestamp) -> Value {
        let evaluator = &self.ticker.evaluator;
        let begun = tokio::time::Instant::now();
        let asked = at.minus(group.query_offset);
        let answer =
            query::vector(&evaluator.reader, &rule.query.expr, asked, evaluator.query_timeout)
                .await;
        let took = begun.elapsed().as_secs_f64();
        let answer = answer.map_err(|error| format!("{error:#}"));
        match answer {
            Err(error) => json!({ "name": rule.name, "error": error, "evaluationTime": took }),
            Ok(mut vector) => {
                let elements = vector.len();
                vector.truncate(ELEMENTS_MAX);
                json!({
                    "name": rule.name,
                    "query": rule.query.text,
                    "evaluationTime": took,
                    "elements": elements,
                    "result": self.became(rule, vector, at).await,
                })
            }
        }
    }

    /// The elements of a result, each with the alert or the series that it would become.
    async fn became(&self, rule: &Rule, vector: Vec<Written>, at: Timestamp) -> Vec<Value> {
        let evaluator = &self.ticker.evaluator;
        if matches!(rule.kind, RuleKind::Recording) {
            let recorded = |(element, value): Written| {
                let series = record::recorded(rule, vec![(element.clone(), value)]);
                let labels = series.ok().and_then(|mut written| written.pop()).map(|s| s.0);
                json!({ "metric": element, "value": format_value(value), "labels": labels })
            };
            return vector.into_iter().map(recorded).collect();
        }
        let lookups = Lookups::default();
        let scene = Scene { surroundings: &evaluator.surroundings, at, lookups };
        let (budget, reader) = (Budget { timeout: evaluator.query_timeout }, &evaluator.reader);
        let expanded =
            expand::expand(rule, &vector, &scene, reader, budget, &evaluator.metrics).await;
        let alert = |((element, value), (labels, annotations)): (&Written, Expanded)| {
            let value = format_value(*value);
            json!({ "metric": element, "value": value, "labels": labels, "annotations": annotations })
        };
        vector.iter().zip(expanded).map(alert).collect()
    }
}

/// The body of a backtest.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BacktestBody {
    /// The rule: an object, or its YAML as a text.
    rule: Value,
    /// Seconds since the epoch, or RFC 3339.
    from: Value,
    /// As `from`; now when it is absent.
    #[serde(default)]
    to: Value,
    /// Of the evaluations, as `15s`; that of the configuration when it is absent.
    #[serde(default)]
    interval: Option<String>,
}

async fn backtest(State(app): State<Arc<App>>, body: String) -> Response {
    let Ok(_permit) = app.backtests.try_acquire() else {
        let message = "too many backtests are running; try again when one of them is done";
        return refused(StatusCode::TOO_MANY_REQUESTS, message);
    };
    let body: BacktestBody = match read_body(&body) {
        Ok(body) => body,
        Err(message) => return failure(ErrorKind::BadData, &message),
    };
    let rule = match &body.rule {
        Value::String(yaml) => yaml.clone(),
        other => other.to_string(),
    };
    let group = match one_rule(&app, &rule, body.interval.as_deref()) {
        Ok(group) => group,
        Err(faults) => return faulty(&faults),
    };
    let span = match span(&body, &group, app.manager.clock.now()) {
        Ok(span) => span,
        Err(message) => return failure(ErrorKind::BadData, &message),
    };
    app.replayed(&group, span).await
}

/// JSON, or YAML, which JSON is a part of.
fn read_body<T: DeserializeOwned>(body: &str) -> Result<T, String> {
    crate::check::plain_yaml(body).map_err(|error| {
        let text = error.without_snippet().to_string();
        let first = text.lines().next().unwrap_or("not valid").to_owned();
        format!("{first}; the body has rule, from, to and interval, as YAML or JSON")
    })
}

fn span(body: &BacktestBody, group: &RuleGroup, now: Timestamp) -> Result<Span, String> {
    let moment = |name: &str, value: &Value| {
        let text = match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        parse_time(&text).ok_or(format!("{name} {text:?} is neither seconds nor RFC 3339"))
    };
    let from = moment("from", &body.from)?;
    let to = if body.to.is_null() { now } else { moment("to", &body.to)? };
    if to < from {
        return Err("to is before from".to_owned());
    }
    let span = Span { from, to, interval: group.interval, query_offset: group.query_offset };
    if span.steps() > STEPS_MAX {
        let steps = span.steps();
        return Err(format!(
            "{steps} evaluations are more than {STEPS_MAX}: shorten the time or give a longer interval"
        ));
    }
    Ok(span)
}

impl App {
    /// Takes the only rule of a group through time.
    async fn replayed(&self, group: &RuleGroup, span: Span) -> Response {
        let evaluator = &self.ticker.evaluator;
        let rule = group.rules.first();
        let replay = rule.and_then(|rule| Replay::new(group, rule, evaluator.past(span)));
        let Some(mut replay) = replay else {
            return failure(ErrorKind::BadData, "a backtest is of an alerting rule");
        };
        let running = replay.run();
        match tokio::time::timeout(BACKTEST_TIMEOUT, running).await {
            Ok(Ok(())) => success(&Report::new(&replay, &span)),
            Ok(Err(error)) => failure(ErrorKind::Execution, &error),
            Err(_) => {
                let seconds = BACKTEST_TIMEOUT.as_secs();
                let message = format!(
                    "given up after {seconds} s: shorten the time or give a longer interval"
                );
                failure(ErrorKind::Timeout, &message)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_yaml_or_json() {
        for body in [
            "rule: {alert: A, expr: up == 0}\nfrom: 10\nto: 2026-01-01T00:00:00Z\n",
            r#"{"rule": "alert: A\nexpr: up == 0\n", "from": "10", "interval": "15s"}"#,
        ] {
            assert!(read_body::<BacktestBody>(body).is_ok(), "{body}");
        }
        let fault = read_body::<BacktestBody>("rule: {}\nfrom: 1\nuntil: 3\n").unwrap_err();
        assert!(fault.contains("until") && fault.contains("rule, from, to"), "{fault}");
    }
}
