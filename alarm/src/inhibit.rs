//! Inhibition: alerts that say nothing new while another one fires. Pure.
//!
//! Unlike Alertmanager's, the index holds every source under its key and not the latest alone, so that the end of
//! one source never uncovers what another one still covers.

use std::collections::{BTreeMap, HashMap};

use model::{Fingerprint, Labels, Matcher};

use crate::matchers::matchers_all;

/// What keeps what quiet.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Rule {
    /// May be empty.
    pub(crate) name: String,
    /// An alert that fires and matches these…
    pub(crate) source: Vec<Matcher>,
    /// …keeps alerts quiet that match these…
    pub(crate) target: Vec<Matcher>,
    /// …if these labels are equal on both; one that both lack is.
    pub(crate) equal: Vec<String>,
}

impl Rule {
    fn key(&self, labels: &Labels) -> Vec<String> {
        self.equal.iter().map(|name| labels.get(name).unwrap_or("").to_owned()).collect()
    }
}

/// Whether a source is a target of the same rule too: such alerts do not inhibit each other.
type Sources = BTreeMap<Fingerprint, bool>;

#[derive(Debug)]
struct Index {
    rule: Rule,
    sources: HashMap<Vec<String>, Sources>,
}

/// All rules and the alerts that fire as their sources.
#[derive(Debug, Default)]
pub(crate) struct Inhibitor {
    indexes: Vec<Index>,
    /// Where a source stands, so that its end finds it: rule and key.
    places: HashMap<Fingerprint, Vec<(usize, Vec<String>)>>,
}

impl Inhibitor {
    /// With these rules and no sources yet.
    pub(crate) fn new(rules: &[Rule]) -> Self {
        let index = |rule: &Rule| Index { rule: rule.clone(), sources: HashMap::new() };
        Self { indexes: rules.iter().map(index).collect(), places: HashMap::new() }
    }

    /// An alert fires. Answers whether it is a source that was not known.
    pub(crate) fn begin(&mut self, fingerprint: Fingerprint, labels: &Labels) -> bool {
        if self.indexes.is_empty() || self.places.contains_key(&fingerprint) {
            return false;
        }
        let mut places = Vec::new();
        for (n, index) in self.indexes.iter_mut().enumerate() {
            if matchers_all(&index.rule.source, labels) {
                let key = index.rule.key(labels);
                let is_two_sided = matchers_all(&index.rule.target, labels);
                index.sources.entry(key.clone()).or_default().insert(fingerprint, is_two_sided);
                places.push((n, key));
            }
        }
        let is_source = !places.is_empty();
        if is_source {
            self.places.insert(fingerprint, places);
        }
        is_source
    }

    /// An alert does not fire any more. Answers whether it was a source.
    pub(crate) fn end(&mut self, fingerprint: Fingerprint) -> bool {
        let Some(places) = self.places.remove(&fingerprint) else { return false };
        for (n, key) in places {
            let sources = &mut self.indexes[n].sources;
            if let Some(of_key) = sources.get_mut(&key) {
                of_key.remove(&fingerprint);
                if of_key.is_empty() {
                    sources.remove(&key);
                }
            }
        }
        true
    }

    /// Whether something keeps an alert with these labels quiet.
    pub(crate) fn inhibits(&self, labels: &Labels) -> bool {
        self.sources_of(labels).next().is_some()
    }

