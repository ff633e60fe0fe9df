//! When a rule would have fired: its state machine over stored data, step by step as a judge would have evaluated it
//! that began at the first step and was never away.
//!
//! One range query answers many steps; only expressions that look different in a range query (`start()`, `end()`
//! and the like) are asked step by step. What a rule asks besides its query is asked when it first matters.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use model::{Labels, Timestamp};
use promql::{Expr, Params, Value};
use storage::{QueryError, Reader};

use crate::alert_state::{self, ActiveAlert, Alerts, Event};
use crate::alerting::{self, Wants};
use crate::eval::Evaluator;
use crate::evidence::{self, Evidence, Found};
use crate::expand::{self, Budget, Expanded};
use crate::group::RuleState;
use crate::metrics::Metrics;
use crate::query;
use crate::record::{self, Written};
use crate::rule_extras::Presence;
use crate::rules::{Rule, RuleGroup, RuleKind};
use crate::template::{Surroundings, Template};
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

/// What a backtest looks at, and how it asks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Past<'a> {
    pub(crate) reader: &'a Reader,
    /// Of each query.
    pub(crate) query_timeout: Duration,
    pub(crate) surroundings: &'a Surroundings,
    /// As that of the judge whose past it is.
    pub(crate) settle_time: Duration,
    pub(crate) span: Span,
}

impl Evaluator {
    /// The past of this judge.
    pub(crate) fn past(&self, span: Span) -> Past<'_> {
        let Self { reader, query_timeout, surroundings, settle_time, .. } = self;
        let (query_timeout, settle_time) = (*query_timeout, *settle_time);
        Past { reader, query_timeout, surroundings, settle_time, span }
    }
}

/// A rule going through time.
#[derive(Debug)]
pub(crate) struct Replay<'a> {
    past: Past<'a>,
    pub(crate) group: &'a RuleGroup,
    rule: &'a Rule,
    /// What a judge would hold of the rule after the last step.
    pub(crate) state: RuleState,
    /// By label set, in order of time.
    pub(crate) spells: BTreeMap<Labels, Vec<Spell>>,
    /// Label sets and times that found no room.
    pub(crate) left_out: usize,
    /// What went wrong and when.
    pub(crate) errors: Vec<(Timestamp, String)>,
    /// How many steps failed; they changed nothing.
    pub(crate) failed: usize,
    /// How many steps were made.
    pub(crate) steps: usize,
    /// Labels of elements of rules without templates in their labels.
    known: HashMap<Labels, Labels>,
    /// How the labels of the rule are made.
    labels: LabelTexts,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LabelTexts {
    /// They are the same at all times.
    Plain,
    /// They depend on the time and the value.
    Templates,
    /// They ask the store.
    Asking,
}

impl LabelTexts {
    fn of(rule: &Rule) -> Self {
        let mut texts = rule.labels.iter().map(|(_, template)| template);
        if texts.clone().any(Template::may_ask) {
            Self::Asking
        } else if texts.any(|text| text.source().contains("{{")) {
            Self::Templates
        } else {
            Self::Plain
        }
    }
}

impl<'a> Replay<'a> {
    /// An alerting rule before its first step; `None` for a recording rule.
    pub(crate) fn new(group: &'a RuleGroup, rule: &'a Rule, past: Past<'a>) -> Option<Self> {
        let RuleKind::Alerting { .. } = &rule.kind else { return None };
        Some(Self {
            past,
            group,
            rule,
            state: RuleState::default(),
            spells: BTreeMap::new(),
            left_out: 0,
            errors: Vec::new(),
            failed: 0,
            steps: 0,
            known: HashMap::new(),
            labels: LabelTexts::of(rule),
        })
    }

    /// Takes the rule through all steps. Ends early when the future is dropped. The error says why the store has no
    /// answers.
    pub(crate) async fn run(&mut self) -> Result<(), String> {
        self.through(Questions::of(self.rule, false)).await
    }

