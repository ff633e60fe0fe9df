//! One evaluation of an alerting rule, from the answer of its query to its new alerts: the parts that Prometheus
//! has, and ours (`recover_expr`, `no_data`, `active_times`).

use std::collections::BTreeSet;

use model::{Labels, Timestamp};

use crate::alert_state::{self, ActiveAlert, Event, Settling, Timing};
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

    /// What has to be asked besides the rule's query, now that it is known who is active.
    pub(crate) fn wants(&self, rule: &Rule, active: &[ActiveAlert]) -> Wants {
        if rule.extras.recover.is_none() && rule.extras.no_data.is_none() {
            return Wants::default();
        }
        let seen: BTreeSet<&Labels> = active.iter().map(|alert| &alert.labels).collect();
        let is_open = self.alerts.iter().any(|(labels, alert)| {
            alert.phase.is_firing()
                && !seen.contains(labels)
                && !evidence::tells_of_no_data(rule, labels)
        });
        let present = match rule.extras.no_data.as_ref().map(|no_data| no_data.policy) {
            None => false,
            Some(NoDataPolicy::Alert(_)) => true,
            Some(NoDataPolicy::Keep) => is_open,
            // Without a condition for the end, absence is the end anyway.
            Some(NoDataPolicy::Ok) => is_open && rule.extras.recover.is_some(),
        };
        Wants { recovered: is_open && rule.extras.recover.is_some(), present }
    }

    /// Elements whose labels could not be made, by what tells them apart. An alert that is held and may be one of them
    /// stays as it is, so it is not told a second time under a text about a fault; others begin under that text.
    pub(crate) fn set_unclear_aside(
        &self,
        rule: &Rule,
        active: &mut Vec<ActiveAlert>,
    ) -> BTreeSet<Labels> {
        let is_unclear = |alert: &ActiveAlert| evidence::is_unclear(rule, &alert.labels);
        let unclear = active.iter().filter(|alert| is_unclear(alert));
        let unclear: BTreeSet<Labels> =
            unclear.map(|alert| evidence::key(rule, &alert.labels)).collect();
        if unclear.is_empty() {
            return unclear;
        }
        let identity = |labels: &Labels| {
            (evidence::tells_of_no_data(rule, labels), evidence::key(rule, labels))
        };
        let live = self.alerts.iter().filter(|(labels, alert)| {
            alert.phase.active_at().is_some() && !evidence::is_unclear(rule, labels)
        });
        let held: BTreeSet<(bool, Labels)> = live.map(|(labels, _)| identity(labels)).collect();
        active.retain(|alert| !is_unclear(alert) || !held.contains(&identity(&alert.labels)));
        unclear
    }

    /// Notes which series are there; answers those that are missing, unless that is not known.
    pub(crate) fn missing(
        &mut self,
        rule: &Rule,
        evidence: &Evidence,
        slot: Timestamp,
    ) -> (Option<Missing>, bool) {
        if rule.extras.no_data_alert().is_none() {
            self.watched = Watched::default();
            return (None, false);
        }
        let Some(Ok(present)) = &evidence.present else { return (None, false) };
        let look = self.watched.look(present, slot, self.continuity.is_settling());
        if look.refused > 0 {
            self.trouble = Some(format!(
                "no_data: {} series are not watched, as a rule may watch {}; divide the rule",
                look.refused, WATCHED_MAX
            ));
        }
        let gone = self.watched.missing().map(|(labels, at)| ((labels.clone(), f64::NAN), at));
        let (elements, since) = gone.unzip();
        (Some(Missing { elements, since }), look.is_changed)
    }

    /// Goes on from all that is known of a slot; answers what happened.
    pub(crate) fn advance(
        &mut self,
        rule: &Rule,
        active: Vec<ActiveAlert>,
        missing: Option<Vec<ActiveAlert>>,
        evidence: &Evidence,
        slot: Timestamp,
        settling: Option<Settling>,
    ) -> Vec<(Labels, Event)> {
        let RuleKind::Alerting { hold, keep_firing_for, .. } = rule.kind else {
            return Vec::new();
        };
        let timing = Timing { hold, keep_firing_for, settling };
        let old = std::mem::take(&mut self.alerts);
        let step = evidence::advance(rule, old, active, missing, evidence, slot, &timing);
        self.alerts = step.alerts;
        self.trouble = self.trouble.take().or_else(|| evidence.trouble());
        step.events
    }
}

