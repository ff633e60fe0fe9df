//! Rule groups as judge runs them, and what changes from one set of them to the next.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use promql::{Expr, RuleNode, RuleOutput, ValueType};

use crate::rule_extras::Extras;
use crate::template::Template;

/// What groups in the database have in the place of a file.
pub(crate) const DATABASE: &str = "db";

/// Identity of a group: where it comes from and its name, unique there. Written `file;name`.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct GroupKey {
    /// Path of its file as configured, or [`DATABASE`].
    pub(crate) file: String,
    /// Its name.
    pub(crate) name: String,
}

impl fmt::Display for GroupKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{};{}", self.file, self.name)
    }
}

/// A group of rules that are evaluated together, each after those of them that it reads.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RuleGroup {
    /// Which group it is.
    pub(crate) key: GroupKey,
    /// How often it is evaluated.
    pub(crate) interval: Duration,
    /// Most alerts or series that one of its rules may give; 0 for no limit.
    pub(crate) limit: usize,
    /// How far in the past its queries look, for stores that are fed late.
    pub(crate) query_offset: Duration,
    /// Whether its alerting rules are evaluated when their data arrives, too.
    pub(crate) on_arrival: bool,
    /// Whom to ask about it; empty when nobody is named.
    pub(crate) owner: String,
    /// In the order of the file: a rule sees what earlier ones write in the same slot.
    pub(crate) rules: Vec<Rule>,
}

/// A rule.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rule {
    /// Name of the alert or of the recorded metric.
    pub(crate) name: String,
    /// What it asks.
    pub(crate) query: Query,
    /// Labels it adds, the group's included, in order of their names.
    pub(crate) labels: Vec<(String, Template)>,
    /// What it does with the answer.
    pub(crate) kind: RuleKind,
    /// What Prometheus' rules do not have.
    pub(crate) extras: Extras,
}

/// What a rule does with the answer of its query.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum RuleKind {
    /// Every element of the answer is an alert.
    Alerting {
        /// How long an element must be there before the alert fires.
        hold: Duration,
        /// How long it fires on after the element is gone.
        keep_firing_for: Duration,
        /// Texts for humans, in order of their names.
        annotations: Vec<(String, Template)>,
    },
    /// The answer is stored under the rule's name.
    Recording,
}

/// A parsed expression with the text it came from.
#[derive(Debug, Clone)]
pub(crate) struct Query {
    /// As it was written.
    pub(crate) text: String,
    /// As it is evaluated.
    pub(crate) expr: Arc<Expr>,
}

impl PartialEq for Query {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl RuleGroup {
    /// The rules by index in batches: those of a batch may be evaluated at the same time, with the same results as
    /// one after the other.
    pub(crate) fn batches(&self) -> Vec<Vec<usize>> {
        let reads: Vec<Arc<Expr>> = self.rules.iter().map(Rule::reads).collect();
        let nodes: Vec<RuleNode<'_>> = self
            .rules
            .iter()
            .zip(&reads)
            .map(|(rule, expr)| RuleNode { output: rule.output(), expr })
            .collect();
        promql::rule_batches(&nodes)
    }
}

impl Rule {
    fn output(&self) -> RuleOutput<'_> {
        match self.kind {
            RuleKind::Alerting { .. } => RuleOutput::Alert(&self.name),
            RuleKind::Recording => RuleOutput::Record(&self.name),
        }
    }

    /// Whether an evaluation asks the store more than the rule's query. The answers to several questions belong
    /// together only when all were asked now and about everything: a series that came back since somebody else
    /// asked for this rule, too, would be there for `no_data` and not for the query.
    pub(crate) fn asks_more(&self) -> bool {
        let annotations: &[(String, Template)] = match &self.kind {
            RuleKind::Alerting { annotations, .. } => annotations,
            RuleKind::Recording => &[],
        };
        let mut texts = self.labels.iter().chain(annotations).map(|(_, template)| template);
        self.extras.recover.is_some()
            || self.extras.no_data.is_some()
            || texts.any(Template::may_ask)
    }

