//! What an evaluation knows beyond the answer of the rule's query: what recovered, and what is there at all.
//! Pure.

use std::collections::BTreeSet;

use model::{ALERT_NAME, Labels, METRIC_NAME, Timestamp};

use crate::alert_state::{self, Absence, ActiveAlert, Alerts, Phase, Step, Timing};
use crate::record::Written;
use crate::rule_extras::{NO_DATA, NoDataPolicy};
use crate::rules::Rule;
use crate::template::FAILURE;

/// Elements by the labels that the rule leaves as they are, or why they are not known.
pub(crate) type Found = Result<BTreeSet<Labels>, String>;

/// What is known of alerts that are not in the answer.
#[derive(Debug, Default)]
pub(crate) struct Evidence {
    /// The answer of `recover_expr`; `None` when it was not asked.
    pub(crate) recovered: Option<Found>,
    /// Which series are there; `None` when it was not asked.
    pub(crate) present: Option<Found>,
    /// Elements of the answer whose labels could not be made: which alerts they are is not known.
    pub(crate) unclear: BTreeSet<Labels>,
}

impl Evidence {
    /// What absence from the answer means for an alert of the rule.
    pub(crate) fn absence(&self, rule: &Rule, labels: &Labels, phase: Phase) -> Absence {
        let is_plain = self.recovered.is_none() && self.present.is_none();
        if is_plain && self.unclear.is_empty() && rule.extras.no_data.is_none() {
            // As in Prometheus, and as in most evaluations.
            return Absence::Over;
        }
        let key = key(rule, labels);
        if self.unclear.contains(&key) {
            // It may be there.
            return Absence::Open;
        }
        if phase.fired_at().is_none() {
            // What is pending needs the condition to be seen, whatever the reason that it is not.
            return Absence::Over;
        }
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

/// The elements of an answer, by [`key`].
pub(crate) fn keys(rule: &Rule, vector: &[Written]) -> BTreeSet<Labels> {
    vector.iter().map(|(labels, _)| key(rule, labels)).collect()
}

/// Whether an alert tells of missing data.
pub(crate) fn tells_of_no_data(rule: &Rule, labels: &Labels) -> bool {
    rule.extras.no_data_alert().is_some() && labels.get(NO_DATA) == Some("true")
}

/// Whether a label of the rule could not be made.
pub(crate) fn is_unclear(rule: &Rule, labels: &Labels) -> bool {
    let failed = |name: &str| labels.get(name).is_some_and(|text| text.starts_with(FAILURE));
    rule.labels.iter().any(|(name, _)| failed(name))
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
            let absence = |labels: &Labels, _| match evidence.unclear.contains(&key(rule, labels)) {
                true => Absence::Open,
                false => Absence::Over,
            };
            alert_state::step_with(of_no_data, missing, now, &timing, absence)
        }
        None => Step { alerts: of_no_data, events: Vec::new() },
    };
    step.alerts.extend(told.alerts);
    step.events.extend(told.events);
    step.events.sort_by(|a, b| a.0.cmp(&b.0));
    step
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule_file::{Defaults, read_file};

    fn rule(fields: &str) -> Rule {
        let text = format!(
            "groups: [{{name: g, rules: [{{alert: A, expr: x > 90, labels: {{team: t}}, {fields}}}]}}]"
        );
        let groups = read_file("r.yml", &text, &Defaults::default()).expect("the rule is valid");
        groups.into_iter().next().expect("one group").rules.remove(0)
    }

    fn element() -> Labels {
        Labels::from_pairs([("__name__", "x"), ("endpoint", "a"), ("team", "other")])
    }

    fn alert() -> Labels {
        Labels::from_pairs([("alertname", "A"), ("endpoint", "a"), ("team", "t")])
    }

    /// What was found: `y` the element, `n` another one, `e` the query failed, `-` not asked.
    fn found(rule: &Rule, letter: char) -> Option<Found> {
        let other = Labels::from_pairs([("endpoint", "b")]);
        match letter {
            'y' => Some(Ok(BTreeSet::from([key(rule, &element())]))),
            'n' => Some(Ok(BTreeSet::from([other]))),
            'e' => Some(Err("timeout".to_owned())),
            _ => None,
        }
    }

    fn check(fields: &str, cases: &[(char, char, Absence)]) {
        let rule = rule(fields);
        let (active_at, fired_at) = (Timestamp(0), Timestamp(0));
        for (recovered, present, expected) in cases {
            let evidence = Evidence {
                recovered: found(&rule, *recovered),
                present: found(&rule, *present),
                ..Evidence::default()
            };
            let of = |phase| evidence.absence(&rule, &alert(), phase);
            let firing = of(Phase::Firing { active_at, fired_at });
            assert_eq!(firing, *expected, "{fields}: recovered {recovered}, present {present}");
            assert_eq!(
                of(Phase::Pending { active_at }),
                Absence::Over,
                "pending needs the condition"
            );
            let failed = [recovered, present].contains(&&'e');
            assert_eq!(evidence.trouble().is_some(), failed);
        }
    }

    const OVER: Absence = Absence::Over;
    const OPEN: Absence = Absence::Open;

    #[test]
    fn without_fields_of_ours_absence_is_the_end() {
        check("for: 1m", &[('-', '-', OVER)]);
    }

    #[test]
    fn with_a_recover_expr_only_its_answer_is_the_end() {
        let cases = [('y', '-', OVER), ('n', '-', OPEN), ('e', '-', OPEN)];
        check("recover_expr: x < 80", &cases);
    }

    #[test]
    fn missing_data_keeps_what_fires() {
        let cases = [('-', 'y', OVER), ('-', 'n', OPEN), ('-', 'e', OPEN)];
        check("no_data: keep", &cases);
        check("no_data: alert after 5m", &cases);
    }

    #[test]
    fn missing_data_ends_what_fires_where_the_rule_says_so() {
        check("no_data: ok", &[('-', '-', OVER)]);
        let cases = [
            ('n', 'n', OVER),
            ('n', 'y', OPEN),
            ('y', 'y', OVER),
            ('n', 'e', OPEN),
            ('e', 'n', OVER),
        ];
        check("no_data: ok, recover_expr: x < 80", &cases);
    }

    #[test]
    fn both_together_need_data_and_recovery() {
        let cases = [('y', 'y', OVER), ('n', 'y', OPEN), ('n', 'n', OPEN), ('y', 'e', OPEN)];
        check("no_data: keep, recover_expr: x < 80", &cases);
    }
}
