//! Why a rule fires or does not, at a moment: what its selectors find, what its parts give, and the states of its
//! alerts, in sentences.

use std::time::Duration;

use model::{Labels, Matcher, Timestamp, format_duration};
use promql::{BinaryOp, Expr, ExprKind, Params, Value};
use serde::Serialize;
use storage::Reader;

use crate::alert_state::{HeldAlert, Phase};
use crate::backtest::{Replay, Span};
use crate::board::GroupView;
use crate::eval::Evaluator;
use crate::group::Health;
use crate::rules::{Rule, RuleGroup, RuleKind};
use crate::text::{Sentence, english};

/// Elements that are shown of each part; all are counted.
const SHOWN_MAX: usize = 20;
/// Parts of an expression that are evaluated by themselves.
const PARTS_MAX: usize = 12;
/// Selectors that are looked at.
const INPUTS_MAX: usize = 12;
/// Samples that one selector may read here.
const SAMPLES_MAX: usize = 1_000_000;
/// Evaluations that are gone through again to know since when the condition holds.
const STEPS_MAX: u32 = 500;

/// The explanation.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Explanation {
    at: String,
    /// inactive, pending, firing; unknown before the first evaluation.
    pub(crate) state: &'static str,
    /// Why, in English.
    reasons: Vec<String>,
    pub(crate) inputs: Vec<Input>,
    /// The whole expression first, then its parts.
    pub(crate) parts: Vec<Part>,
    pub(crate) alerts: Vec<Alert>,
    #[serde(skip)]
    pub(crate) sentences: Vec<Sentence>,
}

/// What a selector finds.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Input {
    pub(crate) selector: String,
    from: String,
    to: String,
    pub(crate) series: usize,
    /// The newest sample of the first series.
    pub(crate) newest: Vec<Newest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
}

/// The newest sample of a series.
#[derive(Debug, Serialize)]
pub(crate) struct Newest {
    pub(crate) metric: Labels,
    pub(crate) at: String,
    pub(crate) value: String,
}

/// What an expression, or a part of one, gives.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Part {
    pub(crate) expr: String,
    pub(crate) elements: usize,
    pub(crate) result: Vec<Element>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
}

/// An element of a result.
#[derive(Debug, Serialize)]
pub(crate) struct Element {
    pub(crate) metric: Labels,
    pub(crate) value: String,
}

/// An alert at that moment.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Alert {
    pub(crate) labels: Labels,
    pub(crate) state: &'static str,
    active_at: Option<String>,
    fired_at: Option<String>,
}

/// What to explain.
pub(crate) struct Question<'a> {
    pub(crate) view: &'a GroupView,
    /// Place of the rule in the group.
    pub(crate) rule: usize,
    pub(crate) at: Timestamp,
    /// Whether `at` is now: then the alerts are those that are held, and not found by going through the past.
    pub(crate) is_now: bool,
    /// Only what has these labels, or has no such label at all.
    pub(crate) filter: &'a [Matcher],
}

impl Question<'_> {
    fn rule(&self) -> &Rule {
        &self.view.group.rules[self.rule]
    }

    fn wants(&self, labels: &Labels) -> bool {
        let fits = |matcher: &Matcher| {
            labels.get(&matcher.name).is_none_or(|value| matcher.matches(value))
        };
        self.filter.iter().all(fits)
    }
}

