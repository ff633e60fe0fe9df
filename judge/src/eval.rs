//! One group, one slot: a rule sees what the rules before it in the file have just written. Rules that do not read
//! each other are evaluated at the same time.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use model::{ENDPOINT, Series, Timestamp};
use storage::{Batch, Reader, Writer};
use tokio::time::Instant;

use crate::alert_state::Alerts;
use crate::arrival::{Hosts, Wave};
use crate::group::{GroupRun, Health, RuleState, count_by_state};
use crate::metrics::{Figures, Metrics};
use crate::pass::Passes;
use crate::query;
use crate::question::{Moment, Part};
use crate::record::{self, Written};
use crate::rules::{Rule, RuleGroup, RuleKind};
use crate::template::Surroundings;

/// A rule that shares nothing is evaluated on arrival for a twentieth of the time at most.
const ARRIVAL_SHARE: u32 = 20;

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
        run.last = Some((slot, figures.duration));
        figures
    }

    /// Lets alerting rules look at what arrived; answers whether something happened that must be stored. Of a
    /// rule whose elements belong to one host each, only those of the hosts that sent are looked at.
    pub(crate) async fn hear(&self, run: &mut GroupRun, rules: &[usize], wave: &Arc<Wave>) -> bool {
        let group = run.group.clone();
        let moment = Moment { at: wave.at.minus(group.query_offset), wave: Some(wave) };
        let enrolment = self.passes.enrol(&group);
        let parts =
            self.passes.parts(&self.reader, &enrolment, rules, moment, self.query_timeout).await;
        let mut is_changed = false;
        for (rule, part) in rules.iter().zip(parts) {
            let (Some(held), Some(state)) = (group.rules.get(*rule), run.rules.get_mut(*rule))
            else {
                continue;
            };
            if !held.extras.active_times.contain(wave.at) {
                continue;
            }
            let begun = Instant::now();
            let (vector, hosts) = match part {
                Some(part) if !part.is_narrow => (Ok(part.elements()), &Hosts::All),
                Some(part) if is_of_hosts(&group, held) => (Ok(part.elements()), &wave.hosts),
                _ if is_dear(state, wave.at) => {
                    self.metrics.arrival_deferred.inc();
                    continue;
                }
                _ => {
                    let expr = &held.query.expr;
                    let vector =
                        query::vector(&self.reader, expr, moment.at, self.query_timeout).await;
                    (vector.map_err(|error| format!("{error:#}")), &Hosts::All)
                }
            };
            self.metrics.arrival_evaluations.inc();
            if state.alerts.is_empty() && vector.as_ref().is_ok_and(Vec::is_empty) {
                // Nothing was, and nothing is.
                continue;
            }
            is_changed |= state.look(wave.at, group.interval);
            let elsewhere: Alerts =
                state.alerts.extract_if(.., |labels, _| !hosts.contain(labels)).collect();
            let outcome = match vector {
                Ok(vector) => self.rule(&group, held, state, vector, wave.at).await,
                Err(reason) => Err(reason),
            };
            state.alerts.extend(elsewhere);
            match outcome {
                Ok((_, changed)) => is_changed |= changed,
                Err(reason) => fail(&group, held, state, reason),
            }
            if let Some(reason) = state.trouble.take() {
                state.health = Health::Failed(reason);
            }
            state.last = Some((wave.at, begun.elapsed()));
        }
        run.is_dirty |= is_changed;
        is_changed
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
        let (at, timeout) = (slot.minus(group.query_offset), self.query_timeout);
        let (mut stepped, mut awake) = (Vec::with_capacity(batch.len()), Vec::new());
        for rule in batch {
            run.is_dirty |= run.rules[*rule].look(slot, group.interval);
            if group.rules[*rule].extras.active_times.contain(slot) {
                awake.push(*rule);
            } else {
                run.is_dirty |= run.rules[*rule].rest(slot);
                stepped.push(Stepped { rule: *rule, written: Vec::new() });
            }
        }
        let mut parts: Vec<Option<Part>> = Vec::new();
        if level == 0 {
            let (enrolment, moment) = (self.passes.enrol(&group), Moment { at, wave: None });
            parts = self.passes.parts(&self.reader, &enrolment, &awake, moment, timeout).await;
        }
        parts.resize_with(awake.len(), || None);
        let mut alone = Vec::new();
        for (rule, part) in awake.into_iter().zip(parts) {
            let begun = Instant::now();
            match part {
                Some(part) => {
                    stepped.extend(self.timed(run, rule, Ok(part.elements()), slot, begun).await);
                }
                None => alone.push(rule),
            }
        }
        let ask = async |rule: usize| {
            let begun = Instant::now();
            let expr = &group.rules[rule].query.expr;
            let vector = query::vector(&self.reader, expr, at, timeout).await;
            (rule, vector.map_err(|error| format!("{error:#}")), begun)
        };
        let asking: Vec<_> = alone.into_iter().map(ask).collect();
        let mut asking = futures_util::stream::iter(asking).buffer_unordered(self.rules_max);
        while let Some((rule, vector, begun)) = asking.next().await {
            stepped.extend(self.timed(run, rule, vector, slot, begun).await);
        }
        stepped
    }

    /// Evaluates a rule and notes how that went.
    async fn timed(
        &self,
        run: &mut GroupRun,
        at: usize,
        vector: Result<Vec<Written>, String>,
        slot: Timestamp,
        begun: Instant,
    ) -> Option<Stepped> {
        let group = run.group.clone();
        let (rule, state) = (&group.rules[at], &mut run.rules[at]);
        let outcome = match vector {
            Ok(vector) => self.rule(&group, rule, state, vector, slot).await,
            Err(reason) => Err(reason),
        };
        state.last = Some((slot, begun.elapsed()));
        match outcome {
            Ok((mut written, is_changed)) => {
                run.is_dirty |= is_changed;
                if matches!(rule.kind, RuleKind::Alerting { .. }) {
                    written = state.names.series(&state.alerts);
                }
                Some(Stepped { rule: at, written })
            }
            Err(reason) => {
                fail(&group, rule, state, reason);
                None
            }
        }
    }

    /// Evaluates a rule on the answer to its query; answers the series that it records, and whether
    /// something happened that must be stored.
    async fn rule(
        &self,
        group: &RuleGroup,
        rule: &Rule,
        state: &mut RuleState,
        vector: Vec<Written>,
        slot: Timestamp,
    ) -> Result<(Vec<Written>, bool), String> {
        if group.limit > 0 && vector.len() > group.limit {
            let (got, limit) = (vector.len(), group.limit);
            return Err(format!("{got} results exceed the limit of {limit} of the group"));
        }
        match &rule.kind {
            RuleKind::Recording => {
                let written = record::recorded(rule, vector)?;
                state.continuity.observe(slot, group.interval, self.settle_time);
                Ok((written, false))
            }
            RuleKind::Alerting { .. } => {
                Ok((Vec::new(), self.alerts(group, rule, vector, state, slot).await?))
            }
        }
    }

    /// Writes the series of rules in one go, and staleness markers for those that they wrote last time and do
    /// not now; notes the health of the rules.
    async fn write_batch(&self, run: &mut GroupRun, stepped: Vec<Stepped>, at: Timestamp) {
        let (mut markers, mut samples) = (Vec::new(), Vec::new());
        for one in &stepped {
            markers.extend(record::ended(&run.rules[one.rule].series, &one.written, at));
            samples.extend(record::samples(&one.written, at));
        }
        let together = self.write(markers, samples).await;
        let group = run.group.clone();
        for one in stepped {
            let outcome = match &together {
                // Whose series it was is found out by writing again: what is stored already does no harm.
                Err(_) => {
                    let markers = record::ended(&run.rules[one.rule].series, &one.written, at);
                    self.write(markers, record::samples(&one.written, at)).await
                }
                Ok(()) => Ok(()),
            };
            let (rule, state) = (&group.rules[one.rule], &mut run.rules[one.rule]);
            match (outcome, &rule.kind) {
                (Err(reason), RuleKind::Recording) => {
                    fail(&group, rule, state, reason);
                    continue;
                }
                // The alerts are what counts; that their series cannot be written is told as the health of
                // the rule.
                (Err(reason), RuleKind::Alerting { .. }) => {
                    state.trouble.get_or_insert(reason);
                }
                (Ok(()), _) if !record::is_same(&state.series, &one.written) => {
                    state.series = one.written.into_iter().map(|(labels, _)| labels).collect();
                }
                (Ok(()), _) => {}
            }
            state.health = state.trouble.take().map_or(Health::Ok, Health::Failed);
        }
    }

    async fn write(&self, markers: Vec<Series>, series: Vec<Series>) -> Result<(), String> {
        self.mark_stale(markers).await?;
        if series.is_empty() {
            return Ok(());
        }
        let batch = Batch { series, metadata: Vec::new() };
        let outcome = self.writer.write(batch).await.map_err(explain)?;
        match outcome.refused.first() {
            None => Ok(()),
            Some(refused) => {
                let (count, reason, example) =
                    (refused.count, refused.reason.as_str(), &refused.example);
                Err(format!("the store refused {count} samples ({reason}), such as {example}"))
            }
        }
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
fn is_of_hosts(group: &RuleGroup, rule: &Rule) -> bool {
    // What asks for more than its query is looked at as a whole.
    let is_plain = rule.extras.recover.is_none() && rule.extras.no_data.is_none();
    is_plain && group.limit == 0 && rule.labels.iter().all(|(name, _)| name != ENDPOINT)
}

/// Whether a rule that shares nothing was evaluated so lately that to do so again on every arrival would keep
/// the machine busy.
fn is_dear(state: &RuleState, now: Timestamp) -> bool {
    state.last.is_some_and(|(at, took)| now.since(at) < took * ARRIVAL_SHARE)
}

fn fail(group: &RuleGroup, rule: &Rule, state: &mut RuleState, reason: String) {
    let (group, rule) = (&group.key, &rule.name);
    tracing::warn!(%group, rule, reason, "a rule failed; its alerts stay as they are");
    state.health = Health::Failed(reason);
}

fn explain(error: storage::WriteError) -> String {
    format!("{:#}", anyhow::Error::from(error))
}
