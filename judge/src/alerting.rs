//! One evaluation of an alerting rule, from the answer of its query to its new alerts: the parts that Prometheus
//! has, and ours (`recover_expr`, `no_data`, `active_times`).

use std::collections::BTreeSet;

use model::{Labels, Timestamp};

use crate::alert_state::{self, ActiveAlert, Timing};
use crate::continuity::Continuity;
use crate::eval::Evaluator;
use crate::evidence::{self, Evidence, Found};
use crate::expand::{self, Budget, Expanded};
use crate::group::RuleState;
use crate::no_data::{WATCHED_MAX, Watched};
use crate::query;
use crate::record::{self, Written};
use crate::rule_extras::{NO_DATA, NoDataPolicy, Presence};
use crate::rules::{Rule, RuleGroup, RuleKind};
use crate::template_scene::{Lookups, Scene};

/// The annotation that says in words what a `no_data` alert is about.
const SUMMARY: &str = "summary";

impl RuleState {
    /// Notes that the rule is looked at now, before anything is asked, and puts right what the clock and time
    /// without looks did to it. Answers whether something happened that must be stored.
    pub(crate) fn look(&mut self, now: Timestamp, interval: std::time::Duration) -> bool {
        let is_changed = alert_state::undo_future(&mut self.alerts, now);
        if self.continuity.undo_future(now) {
            alert_state::unsee(&mut self.alerts);
        }
        let Some(gap) = self.continuity.look(now, interval) else { return is_changed };
        alert_state::skip_gap(&mut self.alerts, gap);
        true
    }

    /// Whether the rule has nothing that an evaluation without elements could change, in the store or here.
    pub(crate) fn is_quiet(&self) -> bool {
        let has_nothing = self.alerts.is_empty() && self.series.is_empty();
        has_nothing && self.watched.is_empty() && self.trouble.is_none()
    }

    /// Outside of the rule's active times: nothing is asked, what is pending is dropped, and what fires stays
    /// as it is without being told. Answers whether something happened that must be stored.
    pub(crate) fn rest(&mut self, slot: Timestamp) -> bool {
        let before = self.alerts.len();
        self.alerts.retain(|_, alert| alert.phase.fired_at().is_some());
        // When the rule wakes up, what fires is seen or settles as after an outage.
        self.continuity = Continuity::begun(slot);
        self.alerts.len() != before
    }
}

impl Evaluator {
    /// Goes on from the answer of the rule's query; answers whether something happened that must be stored.
    pub(crate) async fn alerts(
        &self,
        group: &RuleGroup,
        rule: &Rule,
        vector: Vec<Written>,
        state: &mut RuleState,
        slot: Timestamp,
    ) -> Result<bool, String> {
        let RuleKind::Alerting { hold, keep_firing_for, .. } = rule.kind else { return Ok(false) };
        let at = slot.minus(group.query_offset);
        let lookups = Lookups::default();
        let scene = Scene { surroundings: &self.surroundings, at: slot, lookups };
        let expanded = self.expanded(rule, &vector, &scene).await;
        let active = active(expanded, &vector)?;
        let evidence = self.evidence(rule, state, &active, at).await;
        let settling = state.continuity.observe(slot, group.interval, self.settle_time);
        let mut is_changed = false;
        let missing = self.missing(rule, state, &evidence, slot, &scene, &mut is_changed).await;
        let timing = Timing { hold, keep_firing_for, settling };
        let old = std::mem::take(&mut state.alerts);
        let step = evidence::advance(rule, old, active, missing, &evidence, slot, &timing);
        for (labels, event) in &step.events {
            self.metrics.event(*event);
            tracing::info!(group = %group.key, alert = %labels, event = ?event, "alert");
        }
        state.alerts = step.alerts;
        is_changed |= !step.events.is_empty();
        state.trouble = state.trouble.take().or_else(|| evidence.trouble());
        if let Some(reason) = &state.trouble {
            tracing::warn!(group = %group.key, rule = rule.name, reason, "a rule has a fault");
        }
        Ok(is_changed)
    }