    async fn through(&mut self, mut questions: Questions) -> Result<(), String> {
        let span = self.past.span;
        let mut at = span.from;
        while at <= span.to {
            self.step(&mut questions, at).await?;
            alert_state::forget(&mut self.state.alerts, at, |_| false);
            at = at.plus(span.interval);
        }
        Ok(())
    }

    /// One evaluation.
    async fn step(&mut self, questions: &mut Questions, at: Timestamp) -> Result<(), String> {
        self.steps += 1;
        self.state.look(at, self.past.span.interval);
        if !self.rule.extras.active_times.contain(at) {
            self.rest(at);
            return Ok(());
        }
        let active = match questions.rule.at(&self.past, at).await {
            Ok(vector) => self.active(vector, at).await,
            Err(Unanswered::Step(reason)) => Err(reason),
            Err(Unanswered::Never(reason)) => return Err(reason),
        };
        let mut active = match active {
            Ok(active) => active,
            Err(reason) => {
                self.failed += 1;
                self.note_error(at, reason);
                return Ok(());
            }
        };
        let unclear = self.state.set_unclear_aside(self.rule, &mut active);
        let wants = self.state.wants(self.rule, &active);
        let mut evidence = questions.evidence(self.rule, wants, &self.past, at).await?;
        evidence.unclear = unclear;
        let Past { span, settle_time, .. } = self.past;
        let settling = self.state.continuity.observe(at, span.interval, settle_time);
        let missing = match self.state.missing(self.rule, &evidence, at).0 {
            Some(missing) => {
                let expanded = self.expanded(&missing.elements, at).await;
                let mut told = missing.told(expanded);
                evidence.unclear.extend(self.state.set_unclear_aside(self.rule, &mut told));
                Some(told)
            }
            None => None,
        };
        let events = self.state.advance(self.rule, active, missing, &evidence, at, settling);
        for (labels, event) in events {
            self.note(labels, event, at);
        }
        if let Some(reason) = self.state.trouble.take() {
            self.note_error(at, reason);
        }
        Ok(())
    }

    async fn active(
        &mut self,
        vector: Vec<Written>,
        at: Timestamp,
    ) -> Result<Vec<ActiveAlert>, String> {
        let limit = self.group.limit;
        if limit > 0 && vector.len() > limit {
            let got = vector.len();
            return Err(format!("{got} results exceed the limit of {limit} of the group"));
        }
        let expanded = self.expanded(&vector, at).await;
        alerting::active(expanded, &vector)
    }

    /// The labels of the alerts of elements. Annotations are left out where they cost nothing: nobody is told.
    async fn expanded(&mut self, elements: &[Written], at: Timestamp) -> Vec<Expanded> {
        let Past { reader, query_timeout, surroundings, .. } = self.past;
        let scene = Scene { surroundings, at, lookups: Lookups::default() };
        if self.labels == LabelTexts::Asking {
            let budget = Budget { timeout: query_timeout };
            let metrics = Metrics::default();
            return expand::expand(self.rule, elements, &scene, reader, budget, &metrics).await;
        }
        let labels = elements.iter().map(|(element, value)| self.labels(element, *value, &scene));
        labels.map(|labels| (labels, BTreeMap::new())).collect()
    }

    fn labels(&mut self, element: &Labels, value: f64, scene: &Scene<'_>) -> Labels {
        let is_plain = self.labels == LabelTexts::Plain;
        if let Some(labels) = self.known.get(element).filter(|_| is_plain) {
            return labels.clone();
        }
        let visible = element.without_metric_name();
        let labels = record::alert_labels(self.rule, element, |index| {
            let rendered = self.rule.labels[index].1.render(&visible, value, scene);
            rendered.unwrap_or_else(|failure| failure)
        });
        if is_plain {
            self.known.insert(element.clone(), labels.clone());
        }
        labels
    }

