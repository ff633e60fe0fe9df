//! One group, one slot: a rule sees what the rules before it in the file have just written. Rules that do not read
//! each other are evaluated at the same time.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use model::{ENDPOINT, Labels, Series, Timestamp};
use storage::{Batch, Reader, Writer};
use tokio::time::Instant;

use crate::alert_state::Alerts;
use crate::answer::Part;
use crate::arrival::{Hosts, Wave};
use crate::group::{GroupRun, Health, RuleState, count_by_state};
use crate::metrics::{Figures, Metrics};
use crate::pass::Passes;
use crate::query;
use crate::question::Moment;
use crate::record::{self, Written};
use crate::rules::{Rule, RuleGroup, RuleKind};
use crate::template::Surroundings;

/// How much evaluations on arrival of rules that share nothing may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Alone {
    /// Of the time of a rule at most one part in so many.
    pub(crate) share: u32,
    /// When those of a group took so long in one look, no further ones are begun: its slot may be waiting.
    pub(crate) time: Duration,
}

impl Default for Alone {
    fn default() -> Self {
        Self { share: 20, time: Duration::from_millis(250) }
    }
}

/// What evaluations need.
#[derive(Debug)]
pub(crate) struct Evaluator {
    pub(crate) reader: Reader,
    pub(crate) writer: Writer,
    pub(crate) query_timeout: Duration,
    /// Rules of one group evaluated at a time.
    pub(crate) rules_max: usize,
    pub(crate) settle_time: Duration,
    pub(crate) surroundings: Surroundings,
    pub(crate) metrics: Metrics,
    /// For rules that share nothing.
    pub(crate) alone: Alone,
    /// What the rules of all groups share.
    pub(crate) passes: Passes,
}

/// The evaluation of a rule, before its series are written.
struct Stepped {
    rule: usize,
    written: Vec<Written>,
}

impl Evaluator {
    /// Evaluates all rules of a group at a slot. Failures end up in the health of their rules.
    pub(crate) async fn evaluate(&self, run: &mut GroupRun, slot: Timestamp) -> Figures {
        let begun = Instant::now();
        let group = run.group.clone();
        let at = slot.minus(group.query_offset);
        let mut figures = Figures { at_seconds: slot.seconds_f64(), ..Figures::default() };
        self.end_orphans(run, at).await;
        let batches = std::mem::take(&mut run.batches);
        for (level, batch) in batches.iter().enumerate() {
            let stepped = self.step_batch(run, level, batch, slot).await;
            self.write_batch(run, stepped, at).await;
        }
        run.batches = batches;
        figures.evaluations = group.rules.len() as u64;
        figures.failures =
            run.rules.iter().filter(|state| matches!(state.health, Health::Failed(_))).count()
                as u64;
        figures.samples = run.rules.iter().map(|state| state.series.len()).sum();
        let counts = count_by_state(&run.rules);
        (figures.pending, figures.firing) = (counts["pending"], counts["firing"]);
        figures.duration = begun.elapsed();
        let took = run.rules.iter().filter_map(|state| state.last).map(|(_, took)| took);
        figures.rule_durations = took.sum();
        run.last = Some((slot, figures.duration));
        figures
    }

    /// Lets alerting rules that are awake look at what arrived; answers whether something happened that must be
    /// stored. Of a rule whose elements belong to one host each, and that asks nothing else, only those of the
    /// hosts that sent are looked at.
    pub(crate) async fn look(
        &self,
        run: &mut GroupRun,
        rules: &BTreeSet<usize>,
        wave: &Arc<Wave>,
    ) -> bool {
        let group = run.group.clone();
        let looks = |rule: &usize| {
            group.rules.get(*rule).is_some_and(|rule| {
                let is_alerting = matches!(rule.kind, RuleKind::Alerting { .. });
                is_alerting && rule.extras.active_times.contain(wave.at)
            })
        };
        let (enrolment, timeout) = (self.passes.enrol(&group), self.query_timeout);
        let (alone, sharing): (Vec<usize>, Vec<usize>) =
            rules.iter().copied().filter(looks).partition(|rule| enrolment.asks_more(*rule));
        let moment = Moment { at: wave.at.minus(group.query_offset), wave: Some(wave) };
        let parts = self.passes.parts(&self.reader, &enrolment, &sharing, moment, timeout).await;
        let with_parts = sharing.into_iter().zip(parts);
        let mut is_changed = false;
        let mut left = self.alone.time;
        for (rule, part) in with_parts.chain(alone.into_iter().map(|rule| (rule, None))) {
            let (held, state) = (&group.rules[rule], &mut run.rules[rule]);
            is_changed |= self.look_at(&group, held, state, part, wave, &mut left).await;
        }
        run.is_dirty |= is_changed;
        is_changed
    }

