//! All groups as they stood at one moment, ready to be asked which of them a host is in. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use model::Timestamp;
use serde::{Deserialize, Serialize};
use wire::heartbeat::PluginBundle;

use crate::digest::sha256_hex;
use crate::group::{self, GroupSpec, Matched};

/// What a snapshot is made of, as it is shared between hbs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Parts {
    /// Number of the latest change that is in it.
    pub(crate) generation: i64,
    /// The groups.
    pub(crate) groups: Vec<Group>,
    /// Hosts in each group by hand, by the group's name.
    pub(crate) by_hand: BTreeMap<String, BTreeSet<String>>,
    /// The bundles by name.
    pub(crate) bundles: BTreeMap<String, PluginBundle>,
    /// Maintenance windows that are not over, and those that ended a short while ago.
    pub(crate) maintenance: Vec<Window>,
}

/// A group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Group {
    /// Its name with those of its parents.
    pub(crate) name: String,
    /// 1 for a new group, and one more with every change.
    pub(crate) version: i64,
    /// Its latest change.
    pub(crate) updated_at: Timestamp,
    /// What it holds.
    pub(crate) spec: GroupSpec,
}

/// A maintenance window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Window {
    /// Its identity.
    pub(crate) id: String,
    /// The host, when it is for one.
    pub(crate) host: Option<String>,
    /// The group, when it is for one and those below it.
    pub(crate) group: Option<String>,
    /// Its first moment.
    pub(crate) starts_at: Timestamp,
    /// The moment it is over.
    pub(crate) ends_at: Timestamp,
    /// Why.
    pub(crate) reason: String,
    /// Who made it.
    pub(crate) created_by: String,
}

/// The groups with what is needed to find those of a host.
#[derive(Debug)]
pub(crate) struct Snapshot {
    parts: Parts,
    /// SHA-256 in hex of the parts: two snapshots with one id are equal.
    id: String,
    /// The beginning of the id, to compare with.
    mark: u64,
    by_name: HashMap<String, usize>,
    by_hand: HashMap<String, Vec<usize>>,
    /// Groups that a rule may put hosts into.
    ruled: Vec<usize>,
}

/// Why a host is in a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(crate) enum Reason<'a> {
    /// Somebody put it there.
    Hand {
        /// Always `hand`.
        by: &'static str,
    },
    /// A rule of the group.
    Rule(Matched<'a>),
    /// It is in a group below.
    Below {
        /// Always `group`.
        by: &'static str,
        /// The group below.
        group: &'a str,
    },
}

/// A group that a host is in, and why.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Membership<'a> {
    /// The group.
    pub(crate) group: &'a Group,
    /// Why.
    pub(crate) reason: Reason<'a>,
}

impl Snapshot {
    /// A snapshot of these parts.
    pub(crate) fn new(mut parts: Parts) -> Self {
        parts.groups.sort_by(|a, b| {
            (group::depth(&a.name), &a.name).cmp(&(group::depth(&b.name), &b.name))
        });
        let groups = || parts.groups.iter().enumerate();
        let by_name: HashMap<String, usize> =
            groups().map(|(at, group)| (group.name.clone(), at)).collect();
        let mut by_hand: HashMap<String, Vec<usize>> = HashMap::new();
        for (group, hosts) in &parts.by_hand {
            let Some(&at) = by_name.get(group) else { continue };
            for host in hosts {
                by_hand.entry(host.to_owned()).or_default().push(at);
            }
        }
        let has_rules =
            |spec: &GroupSpec| !spec.host_patterns.is_empty() || !spec.host_labels.is_empty();
        let ruled =
            groups().filter(|(_, group)| has_rules(&group.spec)).map(|(at, _)| at).collect();
        let id = sha256_hex(&encode(&parts));
        let mark = u64::from_str_radix(&id[..16], 16).unwrap_or(0);
        Self { parts, id, mark, by_name, by_hand, ruled }
    }

