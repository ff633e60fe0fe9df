//! When a rule would have fired: its state machine over stored data, step by step as it would have been evaluated.
//!
//! One range query answers many steps; only expressions that look different in a range query (`start()`, `end()`
//! and the like) are asked step by step.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::time::Duration;

use model::{Labels, Timestamp};
use promql::{Expr, Params, Value};
use serde::Serialize;
use storage::Reader;

use crate::alert_state::{self, ActiveAlert, Alerts, Event, Timing};
use crate::query;
use crate::record::{self, Written};
use crate::rules::{Rule, RuleGroup, RuleKind};
use crate::template::Surroundings;
use crate::template_scene::{Lookups, Scene};

/// Steps of one backtest.
pub(crate) const STEPS_MAX: u128 = 200_000;
/// Steps that one query answers.
const STEPS_PER_QUERY: u32 = 1_000;
/// Label sets that are told of; further ones are counted.
const ALERTS_MAX: usize = 1_000;
/// Times that one label set is told of; further ones are counted.
const SPELLS_MAX: usize = 1_000;
/// Errors that are told; further ones are counted.
const ERRORS_MAX: usize = 10;

/// One time that the condition held for a label set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Spell {
    /// Since when it held.
    pub(crate) active_at: Timestamp,
    /// When it had held long enough; `None` when it never did.
    pub(crate) fired_at: Option<Timestamp>,
    /// When the alert ended; `None` when it had not at the last step.
    pub(crate) ended_at: Option<Timestamp>,
}

/// A rule going through time.
#[derive(Debug)]
pub(crate) struct Replay<'a> {
    rule: &'a Rule,
    timing: Timing,
    limit: usize,
    surroundings: &'a Surroundings,
    /// The alerts after the last step.
    pub(crate) alerts: Alerts,
    /// By label set, in order of time.
    pub(crate) spells: BTreeMap<Labels, Vec<Spell>>,
    /// Label sets and times that found no room.
    pub(crate) left_out: usize,
    /// What failed and when; such steps change nothing.
    pub(crate) errors: Vec<(Timestamp, String)>,
    /// How many steps failed.
    pub(crate) failed: usize,
    /// How many steps were made.
    pub(crate) steps: usize,
    /// Labels of elements of rules without templates in their labels.
    known: HashMap<Labels, Labels>,
}

impl<'a> Replay<'a> {
    /// An alerting rule before its first step; `None` for a recording rule.
    pub(crate) fn new(
        group: &RuleGroup,
        rule: &'a Rule,
        surroundings: &'a Surroundings,
    ) -> Option<Self> {
        let RuleKind::Alerting { hold, keep_firing_for, .. } = &rule.kind else { return None };
        Some(Self {
            rule,
            timing: Timing { hold: *hold, keep_firing_for: *keep_firing_for, settling: None },
            limit: group.limit,
            surroundings,
            alerts: Alerts::new(),
            spells: BTreeMap::new(),
            left_out: 0,
            errors: Vec::new(),
            failed: 0,
            steps: 0,
            known: HashMap::new(),
        })
    }

    /// One evaluation with this result.
    pub(crate) fn step(&mut self, at: Timestamp, result: Result<Vec<Written>, String>) {
        self.steps += 1;
        let active = result.and_then(|vector| self.active(vector, at));
        let active = match active {
            Ok(active) => active,
            Err(reason) => return self.fail(at, reason),
        };
        let step = alert_state::step(std::mem::take(&mut self.alerts), active, at, &self.timing);
        self.alerts = step.alerts;
        for (labels, event) in step.events {
            self.note(labels, event, at);
        }
        alert_state::forget(&mut self.alerts, at, |_| false);
    }

    fn active(&mut self, vector: Vec<Written>, at: Timestamp) -> Result<Vec<ActiveAlert>, String> {
        if self.limit > 0 && vector.len() > self.limit {
            let (got, limit) = (vector.len(), self.limit);
            return Err(format!("{got} results exceed the limit of {limit} of the group"));
        }
        let mut active = Vec::with_capacity(vector.len());
        for (element, value) in vector {
            let labels = self.labels(&element, value, at);
            active.push(ActiveAlert { labels, annotations: BTreeMap::new(), value });
        }
        match record::repeated(active.iter().map(|alert: &ActiveAlert| &alert.labels)) {
            Some(labels) => Err(format!("two elements of the result give the same alert {labels}")),
            None => Ok(active),
        }
    }