    /// Outside of the rule's active times what is pending is dropped, and what fires stays as it is.
    fn rest(&mut self, at: Timestamp) {
        let (kept, dropped): (Alerts, Alerts) = std::mem::take(&mut self.state.alerts)
            .into_iter()
            .partition(|(_, alert)| alert.phase.fired_at().is_some());
        self.state.alerts = kept;
        self.state.rest(at);
        for labels in dropped.into_keys() {
            self.note(labels, Event::Dropped, at);
        }
    }

    fn note_error(&mut self, at: Timestamp, reason: String) {
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

/// What a rule asks.
#[derive(Debug)]
struct Questions {
    rule: Course,
    recover: Option<Course>,
    presence: Option<Course>,
}

impl Questions {
    fn of(rule: &Rule, is_stepwise: bool) -> Self {
        let course = |expr: &Arc<Expr>| Course::new(Arc::clone(expr), is_stepwise);
        let presence = rule.extras.no_data.as_ref().map(|no_data| {
            let Presence(presence) = &no_data.presence;
            course(presence)
        });
        let recover = rule.extras.recover.as_ref().map(|recover| course(&recover.expr));
        Self { rule: course(&rule.query.expr), recover, presence }
    }

    /// The answers to what the rule wants to know besides its query.
    async fn evidence(
        &mut self,
        rule: &Rule,
        wants: Wants,
        past: &Past<'_>,
        at: Timestamp,
    ) -> Result<Evidence, String> {
        let mut evidence = Evidence::default();
        if let (true, Some(course)) = (wants.recovered, &mut self.recover) {
            evidence.recovered = Some(course.found(rule, past, at).await?);
        }
        if let (true, Some(course)) = (wants.present, &mut self.presence) {
            evidence.present = Some(course.found(rule, past, at).await?);
        }
        Ok(evidence)
    }
}

/// Why there is no answer.
#[derive(Debug)]
enum Unanswered {
    /// At this moment.
    Step(String),
    /// The store gives none.
    Never(String),
}

/// The answers to an expression over time, asked for many steps at once where that makes no difference.
#[derive(Debug)]
struct Course {
    expr: Arc<Expr>,
    is_stepwise: bool,
    part: Option<Part>,
}

/// Some steps.
#[derive(Debug)]
struct Part {
    /// The last of them.
    to: Timestamp,
    /// By the time of the query; `None` where each step is asked by itself.
    answers: Option<HashMap<Timestamp, Vec<Written>>>,
}

impl Course {
    fn new(expr: Arc<Expr>, is_stepwise: bool) -> Self {
        let is_stepwise = is_stepwise || depends_on_range(&expr);
        Self { expr, is_stepwise, part: None }
    }

    /// The answer for a step. Steps are asked for in their order, and may be left out.
    async fn at(&mut self, past: &Past<'_>, at: Timestamp) -> Result<Vec<Written>, Unanswered> {
        let asked_at = at.minus(past.span.query_offset);
        let part = match self.part.take() {
            Some(part) if at <= part.to => part,
            _ => self.fetch(past, at).await?,
        };
        let part = self.part.insert(part);
        if let Some(answers) = &mut part.answers {
            return Ok(answers.remove(&asked_at).unwrap_or_default());
        }
        let answer = query::vector(past.reader, &self.expr, asked_at, past.query_timeout).await;
        answer.map_err(|error| Unanswered::Step(format!("{error:#}")))
    }

    async fn fetch(&self, past: &Past<'_>, from: Timestamp) -> Result<Part, Unanswered> {
        let Span { interval, query_offset, .. } = past.span;
        let to = from.plus(interval * (STEPS_PER_QUERY - 1)).min(past.span.to);
        if self.is_stepwise {
            return Ok(Part { to, answers: None });
        }
        let params = Params::range(from.minus(query_offset), to.minus(query_offset), interval);
        let answer = storage::query(past.reader, &self.expr, params, past.query_timeout).await;
        match answer {
            Ok(output) => Ok(Part { to, answers: Some(by_step(output.value)) }),
            // A query that fails for the whole range may work for single steps.
            Err(QueryError::Evaluate(_) | QueryError::Plan(_)) => Ok(Part { to, answers: None }),
            Err(error) => Err(Unanswered::Never(error.to_string())),
        }
    }

    /// The elements for a step, or why it is not known which there are.
    async fn found(
        &mut self,
        rule: &Rule,
        past: &Past<'_>,
        at: Timestamp,
    ) -> Result<Found, String> {
        match self.at(past, at).await {
            Ok(vector) => Ok(Ok(evidence::keys(rule, &vector))),
            Err(Unanswered::Step(reason)) => Ok(Err(reason)),
            Err(Unanswered::Never(reason)) => Err(reason),
        }
    }
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

#[cfg(test)]
mod tests {
    use model::{Sample, Series};
    use proptest::prelude::*;
    use storage::{Batch, Limits, Storage};

    use super::*;
    use crate::rule_file::{Defaults, read_file};

    const MINUTE: Duration = Duration::from_secs(60);

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

    fn past<'a>(reader: &'a Reader, surroundings: &'a Surroundings, minutes: i64) -> Past<'a> {
        let (from, to) = (Timestamp(0), Timestamp(minutes * 60_000));
        let span = Span { from, to, interval: MINUTE, query_offset: Duration::ZERO };
        Past { reader, surroundings, query_timeout: MINUTE, settle_time: Duration::ZERO, span }
    }

    async fn run_by_instants(replay: &mut Replay<'_>) -> Result<(), String> {
        replay.through(Questions::of(replay.rule, true)).await
    }

    /// `active-fired-ended` in minutes for every time of every label set.
    async fn check(rule: &str, hosts: &[(&str, &str)], minutes: i64, expected: &[&str]) {
        let (group, surroundings) = (group(rule), Surroundings::default());
        let reader = store(hosts).await;
        for by_instants in [false, true] {
            let past = past(&reader, &surroundings, minutes);
            let mut replay = Replay::new(&group, &group.rules[0], past).expect("an alert");
            let outcome = match by_instants {
                true => run_by_instants(&mut replay).await,
                false => replay.run().await,
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
        let reader = store(&[("a", "9 9 9"), ("b", "1 9 1")]).await;
        let past = past(&reader, &surroundings, 2);
        let mut replay = Replay::new(&group, &group.rules[0], past).expect("an alert");
        replay.run().await.unwrap();
        assert_eq!((replay.failed, replay.errors.len()), (1, 1));
        assert!(replay.errors[0].1.contains("the same alert"), "{:?}", replay.errors);
        let spells: Vec<_> = replay.spells.values().flatten().collect();
        assert_eq!((spells.len(), spells[0].ended_at), (1, None));
    }

    #[tokio::test]
    async fn recording_rules_do_not_fire() {
        let (group, surroundings) = (group("{record: r, expr: v}"), Surroundings::default());
        let reader = store(&[]).await;
        assert!(Replay::new(&group, &group.rules[0], past(&reader, &surroundings, 1)).is_none());
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
            extra in prop::sample::select(vec![
                "", ", recover_expr: v < 3", ", recover_expr: sum(v) < time() % 9",
                ", recover_expr: v < 3, labels: {n: '{{ with query \"v\" }}{{ . | len }}{{ end }}'}",
            ]),
        ) {
            let rule = format!(
                "{{alert: A, expr: '{expr}', for: {hold}m, keep_firing_for: {keep}m{extra}}}"
            );
            let (group, surroundings) = (group(&rule), Surroundings::default());
            let text: Vec<String> =
                values.iter().map(|v| v.map_or("_".to_owned(), |v| v.to_string())).collect();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let (one, many) = runtime.block_on(async {
                let reader = store(&[("a", &text.join(" "))]).await;
                let past = past(&reader, &surroundings, values.len() as i64 + 8);
                let new = || Replay::new(&group, &group.rules[0], past).expect("an alert");
                let (mut one, mut many) = (new(), new());
                one.run().await.unwrap();
                run_by_instants(&mut many).await.unwrap();
                (one.spells, many.spells)
            });
            prop_assert_eq!(one, many);
        }
    }
}
