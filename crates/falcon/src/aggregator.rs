//! Aggregators as recording rules: per host first, rates included, then over the hosts of the group, with a
//! companion for how many hosts are in the result and how many should be.

use std::collections::{BTreeMap, BTreeSet};

use model::{ENDPOINT, canonical_name};

use crate::formula::{Counter, Formula, Terms};
use crate::import::Scope;
use crate::metrics::Source;
use crate::portal::Aggregator;
use crate::report::Note;
use crate::rule::{Kind, Rule};
use crate::series::{labels_of, span};
use crate::strategy::Maker;

/// A value older than this many steps was not used, and is not.
const VALUE_STEPS: i64 = 2;
/// A rate takes two samples, and the newest may still be on its way.
const RATE_STEPS: i64 = 3;

/// The hosts of an aggregator.
struct Members {
    hosts: BTreeSet<String>,
    /// Set when the group is named instead of its hosts.
    group: Option<String>,
}

impl Maker<'_> {
    /// The rules for an aggregator; the error says why there are none.
    pub(crate) fn aggregator(
        &self,
        aggregator: &Aggregator,
        notes: &mut Vec<Note>,
    ) -> Result<Vec<Rule>, String> {
        let numerator = Formula::parse(&aggregator.numerator)?;
        let denominator = Formula::parse(&aggregator.denominator)?;
        let mut all: Vec<&Counter> = numerator.counters().chain(denominator.counters()).collect();
        all.sort();
        all.dedup();
        if all.is_empty() {
            return Err("neither side reads a counter".to_owned());
        }
        if denominator == Formula::Constant(0) {
            return Err("the denominator is 0, so nothing was ever sent".to_owned());
        }
        let members = self.members(aggregator.group)?;
        let step = aggregator.step;
        let mut per_host = BTreeMap::new();
        for counter in all {
            per_host.insert(counter, self.per_host(counter, &members, step, notes)?);
        }
        let value = ratio(&numerator, &denominator, &per_host);
        let used: Vec<&str> = per_host.values().map(String::as_str).collect();
        let expected = match &members.group {
            Some(group) => {
                format!("count({})", crate::strategy::member_of(std::slice::from_ref(group)))
            }
            None => format!("vector({})", members.hosts.len()),
        };
        let name = canonical_name(&aggregator.metric);
        let mut labels = labels_of(&aggregator.tags);
        labels.insert(ENDPOINT.to_owned(), aggregator.endpoint.clone());
        let comment = format!(
            "cluster {}: {} / {} of group {:?}",
            aggregator.id,
            aggregator.numerator,
            aggregator.denominator,
            self.groups.original(aggregator.group)
        );
        let rule = |suffix: &str, expr: String| Rule {
            name: format!("{name}{suffix}"),
            expr,
            labels: labels.clone(),
            comment: comment.clone(),
            kind: Kind::Recording,
        };
        Ok(vec![
            rule("", value),
            rule("_hosts_used", format!("count({})", used.join(" and "))),
            rule("_hosts_expected", expected),
        ])
    }

    fn members(&self, group: i64) -> Result<Members, String> {
        if !self.portal.groups.contains_key(&group) {
            return Err(format!("group {group} is not in the database"));
        }
        let hosts: BTreeSet<String> =
            self.portal.hosts_of(group).into_iter().map(str::to_owned).collect();
        let by_group = self.options.scope == Scope::Groups;
        if hosts.is_empty() && !by_group {
            return Err("its group has no hosts".to_owned());
        }
        let group = by_group.then(|| self.groups.name(group));
        Ok(Members { hosts, group })
    }

    /// The newest value or rate of a counter, one for each host.
    fn per_host(
        &self,
        counter: &Counter,
        members: &Members,
        step: i64,
        notes: &mut Vec<Note>,
    ) -> Result<String, String> {
        let known = self.metrics.of(&counter.metric);
        if known.from == Source::Assumed {
            let text = format!("nothing says what {} is: taken for a gauge", counter.metric);
            notes.push(Note::new("metric", text));
        }
        let step = step.max(known.step);
        let selector = self.selector(&counter.metric, &counter.tags, notes)?;
        let (selector, tail) = match &members.group {
            Some(group) => {
                let member = crate::strategy::member_of(std::slice::from_ref(group));
                (selector, format!(" and on (endpoint) {member}"))
            }
            None => (selector.of_hosts(members.hosts.clone()), String::new()),
        };
        let value = if known.is_counter {
            format!("irate({}[{}])", selector.text(), span(RATE_STEPS * step))
        } else {
            format!("last_over_time({}[{}])", selector.text(), span(VALUE_STEPS * step))
        };
        Ok(format!("sum by (endpoint) ({value}{tail})"))
    }
}

