//! What the rules of a group read of each other, by metric name.

use model::{METRIC_NAME, Matcher};

use crate::ast::{Expr, ExprKind};

/// The label of `ALERTS` that names the alert.
const ALERT_NAME: &str = "alertname";

/// The series that every alerting rule writes.
const ALERT_SERIES: [&str; 2] = ["ALERTS", "ALERTS_FOR_STATE"];

/// What a rule writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleOutput<'r> {
    /// A recording rule: the name of the metric.
    Record(&'r str),
    /// An alerting rule: the name of the alert. It writes `ALERTS` and `ALERTS_FOR_STATE`.
    Alert(&'r str),
}

/// A rule as far as others depend on it.
#[derive(Debug, Clone, Copy)]
pub struct RuleNode<'r> {
    /// What it writes.
    pub output: RuleOutput<'r>,
    /// What it reads.
    pub expr: &'r Expr,
}

/// For every rule of a group the earlier rules whose output one of its selectors can match, in
/// order. `None` when a selector has no condition on the metric name: it may read anything, so the
/// rules have to run one after the other.
pub fn rule_dependencies(rules: &[RuleNode<'_>]) -> Option<Vec<Vec<usize>>> {
    let reads = all_reads(rules)?;
    let earlier = |index: usize| {
        (0..index).filter(|before| can_read(&reads[index], rules[*before].output)).collect()
    };
    Some((0..rules.len()).map(earlier).collect())
}

/// Rules by index in batches that may run at the same time, batch after batch, with the same
/// results as one rule after the other: a rule runs after every earlier rule whose output it reads,
/// and after every earlier rule that is to see its output of the cycle before. Without a condition
/// on the metric name in some selector every rule is a batch of its own.
pub fn rule_batches(rules: &[RuleNode<'_>]) -> Vec<Vec<usize>> {
    let Some(reads) = all_reads(rules) else {
        return (0..rules.len()).map(|index| vec![index]).collect();
    };
    let mut levels: Vec<usize> = Vec::with_capacity(rules.len());
    let mut batches: Vec<Vec<usize>> = Vec::new();
    for (index, rule) in rules.iter().enumerate() {
        let bound = |before: &usize| {
            can_read(&reads[index], rules[*before].output)
                || can_read(&reads[*before], rule.output)
                || rule.output == rules[*before].output
        };
        let level = (0..index).filter(bound).map(|before| levels[before] + 1).max().unwrap_or(0);
        levels.push(level);
        batches.resize_with(batches.len().max(level + 1), Vec::new);
        batches[level].push(index);
    }
    batches
}

/// The conditions of every selector of every rule, unless one has none on the name.
fn all_reads(rules: &[RuleNode<'_>]) -> Option<Vec<Vec<Vec<Matcher>>>> {
    let reads = rules.iter().map(|rule| {
        let mut found = Vec::new();
        collect(rule.expr, &mut found);
        found.iter().all(|matchers| has_name(matchers)).then_some(found)
    });
    reads.collect()
}

fn has_name(matchers: &[Matcher]) -> bool {
    matchers.iter().any(|matcher| matcher.name == METRIC_NAME)
}

fn collect(expr: &Expr, found: &mut Vec<Vec<Matcher>>) {
    match &expr.kind {
        ExprKind::Selector(selector) => found.push(selector.matchers.to_vec()),
        ExprKind::Range(range) => found.push(range.selector.matchers.to_vec()),
        ExprKind::Call(call) if call.function.name == "info" => {
            collect(&call.args[0], found);
            let mut infos = match call.args.get(1).map(|arg| &arg.kind) {
                Some(ExprKind::Selector(selector)) => selector.matchers.to_vec(),
                _ => Vec::new(),
            };
            if !has_name(&infos) {
                infos.push(Matcher::equal(METRIC_NAME, "target_info"));
            }
            found.push(infos);
        }
        _ => expr.parts().into_iter().for_each(|part| collect(part, found)),
    }
}

fn can_read(reads: &[Vec<Matcher>], output: RuleOutput<'_>) -> bool {
    reads.iter().any(|matchers| match output {
        RuleOutput::Record(name) => accepts(matchers, METRIC_NAME, name),
        RuleOutput::Alert(name) => {
            ALERT_SERIES.iter().any(|series| accepts(matchers, METRIC_NAME, series))
                && accepts(matchers, ALERT_NAME, name)
        }
    })
}

/// Whether all conditions on a label accept a value.
fn accepts(matchers: &[Matcher], label: &str, value: &str) -> bool {
    matchers.iter().filter(|matcher| matcher.name == label).all(|matcher| matcher.matches(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Features, parse_with};

    /// Rules as `name = expression`; names in capitals are alerts.
    fn with_rules<T>(rules: &[&str], look: impl Fn(&[RuleNode<'_>]) -> T) -> T {
        let split: Vec<(&str, Expr)> = rules
            .iter()
            .map(|rule| rule.split_once(" = ").unwrap())
            .map(|(name, text)| (name, parse_with(text, Features::all()).unwrap()))
            .collect();
        let nodes: Vec<RuleNode<'_>> = split
            .iter()
            .map(|(name, expr)| {
                let alert = name.chars().all(char::is_uppercase);
                let output = if alert { RuleOutput::Alert(name) } else { RuleOutput::Record(name) };
                RuleNode { output, expr }
            })
            .collect();
        look(&nodes)
    }

    #[test]
    fn a_rule_depends_on_the_earlier_rules_it_reads() {
        let rules = ["a = x", "b = rate(a[5m])", "c = {__name__=~\"a|b\"} + y", "d = x"];
        let found = with_rules(&rules, rule_dependencies);
        assert_eq!(found, Some(vec![vec![], vec![0], vec![0, 1], vec![]]));
    }

    #[test]
    fn a_rule_does_not_depend_on_itself_or_on_later_ones() {
        let found = with_rules(&["a = a + b", "b = x"], rule_dependencies);
        assert_eq!(found, Some(vec![vec![], vec![]]));
    }

    #[test]
    fn alerts_are_read_by_the_name_of_the_alert() {
        let rules =
            ["HOT = x > 1", "a = ALERTS{alertname=\"HOT\"}", "b = ALERTS{alertname=\"COLD\"}"];
        assert_eq!(with_rules(&rules, rule_dependencies), Some(vec![vec![], vec![0], vec![]]));
        let rules = ["HOT = x > 1", "a = ALERTS_FOR_STATE", "b = count(ALERTS{severity=\"page\"})"];
        assert_eq!(with_rules(&rules, rule_dependencies), Some(vec![vec![], vec![0], vec![0]]));
    }

    #[test]
    fn a_selector_without_a_name_may_read_anything() {
        let rules = ["a = x", "b = {job=\"a\"}", "c = y"];
        assert_eq!(with_rules(&rules, rule_dependencies), None);
        assert_eq!(with_rules(&rules, rule_batches), [vec![0], vec![1], vec![2]]);
    }

    #[test]
    fn info_reads_the_info_series() {
        let rules = ["target_info = x", "b = info(y)", "c = info(y, {data=~\".+\"})"];
        assert_eq!(with_rules(&rules, rule_dependencies), Some(vec![vec![], vec![0], vec![0]]));
        let other = ["target_info = x", "c = info(y, {__name__=\"build_info\"})"];
        assert_eq!(with_rules(&other, rule_dependencies), Some(vec![vec![], vec![]]));
    }

    #[test]
    fn independent_rules_share_a_batch() {
        let rules = ["a = x", "b = y", "c = a + b", "d = z", "e = c"];
        assert_eq!(with_rules(&rules, rule_batches), [vec![0, 1, 3], vec![2], vec![4]]);
    }

    #[test]
    fn a_rule_that_reads_a_later_one_runs_before_it() {
        assert_eq!(with_rules(&["a = b", "b = x"], rule_batches), [vec![0], vec![1]]);
    }

    #[test]
    fn rules_that_write_the_same_metric_keep_their_order() {
        assert_eq!(with_rules(&["a = x", "a = y"], rule_batches), [vec![0], vec![1]]);
    }
}