/// Explains.
pub(crate) async fn explain(evaluator: &Evaluator, question: &Question<'_>) -> Explanation {
    let rule = question.rule();
    let at = question.at.minus(question.view.group.query_offset);
    let reader = &evaluator.reader;
    let mut inputs = Vec::new();
    for selector in selectors(&rule.query.expr).into_iter().take(INPUTS_MAX) {
        inputs.push(input(reader, selector, at, question).await);
    }
    let mut parts = Vec::new();
    for expr in parts_of(&rule.query.expr).into_iter().take(PARTS_MAX) {
        parts.push(part(evaluator, expr, at, question).await);
    }
    let (held, trouble) = match held_alerts(evaluator, question).await {
        Ok(held) => (held, None),
        Err(reason) => (Vec::new(), Some(sentence("explain.error", [("error", reason)]))),
    };
    let is_known = trouble.is_none();
    let mut sentences = sentences(question, &inputs, &parts, &held);
    sentences.extend(trouble);
    if !question.is_now && matches!(rule.kind, RuleKind::Alerting { .. }) {
        let span = span_before(&question.view.group, rule, question.at, evaluator.settle_time);
        sentences.push(sentence("explain.replayed", [("from", span.from.rfc3339())]));
    }
    let is_any = |word: &str| held.iter().any(|(_, alert)| alert.phase.as_str() == word);
    let state = match question.view.rules[question.rule].last {
        _ if is_any("firing") => "firing",
        _ if is_any("pending") => "pending",
        None if question.is_now => "unknown",
        _ if !is_known => "unknown",
        _ => "inactive",
    };
    let alert = |(labels, alert): &(Labels, HeldAlert)| Alert {
        labels: labels.clone(),
        state: alert.phase.as_str(),
        active_at: alert.phase.active_at().map(Timestamp::rfc3339),
        fired_at: alert.phase.fired_at().map(Timestamp::rfc3339),
    };
    Explanation {
        at: question.at.rfc3339(),
        state,
        reasons: sentences.iter().map(|sentence| sentence.told(english())).collect(),
        inputs,
        parts,
        alerts: held.iter().map(alert).collect(),
        sentences,
    }
}

/// Selectors with what belongs to them: the range, or the subquery around them.
fn selectors(expr: &Expr) -> Vec<&Expr> {
    match &expr.kind {
        ExprKind::Selector(_) | ExprKind::Range(_) => vec![expr],
        ExprKind::Subquery(_) => vec![expr],
        _ => expr.children().into_iter().flat_map(selectors).collect(),
    }
}

async fn input(reader: &Reader, expr: &Expr, at: Timestamp, question: &Question<'_>) -> Input {
    let mut input = Input {
        selector: expr.to_string(),
        from: String::new(),
        to: String::new(),
        series: 0,
        newest: Vec::new(),
        error: None,
    };
    let plan = match promql::plan(expr, Params::instant(at)) {
        Ok(plan) => plan,
        Err(error) => return Input { error: Some(error.to_string()), ..input },
    };
    for selection in plan.selections() {
        (input.from, input.to) = (selection.start.rfc3339(), selection.end.rfc3339());
        let found = match reader.select_at_most(selection, SAMPLES_MAX).await {
            Ok(found) => found,
            Err(error) => {
                input.error = Some(error.to_string());
                continue;
            }
        };
        let mut live: Vec<_> = found
            .into_iter()
            .filter(|series| question.wants(&series.labels))
            .filter_map(|series| Some((series.labels, *series.samples.last()?)))
            .filter(|(_, sample)| !model::is_stale(sample.value))
            .collect();
        live.sort_by(|a, b| a.0.cmp(&b.0));
        input.series += live.len();
        let newest = live.into_iter().map(|(metric, sample)| Newest {
            metric,
            at: sample.timestamp.rfc3339(),
            value: wire::prom_api::format_value(sample.value),
        });
        input.newest.extend(newest.take(SHOWN_MAX - input.newest.len()));
    }
    input
}

/// The expression, and the operands of its operators: a comparison is left out, what it compares stays.
fn parts_of(expr: &Expr) -> Vec<&Expr> {
    let mut parts = vec![expr];
    let mut at = 0;
    while let Some(part) = parts.get(at).copied() {
        at += 1;
        if let ExprKind::Binary(binary) = &part.unwrapped().kind {
            let operands = [&binary.lhs, &binary.rhs].map(|operand| operand.unwrapped());
            parts.extend(operands.into_iter().filter(|operand| !is_literal(operand)));
        }
        if parts.len() >= PARTS_MAX {
            break;
        }
    }
    parts
}

fn is_literal(expr: &Expr) -> bool {
    match &expr.kind {
        ExprKind::Number(_) | ExprKind::Text(_) => true,
        ExprKind::Unary(unary) => is_literal(unary.expr.unwrapped()),
        _ => false,
    }
}