    /// Lets one rule look; `left` is the time for rules that have to ask themselves.
    async fn look_at(
        &self,
        group: &RuleGroup,
        rule: &Rule,
        state: &mut RuleState,
        part: Option<Part>,
        wave: &Wave,
        left: &mut Duration,
    ) -> bool {
        match part {
            Some(part) if !part.is_narrow => {
                return self.look_at_part(group, rule, state, part, &Hosts::All, wave.at).await;
            }
            Some(part) if is_of_hosts(group, rule) => {
                return self.look_at_part(group, rule, state, part, &wave.hosts, wave.at).await;
            }
            _ => {}
        }
        if left.is_zero() || self.is_dear(state, wave.at) {
            self.metrics.arrival_deferred.inc();
            return false;
        }
        self.metrics.arrival_evaluations.inc();
        let begun = Instant::now();
        let vector = self.answer(group, rule, None, wave.at).await;
        let is_changed =
            self.take_answer(group, rule, state, vector, (&Hosts::All, wave.at), begun).await;
        *left = left.saturating_sub(begun.elapsed());
        is_changed
    }

    /// Lets one rule look at its part of what was asked about these hosts.
    pub(crate) async fn look_at_part(
        &self,
        group: &RuleGroup,
        rule: &Rule,
        state: &mut RuleState,
        part: Part,
        hosts: &Hosts,
        now: Timestamp,
    ) -> bool {
        let begun = Instant::now();
        self.metrics.arrival_evaluations.inc();
        if state.alerts.is_empty() && part.is_empty() {
            // Nothing was, and nothing is.
            return false;
        }
        let vector = self.answer(group, rule, Some(part), now).await;
        self.take_answer(group, rule, state, vector, (hosts, now), begun).await
    }

    /// What the answer about these hosts makes of a rule's alerts.
    async fn take_answer(
        &self,
        group: &RuleGroup,
        rule: &Rule,
        state: &mut RuleState,
        vector: Result<Vec<Written>, String>,
        (hosts, now): (&Hosts, Timestamp),
        begun: Instant,
    ) -> bool {
        let mut is_changed = state.look(now, group.interval);
        let outcome = match vector {
            Ok(vector) => {
                let is_elsewhere = |labels: &Labels| !hosts.contain(labels);
                let elsewhere: Alerts = match hosts {
                    Hosts::All => Alerts::new(),
                    Hosts::Some(_) => {
                        state.alerts.extract_if(.., |labels, _| is_elsewhere(labels)).collect()
                    }
                };
                let outcome = self.alerts(group, rule, vector, state, now).await;
                state.alerts.extend(elsewhere);
                outcome
            }
            Err(reason) => Err(reason),
        };
        match outcome {
            Ok(changed) => is_changed |= changed,
            Err(reason) => fail(group, rule, state, reason),
        }
        if let Some(reason) = state.trouble.take() {
            state.health = Health::Failed(reason);
        }
        let took = begun.elapsed();
        state.last = Some((now, took));
        self.metrics.aliases.rule_evaluated(took);
        is_changed
    }

    /// Whether a rule that shares nothing was evaluated so lately that to do so again on every arrival would
    /// keep the machine busy.
    fn is_dear(&self, state: &RuleState, now: Timestamp) -> bool {
        state.last.is_some_and(|(at, took)| now.since(at) < took * self.alone.share)
    }