/// Which questions an evaluation has besides the rule's query.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Wants {
    /// `recover_expr`.
    pub(crate) recovered: bool,
    /// Which series are there.
    pub(crate) present: bool,
}

/// The series that a rule saw and that are gone, each with when it was first missed.
#[derive(Debug)]
pub(crate) struct Missing {
    /// As elements of a result, without a value.
    pub(crate) elements: Vec<Written>,
    since: Vec<Timestamp>,
}

impl Missing {
    /// The alerts that tell of them; `expanded` are their labels and annotations, in their order.
    pub(crate) fn told(&self, expanded: Vec<Expanded>) -> Vec<ActiveAlert> {
        let told = expanded.into_iter().zip(self.elements.iter().zip(&self.since));
        let told = told.map(|((labels, mut annotations), ((element, _), since))| {
            let labels = labels.with(NO_DATA, "true");
            let summary = format!("no data of {element} since {}", since.rfc3339());
            annotations.insert(SUMMARY.to_owned(), summary);
            ActiveAlert { labels, annotations, value: f64::NAN }
        });
        // Series that differ in nothing but what the rule overwrites are one alert here.
        let mut seen = BTreeSet::new();
        told.filter(|alert| seen.insert(alert.labels.clone())).collect()
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
        let at = slot.minus(group.query_offset);
        let lookups = Lookups::default();
        let scene = Scene { surroundings: &self.surroundings, at: slot, lookups };
        let expanded = self.expanded(rule, &vector, &scene).await;
        let mut active = active(expanded, &vector)?;
        let unclear = state.set_unclear_aside(rule, &mut active);
        let mut evidence = self.evidence(rule, state.wants(rule, &active), at).await;
        evidence.unclear = unclear;
        let settling = state.continuity.observe(slot, group.interval, self.settle_time);
        let (missing, mut is_changed) = state.missing(rule, &evidence, slot);
        let missing = match missing {
            Some(missing) => {
                let expanded = self.expanded(rule, &missing.elements, &scene).await;
                let mut told = missing.told(expanded);
                evidence.unclear.extend(state.set_unclear_aside(rule, &mut told));
                Some(told)
            }
            None => None,
        };
        let events = state.advance(rule, active, missing, &evidence, slot, settling);
        for (labels, event) in &events {
            self.metrics.event(*event);
            // Values that come and go around a threshold would fill the journal, and nobody is told of them.
            if matches!(event, Event::Pending | Event::Dropped) {
                tracing::debug!(group = %group.key, alert = %labels, event = ?event, "alert");
            } else {
                tracing::info!(group = %group.key, alert = %labels, event = ?event, "alert");
            }
        }
        is_changed |= !events.is_empty();
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

    /// Asks what the rule wants to know besides its query.
    async fn evidence(&self, rule: &Rule, wants: Wants, at: Timestamp) -> Evidence {
        let mut evidence = Evidence::default();
        if let (true, Some(recover)) = (wants.recovered, &rule.extras.recover) {
            evidence.recovered = Some(self.found(rule, &recover.expr, at).await);
        }
        if let (true, Some(no_data)) = (wants.present, &rule.extras.no_data) {
            let Presence(presence) = &no_data.presence;
            evidence.present = Some(self.found(rule, presence, at).await);
        }
        evidence
    }

    async fn found(&self, rule: &Rule, expr: &promql::Expr, at: Timestamp) -> Found {
        let vector = query::vector(&self.reader, expr, at, self.query_timeout).await;
        vector.map(|vector| evidence::keys(rule, &vector)).map_err(|error| format!("{error:#}"))
    }
}

/// The alerts of the elements of an answer. Two that are the same alert are an error of the rule.
pub(crate) fn active(
    expanded: Vec<Expanded>,
    vector: &[Written],
) -> Result<Vec<ActiveAlert>, String> {
    if let Some(labels) = record::repeated(expanded.iter().map(|(labels, _)| labels)) {
        return Err(format!("two elements of the result give the same alert {labels}"));
    }
    let alerts = expanded.into_iter().zip(vector).map(|((labels, annotations), (_, value))| {
        ActiveAlert { labels, annotations, value: *value }
    });
    Ok(alerts.collect())
}
