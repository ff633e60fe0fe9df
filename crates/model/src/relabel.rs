//! Relabelling with the fields, actions and defaults of Prometheus' `metric_relabel_configs`: labels
//! in, labels out, or nothing when a rule drops the series.

use md5::{Digest, Md5};
use regex::Regex;
use serde::{Deserialize, Serialize};

use crate::{Labels, PatternScope, compile_pattern};

const DEFAULT_SEPARATOR: &str = ";";
const DEFAULT_REGEX: &str = "(.*)";
const DEFAULT_REPLACEMENT: &str = "$1";

/// One rule, such as `[[transfer.relabel]]` in the configuration. What is left out has Prometheus' default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RelabelRule {
    /// Labels whose values are joined to what `regex` is matched against.
    pub source_labels: Vec<String>,
    /// What stands between the joined values.
    pub separator: String,
    /// The label that is written; may hold `$1` with `replace`.
    pub target_label: String,
    /// Must match the whole of its subject.
    pub regex: String,
    /// What the hash of the joined values is divided by, for `hashmod`.
    pub modulus: u64,
    /// What is written; `$1`, `${name}` are groups of `regex`.
    pub replacement: String,
    /// What is done.
    pub action: Action,
}

impl Default for RelabelRule {
    fn default() -> Self {
        Self {
            source_labels: Vec::new(),
            separator: DEFAULT_SEPARATOR.to_owned(),
            target_label: String::new(),
            regex: DEFAULT_REGEX.to_owned(),
            modulus: 0,
            replacement: DEFAULT_REPLACEMENT.to_owned(),
            action: Action::Replace,
        }
    }
}

/// What a rule does. "The source" is the joined values of `source_labels`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Writes `replacement` to `target_label` if the source matches; an empty result removes it.
    Replace,
    /// Drops the series unless the source matches.
    Keep,
    /// Drops the series if the source matches.
    Drop,
    /// Drops the series unless the source equals the value of `target_label`.
    KeepEqual,
    /// Drops the series if the source equals the value of `target_label`.
    DropEqual,
    /// Writes the MD5 of the source, modulo `modulus`, to `target_label`.
    HashMod,
    /// Copies each label whose name matches to the name that `replacement` makes of it.
    LabelMap,
    /// Removes the labels whose names match.
    LabelDrop,
    /// Removes the labels whose names do not match.
    LabelKeep,
    /// Writes the source in lower case to `target_label`.
    Lowercase,
    /// Writes the source in upper case to `target_label`.
    Uppercase,
}

impl RelabelRule {
    /// What is wrong with the rule, its regex compiled as `P`; empty when nothing is.
    pub fn faults<P: Pattern>(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if let Err(error) = self.compile_regex::<P>() {
            faults.push(format!("regex {:?} cannot be used: {error}", self.regex));
        }
        let word = self.action.as_str();
        if self.action.writes_target() && self.target_label.is_empty() {
            faults.push(format!("{word} needs target_label"));
        }
        if self.action != Action::Replace && self.target_label.contains('$') {
            faults.push(format!("{word} takes target_label as it is, without groups such as $1"));
        }
        if self.action == Action::HashMod && self.modulus == 0 {
            faults.push("hashmod needs modulus, at least 1".to_owned());
        }
        if self.action == Action::LabelMap && self.replacement.is_empty() {
            faults.push("labelmap needs a replacement".to_owned());
        }
        let superfluous = self.superfluous();
        if !superfluous.is_empty() {
            faults.push(format!("{word} does not use {}: leave it out", superfluous.join(", ")));
        }
        faults
    }

    /// The fields that are set and that the action would not look at.
    fn superfluous(&self) -> Vec<&'static str> {
        let set = [
            ("source_labels", !self.source_labels.is_empty()),
            ("separator", self.separator != DEFAULT_SEPARATOR),
            ("target_label", !self.target_label.is_empty()),
            ("regex", self.regex != DEFAULT_REGEX),
            ("modulus", self.modulus != 0),
            ("replacement", self.replacement != DEFAULT_REPLACEMENT),
        ];
        // Only where Prometheus refuses them too, so that its rules can be taken over as they are.
        let refused: &[&str] = match self.action {
            Action::LabelDrop | Action::LabelKeep => {
                &["source_labels", "separator", "target_label", "modulus", "replacement"]
            }
            Action::KeepEqual | Action::DropEqual => {
                &["separator", "regex", "modulus", "replacement"]
            }
            Action::Lowercase | Action::Uppercase => &["replacement"],
            _ => &[],
        };
        set.into_iter()
            .filter(|(key, set)| *set && refused.contains(key))
            .map(|(key, _)| key)
            .collect()
    }

    fn compile_regex<P: Pattern>(&self) -> Result<P, String> {
        P::compile(&self.regex)
    }
}