    /// What keeps an alert with these labels quiet; an alert may be named by several rules.
    pub(crate) fn sources_of(&self, labels: &Labels) -> impl Iterator<Item = Fingerprint> {
        self.indexes.iter().flat_map(move |index| {
            let is_target = !index.sources.is_empty() && matchers_all(&index.rule.target, labels);
            let sources = if is_target { index.sources.get(&index.rule.key(labels)) } else { None };
            let is_source = sources.is_some() && matchers_all(&index.rule.source, labels);
            sources
                .into_iter()
                .flatten()
                .filter(move |(_, is_two_sided)| !(is_source && **is_two_sided))
                .map(|(fingerprint, _)| *fingerprint)
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::matchers::parse_matchers;

    pub(crate) fn rule(source: &str, target: &str, equal: &[&str]) -> Rule {
        Rule {
            name: String::new(),
            source: parse_matchers(source).unwrap(),
            target: parse_matchers(target).unwrap(),
            equal: equal.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        Labels::from_pairs(pairs.iter().copied())
    }

    fn begin(inhibitor: &mut Inhibitor, alert: &Labels) -> Fingerprint {
        let fingerprint = Fingerprint(alert.hash());
        inhibitor.begin(fingerprint, alert);
        fingerprint
    }

    #[test]
    fn a_source_covers_targets_with_equal_labels_until_it_ends() {
        let rules = [rule("severity=critical", "severity=warning", &["cluster"])];
        let mut inhibitor = Inhibitor::new(&rules);
        let source = labels(&[("severity", "critical"), ("cluster", "eu")]);
        let target = labels(&[("severity", "warning"), ("cluster", "eu")]);
        let elsewhere = labels(&[("severity", "warning"), ("cluster", "us")]);
        assert!(!inhibitor.inhibits(&target));
        let fingerprint = begin(&mut inhibitor, &source);
        assert!(inhibitor.inhibits(&target) && !inhibitor.inhibits(&elsewhere));
        assert_eq!(inhibitor.sources_of(&target).collect::<Vec<_>>(), [fingerprint]);
        assert!(!inhibitor.inhibits(&source));
        assert!(inhibitor.end(fingerprint) && !inhibitor.end(fingerprint));
        assert!(!inhibitor.inhibits(&target));
    }

    #[test]
    fn the_end_of_one_of_two_sources_uncovers_nothing() {
        let mut inhibitor = Inhibitor::new(&[rule("a=source", "a=target", &["cluster"])]);
        let source = |host| labels(&[("a", "source"), ("cluster", "eu"), ("host", host)]);
        let first = begin(&mut inhibitor, &source("1"));
        let second = begin(&mut inhibitor, &source("2"));
        let target = labels(&[("a", "target"), ("cluster", "eu")]);
        inhibitor.end(first);
        assert!(inhibitor.inhibits(&target));
        inhibitor.end(second);
        assert!(!inhibitor.inhibits(&target));
    }

    #[test]
    fn labels_that_both_lack_are_equal() {
        let mut inhibitor = Inhibitor::new(&[rule("a=source", "a=target", &["cluster"])]);
        begin(&mut inhibitor, &labels(&[("a", "source")]));
        assert!(inhibitor.inhibits(&labels(&[("a", "target")])));
        assert!(!inhibitor.inhibits(&labels(&[("a", "target"), ("cluster", "eu")])));
    }

    #[test]
    fn alerts_that_match_both_sides_do_not_inhibit_each_other_nor_themselves() {
        let mut inhibitor = Inhibitor::new(&[rule("a=~\"x|y\"", "b=z", &[])]);
        let both = |host| labels(&[("a", "x"), ("b", "z"), ("host", host)]);
        begin(&mut inhibitor, &both("1"));
        assert!(!inhibitor.inhibits(&both("1")) && !inhibitor.inhibits(&both("2")));
        assert!(inhibitor.inhibits(&labels(&[("b", "z")])), "a mere target is inhibited");
        begin(&mut inhibitor, &labels(&[("a", "y")]));
        assert!(
            inhibitor.inhibits(&both("2")),
            "a mere source inhibits, whatever stands beside it under the same key"
        );
    }

    #[test]
    fn without_rules_nothing_is_inhibited() {
        let mut inhibitor = Inhibitor::new(&[]);
        assert!(!inhibitor.begin(Fingerprint(1), &labels(&[("a", "b")])));
        assert!(!inhibitor.inhibits(&labels(&[("a", "b")])));
    }
}
