//! What an evaluation knows beyond the answer of the rule's query: what recovered, and what is there at all.
//! Pure.

use std::collections::BTreeSet;

use model::{ALERT_NAME, Labels, METRIC_NAME, Timestamp};

use crate::alert_state::{self, Absence, ActiveAlert, Alerts, Phase, Step, Timing};
use crate::rule_extras::{NO_DATA, NoDataPolicy};
use crate::rules::Rule;

/// Elements by the labels that the rule leaves as they are, or why they are not known.
pub(crate) type Found = Result<BTreeSet<Labels>, String>;

/// What is known of alerts that are not in the answer.
#[derive(Debug, Default)]
pub(crate) struct Evidence {
    /// The answer of `recover_expr`; `None` when it was not asked.
    pub(crate) recovered: Option<Found>,
    /// Which series are there; `None` when it was not asked.
    pub(crate) present: Option<Found>,
}

impl Evidence {
    /// What absence from the answer means for an alert of the rule.
    pub(crate) fn absence(&self, rule: &Rule, labels: &Labels, phase: Phase) -> Absence {
        if phase.fired_at().is_none() {
            // What is pending needs the condition to be seen, whatever the reason that it is not.
            return Absence::Over;
        }
        let key = key(rule, labels);
        let has = |found: &Found| match found {
            Ok(found) => Ok(found.contains(&key)),
            Err(_) => Err(()),
        };
        let no_data = rule.extras.no_data.as_ref().map(|no_data| no_data.policy);
        match (no_data, self.present.as_ref().map(has)) {
            // It is not known whether the data is gone, so neither is the end.
            (Some(_), Some(Err(()))) => return Absence::Open,
            (Some(NoDataPolicy::Ok), Some(Ok(false))) => return Absence::Over,
            (Some(_), Some(Ok(false))) => return Absence::Open,
            _ => {}
        }
        match self.recovered.as_ref().map(has) {
            None | Some(Ok(true)) => Absence::Over,
            Some(Ok(false) | Err(())) => Absence::Open,
        }
    }

    /// What went wrong in finding it out.
    pub(crate) fn trouble(&self) -> Option<String> {
        let of = |found: &Option<Found>, what: &str| match found {
            Some(Err(reason)) => Some(format!("{what}: {reason}; alerts that fire are kept")),
            _ => None,
        };
        of(&self.recovered, "recover_expr").or_else(|| of(&self.present, "no_data"))
    }
}

/// The labels that tell the elements of a rule's result apart and that the rule leaves as they are. By them an
/// alert finds its element again in the answers to other questions.
pub(crate) fn key(rule: &Rule, labels: &Labels) -> Labels {
    let mut builder = labels.edit();
    builder.remove(METRIC_NAME).remove(ALERT_NAME);
    if rule.extras.no_data_alert().is_some() {
        builder.remove(NO_DATA);
    }
    for (name, _) in &rule.labels {
        builder.remove(name);
    }
    builder.build()
}

/// Whether an alert tells of missing data.
pub(crate) fn tells_of_no_data(rule: &Rule, labels: &Labels) -> bool {
    rule.extras.no_data_alert().is_some() && labels.get(NO_DATA) == Some("true")
}

/// One successful evaluation of a rule. `missing` are the alerts that tell of missing data; `None` when it is
/// not known what is missing, which leaves them as they are.
pub(crate) fn advance(
    rule: &Rule,
    old: Alerts,
    active: Vec<ActiveAlert>,
    missing: Option<Vec<ActiveAlert>>,
    evidence: &Evidence,
    now: Timestamp,
    timing: &Timing,
) -> Step {
    let absence = |labels: &Labels, phase| evidence.absence(rule, labels, phase);
    let Some(after) = rule.extras.no_data_alert() else {
        return alert_state::step_with(old, active, now, timing, absence);
    };
    let (of_no_data, old): (Alerts, Alerts) =
        old.into_iter().partition(|(labels, _)| tells_of_no_data(rule, labels));
    let mut step = alert_state::step_with(old, active, now, timing, absence);
    let told = match missing {
        Some(missing) => {
            let timing =
                Timing { hold: after, keep_firing_for: std::time::Duration::ZERO, ..*timing };
            alert_state::step(of_no_data, missing, now, &timing)
        }
        None => Step { alerts: of_no_data, events: Vec::new() },
    };
    step.alerts.extend(told.alerts);
    step.events.extend(told.events);
    step.events.sort_by(|a, b| a.0.cmp(&b.0));
    step
}