    async fn expanded(
        &self,
        rule: &Rule,
        elements: &[Written],
        scene: &Scene<'_>,
    ) -> Vec<Expanded> {
        let budget = Budget { timeout: self.query_timeout };
        expand::expand(rule, elements, scene, &self.reader, budget, &self.metrics).await
    }

    /// Asks what the rule wants to know besides its query, as far as it matters now.
    async fn evidence(
        &self,
        rule: &Rule,
        state: &RuleState,
        active: &[ActiveAlert],
        at: Timestamp,
    ) -> Evidence {
        let mut evidence = Evidence::default();
        if rule.extras.recover.is_none() && rule.extras.no_data.is_none() {
            return evidence;
        }
        let seen: BTreeSet<&Labels> = active.iter().map(|alert| &alert.labels).collect();
        let is_open = state.alerts.iter().any(|(labels, alert)| {
            alert.phase.is_firing()
                && !seen.contains(labels)
                && !evidence::tells_of_no_data(rule, labels)
        });
        if let (true, Some(recover)) = (is_open, &rule.extras.recover) {
            evidence.recovered = Some(self.found(rule, &recover.expr, at).await);
        }
        if let Some(no_data) = &rule.extras.no_data {
            let is_asked = match no_data.policy {
                NoDataPolicy::Alert(_) => true,
                NoDataPolicy::Keep => is_open,
                // Without a condition for the end, absence is the end anyway.
                NoDataPolicy::Ok => is_open && rule.extras.recover.is_some(),
            };
            if is_asked {
                let Presence(presence) = &no_data.presence;
                evidence.present = Some(self.found(rule, presence, at).await);
            }
        }
        evidence
    }

    async fn found(&self, rule: &Rule, expr: &promql::Expr, at: Timestamp) -> Found {
        let vector = query::vector(&self.reader, expr, at, self.query_timeout).await;
        let vector = vector.map_err(|error| format!("{error:#}"))?;
        Ok(vector.iter().map(|(labels, _)| evidence::key(rule, labels)).collect())
    }

    /// The alerts that tell of missing data.
    async fn missing(
        &self,
        rule: &Rule,
        state: &mut RuleState,
        evidence: &Evidence,
        slot: Timestamp,
        scene: &Scene<'_>,
        is_changed: &mut bool,
    ) -> Option<Vec<ActiveAlert>> {
        if rule.extras.no_data_alert().is_none() {
            state.watched = Watched::default();
            return None;
        }
        let Some(Ok(present)) = &evidence.present else { return None };
        let look = state.watched.look(present, slot, state.continuity.is_settling());
        *is_changed |= look.is_changed;
        if look.refused > 0 {
            state.trouble = Some(format!(
                "no_data: {} series are not watched, as a rule may watch {}; divide the rule",
                look.refused, WATCHED_MAX
            ));
        }
        let gone = state.watched.missing().map(|(labels, at)| ((labels.clone(), f64::NAN), at));
        let (elements, sinces): (Vec<Written>, Vec<Timestamp>) = gone.unzip();
        let expanded = self.expanded(rule, &elements, scene).await;
        let told = expanded.into_iter().zip(elements.iter().zip(sinces));
        let told = told.map(|((labels, mut annotations), ((element, _), since))| {
            let labels = labels.with(NO_DATA, "true");
            let summary = format!("no data of {element} since {}", since.rfc3339());
            annotations.insert(SUMMARY.to_owned(), summary);
            ActiveAlert { labels, annotations, value: f64::NAN }
        });
        // Series that differ in nothing but what the rule overwrites are one alert here.
        let mut seen = BTreeSet::new();
        Some(told.filter(|alert| seen.insert(alert.labels.clone())).collect())
    }
}

fn active(expanded: Vec<Expanded>, vector: &[Written]) -> Result<Vec<ActiveAlert>, String> {
    if let Some(labels) = record::repeated(expanded.iter().map(|(labels, _)| labels)) {
        return Err(format!("two elements of the result give the same alert {labels}"));
    }
    let alerts = expanded.into_iter().zip(vector).map(|((labels, annotations), (_, value))| {
        ActiveAlert { labels, annotations, value: *value }
    });
    Ok(alerts.collect())
}
