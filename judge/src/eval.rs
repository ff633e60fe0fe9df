//! One group, one slot: a rule sees what the rules before it in the file have just written. Rules that do not read
//! each other are evaluated at the same time.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::StreamExt;
use model::{Labels, Series, Timestamp};
use storage::{Batch, Reader, Writer};
use tokio::time::Instant;

use crate::group::{GroupRun, Health, RuleState, count_by_state};
use crate::metrics::{Figures, Metrics};
use crate::query;
use crate::record::{self, Written};
use crate::rules::{Rule, RuleGroup, RuleKind};
use crate::template::Surroundings;

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
}

impl Evaluator {
    /// Evaluates all rules of a group at a slot. Failures end up in the health of their rules.
    pub(crate) async fn evaluate(&self, run: &mut GroupRun, slot: Timestamp) -> Figures {
        let begun = Instant::now();
        let group = run.group.clone();
        let at = slot.minus(group.query_offset);
        let mut figures = Figures { at_seconds: slot.seconds_f64(), ..Figures::default() };
        self.end_orphans(run, at).await;
        let mut states: Vec<_> = run.rules.iter_mut().map(Some).collect();
        for batch in &run.batches {
            let rules =
                batch.iter().filter_map(|at| Some((&group.rules[*at], states[*at].take()?)));
            let evaluations: Vec<_> =
                rules.map(|(rule, state)| self.timed(&group, rule, state, slot)).collect();
            let mut running =
                futures_util::stream::iter(evaluations).buffer_unordered(self.rules_max);
            while let Some(is_changed) = running.next().await {
                run.is_dirty |= is_changed;
            }
        }
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

    /// Evaluates a rule and notes how that went; answers whether something happened that must be stored.
    async fn timed(
        &self,
        group: &RuleGroup,
        rule: &Rule,
        state: &mut RuleState,
        slot: Timestamp,
    ) -> bool {
        let begun = Instant::now();
        let outcome = self.rule(group, rule, state, slot).await;
        state.last = Some((slot, begun.elapsed()));
        self.metrics.aliases.rule_evaluated(begun.elapsed());
        let is_changed = matches!(outcome, Ok(true));
        state.health = outcome.map_or_else(
            |reason| {
                let (group, rule) = (&group.key, &rule.name);
                tracing::warn!(%group, rule, reason, "a rule failed; its alerts stay as they are");
                Health::Failed(reason)
            },
            |_| state.trouble.take().map_or(Health::Ok, Health::Failed),
        );
        is_changed
    }

    /// Evaluates a rule; answers whether something happened that must be stored.
    async fn rule(
        &self,
        group: &RuleGroup,
        rule: &Rule,
        state: &mut RuleState,
        slot: Timestamp,
    ) -> Result<bool, String> {
        let at = slot.minus(group.query_offset);
        let is_changed = state.look(slot, group.interval);
        if !rule.extras.active_times.contain(slot) {
            return Ok(self.rest(state, slot, at).await? || is_changed);
        }
        let vector = query::vector(&self.reader, &rule.query.expr, at, self.query_timeout).await;
        let vector = vector.map_err(|error| format!("{error:#}"))?;
        if group.limit > 0 && vector.len() > group.limit {
            let (got, limit) = (vector.len(), group.limit);
            return Err(format!("{got} results exceed the limit of {limit} of the group"));
        }
        match &rule.kind {
            RuleKind::Recording => {
                let written = record::recorded(rule, vector)?;
                state.continuity.observe(slot, group.interval, self.settle_time);
                self.write(written, state, at).await?;
                Ok(false)
            }
            RuleKind::Alerting { .. } => {
                Ok(self.alerts(group, rule, vector, state, slot).await? || is_changed)
            }
        }
    }

    /// Writes the series of a rule, and staleness markers for those that it wrote last time and does not now.
    pub(crate) async fn write(
        &self,
        written: Vec<Written>,
        state: &mut RuleState,
        at: Timestamp,
    ) -> Result<(), String> {
        let current: BTreeSet<Labels> = written.iter().map(|(labels, _)| labels.clone()).collect();
        self.mark_stale(record::markers(state.series.difference(&current), at)).await?;
        if written.is_empty() {
            state.series = current;
            return Ok(());
        }
        let batch = Batch { series: record::samples(&written, at), metadata: Vec::new() };
        let outcome = self.writer.write(batch).await.map_err(explain)?;
        state.series = current;
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

fn explain(error: storage::WriteError) -> String {
    format!("{:#}", anyhow::Error::from(error))
}