async fn part(evaluator: &Evaluator, expr: &Expr, at: Timestamp, question: &Question<'_>) -> Part {
    let params = Params::instant(at);
    let answer = storage::query(&evaluator.reader, expr, params, evaluator.query_timeout).await;
    let expr = expr.to_string();
    let vector = match answer.map(|output| output.value) {
        Ok(Value::Vector(vector)) => vector,
        Ok(Value::Scalar(sample)) => vec![(Labels::empty(), sample)],
        Ok(_) => Vec::new(),
        Err(error) => {
            return Part { expr, elements: 0, result: Vec::new(), error: Some(error.to_string()) };
        }
    };
    let wanted: Vec<_> = vector.into_iter().filter(|(labels, _)| question.wants(labels)).collect();
    let elements = wanted.len();
    let element = |(metric, sample): (Labels, model::Sample)| Element {
        metric,
        value: wire::prom_api::format_value(sample.value),
    };
    let result = wanted.into_iter().take(SHOWN_MAX).map(element).collect();
    Part { expr, elements, result, error: None }
}

/// Pending and firing alerts: those held now, or those that the rule would have held then.
/// The error says why that is not known.
async fn held_alerts(
    evaluator: &Evaluator,
    question: &Question<'_>,
) -> Result<Vec<(Labels, HeldAlert)>, String> {
    let (group, rule) = (&question.view.group, question.rule());
    let wanted = |(labels, alert): &(Labels, HeldAlert)| {
        question.wants(labels) && !matches!(alert.phase, Phase::Resolved { .. })
    };
    if question.is_now {
        let held = question.view.rules[question.rule].alerts.iter().cloned();
        return Ok(held.filter(wanted).collect());
    }
    let span = span_before(group, rule, question.at, evaluator.settle_time);
    let Some(mut replay) = Replay::new(group, rule, evaluator.past(span)) else {
        return Ok(Vec::new());
    };
    match replay.run().await {
        Ok(()) => Ok(std::mem::take(&mut replay.state.alerts).into_iter().filter(wanted).collect()),
        Err(reason) => Err(reason),
    }
}

/// The evaluations that are gone through again to know how a rule stood at a moment: as many as its times and a
/// little more, and where an alert may outlast its condition without end as many as there may be.
fn span_before(group: &RuleGroup, rule: &Rule, at: Timestamp, settle_time: Duration) -> Span {
    let RuleGroup { interval, query_offset, .. } = *group;
    let longest = interval * STEPS_MAX;
    let back = match &rule.kind {
        _ if rule.extras.may_outlast() => longest,
        RuleKind::Alerting { hold, keep_firing_for, .. } => {
            longest.min(*hold + *keep_firing_for + settle_time + interval * 10)
        }
        RuleKind::Recording => Duration::ZERO,
    };
    let steps = (back.as_millis() / interval.as_millis().max(1)) as u32;
    Span { from: at.minus(interval * steps), to: at, interval, query_offset }
}

fn sentence<const N: usize>(key: &'static str, values: [(&'static str, String); N]) -> Sentence {
    Sentence { key, values: values.into() }
}

fn sentences(
    question: &Question<'_>,
    inputs: &[Input],
    parts: &[Part],
    held: &[(Labels, HeldAlert)],
) -> Vec<Sentence> {
    let rule = question.rule();
    let view = &question.view.rules[question.rule];
    let mut told = Vec::new();
    if question.is_now {
        match &view.health {
            Health::Failed(error) => {
                told.push(sentence("explain.failed", [("error", error.clone())]))
            }
            Health::Unknown => told.push(sentence("explain.not_here", [])),
            Health::Ok => {}
        }
    }
    for input in inputs.iter().filter(|input| input.series == 0 && input.error.is_none()) {
        let values = [
            ("selector", input.selector.clone()),
            ("from", input.from.clone()),
            ("to", input.to.clone()),
        ];
        told.push(sentence("explain.no_input", values));
    }
    told.extend(about_result(rule, parts));
    let alerts = held.iter().take(SHOWN_MAX);
    let looked_at = match view.last {
        // Between the slots only those are looked at whose hosts sent something.
        Some((last, _)) if question.is_now => last.minus(question.view.group.interval),
        _ => question.at,
    };
    told.extend(alerts.filter_map(|(labels, alert)| about_alert(rule, labels, alert, looked_at)));
    told
}