    /// Reads what [`Snapshot::encoded`] wrote.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes).map(Self::new)
    }

    /// The bytes that are shared.
    pub(crate) fn encoded(&self) -> Vec<u8> {
        encode(&self.parts)
    }

    /// SHA-256 in hex of its content.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Equal for snapshots of equal content.
    pub(crate) fn mark(&self) -> u64 {
        self.mark
    }

    /// Number of the latest change in it.
    pub(crate) fn generation(&self) -> i64 {
        self.parts.generation
    }

    /// The groups, parents before children, and by name among those of equal depth.
    pub(crate) fn groups(&self) -> &[Group] {
        &self.parts.groups
    }

    /// A group by its name.
    pub(crate) fn group(&self, name: &str) -> Option<&Group> {
        self.by_name.get(name).map(|&at| &self.parts.groups[at])
    }

    /// Whether there is a group of this name or one below it: parents need not exist.
    pub(crate) fn has_place(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
            || self.groups().iter().any(|group| is_or_is_below(&group.name, name))
    }

    /// How many hosts are in groups by hand, counted once a group.
    pub(crate) fn by_hand(&self) -> usize {
        self.parts.by_hand.values().map(BTreeSet::len).sum()
    }

    /// The bundles by name.
    pub(crate) fn bundles(&self) -> &BTreeMap<String, PluginBundle> {
        &self.parts.bundles
    }

    /// The maintenance windows, by their start.
    pub(crate) fn maintenance(&self) -> &[Window] {
        &self.parts.maintenance
    }

    /// The groups of a host and those above them, parents first, each with the reason.
    pub(crate) fn memberships(
        &self,
        host: &str,
        labels: &BTreeMap<String, String>,
    ) -> Vec<Membership<'_>> {
        let mut found: BTreeMap<usize, Reason<'_>> = BTreeMap::new();
        for &at in self.by_hand.get(host).into_iter().flatten() {
            found.insert(at, Reason::Hand { by: "hand" });
        }
        for &at in &self.ruled {
            let matched = || self.parts.groups[at].spec.matches(host, labels);
            if !found.contains_key(&at)
                && let Some(matched) = matched()
            {
                found.insert(at, Reason::Rule(matched));
            }
        }
        let direct: Vec<usize> = found.keys().copied().collect();
        // The deepest last, so that a parent is explained by the deepest of its groups.
        for below in direct {
            let group = self.parts.groups[below].name.as_str();
            for above in group::parents(group).filter_map(|parent| self.by_name.get(parent)) {
                found.entry(*above).or_insert(Reason::Below { by: "group", group });
            }
        }
        let membership =
            |(at, reason): (usize, _)| Membership { group: &self.parts.groups[at], reason };
        found.into_iter().map(membership).collect()
    }

    /// The names of the groups whose rules match a host.
    pub(crate) fn matching(
        &self,
        host: &str,
        labels: &BTreeMap<String, String>,
    ) -> BTreeSet<String> {
        let groups = self.ruled.iter().map(|&at| &self.parts.groups[at]);
        let matching = groups.filter(|group| group.spec.matches(host, labels).is_some());
        matching.map(|group| group.name.clone()).collect()
    }

    /// The window that a host is in at `now`, of its own or of one of its groups.
    pub(crate) fn window_of(
        &self,
        host: &str,
        labels: &BTreeMap<String, String>,
        now: Timestamp,
    ) -> Option<&Window> {
        let open = |window: &&Window| window.starts_at <= now && now < window.ends_at;
        let mut groups: Option<Vec<&str>> = None;
        self.parts.maintenance.iter().filter(open).find(|window| match &window.group {
            None => window.host.as_deref() == Some(host),
            Some(group) => groups
                .get_or_insert_with(|| {
                    let all = self.memberships(host, labels);
                    all.into_iter().map(|membership| membership.group.name.as_str()).collect()
                })
                .iter()
                .any(|name| is_or_is_below(name, group)),
        })
    }
}

/// Whether a group is `above` or lies below it.
pub(crate) fn is_or_is_below(name: &str, above: &str) -> bool {
    name.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

fn encode(parts: &Parts) -> Vec<u8> {
    serde_json::to_vec(parts).expect("texts and numbers always have a JSON form")
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// A snapshot of groups by name, with members by hand.
    pub(crate) fn snapshot(groups: Value, by_hand: Value) -> Snapshot {
        let groups: BTreeMap<String, GroupSpec> = serde_json::from_value(groups).expect("groups");
        let groups = groups.into_iter().map(|(name, spec)| Group {
            name,
            version: 1,
            updated_at: Timestamp(0),
            spec,
        });
        let by_hand = serde_json::from_value(by_hand).expect("hosts by group");
        Snapshot::new(Parts { groups: groups.collect(), by_hand, ..Parts::default() })
    }

    fn tree() -> Snapshot {
        let groups = json!({
            "corp": {}, "corp.pay.web": { "host_patterns": ["web-*"] },
            "db": { "host_labels": [{ "role": "db" }] }, "corp.pay": {}, "other": {},
        });
        snapshot(groups, json!({ "corp.pay": ["by-hand"], "other": ["web-1"], "gone": ["web-1"] }))
    }

    fn groups(snapshot: &Snapshot, host: &str, role: &str) -> Vec<String> {
        let labels = BTreeMap::from([("role".to_owned(), role.to_owned())]);
        let all = snapshot.memberships(host, &labels);
        all.iter()
            .map(|membership| {
                let reason = serde_json::to_value(&membership.reason).unwrap();
                format!("{} {}", membership.group.name, reason["by"].as_str().unwrap())
            })
            .collect()
    }

    #[test]
    fn a_host_is_in_its_groups_and_in_those_above_parents_first() {
        let tree = tree();
        assert_eq!(
            groups(&tree, "web-1", "db"),
            ["corp group", "db labels", "other hand", "corp.pay group", "corp.pay.web pattern"]
        );
        assert_eq!(groups(&tree, "by-hand", ""), ["corp group", "corp.pay hand"]);
        assert_eq!(groups(&tree, "stranger", ""), [""; 0]);
    }

    #[test]
    fn a_snapshot_reads_back_and_equal_content_has_one_id() {
        let tree = tree();
        let again = Snapshot::decode(&tree.encoded()).expect("just written");
        assert_eq!((again.id(), again.mark()), (tree.id(), tree.mark()));
        assert_ne!(tree.id(), Snapshot::new(Parts::default()).id());
        assert!(Snapshot::decode(b"{").is_err());
    }

    #[test]
    fn a_window_of_a_group_is_one_of_the_hosts_below_it_until_it_ends() {
        let Snapshot { mut parts, .. } = tree();
        let window = |id: &str, host: Option<&str>, group: Option<&str>| Window {
            id: id.to_owned(),
            host: host.map(str::to_owned),
            group: group.map(str::to_owned),
            starts_at: Timestamp(10),
            ends_at: Timestamp(20),
            reason: String::new(),
            created_by: String::new(),
        };
        parts.maintenance = vec![window("g", None, Some("corp.pay")), window("h", Some("x"), None)];
        let snapshot = Snapshot::new(parts);
        let none = BTreeMap::new();
        let of = |host: &str, now: i64| {
            snapshot.window_of(host, &none, Timestamp(now)).map(|window| window.id.as_str())
        };
        assert_eq!((of("web-1", 9), of("web-1", 10), of("web-1", 20)), (None, Some("g"), None));
        assert_eq!((of("x", 19), of("y", 19)), (Some("h"), None));
        assert!(is_or_is_below("a.b", "a") && !is_or_is_below("ab", "a"));
    }
}
