//! What a host is to do: its groups merged into one state, and which group gave what. Pure.
//!
//! Groups are applied parents first, by name among those of equal depth; what comes later goes before
//! what came earlier, key by key.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use wire::heartbeat::{DesiredState, PluginBundle};

use crate::digest::sha256_hex;
use crate::snapshot::Membership;

/// The state of a host, and where it comes from.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Desired {
    /// The state.
    pub(crate) state: DesiredState,
    /// Where each part comes from.
    pub(crate) origins: Vec<Origin>,
    /// What could not be handed out, in words.
    pub(crate) faults: Vec<String>,
}

/// Which groups had a say in one part of the state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Origin {
    /// The part, as `scrapes node`.
    pub(crate) part: String,
    /// The group that gave it; nothing when the group switched it off.
    pub(crate) group: String,
    /// Whether the group switched it off.
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) off: bool,
    /// Groups that had given it otherwise, the latest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) instead_of: Vec<String>,
}

fn is_false(flag: &bool) -> bool {
    !flag
}

/// Merges the groups of a host. `bundles` are all there are; `interval_seconds` is the heartbeat's
/// unless a group says otherwise.
pub(crate) fn merge(
    groups: &[Membership<'_>],
    bundles: &BTreeMap<String, PluginBundle>,
    interval_seconds: u32,
) -> Desired {
    let mut parts = Parts::default();
    let mut interval = Slot::default();
    for Membership { group, .. } in groups {
        let (name, spec) = (group.name.as_str(), &group.spec);
        if let Some(seconds) = spec.heartbeat_interval_seconds {
            interval.set(name, Some(seconds));
        }
        for (label, value) in &spec.labels {
            parts.labels.entry(label).or_default().set(name, Some(value));
        }
        for check in &spec.checks {
            parts.checks.entry(check).or_default().set(name, Some(()));
        }
        for bundle in &spec.bundles {
            parts.bundles.entry(bundle).or_default().set(name, Some(()));
        }
        for run in &spec.plugins {
            let key = (run.bundle.as_str(), run.path.as_str(), run.args.as_slice());
            let run = (run.interval_seconds > 0).then_some(run);
            parts.plugins.entry(key).or_default().set(name, run);
        }
        for job in &spec.scrapes {
            let job_or_off = (job.interval_seconds > 0).then_some(job);
            parts.scrapes.entry(job.name.as_str()).or_default().set(name, job_or_off);
        }
        for (tier, seconds) in &spec.tiers {
            parts.tiers.entry(tier).or_default().set(name, Some(*seconds));
        }
    }
    let faults = parts.bundles_of_plugins(bundles);
    let mut desired =
        Desired { origins: parts.origins(&interval), state: parts.state(bundles), faults };
    desired.state.heartbeat_interval_seconds = interval.value.unwrap_or(interval_seconds);
    desired.state.hash = hash(&desired.state);
    desired
}

/// SHA-256 in hex of all fields but the hash itself, as JSON.
pub(crate) fn hash(state: &DesiredState) -> String {
    let mut json = serde_json::to_value(state).expect("texts and numbers have a JSON form");
    if let Some(fields) = json.as_object_mut() {
        fields.remove("hash");
    }
    sha256_hex(json.to_string().as_bytes())
}

/// What the groups said so far about one key.
#[derive(Debug)]
struct Slot<'a, T> {
    value: Option<T>,
    groups: Vec<&'a str>,
}

impl<T> Default for Slot<'_, T> {
    fn default() -> Self {
        Self { value: None, groups: Vec::new() }
    }
}

impl<'a, T> Slot<'a, T> {
    fn set(&mut self, group: &'a str, value: Option<T>) {
        self.value = value;
        // A group may name a key twice.
        if self.groups.last() != Some(&group) {
            self.groups.push(group);
        }
    }

    fn origin(&self, part: String) -> Option<Origin> {
        let (group, before) = self.groups.split_last()?;
        Some(Origin {
            part,
            group: (*group).to_owned(),
            off: self.value.is_none(),
            instead_of: before.iter().rev().map(|group| (*group).to_owned()).collect(),
        })
    }
}

type Keyed<'a, K, T> = BTreeMap<K, Slot<'a, T>>;

