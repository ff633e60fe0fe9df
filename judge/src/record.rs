//! What rules write to the store: recorded series, `ALERTS` and `ALERTS_FOR_STATE`, and the markers that end
//! a series which is no longer written. Pure; the writing is done by `eval`.

use std::collections::{HashMap, HashSet};

use model::{ALERT_NAME, Labels, METRIC_NAME, Sample, Series, Timestamp, stale_nan};

use crate::alert_state::Alerts;
use crate::rules::Rule;

/// A series with the value it gets.
pub(crate) type Written = (Labels, f64);

/// The series of a recording rule: the result under the rule's name and with its labels. Two elements that
/// become the same series are an error of the rule.
pub(crate) fn recorded(rule: &Rule, vector: Vec<Written>) -> Result<Vec<Written>, String> {
    let mut series: Vec<Written> = Vec::with_capacity(vector.len());
    for (labels, value) in vector {
        let mut builder = labels.edit();
        builder.set(METRIC_NAME, &rule.name);
        for (name, label) in &rule.labels {
            builder.set(name, label.source());
        }
        series.push((builder.build(), value));
    }
    match repeated(series.iter().map(|(labels, _)| labels)) {
        Some(labels) => Err(format!("two elements of the result give the same series {labels}")),
        None => Ok(series),
    }
}

/// A label set that occurs twice.
pub(crate) fn repeated<'a>(mut sets: impl Iterator<Item = &'a Labels>) -> Option<&'a Labels> {
    let mut seen = HashSet::new();
    sets.find(|labels| !seen.insert(*labels))
}

/// The names of the series of alerts: an alert that goes on keeps them, and they are built once.
#[derive(Debug, Default)]
pub(crate) struct AlertNames(HashMap<Labels, AlertName>);

#[derive(Debug)]
struct AlertName {
    for_state: Labels,
    alert: Labels,
    state: &'static str,
}

impl AlertNames {
    /// `ALERTS` and `ALERTS_FOR_STATE` for every pending and firing alert.
    pub(crate) fn series(&mut self, alerts: &Alerts) -> Vec<Written> {
        let mut series = Vec::with_capacity(alerts.len() * 2);
        for (labels, alert) in alerts {
            let Some(active_at) = alert.phase.active_at() else { continue };
            let state = alert.phase.as_str();
            let name = match self.0.get(labels) {
                Some(known) if known.state == state => known,
                _ => {
                    self.0.insert(labels.clone(), AlertName::new(labels, state));
                    &self.0[labels]
                }
            };
            series.push((name.for_state.clone(), active_at.seconds_f64()));
            series.push((name.alert.clone(), 1.0));
        }
        if self.0.len() > series.len() {
            self.0.retain(|labels, _| alerts.contains_key(labels));
        }
        series
    }
}

impl AlertName {
    fn new(labels: &Labels, state: &'static str) -> Self {
        let mut builder = labels.edit();
        builder.set(METRIC_NAME, "ALERTS_FOR_STATE");
        let for_state = builder.build();
        builder.set(METRIC_NAME, "ALERTS").set("alertstate", state);
        Self { for_state, alert: builder.build(), state }
    }
}

/// The alert's own labels for one element of the result: the element's without its metric name, then the
/// rule's, then `alertname`.
pub(crate) fn alert_labels(
    rule: &Rule,
    element: &Labels,
    render: impl Fn(usize) -> String,
) -> Labels {
    let own: Vec<String> = (0..rule.labels.len()).map(render).collect();
    // Those of the rule are in order of their names; `alertname` goes before all.
    let own =
        rule.labels.iter().zip(&own).map(|((name, _), value)| (name.as_str(), value.as_str()));
    let mut pairs: Vec<(&str, &str)> = own.filter(|(name, _)| *name != ALERT_NAME).collect();
    let at = pairs.partition_point(|(name, _)| *name < ALERT_NAME);
    pairs.insert(at, (ALERT_NAME, &rule.name));
    let is_own = |name: &str| pairs.binary_search_by(|(own, _)| (*own).cmp(name)).is_ok();
    let kept: Vec<(&str, &str)> =
        element.iter().filter(|(name, _)| *name != METRIC_NAME && !is_own(name)).collect();
    pairs.extend(kept);
    pairs.retain(|(_, value)| !value.is_empty());
    pairs.sort_by_key(|(name, _)| *name);
    Labels::from_sorted(pairs.iter().copied()).unwrap_or_else(|| Labels::from_pairs(pairs))
}

