//! Which rule of which template goes for which hosts: templates inherit, and are bound to groups of hosts.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use crate::portal::{Portal, Strategy};
use crate::series::labels_of;

/// Templates above one another; the original dropped longer chains.
const CHAIN_MAX: usize = 10;

/// A rule with the hosts it goes for by way of one template.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Bound<'p> {
    pub(crate) strategy: &'p Strategy,
    /// The template that is bound to the groups: the rule's own, or one that inherits from it.
    pub(crate) leaf: i64,
    /// Hosts that have it.
    pub(crate) hosts: BTreeSet<&'p str>,
    /// Groups that the template is bound to.
    pub(crate) groups: BTreeSet<i64>,
    /// Groups whose hosts have it by a template further down instead.
    pub(crate) without: BTreeSet<i64>,
}

/// All bindings, by template and rule.
pub(crate) fn bind(portal: &Portal) -> Vec<Bound<'_>> {
    let chains: BTreeMap<i64, Vec<i64>> =
        portal.templates.keys().filter_map(|id| Some((*id, chain(portal, *id)?))).collect();
    let mut of_template: BTreeMap<i64, Vec<&Strategy>> = BTreeMap::new();
    for strategy in &portal.strategies {
        of_template.entry(strategy.template).or_default().push(strategy);
    }
    let effective: BTreeMap<i64, Vec<&Strategy>> =
        chains.iter().map(|(leaf, chain)| (*leaf, inherited(chain, &of_template))).collect();

    let mut bound: BTreeMap<(i64, i64), Bound<'_>> = BTreeMap::new();
    for (leaf, strategies) in &effective {
        let groups: BTreeSet<i64> = groups_of(portal, *leaf).collect();
        if groups.is_empty() {
            continue;
        }
        let below = chains.iter().filter(|(other, chain)| *other != leaf && chain.contains(leaf));
        let without: BTreeSet<i64> =
            below.flat_map(|(other, _)| groups_of(portal, *other)).collect();
        for strategy in strategies {
            let (groups, without) = (groups.clone(), without.clone());
            let hosts = BTreeSet::new();
            let new = Bound { strategy, leaf: *leaf, hosts, groups, without };
            bound.insert((*leaf, strategy.id), new);
        }
    }
    for (templates, hosts) in hosts_by_templates(portal) {
        let leaves = templates.iter().filter(|one| {
            let is_above = |other: &&i64| {
                other != one && chains.get(*other).is_some_and(|chain| chain.contains(*one))
            };
            !templates.iter().any(|other| is_above(&other))
        });
        let mut seen = HashSet::new();
        for leaf in leaves {
            for strategy in effective.get(leaf).into_iter().flatten() {
                if seen.insert(strategy.id)
                    && let Some(bound) = bound.get_mut(&(*leaf, strategy.id))
                {
                    bound.hosts.extend(&hosts);
                }
            }
        }
    }
    bound.into_values().collect()
}

/// The template and those above it, the highest first. `None` when there is a loop, a gap, or too many.
fn chain(portal: &Portal, template: i64) -> Option<Vec<i64>> {
    let mut chain = Vec::new();
    let mut next = template;
    while next > 0 {
        if chain.len() >= CHAIN_MAX {
            return None;
        }
        chain.push(next);
        next = portal.templates.get(&next)?.parent;
    }
    chain.reverse();
    Some(chain)
}

/// The rules of a chain of templates: those of a lower one replace those of the higher ones with the
/// same metric and tags.
fn inherited<'p>(
    chain: &[i64],
    of_template: &BTreeMap<i64, Vec<&'p Strategy>>,
) -> Vec<&'p Strategy> {
    let mut rules: BTreeMap<_, Vec<&Strategy>> = BTreeMap::new();
    for template in chain {
        let mut own: BTreeMap<_, Vec<&Strategy>> = BTreeMap::new();
        for strategy in of_template.get(template).into_iter().flatten() {
            let key = (strategy.metric.as_str(), labels_of(&strategy.tags));
            own.entry(key).or_default().push(strategy);
        }
        rules.extend(own);
    }
    let mut rules: Vec<&Strategy> = rules.into_values().flatten().collect();
    rules.sort_by_key(|strategy| strategy.id);
    rules
}

fn groups_of(portal: &Portal, template: i64) -> impl Iterator<Item = i64> + '_ {
    let bound = portal.group_templates.iter();
    bound.filter(move |(_, templates)| templates.contains(&template)).map(|(group, _)| *group)
}