    fn labels(&mut self, element: &Labels, value: f64, at: Timestamp) -> Labels {
        let has_templates = self.rule.labels.iter().any(|(_, text)| text.source().contains("{{"));
        if !has_templates && let Some(labels) = self.known.get(element) {
            return labels.clone();
        }
        let visible = element.without_metric_name();
        let (surroundings, lookups) = (self.surroundings, Lookups::default());
        let scene = Scene { surroundings, at, lookups };
        let labels = record::alert_labels(self.rule, element, |label| {
            let text = self.rule.labels[label].1.render(&visible, value, &scene);
            text.unwrap_or_else(|in_its_place| in_its_place)
        });
        if !has_templates {
            self.known.insert(element.clone(), labels.clone());
        }
        labels
    }

    fn fail(&mut self, at: Timestamp, reason: String) {
        self.failed += 1;
        if self.errors.len() < ERRORS_MAX {
            self.errors.push((at, reason));
        }
    }

    fn note(&mut self, labels: Labels, event: Event, at: Timestamp) {
        if !self.spells.contains_key(&labels) && self.spells.len() >= ALERTS_MAX {
            self.left_out += usize::from(event == Event::Fired);
            return;
        }
        let spells = self.spells.entry(labels).or_default();
        let is_full = spells.len() >= SPELLS_MAX;
        let open = spells.last_mut().filter(|spell| spell.ended_at.is_none());
        match (event, open) {
            (Event::Fired, Some(spell)) => spell.fired_at = Some(at),
            (Event::Resolved | Event::Dropped, Some(spell)) => spell.ended_at = Some(at),
            (Event::Pending | Event::Fired, None) if is_full => self.left_out += 1,
            (Event::Pending | Event::Fired, None) => {
                let fired_at = (event == Event::Fired).then_some(at);
                spells.push(Spell { active_at: at, fired_at, ended_at: None });
            }
            _ => {}
        }
    }
}

/// Asks the store for every step from `from` to `to`, and takes the rule through them. Ends early when the future
/// is dropped.
pub(crate) async fn run(
    replay: &mut Replay<'_>,
    reader: &Reader,
    span: Span,
    timeout: Duration,
) -> Result<(), String> {
    let expr = replay.rule.query.expr.clone();
    if depends_on_range(&expr) {
        return run_by_instants(replay, reader, span, timeout).await;
    }
    let mut from = span.from;
    while from <= span.to {
        let to = from.plus(span.interval * (STEPS_PER_QUERY - 1)).min(span.to);
        let offset = span.query_offset;
        let params = Params::range(from.minus(offset), to.minus(offset), span.interval);
        let answer = storage::query(reader, &expr, params, timeout).await;
        let mut vectors = match answer {
            Ok(output) => by_step(output.value),
            // A query that fails for the whole range may work for single steps.
            Err(storage::QueryError::Evaluate(_) | storage::QueryError::Plan(_)) => {
                let part = Span { from, to, ..span };
                run_by_instants(replay, reader, part, timeout).await?;
                from = to.plus(span.interval);
                continue;
            }
            Err(error) => return Err(error.to_string()),
        };
        let mut at = from;
        while at <= to {
            replay.step(at, Ok(vectors.remove(&at.minus(offset)).unwrap_or_default()));
            at = at.plus(span.interval);
        }
        from = at;
    }
    Ok(())
}

async fn run_by_instants(
    replay: &mut Replay<'_>,
    reader: &Reader,
    span: Span,
    timeout: Duration,
) -> Result<(), String> {
    let expr = replay.rule.query.expr.clone();
    let mut at = span.from;
    while at <= span.to {
        let answer = query::vector(reader, &expr, at.minus(span.query_offset), timeout).await;
        replay.step(at, answer.map_err(|error| format!("{error:#}")));
        at = at.plus(span.interval);
    }
    Ok(())
}

/// Which moments a backtest looks at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    pub(crate) from: Timestamp,
    pub(crate) to: Timestamp,
    pub(crate) interval: Duration,
    pub(crate) query_offset: Duration,
}

impl Span {
    /// How many evaluations that are.
    pub(crate) fn steps(&self) -> u128 {
        self.to.since(self.from).as_millis() / self.interval.as_millis().max(1) + 1
    }
}

/// Whether an expression means something else in a range query than in the instant queries of its steps. Such
/// words within a text only cost time.
fn depends_on_range(expr: &Expr) -> bool {
    let text = expr.to_string();
    ["start()", "end()", "step()", "range()"].iter().any(|word| text.contains(word))
}