impl Action {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Replace => "replace",
            Self::Keep => "keep",
            Self::Drop => "drop",
            Self::KeepEqual => "keepequal",
            Self::DropEqual => "dropequal",
            Self::HashMod => "hashmod",
            Self::LabelMap => "labelmap",
            Self::LabelDrop => "labeldrop",
            Self::LabelKeep => "labelkeep",
            Self::Lowercase => "lowercase",
            Self::Uppercase => "uppercase",
        }
    }

    const fn writes_target(self) -> bool {
        !matches!(
            self,
            Self::Keep | Self::Drop | Self::LabelMap | Self::LabelDrop | Self::LabelKeep
        )
    }
}

/// The engine of the regular expressions. Central services take [`Regex`]; the agent, which has to stay small,
/// brings one without the tables of Unicode.
pub trait Pattern: Sized {
    /// Reads an expression that has to match all of a text; the error says in words what is wrong with it.
    ///
    /// # Errors
    /// When it is no expression, or one that would be too large.
    fn compile(expression: &str) -> Result<Self, String>;
    /// Whether the expression matches `text`.
    fn is_match(&self, text: &str) -> bool;
    /// The two templates with the groups of the match of `text`; `None` when there is none.
    fn expand(&self, text: &str, templates: [&str; 2]) -> Option<[String; 2]>;
}

impl Pattern for Regex {
    fn compile(expression: &str) -> Result<Self, String> {
        compile_pattern(expression, PatternScope::Whole).map_err(|error| error.to_string())
    }

    fn is_match(&self, text: &str) -> bool {
        Self::is_match(self, text)
    }

    fn expand(&self, text: &str, templates: [&str; 2]) -> Option<[String; 2]> {
        let groups = self.captures(text)?;
        Some(templates.map(|template| {
            let mut expanded = String::new();
            groups.expand(template, &mut expanded);
            expanded
        }))
    }
}

/// The rules, ready for use.
#[derive(Debug)]
pub struct Relabel<P = Regex>(Vec<(RelabelRule, P)>);