    /// An expression that reads what the rule reads, its `recover_expr` included.
    fn reads(&self) -> Arc<Expr> {
        let Some(recover) = &self.extras.recover else { return self.query.expr.clone() };
        let (own, other) = (&self.query.text, &recover.text);
        // The line breaks end a comment that may stand at the end of an expression.
        let both = match self.query.expr.value_type() {
            ValueType::Scalar => format!("vector({own}\n) or ({other}\n)"),
            _ => format!("({own}\n) or ({other}\n)"),
        };
        promql::parse(&both).map_or_else(|_| recover.expr.clone(), Arc::new)
    }

    /// What stays the same when only the expression, the times or the annotations of a rule are changed: its
    /// kind, name and labels. State is handed on by it.
    pub(crate) fn identity(&self) -> String {
        let kind = match self.kind {
            RuleKind::Alerting { .. } => "alert",
            RuleKind::Recording => "record",
        };
        let labels: Vec<String> = self
            .labels
            .iter()
            .map(|(name, value)| format!("{name}={:?}", value.source()))
            .collect();
        format!("{kind} {} {{{}}}", self.name, labels.join(","))
    }
}

/// All groups of this judge.
pub(crate) type RuleSet = BTreeMap<GroupKey, Arc<RuleGroup>>;

/// What is to be done to get from one set of rules to another. Groups that are equal in both are not
/// mentioned: they keep running and keep their state.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Difference {
    /// New groups and new versions of known ones.
    pub(crate) put: Vec<Arc<RuleGroup>>,
    /// Groups that are no more.
    pub(crate) removed: Vec<GroupKey>,
}

/// Compares two sets of rules.
pub(crate) fn difference(old: &RuleSet, new: &RuleSet) -> Difference {
    let changed = |group: &&Arc<RuleGroup>| old.get(&group.key) != Some(group);
    Difference {
        put: new.values().filter(changed).cloned().collect(),
        removed: old.keys().filter(|key| !new.contains_key(key)).cloned().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule_file::{Defaults, read_file};

    fn set(text: &str) -> RuleSet {
        let groups = read_file("r.yml", text, &Defaults::default()).expect("the rules are valid");
        groups.into_iter().map(|group| (group.key.clone(), Arc::new(group))).collect()
    }

    const TWO: &str = "groups: [{name: a, rules: [{alert: A, expr: up == 0, labels: {team: x}}]}, {name: b, rules: []}]";

    #[test]
    fn rules_that_do_not_read_each_other_share_a_batch() {
        let rules = "groups: [{name: a, rules: [{record: x, expr: up}, {alert: A, expr: x > 1}, \
                     {record: y, expr: up}, {record: z, expr: 'ALERTS{alertname=\"A\"}'}]}]";
        let batches = set(rules).values().next().expect("one group").batches();
        assert_eq!(batches, [vec![0, 2], vec![1], vec![3]]);
    }

    #[test]
    fn equal_groups_are_left_alone() {
        assert_eq!(difference(&set(TWO), &set(TWO)), Difference::default());
    }

    #[test]
    fn what_changed_is_put_and_what_is_gone_is_removed() {
        let new =
            set("groups: [{name: a, rules: [{alert: A, expr: up == 1}]}, {name: c, rules: []}]");
        let difference = difference(&set(TWO), &new);
        let put: Vec<&str> = difference.put.iter().map(|group| group.key.name.as_str()).collect();
        assert_eq!(put, ["a", "c"]);
        assert_eq!(
            difference.removed,
            [GroupKey { file: "r.yml".to_owned(), name: "b".to_owned() }]
        );
    }

    #[test]
    fn a_rule_stays_itself_when_its_expression_changes_and_not_when_its_labels_do() {
        let identity = |labels: &str, expr: &str| {
            let set = set(&format!(
                "groups: [{{name: a, rules: [{{alert: A, expr: {expr}, labels: {labels}}}]}}]"
            ));
            set.values().next().expect("one group").rules[0].identity()
        };
        assert_eq!(identity("{team: x}", "up == 0"), identity("{team: x}", "up == 1"));
        assert_ne!(identity("{team: x}", "up == 0"), identity("{team: y}", "up == 0"));
    }
}