/// One sample for every series.
pub(crate) fn samples(written: &[Written], at: Timestamp) -> Vec<Series> {
    let series = |(labels, value): &Written| Series {
        labels: labels.clone(),
        samples: vec![sample(at, *value)],
    };
    written.iter().map(series).collect()
}

/// Whether a rule writes the series that it wrote last time, each once.
pub(crate) fn is_same(series: &HashSet<Labels>, written: &[Written]) -> bool {
    series.len() == written.len() && written.iter().all(|(labels, _)| series.contains(labels))
}

/// Staleness markers for the series that a rule wrote last time and does not write now.
pub(crate) fn ended(before: &HashSet<Labels>, written: &[Written], at: Timestamp) -> Vec<Series> {
    if is_same(before, written) {
        return Vec::new();
    }
    let current: HashSet<&Labels> = written.iter().map(|(labels, _)| labels).collect();
    markers(before.iter().filter(|labels| !current.contains(labels)), at)
}

/// A staleness marker for every series.
pub(crate) fn markers<'a>(
    ended: impl IntoIterator<Item = &'a Labels>,
    at: Timestamp,
) -> Vec<Series> {
    let marker =
        |labels: &Labels| Series { labels: labels.clone(), samples: vec![sample(at, stale_nan())] };
    ended.into_iter().map(marker).collect()
}

fn sample(timestamp: Timestamp, value: f64) -> Sample {
    Sample { timestamp, value }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::alert_state::{HeldAlert, Phase};
    use crate::rule_file::{Defaults, read_file};

    fn rule(text: &str) -> Rule {
        let groups = read_file(
            "f",
            &format!("groups: [{{name: g, rules: [{text}]}}]"),
            &Defaults::default(),
        );
        groups.expect("the rule is valid").remove(0).rules.remove(0)
    }

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        Labels::from_pairs(pairs.iter().copied())
    }

    #[test]
    fn a_recorded_series_has_the_rules_name_and_labels() {
        let rule = rule("{record: 'cpu:busy', expr: up, labels: {dc: east, mode: ''}}");
        let vector = vec![(labels(&[("__name__", "up"), ("mode", "x"), ("endpoint", "a")]), 7.0)];
        let expected = labels(&[("__name__", "cpu:busy"), ("dc", "east"), ("endpoint", "a")]);
        assert_eq!(recorded(&rule, vector), Ok(vec![(expected, 7.0)]));
    }

    #[test]
    fn two_elements_that_become_one_series_are_an_error() {
        let rule = rule("{record: r, expr: up, labels: {mode: ''}}");
        let vector = vec![(labels(&[("mode", "x")]), 1.0), (labels(&[("mode", "y")]), 2.0)];
        assert!(recorded(&rule, vector).expect_err("both are r{}").contains("the same series r"));
    }

    #[test]
    fn pending_and_firing_alerts_are_series_and_ended_ones_are_not() {
        let held = |phase| HeldAlert {
            annotations: BTreeMap::new(),
            value: 1.0,
            phase,
            seen_at: Timestamp(0),
        };
        let (active_at, fired_at) = (Timestamp(61_500), Timestamp(70_000));
        let alerts = Alerts::from([
            (
                labels(&[("alertname", "A"), ("n", "1")]),
                held(Phase::Firing { active_at, fired_at }),
            ),
            (
                labels(&[("alertname", "A"), ("n", "2")]),
                held(Phase::Resolved { fired_at, resolved_at: fired_at }),
            ),
        ]);
        let expected = [
            (labels(&[("__name__", "ALERTS_FOR_STATE"), ("alertname", "A"), ("n", "1")]), 61.5),
            (
                labels(&[
                    ("__name__", "ALERTS"),
                    ("alertname", "A"),
                    ("alertstate", "firing"),
                    ("n", "1"),
                ]),
                1.0,
            ),
        ];
        let mut names = AlertNames::default();
        assert_eq!(names.series(&alerts), expected);
        assert_eq!(names.series(&alerts), expected, "names that are known already");
        assert_eq!(names.series(&Alerts::new()), []);
        assert!(names.0.is_empty(), "names of alerts that are no more are forgotten");
    }

    #[test]
    fn the_rules_labels_go_before_the_elements_and_alertname_before_all() {
        let rule =
            rule("{alert: Down, expr: up, labels: {alertname: x, endpoint: '', team: infra}}");
        let element =
            labels(&[("__name__", "up"), ("endpoint", "a"), ("team", "none"), ("dc", "east")]);
        let found = alert_labels(&rule, &element, |at| rule.labels[at].1.source().to_owned());
        assert_eq!(found, labels(&[("alertname", "Down"), ("dc", "east"), ("team", "infra")]));
    }
}