    /// Evaluates rules that do not read each other. What the first batch asks may be answered for all groups
    /// together; later ones have to see what the group itself has just written.
    async fn step_batch(
        &self,
        run: &mut GroupRun,
        level: usize,
        batch: &[usize],
        slot: Timestamp,
    ) -> Vec<Stepped> {
        let group = run.group.clone();
        let mut parts: HashMap<usize, Part> = HashMap::new();
        if level == 0 {
            let (enrolment, timeout) = (self.passes.enrol(&group), self.query_timeout);
            let shares = |rule: &usize| {
                let is_awake = group.rules[*rule].extras.active_times.contain(slot);
                !enrolment.asks_more(*rule) && is_awake
            };
            let rules: Vec<usize> = batch.iter().copied().filter(shares).collect();
            let moment = Moment { at: slot.minus(group.query_offset), wave: None };
            let found = self.passes.parts(&self.reader, &enrolment, &rules, moment, timeout).await;
            parts =
                rules.into_iter().zip(found).filter_map(|(at, part)| Some((at, part?))).collect();
        }
        let step = async |(rule, mut state, part): (usize, RuleState, Option<Part>)| {
            let (written, is_changed) = self.timed(&group, rule, &mut state, part, slot).await;
            (rule, state, written, is_changed)
        };
        let mut open = Vec::new();
        for at in batch {
            let state = &mut run.rules[*at];
            match parts.get(at) {
                Some(part) if part.is_empty() && state.is_quiet() => {
                    run.is_dirty |= self.pass_quietly(&group, state, slot);
                }
                _ => open.push(*at),
            }
        }
        let states = open.into_iter().map(|at| (at, std::mem::take(&mut run.rules[at])));
        let steps: Vec<_> =
            states.map(|(rule, state)| step((rule, state, parts.remove(&rule)))).collect();
        let mut running = futures_util::stream::iter(steps).buffer_unordered(self.rules_max);
        let mut stepped = Vec::with_capacity(batch.len());
        while let Some((rule, state, written, is_changed)) = running.next().await {
            run.rules[rule] = state;
            run.is_dirty |= is_changed;
            stepped.extend(written.map(|written| Stepped { rule, written }));
        }
        stepped
    }

    /// What [`Self::timed`] does for a rule that has nothing and gets nothing, as most do in most slots. Answers
    /// whether something happened that must be stored.
    fn pass_quietly(&self, group: &RuleGroup, state: &mut RuleState, slot: Timestamp) -> bool {
        let begun = Instant::now();
        let is_changed = state.look(slot, group.interval);
        state.continuity.observe(slot, group.interval, self.settle_time);
        state.health = Health::Ok;
        let took = begun.elapsed();
        state.last = Some((slot, took));
        self.metrics.aliases.rule_evaluated(took);
        is_changed
    }

    /// Evaluates a rule and notes how that went; answers the series that it writes, unless it failed, and
    /// whether something happened that must be stored.
    async fn timed(
        &self,
        group: &RuleGroup,
        rule: usize,
        state: &mut RuleState,
        part: Option<Part>,
        slot: Timestamp,
    ) -> (Option<Vec<Written>>, bool) {
        let begun = Instant::now();
        let rule = &group.rules[rule];
        let mut is_changed = state.look(slot, group.interval);
        let outcome = match rule.extras.active_times.contain(slot) {
            true => self.rule(group, rule, state, part, slot).await,
            false => Ok((Vec::new(), state.rest(slot))),
        };
        let took = begun.elapsed();
        state.last = Some((slot, took));
        self.metrics.aliases.rule_evaluated(took);
        match outcome {
            Ok((written, changed)) => {
                is_changed |= changed;
                (Some(written), is_changed)
            }
            Err(reason) => {
                fail(group, rule, state, reason);
                (None, is_changed)
            }
        }
    }

    /// Evaluates a rule that is awake; answers the series that it writes, and whether something happened that
    /// must be stored.
    async fn rule(
        &self,
        group: &RuleGroup,
        rule: &Rule,
        state: &mut RuleState,
        part: Option<Part>,
        slot: Timestamp,
    ) -> Result<(Vec<Written>, bool), String> {
        let vector = self.answer(group, rule, part, slot).await?;
        match &rule.kind {
            RuleKind::Recording => {
                let written = record::recorded(rule, vector)?;
                state.continuity.observe(slot, group.interval, self.settle_time);
                Ok((written, false))
            }
            RuleKind::Alerting { .. } => {
                let is_changed = self.alerts(group, rule, vector, state, slot).await?;
                Ok((state.names.series(&state.alerts), is_changed))
            }
        }
    }