impl<P> Default for Relabel<P> {
    /// No rules: every series passes unchanged.
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<P: Pattern> Relabel<P> {
    /// Rules that [`RelabelRule::faults`] has nothing against.
    ///
    /// # Errors
    /// When an expression cannot be read: what is wrong with it.
    pub fn new(rules: &[RelabelRule]) -> Result<Self, String> {
        rules
            .iter()
            .map(|rule| Ok((rule.clone(), rule.compile_regex()?)))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Whether every series passes unchanged.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The labels after all rules; `None` when one of them drops the series.
    pub fn apply(&self, labels: &Labels) -> Option<Labels> {
        let mut labels = labels.clone();
        for (rule, regex) in &self.0 {
            labels = rule.apply(regex, labels)?;
        }
        Some(labels)
    }
}

impl RelabelRule {
    fn apply<P: Pattern>(&self, regex: &P, labels: Labels) -> Option<Labels> {
        let kept = |keep: bool, labels| if keep { Some(labels) } else { None };
        let target = || labels.get(&self.target_label).unwrap_or("");
        match self.action {
            Action::Replace => Some(self.replace(regex, labels)),
            Action::Keep => kept(regex.is_match(&self.source(&labels)), labels),
            Action::Drop => kept(!regex.is_match(&self.source(&labels)), labels),
            Action::KeepEqual => kept(self.source(&labels) == target(), labels),
            Action::DropEqual => kept(self.source(&labels) != target(), labels),
            Action::HashMod => {
                let bucket = md5_tail(self.source(&labels).as_bytes()) % self.modulus.max(1);
                Some(labels.with(&self.target_label, &bucket.to_string()))
            }
            Action::LabelMap => Some(self.map_names(regex, &labels)),
            Action::LabelDrop => Some(retain(&labels, |name| !regex.is_match(name))),
            Action::LabelKeep => Some(retain(&labels, |name| regex.is_match(name))),
            Action::Lowercase => {
                Some(labels.with(&self.target_label, &self.source(&labels).to_lowercase()))
            }
            Action::Uppercase => {
                Some(labels.with(&self.target_label, &self.source(&labels).to_uppercase()))
            }
        }
    }

    fn source(&self, labels: &Labels) -> String {
        let mut joined = String::new();
        for (at, name) in self.source_labels.iter().enumerate() {
            if at > 0 {
                joined.push_str(&self.separator);
            }
            joined.push_str(labels.get(name).unwrap_or(""));
        }
        joined
    }

    fn replace<P: Pattern>(&self, regex: &P, labels: Labels) -> Labels {
        let expanded = regex.expand(&self.source(&labels), [&self.target_label, &self.replacement]);
        let Some([target, value]) = expanded else { return labels };
        if target.is_empty() { labels } else { labels.with(&target, &value) }
    }

    fn map_names<P: Pattern>(&self, regex: &P, labels: &Labels) -> Labels {
        let mut mapped = labels.edit();
        for (name, value) in labels.iter() {
            let Some([target, _]) = regex.expand(name, [&self.replacement, ""]) else { continue };
            if !target.is_empty() {
                mapped.set(&target, value);
            }
        }
        mapped.build()
    }
}

fn retain(labels: &Labels, keep: impl Fn(&str) -> bool) -> Labels {
    let names: Vec<&str> = labels.iter().map(|(name, _)| name).filter(|name| keep(name)).collect();
    labels.only(&names)
}

/// The last eight bytes of the MD5, so that buckets are those of Prometheus.
fn md5_tail(bytes: &[u8]) -> u64 {
    let digest = Md5::digest(bytes);
    digest.iter().skip(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SERIES: [(&str, &str); 4] =
        [("__name__", "cpu_idle"), ("endpoint", "Web-01.bj"), ("idc", "bj"), ("tmp_x", "1")];

    fn rule(toml: &str) -> RelabelRule {
        toml::from_str(toml).expect("the rule can be read")
    }

    fn relabelled(toml: &str, pairs: &[(&str, &str)]) -> Option<String> {
        let rule = rule(toml);
        assert_eq!(rule.faults::<Regex>(), Vec::<String>::new(), "{toml}");
        let relabel = Relabel::<Regex>::new(&[rule]).expect("the rule has no fault");
        relabel.apply(&Labels::from_pairs(pairs.iter().copied())).map(|labels| labels.to_string())
    }

    fn check(toml: &str, expected: Option<&str>) {
        assert_eq!(relabelled(toml, &SERIES).as_deref(), expected, "{toml}");
    }

    const UNCHANGED: Option<&str> =
        Some("cpu_idle{endpoint=\"Web-01.bj\", idc=\"bj\", tmp_x=\"1\"}");

    #[test]
    fn replace_writes_what_the_groups_hold() {
        check(
            "source_labels = ['endpoint']\nregex = '([^.]+)[.](.*)'\ntarget_label = 'host_$2'\nreplacement = '${1}!'",
            Some("cpu_idle{endpoint=\"Web-01.bj\", host_bj=\"Web-01!\", idc=\"bj\", tmp_x=\"1\"}"),
        );
        check("source_labels = ['endpoint']\nregex = 'Web'\ntarget_label = 'idc'", UNCHANGED);
        check(
            "source_labels = ['idc', 'none', 'tmp_x']\nseparator = '/'\ntarget_label = 'idc'",
            Some("cpu_idle{endpoint=\"Web-01.bj\", idc=\"bj//1\", tmp_x=\"1\"}"),
        );
        let emptied = "target_label = 'idc'\nreplacement = ''";
        check(emptied, Some("cpu_idle{endpoint=\"Web-01.bj\", tmp_x=\"1\"}"));
        check("target_label = '$1'\nreplacement = 'x'", UNCHANGED);
        assert_eq!(
            relabelled("source_labels = ['a']\ntarget_label = 'b'", &[("a", "x\ny")]).as_deref(),
            Some("{a=\"x\\ny\", b=\"x\\ny\"}"),
            "a dot matches the end of a line too"
        );
    }

    #[test]
    fn keep_and_drop_look_at_the_whole_source() {
        check("action = 'keep'\nsource_labels = ['idc']\nregex = 'bj|sh'", UNCHANGED);
        check("action = 'keep'\nsource_labels = ['idc']\nregex = 'b'", None);
        check("action = 'drop'\nsource_labels = ['idc', '__name__']\nregex = 'bj;cpu_.*'", None);
        check("action = 'drop'\nsource_labels = ['idc']\nregex = 'b'", UNCHANGED);
    }

    #[test]
    fn keepequal_and_dropequal_compare_with_the_target() {
        let equal = [("a", "1"), ("b", "1")];
        let other = [("a", "1"), ("b", "2")];
        let keep = "action = 'keepequal'\nsource_labels = ['a']\ntarget_label = 'b'";
        let drop = "action = 'dropequal'\nsource_labels = ['a']\ntarget_label = 'b'";
        assert!(relabelled(keep, &equal).is_some() && relabelled(keep, &other).is_none());
        assert!(relabelled(drop, &equal).is_none() && relabelled(drop, &other).is_some());
    }

    #[test]
    fn hashmod_makes_the_buckets_of_prometheus() {
        // The MD5 of "foo" is acbd18db4cc2f85cedef654fccc4a4d8.
        assert_eq!(md5_tail(b"foo"), 0xedef_654f_ccc4_a4d8);
        let toml = "action = 'hashmod'\nsource_labels = ['a']\ntarget_label = 'b'\nmodulus = 1000";
        let bucket = 0xedef_654f_ccc4_a4d8_u64 % 1000;
        assert_eq!(
            relabelled(toml, &[("a", "foo")]),
            Some(format!("{{a=\"foo\", b=\"{bucket}\"}}"))
        );
    }

    #[test]
    fn labelmap_copies_under_other_names() {
        check(
            "action = 'labelmap'\nregex = 'tmp_(.+)'\nreplacement = 'kept_$1'",
            Some("cpu_idle{endpoint=\"Web-01.bj\", idc=\"bj\", kept_x=\"1\", tmp_x=\"1\"}"),
        );
        check("action = 'labelmap'\nregex = 'nothing'", UNCHANGED);
    }

    #[test]
    fn labeldrop_and_labelkeep_go_by_name() {
        check(
            "action = 'labeldrop'\nregex = 'tmp_.*|idc'",
            Some("cpu_idle{endpoint=\"Web-01.bj\"}"),
        );
        check("action = 'labelkeep'\nregex = '__name__|idc'", Some("cpu_idle{idc=\"bj\"}"));
        check("action = 'labelkeep'\nregex = 'none'", Some("{}"));
    }

    #[test]
    fn lowercase_and_uppercase_write_the_source() {
        let lower = "action = 'lowercase'\nsource_labels = ['endpoint']\ntarget_label = 'endpoint'";
        check(lower, Some("cpu_idle{endpoint=\"web-01.bj\", idc=\"bj\", tmp_x=\"1\"}"));
        let upper = "action = 'uppercase'\nsource_labels = ['idc']\ntarget_label = 'idc'";
        check(upper, Some("cpu_idle{endpoint=\"Web-01.bj\", idc=\"BJ\", tmp_x=\"1\"}"));
    }

    #[test]
    fn rules_go_one_after_the_other() {
        let rules = [
            rule("source_labels = ['idc']\ntarget_label = 'zone'"),
            rule("action = 'labeldrop'\nregex = 'idc'"),
            rule("action = 'drop'\nsource_labels = ['zone']\nregex = 'sh'"),
        ];
        let relabel = Relabel::<Regex>::new(&rules).expect("they have no fault");
        let apply = |idc: &str| relabel.apply(&Labels::from_pairs([("idc", idc)]));
        assert_eq!(apply("bj"), Some(Labels::from_pairs([("zone", "bj")])));
        assert_eq!(apply("sh"), None);
    }

    #[test]
    fn faults_are_all_named() {
        let faults = |toml: &str| rule(toml).faults::<Regex>();
        assert_eq!(faults("regex = '('").len(), 2, "the regex, and no target");
        assert_eq!(faults("action = 'lowercase'"), ["lowercase needs target_label"]);
        let hashmod = "action = 'hashmod'\ntarget_label = '$1'";
        assert_eq!(
            faults(hashmod),
            [
                "hashmod takes target_label as it is, without groups such as $1",
                "hashmod needs modulus, at least 1"
            ]
        );
        assert_eq!(
            faults("action = 'labeldrop'\nregex = 'a'\nsource_labels = ['b']\nreplacement = 'x'"),
            ["labeldrop does not use source_labels, replacement: leave it out"]
        );
        assert_eq!(
            faults("action = 'keepequal'\ntarget_label = 'a'\nregex = 'x'"),
            ["keepequal does not use regex: leave it out"]
        );
        assert_eq!(
            faults("action = 'labelmap'\nreplacement = ''"),
            ["labelmap needs a replacement"]
        );
        assert!(toml::from_str::<RelabelRule>("action = 'explode'").is_err());
        assert!(toml::from_str::<RelabelRule>("target = 'a'").is_err());
    }

    proptest! {
        #[test]
        fn a_rule_without_faults_never_panics(
            pairs in proptest::collection::vec(("[a-c]{1,2}", ".{0,6}"), 0..5),
            regex in "[a-c().*$|+]{0,6}", target in "[a-c$1{}]{1,5}", replacement in "[a-c$1{}]{0,5}",
            action in 0usize..11,
        ) {
            let actions = [
                "replace", "keep", "drop", "keepequal", "dropequal", "hashmod", "labelmap", "labeldrop",
                "labelkeep", "lowercase", "uppercase",
            ];
            let action = rule(&format!("action = '{}'", actions[action])).action;
            let rule = RelabelRule {
                source_labels: vec!["a".into(), "b".into()],
                target_label: target,
                regex,
                modulus: 3,
                replacement,
                action,
                ..RelabelRule::default()
            };
            let labels = Labels::from_pairs(pairs);
            if let Ok(relabel) = Relabel::<Regex>::new(&[rule]) {
                let _ = relabel.apply(&labels);
            }
        }
    }
}