/// Hosts by the templates that their groups are bound to: most hosts have them in common with many others.
fn hosts_by_templates(portal: &Portal) -> BTreeMap<BTreeSet<i64>, BTreeSet<&str>> {
    let mut templates: BTreeMap<&str, BTreeSet<i64>> = BTreeMap::new();
    for (group, of_group) in &portal.group_templates {
        for host in portal.hosts_of(*group) {
            templates.entry(host).or_default().extend(of_group);
        }
    }
    let mut hosts: BTreeMap<BTreeSet<i64>, BTreeSet<&str>> = BTreeMap::new();
    for (host, templates) in templates {
        hosts.entry(templates).or_default().insert(host);
    }
    hosts
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// Templates as id and parent, rules as id, template and metric, groups as hosts and templates.
    fn bound(
        templates: &[(i64, i64)],
        rules: &[(i64, i64, &str)],
        groups: &[(&str, &[i64])],
    ) -> Vec<String> {
        let rows = |list: Vec<Value>| Value::Array(list);
        let ids = |letter: char| i64::from(u32::from(letter));
        let members = groups.iter().enumerate().flat_map(|(group, (hosts, _))| {
            hosts.chars().map(move |host| json!({ "grp_id": group + 1, "host_id": ids(host) }))
        });
        let bindings = groups.iter().enumerate().flat_map(|(group, (_, templates))| {
            templates.iter().map(move |tpl| json!({ "grp_id": group + 1, "tpl_id": tpl }))
        });
        let export = json!({
            "tpl": rows(templates.iter().map(|(id, parent)| json!({
                "id": id, "tpl_name": format!("t{id}"), "parent_id": parent,
            })).collect()),
            "strategy": rows(rules.iter().map(|(id, template, metric)| json!({
                "id": id, "tpl_id": template, "metric": metric, "tags": "b=1, a=2",
                "func": "all(#1)", "op": ">", "right_value": "1",
            })).collect()),
            "host": rows(('a'..='e').map(|c| json!({ "id": ids(c), "hostname": c.to_string() })).collect()),
            "grp": rows((1..=groups.len()).map(|id| {
                json!({ "id": id, "grp_name": format!("g{id}") })
            }).collect()),
            "grp_host": rows(members.collect()),
            "grp_tpl": rows(bindings.collect()),
        });
        let (portal, faults) = Portal::read(&export).unwrap();
        assert_eq!(faults, []);
        let text = |bound: &Bound<'_>| {
            let hosts: String = bound.hosts.iter().copied().collect();
            let (groups, without) = (&bound.groups, &bound.without);
            format!("{} by {}: {hosts} {groups:?} {without:?}", bound.strategy.id, bound.leaf)
        };
        bind(&portal).iter().map(text).collect()
    }

    #[test]
    fn a_rule_goes_for_the_hosts_of_all_groups_of_its_template() {
        assert_eq!(
            bound(&[(1, 0)], &[(7, 1, "cpu")], &[("ab", &[1]), ("bc", &[1]), ("d", &[])]),
            ["7 by 1: abc {1, 2} {}"]
        );
    }

    #[test]
    fn a_template_has_the_rules_of_those_above_it_but_for_what_it_replaces() {
        let rules = [(7, 1, "cpu"), (8, 1, "mem"), (9, 2, "cpu"), (10, 2, "cpu")];
        assert_eq!(
            bound(&[(1, 0), (2, 1)], &rules, &[("a", &[2])]),
            ["8 by 2: a {1} {}", "9 by 2: a {1} {}", "10 by 2: a {1} {}"]
        );
    }

    #[test]
    fn a_host_with_a_template_and_one_below_it_has_the_lower_one() {
        let rules = [(7, 1, "cpu"), (8, 1, "mem"), (9, 2, "cpu")];
        assert_eq!(
            bound(&[(1, 0), (2, 1)], &rules, &[("ab", &[1]), ("b", &[2])]),
            ["7 by 1: a {1} {2}", "8 by 1: a {1} {2}", "8 by 2: b {2} {}", "9 by 2: b {2} {}"]
        );
    }

    #[test]
    fn a_rule_that_comes_by_two_templates_comes_once() {
        assert_eq!(
            bound(&[(1, 0), (2, 1), (3, 1)], &[(7, 1, "cpu")], &[("ab", &[2, 3]), ("c", &[3])]),
            ["7 by 2: ab {1} {}", "7 by 3: c {1, 2} {}"]
        );
    }

    #[test]
    fn templates_in_a_circle_or_with_a_missing_parent_are_dropped() {
        let groups: [(&str, &[i64]); 1] = [("a", &[1, 2, 3])];
        let templates = [(1, 2), (2, 1), (3, 9)];
        assert_eq!(bound(&templates, &[(7, 1, "cpu"), (8, 3, "cpu")], &groups), [""; 0]);
        let long: Vec<(i64, i64)> = (1..=11).map(|id| (id, id - 1)).collect();
        assert_eq!(bound(&long, &[(7, 1, "cpu")], &[("a", &[11])]), [""; 0]);
        assert_eq!(bound(&long, &[(7, 1, "cpu")], &[("a", &[10])]), ["7 by 10: a {1} {}"]);
    }
}
