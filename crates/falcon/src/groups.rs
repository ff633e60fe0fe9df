//! Groups of hosts: their names in the service tree, their members, and the checks that their rules need.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use wire::heartbeat::Check;

use crate::binding::Bound;
use crate::portal::Portal;
use crate::report::{Entry, Note, Origin, Outcome};
use crate::strategy::member_of;

/// hbs takes names of at most this many bytes and words.
const NAME_BYTES_MAX: usize = 190;
const NAME_WORDS_MAX: usize = 16;

/// A group for hbs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HostGroup {
    /// Its name in the service tree.
    pub name: String,
    /// What it is for. Its beginning marks what was imported.
    pub description: String,
    /// Its hosts.
    pub members: BTreeSet<String>,
    /// What its hosts must check for the rules of its templates.
    pub checks: BTreeSet<Check>,
}

impl HostGroup {
    /// What the description of every imported group begins with.
    pub const MARK: &'static str = "Imported from Open-Falcon";
}

/// What the groups are called here.
#[derive(Debug)]
pub(crate) struct GroupNames<'p> {
    originals: &'p BTreeMap<i64, String>,
}

impl<'p> GroupNames<'p> {
    pub(crate) fn new(portal: &'p Portal) -> Self {
        Self { originals: &portal.groups }
    }

    /// The name there.
    pub(crate) fn original(&self, group: i64) -> &'p str {
        self.originals.get(&group).map_or("?", String::as_str)
    }

    /// The name here: the same when hbs takes it.
    pub(crate) fn name(&self, group: i64) -> String {
        let original = self.original(group);
        if is_name(original) { original.to_owned() } else { format!("falcon.grp-{group}") }
    }

    /// A vector with the hosts of these groups.
    pub(crate) fn member(&self, groups: &BTreeSet<i64>) -> String {
        let names: Vec<String> = groups.iter().map(|group| self.name(*group)).collect();
        member_of(&names)
    }
}

fn is_name(name: &str) -> bool {
    let is_word = |word: &str| {
        let is_letter = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        !word.is_empty() && word.chars().all(is_letter)
    };
    name.len() <= NAME_BYTES_MAX
        && name.split('.').count() <= NAME_WORDS_MAX
        && name.split('.').all(is_word)
}

/// The groups, and what is worth telling of each.
pub(crate) fn host_groups(
    portal: &Portal,
    names: &GroupNames<'_>,
    bound: &[Bound<'_>],
) -> (Vec<HostGroup>, Vec<Entry>) {
    let mut checks: BTreeMap<i64, BTreeSet<Check>> = BTreeMap::new();
    for bound in bound {
        let check = Check::of_strategy(&bound.strategy.metric, &bound.strategy.tags);
        let Ok(check) = check else { continue };
        for group in &bound.groups {
            checks.entry(*group).or_default().insert(check.clone());
        }
    }
    let mut groups = Vec::new();
    let mut entries = Vec::new();
    for (id, original) in &portal.groups {
        let name = names.name(*id);
        let mut notes = Vec::new();
        if name != *original {
            let text = format!("its name is none that hbs takes; it is {name} here");
            notes.push(Note::new("name", text));
        }
        let above = portal.groups.values().find(|above| {
            original.strip_prefix(above.as_str()).is_some_and(|rest| rest.starts_with('.'))
        });
        if let Some(above) = above {
            let text = format!("it lies below {above} here: what that group holds goes for it too");
            notes.push(Note::new("name", text));
        }
        let folders = portal.plugin_folders.get(id).into_iter().flatten();
        let folders: Vec<&str> = folders.map(String::as_str).collect();
        if !folders.is_empty() {
            let text = format!(
                "its plugins ({}) are not imported: send them to hbs as a bundle and name them in the group",
                folders.join(", ")
            );
            notes.push(Note::new("plugins", text));
        }
        let outcome = if notes.is_empty() { Outcome::Same } else { Outcome::Differs };
        let origin = Origin::Group(*id);
        entries.push(Entry {
            origin,
            name: original.clone(),
            outcome,
            rule_groups: Vec::new(),
            notes,
        });
        groups.push(HostGroup {
            name,
            description: format!("{}: group {id}, {original}", HostGroup::MARK),
            members: portal.hosts_of(*id).into_iter().map(str::to_owned).collect(),
            checks: checks.remove(id).unwrap_or_default(),
        });
    }
    (groups, entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_when_hbs_takes_it() {
        let originals = BTreeMap::from([
            (1, "cop.pay_owt.web-1".to_owned()),
            (2, "web servers".to_owned()),
            (3, "测试".to_owned()),
            (4, "a..b".to_owned()),
        ]);
        let names = GroupNames { originals: &originals };
        let all: Vec<String> = (1..=4).map(|id| names.name(id)).collect();
        assert_eq!(all, ["cop.pay_owt.web-1", "falcon.grp-2", "falcon.grp-3", "falcon.grp-4"]);
        assert_eq!(
            names.member(&BTreeSet::from([1, 2])),
            r#"group by (endpoint) (host_group{group=~"cop\\.pay_owt\\.web-1|falcon\\.grp-2"})"#
        );
    }
}