    /// The answer to a rule's query: its part of a common one, or asked now.
    async fn answer(
        &self,
        group: &RuleGroup,
        rule: &Rule,
        part: Option<Part>,
        now: Timestamp,
    ) -> Result<Vec<Written>, String> {
        let vector = match part {
            Some(part) => part.elements(),
            None => {
                let at = now.minus(group.query_offset);
                let expr = &rule.query.expr;
                let vector = query::vector(&self.reader, expr, at, self.query_timeout).await;
                vector.map_err(|error| format!("{error:#}"))?
            }
        };
        if group.limit > 0 && vector.len() > group.limit {
            let (got, limit) = (vector.len(), group.limit);
            return Err(format!("{got} results exceed the limit of {limit} of the group"));
        }
        Ok(vector)
    }

    /// Writes the series of rules in one go, and staleness markers for those that they wrote last time and do
    /// not now; notes the health of the rules. The alerts are what counts: that series cannot be written is told
    /// as the health of the rule.
    async fn write_batch(&self, run: &mut GroupRun, stepped: Vec<Stepped>, at: Timestamp) {
        let (mut markers, mut samples) = (Vec::new(), Vec::new());
        for one in &stepped {
            markers.extend(record::ended(&run.rules[one.rule].series, &one.written, at));
            samples.extend(record::samples(&one.written, at));
        }
        let together = self.write(markers, samples).await;
        let is_single = stepped.len() == 1;
        for one in stepped {
            let state = &mut run.rules[one.rule];
            let outcome = match &together {
                // Whose series it was is found out by writing again: what is stored already does no harm.
                Ok(Some(_)) if !is_single => {
                    let markers = record::ended(&state.series, &one.written, at);
                    self.write(markers, record::samples(&one.written, at)).await
                }
                together => together.clone(),
            };
            let trouble = match outcome {
                Ok(refused) => {
                    if !record::is_same(&state.series, &one.written) {
                        state.series = one.written.into_iter().map(|(labels, _)| labels).collect();
                    }
                    refused
                }
                Err(reason) => Some(reason),
            };
            if let Some(reason) = &trouble {
                let (group, rule) = (&run.group.key, &run.group.rules[one.rule].name);
                tracing::warn!(%group, rule, reason, "the series of a rule are not written");
            }
            state.health = state.trouble.take().or(trouble).map_or(Health::Ok, Health::Failed);
        }
    }

    /// Writes markers and series; answers what the store refused of the series.
    async fn write(
        &self,
        markers: Vec<Series>,
        series: Vec<Series>,
    ) -> Result<Option<String>, String> {
        self.mark_stale(markers).await?;
        if series.is_empty() {
            return Ok(None);
        }
        let batch = Batch { series, metadata: Vec::new() };
        let outcome = self.writer.write(batch).await.map_err(explain)?;
        Ok(outcome.refused.first().map(|refused| {
            let (count, reason, example) =
                (refused.count, refused.reason.as_str(), &refused.example);
            format!("the store refused {count} samples ({reason}), such as {example}")
        }))
    }

    /// What the store refuses here does not matter: another rule may write the series by now.
    async fn mark_stale(&self, markers: Vec<Series>) -> Result<(), String> {
        if markers.is_empty() {
            return Ok(());
        }
        let batch = Batch { series: markers, metadata: Vec::new() };
        self.writer.write(batch).await.map(|_| ()).map_err(explain)
    }

    async fn end_orphans(&self, run: &mut GroupRun, at: Timestamp) {
        let markers = record::markers(&run.orphaned_series, at);
        match self.mark_stale(markers).await {
            Ok(()) => run.orphaned_series.clear(),
            Err(reason) => {
                tracing::warn!(group = %run.group.key, reason, "series of former rules are not ended yet")
            }
        }
    }
}

/// Whether each alert of a rule belongs to one host, and shows it.
pub(crate) fn is_of_hosts(group: &RuleGroup, rule: &Rule) -> bool {
    group.limit == 0 && rule.labels.iter().all(|(name, _)| name != ENDPOINT)
}

fn fail(group: &RuleGroup, rule: &Rule, state: &mut RuleState, reason: String) {
    let (group, rule) = (&group.key, &rule.name);
    tracing::warn!(%group, rule, reason, "a rule failed; its alerts stay as they are");
    state.health = Health::Failed(reason);
}

fn explain(error: storage::WriteError) -> String {
    format!("{:#}", anyhow::Error::from(error))
}