fn by_step(value: Value) -> HashMap<Timestamp, Vec<Written>> {
    let mut steps: HashMap<Timestamp, Vec<Written>> = HashMap::new();
    if let Value::Matrix(matrix) = value {
        for series in matrix {
            for sample in series.samples {
                steps
                    .entry(sample.timestamp)
                    .or_default()
                    .push((series.labels.clone(), sample.value));
            }
        }
    }
    steps
}

/// What the API answers.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report<'a> {
    from: String,
    to: String,
    /// Seconds between two evaluations.
    interval: f64,
    steps: usize,
    failed_steps: usize,
    errors: Vec<ErrorShape<'a>>,
    /// How often an alert would have begun to fire.
    fired: usize,
    alerts: Vec<AlertShape<'a>>,
    /// Label sets and times left out, as there are too many.
    left_out: usize,
}

#[derive(Debug, Serialize)]
struct ErrorShape<'a> {
    at: String,
    error: &'a str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct AlertShape<'a> {
    labels: &'a Labels,
    fired: usize,
    /// Seconds in all, up to the end of the backtest.
    firing_seconds: f64,
    times: Vec<SpellShape>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct SpellShape {
    active_at: String,
    fired_at: Option<String>,
    ended_at: Option<String>,
}

impl<'a> Report<'a> {
    /// Of a replay over a span.
    pub(crate) fn new(replay: &'a Replay<'_>, span: &Span) -> Self {
        let alerts: Vec<AlertShape<'a>> =
            replay.spells.iter().map(|(labels, spells)| alert(labels, spells, span)).collect();
        Self {
            from: span.from.rfc3339(),
            to: span.to.rfc3339(),
            interval: span.interval.as_secs_f64(),
            steps: replay.steps,
            failed_steps: replay.failed,
            errors: replay
                .errors
                .iter()
                .map(|(at, error)| ErrorShape { at: at.rfc3339(), error })
                .collect(),
            fired: alerts.iter().map(|alert| alert.fired).sum(),
            alerts,
            left_out: replay.left_out,
        }
    }
}

fn alert<'a>(labels: &'a Labels, spells: &[Spell], span: &Span) -> AlertShape<'a> {
    let fired = spells.iter().filter_map(|spell| Some((spell.fired_at?, spell.ended_at)));
    let seconds = |(from, to): (Timestamp, Option<Timestamp>)| {
        to.unwrap_or(span.to).since(from).as_secs_f64()
    };
    let shape = |spell: &Spell| SpellShape {
        active_at: spell.active_at.rfc3339(),
        fired_at: spell.fired_at.map(Timestamp::rfc3339),
        ended_at: spell.ended_at.map(Timestamp::rfc3339),
    };
    AlertShape {
        labels,
        fired: fired.clone().count(),
        firing_seconds: fired.map(seconds).sum(),
        times: spells.iter().map(shape).collect(),
    }
}

#[cfg(test)]
mod tests {
    use model::{Sample, Series};
    use proptest::prelude::*;
    use storage::{Batch, Limits, Storage};

    use super::*;
    use crate::rule_file::{Defaults, read_file};

    const MINUTE: Duration = Duration::from_secs(60);
    const TIMEOUT: Duration = Duration::from_secs(60);

    fn group(rule: &str) -> RuleGroup {
        let text = format!("groups: [{{name: g, rules: [{rule}]}}]");
        read_file("f", &text, &Defaults::default()).expect("valid").remove(0)
    }

    /// One sample a minute for each host; `_` is a gap.
    async fn store(hosts: &[(&str, &str)]) -> Reader {
        let storage = Storage::memory(Limits::default());
        let series = hosts.iter().map(|(host, values)| Series {
            labels: Labels::from_pairs([("__name__", "v"), ("endpoint", host)]),
            samples: (0..)
                .zip(values.split_whitespace())
                .filter_map(|(at, value)| Some(Sample::new(at * 60_000, value.parse().ok()?)))
                .collect(),
        });
        let batch = Batch { series: series.collect(), metadata: vec![] };
        storage.writer().write(batch).await.unwrap();
        storage.reader()
    }

    fn span(minutes: i64) -> Span {
        let (from, to) = (Timestamp(0), Timestamp(minutes * 60_000));
        Span { from, to, interval: MINUTE, query_offset: Duration::ZERO }
    }