#[derive(Debug, Default)]
struct Parts<'a> {
    labels: Keyed<'a, &'a str, &'a str>,
    checks: Keyed<'a, &'a wire::heartbeat::Check, ()>,
    bundles: Keyed<'a, &'a str, ()>,
    plugins: Keyed<'a, (&'a str, &'a str, &'a [String]), &'a wire::heartbeat::PluginRun>,
    scrapes: Keyed<'a, &'a str, &'a wire::heartbeat::ScrapeJob>,
    tiers: Keyed<'a, &'a str, u32>,
}

impl<'a> Parts<'a> {
    /// Adds the bundles that plugins are in, and takes out what needs a bundle or a file that there is
    /// not; says so of each.
    fn bundles_of_plugins(&mut self, bundles: &BTreeMap<String, PluginBundle>) -> Vec<String> {
        let mut faults = BTreeSet::new();
        self.plugins.retain(|(bundle, path, _), slot| {
            let Some(group) = slot.groups.last() else { return false };
            let is_there = bundles
                .get(*bundle)
                .is_some_and(|known| known.files.iter().any(|file| file.path == *path));
            if is_there && slot.value.is_some() {
                self.bundles.entry(bundle).or_default().set(group, Some(()));
            } else if slot.value.is_some() {
                faults.insert(format!("{group}: there is no file {path} in a bundle {bundle}"));
            }
            is_there
        });
        self.bundles.retain(|bundle, slot| {
            let is_there = bundles.contains_key(*bundle);
            if let Some(group) = slot.groups.last().filter(|_| !is_there) {
                faults.insert(format!("{group}: there is no bundle {bundle}"));
            }
            is_there
        });
        faults.into_iter().collect()
    }

    fn state(&self, bundles: &BTreeMap<String, PluginBundle>) -> DesiredState {
        let labels = self.labels.iter().filter_map(|(label, slot)| {
            slot.value.map(|value| ((*label).to_owned(), value.to_owned()))
        });
        let tiers = self
            .tiers
            .iter()
            .filter_map(|(tier, slot)| slot.value.map(|seconds| ((*tier).to_owned(), seconds)));
        DesiredState {
            labels: labels.collect(),
            checks: self.checks.keys().map(|check| (*check).to_owned()).collect(),
            bundles: self.bundles.keys().filter_map(|name| bundles.get(*name).cloned()).collect(),
            plugins: self.plugins.values().filter_map(|slot| slot.value.cloned()).collect(),
            scrapes: self.scrapes.values().filter_map(|slot| slot.value.cloned()).collect(),
            tiers: tiers.collect(),
            ..DesiredState::default()
        }
    }