/// The quotient. A host that lacks any of the series is in neither side.
fn ratio(
    numerator: &Formula,
    denominator: &Formula,
    per_host: &BTreeMap<&Counter, String>,
) -> String {
    let used = || per_host.values().map(String::as_str).collect::<Vec<_>>().join(" and ");
    if let (Formula::Terms(terms), Formula::Hosts) = (numerator, denominator) {
        return format!("avg({})", host_value(terms, per_host));
    }
    let side = |formula: &Formula| match formula {
        Formula::Hosts => format!("count({})", used()),
        Formula::Constant(number) => number.to_string(),
        Formula::Terms(terms) => format!("sum({})", host_value(terms, per_host)),
    };
    match denominator {
        Formula::Constant(_) => format!("{} / {}", side(numerator), side(denominator)),
        _ => format!("{} / ({} != 0)", side(numerator), side(denominator)),
    }
}

/// What is computed for each host that has all series.
fn host_value(terms: &Terms, per_host: &BTreeMap<&Counter, String>) -> String {
    let mut sum = String::new();
    for (is_minus, counter) in &terms.counters {
        if !sum.is_empty() {
            sum.push_str(if *is_minus { " - " } else { " + " });
        }
        sum.push_str(&per_host[counter]);
    }
    if let Some((operator, threshold)) = terms.compare {
        sum = format!("({sum}) {operator} bool {threshold}");
    }
    let is_read = |wanted: &Counter| terms.counters.iter().any(|(_, counter)| counter == wanted);
    for (_, others) in per_host.iter().filter(|(counter, _)| !is_read(counter)) {
        sum = format!("{sum} and {others}");
    }
    sum
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::import::{Options, import};
    use crate::portal::Portal;

    fn expressions(numerator: &str, denominator: &str, scope: Scope) -> Vec<String> {
        let export = json!({
            "grp": [{ "id": 1, "grp_name": "web" }],
            "host": [{ "id": 1, "hostname": "a" }, { "id": 2, "hostname": "b" }],
            "grp_host": [{ "grp_id": 1, "host_id": 1 }, { "grp_id": 1, "host_id": 2 }],
            "cluster": [{ "id": 9, "grp_id": 1, "numerator": numerator, "denominator": denominator,
                          "endpoint": "web", "metric": "x.y", "tags": "k=v", "step": 60 }],
        });
        let (portal, _) = Portal::read(&export).unwrap();
        let imported = import(&portal, vec![], &Options { scope, ..Options::default() });
        let Some(file) = imported.files.first() else {
            return vec![imported.report.entries[0].notes[0].text.clone()];
        };
        let lines = file.text.lines().filter_map(|line| line.trim().strip_prefix("expr: "));
        lines.map(|expr| expr.trim_matches('\'').to_owned()).collect()
    }

    const IDLE: &str = r#"sum by (endpoint) (last_over_time(cpu_idle{endpoint=~"a|b"}[2m]))"#;
    const BUSY: &str = r#"sum by (endpoint) (last_over_time(cpu_busy{endpoint=~"a|b"}[2m]))"#;
    const DROPS: &str = r#"sum by (endpoint) (irate(TcpExt_ListenDrops{endpoint=~"a|b"}[3m]))"#;

    #[test]
    fn every_usual_form_is_written() {
        let first = |numerator, denominator| {
            expressions(numerator, denominator, Scope::Hosts).swap_remove(0)
        };
        assert_eq!(first("$(cpu.idle)", "$#"), format!("avg({IDLE})"));
        assert_eq!(first("$(cpu.idle)+$(cpu.busy)", "$#"), format!("avg({IDLE} + {BUSY})"));
        assert_eq!(first("$(cpu.busy)>80", "$#"), format!("avg(({BUSY}) > bool 80)"));
        assert_eq!(first("$(cpu.busy)", "200"), format!("sum({BUSY}) / 200"));
        assert_eq!(first("$#", "$(cpu.busy)"), format!("count({BUSY}) / (sum({BUSY}) != 0)"));
        assert_eq!(
            first("$(TcpExt.ListenDrops)", "$(cpu.idle)"),
            format!("sum({DROPS} and {IDLE}) / (sum({IDLE} and {DROPS}) != 0)")
        );
    }

    #[test]
    fn companions_count_the_hosts_that_are_in_it_and_that_should_be() {
        let all = expressions("$(cpu.idle)+$(cpu.busy)", "$#", Scope::Hosts);
        assert_eq!(all[1..], [format!("count({BUSY} and {IDLE})"), "vector(2)".to_owned()]);
        let by_group = expressions("$(cpu.idle)", "$#", Scope::Groups);
        let member = r#"host_group{group="web"}"#;
        assert_eq!(
            by_group[0],
            format!(
                "avg(sum by (endpoint) (last_over_time(cpu_idle[2m]) and on (endpoint) {member}))"
            )
        );
        assert_eq!(by_group[2], format!("count({member})"));
    }

    #[test]
    fn what_never_gave_a_value_is_refused() {
        for (numerator, denominator, reason) in [
            ("$#", "$#", "neither side reads a counter"),
            ("$(cpu.idle)", "0", "the denominator is 0"),
            ("$(cpu.idle)", "$(a)*2", "no comparison"),
        ] {
            let told = expressions(numerator, denominator, Scope::Hosts).swap_remove(0);
            assert!(told.contains(reason), "{told}");
        }
    }
}