    /// `active-fired-ended` in minutes for every time of every label set.
    async fn check(rule: &str, hosts: &[(&str, &str)], minutes: i64, expected: &[&str]) {
        let (group, surroundings) = (group(rule), Surroundings::default());
        let reader = store(hosts).await;
        for by_instants in [false, true] {
            let mut replay = Replay::new(&group, &group.rules[0], &surroundings).expect("an alert");
            let outcome = if by_instants {
                run_by_instants(&mut replay, &reader, span(minutes), TIMEOUT).await
            } else {
                run(&mut replay, &reader, span(minutes), TIMEOUT).await
            };
            outcome.unwrap();
            let minute = |at: Option<Timestamp>| {
                at.map_or("?".to_owned(), |at| (at.millis() / 60_000).to_string())
            };
            let told: Vec<String> = replay
                .spells
                .iter()
                .flat_map(|(labels, spells)| {
                    spells.iter().map(move |spell| {
                        let moments = [Some(spell.active_at), spell.fired_at, spell.ended_at];
                        let host = labels.get("endpoint").unwrap_or("");
                        format!("{host} {}", moments.map(minute).join("-"))
                    })
                })
                .collect();
            assert_eq!(told, expected, "{rule}, by instants: {by_instants}");
            assert_eq!(replay.steps as i64, minutes + 1);
        }
    }

    #[tokio::test]
    async fn it_tells_when_each_label_set_would_have_fired_and_ended() {
        let hosts = [("a", "1 1 9 9 9 9 1 1"), ("b", "9 1 9 9 9 9 9 9")];
        check("{alert: A, expr: v > 5, for: 2m}", &hosts, 7, &["a 2-4-6", "b 0-?-1", "b 2-4-?"])
            .await;
    }

    #[tokio::test]
    async fn keep_firing_for_and_no_hold_are_as_in_the_rule() {
        let hosts = [("a", "9 1 1 9 1 1 1 1 1")];
        check("{alert: A, expr: v > 5, keep_firing_for: 3m}", &hosts, 8, &["a 0-0-7"]).await;
        check("{alert: A, expr: v > 5}", &hosts, 8, &["a 0-0-1", "a 3-3-4"]).await;
    }

    #[tokio::test]
    async fn more_steps_than_one_query_answers_are_asked_in_parts() {
        let values: Vec<&str> = (0..2_500).map(|at| if at == 1_700 { "1" } else { "9" }).collect();
        let values = values.join(" ");
        let expected = ["a 0-5-1700", "a 1701-1706-?"];
        check("{alert: A, expr: v > 5, for: 5m}", &[("a", &values)], 2_499, &expected).await;
    }

    #[tokio::test]
    async fn steps_that_fail_change_nothing_and_are_counted() {
        let group = group("{alert: A, expr: v > 5, labels: {endpoint: ''}}");
        let surroundings = Surroundings::default();
        let mut replay = Replay::new(&group, &group.rules[0], &surroundings).expect("an alert");
        let reader = store(&[("a", "9 9 9"), ("b", "1 9 1")]).await;
        run(&mut replay, &reader, span(2), TIMEOUT).await.unwrap();
        assert_eq!((replay.failed, replay.errors.len()), (1, 1));
        assert!(replay.errors[0].1.contains("the same alert"), "{:?}", replay.errors);
        let spells: Vec<_> = replay.spells.values().flatten().collect();
        assert_eq!((spells.len(), spells[0].ended_at), (1, None));
    }

    #[test]
    fn recording_rules_do_not_fire() {
        let group = group("{record: r, expr: v}");
        assert!(Replay::new(&group, &group.rules[0], &Surroundings::default()).is_none());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn one_range_query_and_many_instant_queries_agree(
            values in prop::collection::vec(prop::option::weighted(0.8, 0..10u8), 1..40),
            hold in 0..4u32,
            keep in 0..4u32,
            expr in prop::sample::select(vec![
                "v > 5", "rate(v[3m]) > 0.01", "max_over_time(v[2m:1m]) >= 7 or v < 2", "absent(v)",
                "count(v > 3) unless v offset 2m > 5", "time() % 180 < bool 60", "v > bool 4",
            ]),
        ) {
            let rule = format!("{{alert: A, expr: '{expr}', for: {hold}m, keep_firing_for: {keep}m}}");
            let (group, surroundings) = (group(&rule), Surroundings::default());
            let text: Vec<String> =
                values.iter().map(|v| v.map_or("_".to_owned(), |v| v.to_string())).collect();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let (one, many) = runtime.block_on(async {
                let reader = store(&[("a", &text.join(" "))]).await;
                let new = || Replay::new(&group, &group.rules[0], &surroundings).expect("an alert");
                let (mut one, mut many) = (new(), new());
                let span = span(values.len() as i64 + 8);
                run(&mut one, &reader, span, TIMEOUT).await.unwrap();
                run_by_instants(&mut many, &reader, span, TIMEOUT).await.unwrap();
                (one.spells, many.spells)
            });
            prop_assert_eq!(one, many);
        }
    }
}