    fn origins(&self, interval: &Slot<'a, u32>) -> Vec<Origin> {
        fn of<'s, K: 's, T: 's>(
            keyed: &'s Keyed<'_, K, T>,
            part: impl Fn(&K) -> String + 's,
        ) -> impl Iterator<Item = Origin> + 's {
            keyed.iter().filter_map(move |(key, slot)| slot.origin(part(key)))
        }
        let check = |check: &&wire::heartbeat::Check| {
            let json = serde_json::to_string(check).expect("texts and numbers have a JSON form");
            format!("checks {json}")
        };
        let interval = interval.origin("heartbeat_interval_seconds".to_owned());
        interval
            .into_iter()
            .chain(of(&self.labels, |label| format!("labels {label}")))
            .chain(of(&self.checks, check))
            .chain(of(&self.bundles, |bundle| format!("bundles {bundle}")))
            .chain(of(&self.plugins, |(bundle, path, args)| {
                format!("plugins {bundle}/{path} {}", args.join(" ")).trim_end().to_owned()
            }))
            .chain(of(&self.scrapes, |job| format!("scrapes {job}")))
            .chain(of(&self.tiers, |tier| format!("tiers {tier}")))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::snapshot::tests::snapshot;

    fn bundles() -> BTreeMap<String, PluginBundle> {
        let bundle = json!({ "sys": {
            "name": "sys", "digest": "d",
            "files": [{ "path": "60_ntp.py", "sha256": "s", "bytes": 1, "executable": true }],
        }});
        serde_json::from_value(bundle).expect("a bundle")
    }

    fn merged(groups: Value) -> Desired {
        let hosts: serde_json::Map<String, Value> = groups
            .as_object()
            .expect("groups by name")
            .keys()
            .map(|name| (name.clone(), json!(["h"])))
            .collect();
        let snapshot = snapshot(groups, Value::Object(hosts));
        merge(&snapshot.memberships("h", &BTreeMap::new()), &bundles(), 30)
    }

    fn origin(desired: &Desired, part: &str) -> (String, Vec<String>) {
        let found = desired.origins.iter().find(|origin| origin.part == part);
        found.map(|origin| (origin.group.clone(), origin.instead_of.clone())).expect(part)
    }

    #[test]
    fn a_deeper_group_goes_before_those_above_it() {
        let desired = merged(json!({
            "corp": { "labels": { "team": "ops", "idc": "bj" }, "heartbeat_interval_seconds": 60 },
            "corp.pay": { "labels": { "team": "pay" }, "tiers": { "disk": 60 } },
        }));
        let labels = &desired.state.labels;
        assert_eq!((labels["team"].as_str(), labels["idc"].as_str()), ("pay", "bj"));
        assert_eq!(desired.state.heartbeat_interval_seconds, 60);
        assert_eq!(
            origin(&desired, "labels team"),
            ("corp.pay".to_owned(), vec!["corp".to_owned()])
        );
        assert_eq!(origin(&desired, "tiers disk").0, "corp.pay");
    }

    #[test]
    fn of_groups_of_equal_depth_the_later_name_counts() {
        let desired = merged(json!({
            "b": { "labels": { "x": "b" } }, "a": { "labels": { "x": "a" } },
        }));
        assert_eq!(desired.state.labels["x"], "b");
    }

    #[test]
    fn checks_are_joined_and_the_same_one_is_made_once() {
        let ssh = json!({ "check": "port_listen", "port": 22 });
        let desired = merged(json!({
            "a": { "checks": [ssh, { "check": "proc_num", "name": "crond" }] },
            "a.b": { "checks": [ssh, ssh] },
        }));
        assert_eq!(desired.state.checks.len(), 2);
        assert_eq!(
            origin(&desired, r#"checks {"check":"port_listen","port":22}"#),
            ("a.b".to_owned(), vec!["a".to_owned()])
        );
    }

    #[test]
    fn an_interval_of_zero_switches_off_what_a_parent_has() {
        let job = |seconds: u32| json!({ "name": "node", "url": "http://127.0.0.1:9100/metrics", "interval_seconds": seconds });
        let run = |seconds: u32| json!({ "bundle": "sys", "path": "60_ntp.py", "interval_seconds": seconds });
        let desired = merged(json!({
            "a": { "scrapes": [job(15)], "plugins": [run(60)] },
            "a.b": { "scrapes": [job(0)], "plugins": [run(0)] },
        }));
        assert_eq!((desired.state.scrapes.len(), desired.state.plugins.len()), (0, 0));
        assert!(desired.state.bundles.is_empty(), "nothing of it is run");
        assert!(desired.origins.iter().all(|origin| origin.off && origin.group == "a.b"));
    }

    #[test]
    fn a_plugin_brings_its_bundle_and_a_missing_one_is_named() {
        let desired = merged(json!({ "a": {
            "bundles": ["gone"],
            "plugins": [
                { "bundle": "sys", "path": "60_ntp.py", "interval_seconds": 60 },
                { "bundle": "sys", "path": "other", "interval_seconds": 60 },
            ],
        }}));
        assert_eq!((desired.state.bundles.len(), desired.state.plugins.len()), (1, 1));
        assert_eq!(
            desired.faults,
            ["a: there is no bundle gone", "a: there is no file other in a bundle sys"]
        );
    }

    #[test]
    fn the_hash_names_the_content() {
        let (one, other) = (merged(json!({})), merged(json!({ "a": {} })));
        assert_eq!(one.state.hash.len(), 64);
        assert_eq!(one.state.hash, other.state.hash, "an empty group changes nothing");
        assert_eq!(hash(&one.state), one.state.hash, "the hash is not a part of itself");
        assert_ne!(one.state.hash, merged(json!({ "a": { "labels": { "x": "y" } } })).state.hash);
    }

    proptest! {
        #[test]
        fn the_deepest_group_always_wins(depths in prop::collection::btree_set(1_usize..8, 1..5)) {
            let groups: serde_json::Map<String, Value> = depths.iter().map(|&depth| {
                let name = vec!["g"; depth].join(".");
                (name, json!({ "labels": { "depth": depth.to_string() } }))
            }).collect();
            let deepest = depths.last().map(ToString::to_string);
            let desired = merged(Value::Object(groups));
            prop_assert_eq!(desired.state.labels.get("depth"), deepest.as_ref());
        }
    }
}