/// What the result of the whole expression says.
fn about_result(rule: &Rule, parts: &[Part]) -> Option<Sentence> {
    let whole = parts.first()?;
    if let Some(error) = &whole.error {
        return Some(sentence("explain.error", [("error", error.clone())]));
    }
    let count = whole.elements.to_string();
    if matches!(rule.kind, RuleKind::Recording) {
        return Some(sentence("explain.records", [("count", count)]));
    }
    if whole.elements > 0 {
        return Some(sentence("explain.holds", [("count", count)]));
    }
    let compared = match &rule.query.expr.unwrapped().kind {
        ExprKind::Binary(binary) if is_comparison(binary.op) => parts.get(1),
        _ => None,
    };
    match compared.filter(|part| part.elements > 0) {
        Some(part) => {
            let first = part.result.first();
            let example = first.map(|e| format!("{} = {}", e.metric, e.value)).unwrap_or_default();
            let values = [
                ("part", part.expr.clone()),
                ("count", part.elements.to_string()),
                ("example", example),
            ];
            Some(sentence("explain.filtered", values))
        }
        None => Some(sentence("explain.empty", [])),
    }
}

const fn is_comparison(op: BinaryOp) -> bool {
    matches!(
        op,
        BinaryOp::Equal
            | BinaryOp::NotEqual
            | BinaryOp::Less
            | BinaryOp::LessEqual
            | BinaryOp::Greater
            | BinaryOp::GreaterEqual
    )
}

fn about_alert(
    rule: &Rule,
    labels: &Labels,
    alert: &HeldAlert,
    looked_at: Timestamp,
) -> Option<Sentence> {
    let RuleKind::Alerting { hold, keep_firing_for, .. } = &rule.kind else { return None };
    let labels = ("labels", labels.to_string());
    let moment = |at: Timestamp, span: Duration| at.plus(span).rfc3339();
    Some(match alert.phase {
        Phase::Firing { fired_at, .. } if alert.seen_at == Timestamp::default() => {
            sentence("explain.unseen", [labels, ("fired", fired_at.rfc3339())])
        }
        Phase::Firing { fired_at, .. } if alert.seen_at < looked_at => {
            let (fired, seen) = (fired_at.rfc3339(), alert.seen_at.rfc3339());
            sentence("explain.open", [labels, ("fired", fired), ("seen", seen)])
        }
        Phase::Pending { active_at } => sentence(
            "explain.pending",
            [
                labels,
                ("since", active_at.rfc3339()),
                ("hold", format_duration(*hold)),
                ("fires", moment(active_at, *hold)),
            ],
        ),
        Phase::Firing { active_at, fired_at } => sentence(
            "explain.firing",
            [
                labels,
                ("since", active_at.rfc3339()),
                ("fired", fired_at.rfc3339()),
                ("hold", format_duration(*hold)),
            ],
        ),
        Phase::Kept { absent_since, .. } => sentence(
            "explain.kept",
            [
                labels,
                ("since", absent_since.rfc3339()),
                ("keep", format_duration(*keep_firing_for)),
                ("until", moment(absent_since, *keep_firing_for)),
            ],
        ),
        Phase::Resolved { .. } => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_an_expression_are_its_operands_without_literals() {
        let expr = promql::parse("(rate(x[5m]) > 5) and on (a) (y / z == -1)").expect("valid");
        let parts: Vec<String> = parts_of(&expr).iter().map(ToString::to_string).collect();
        let expected = ["rate(x[5m]) > 5", "y / z == -1", "rate(x[5m])", "y / z", "y", "z"];
        assert_eq!(parts[1..], expected);
    }

    #[test]
    fn the_inputs_of_an_expression_are_its_selectors_with_their_ranges() {
        let expr =
            promql::parse("rate(x{a=\"b\"}[5m]) > max_over_time(sum(y)[1h:5m]) + z offset 1m");
        let expr = expr.expect("valid");
        let inputs: Vec<String> = selectors(&expr).iter().map(ToString::to_string).collect();
        assert_eq!(inputs, ["x{a=\"b\"}[5m]", "sum(y)[1h:5m]", "z offset 1m"]);
    }

    #[test]
    fn long_expressions_have_a_bounded_number_of_parts() {
        let text = (0..40).map(|n| format!("m{n} > 1")).collect::<Vec<_>>().join(" or ");
        let expr = promql::parse(&text).expect("valid");
        assert!(parts_of(&expr).len() <= PARTS_MAX + 1);
    }
}
