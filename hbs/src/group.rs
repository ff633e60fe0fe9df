//! A group of the service tree: its name, what it holds, and which hosts its rules match. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use wire::heartbeat::{Check, PluginRun, ScrapeJob};

const NAME_BYTES_MAX: usize = 190;
const DEPTH_MAX: usize = 16;
const LIST_MAX: usize = 1000;
const TEXT_BYTES_MAX: usize = 1024;
const INTERVAL_SECONDS_MAX: u32 = 86_400;
/// Agents do not wait longer between heartbeats, whatever they are told.
const HEARTBEAT_SECONDS_MAX: u32 = 600;

/// What a group holds. All of it goes for the groups below it too.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct GroupSpec {
    /// What it is for, in words.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) description: String,
    /// A host is a member when its name matches one of these: `*` stands for any letters, `?` for one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) host_patterns: Vec<String>,
    /// A host is a member when its own labels have all labels of one of these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) host_labels: Vec<BTreeMap<String, String>>,
    /// Seconds between two heartbeats.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) heartbeat_interval_seconds: Option<u32>,
    /// Labels for every sample of its hosts.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) labels: BTreeMap<String, String>,
    /// Checks its hosts make.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) checks: Vec<Check>,
    /// Bundles its hosts fetch, besides those that `plugins` are in.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) bundles: Vec<String>,
    /// Plugins its hosts run; an interval of 0 switches off what a group above has.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) plugins: Vec<PluginRun>,
    /// Exporters its hosts scrape; an interval of 0 switches off what a group above has.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) scrapes: Vec<ScrapeJob>,
    /// Seconds between two measurements by metric group; 0 switches one off.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) tiers: BTreeMap<String, u32>,
}

/// Which rule of a group matches a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "by", rename_all = "snake_case")]
pub(crate) enum Matched<'a> {
    /// One of its patterns.
    Pattern {
        /// The pattern.
        pattern: &'a str,
    },
    /// One of its label sets.
    Labels {
        /// The labels.
        labels: &'a BTreeMap<String, String>,
    },
}

impl GroupSpec {
    /// Why the rules match a host, if they do.
    pub(crate) fn matches(
        &self,
        host: &str,
        labels: &BTreeMap<String, String>,
    ) -> Option<Matched<'_>> {
        let pattern = self.host_patterns.iter().find(|pattern| glob(pattern, host));
        if let Some(pattern) = pattern {
            return Some(Matched::Pattern { pattern });
        }
        let has_all = |wanted: &&BTreeMap<String, String>| {
            wanted.iter().all(|(name, value)| labels.get(name) == Some(value))
        };
        self.host_labels.iter().find(has_all).map(|labels| Matched::Labels { labels })
    }

    /// What is wrong with it, key by key.
    pub(crate) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut need = |is_good: bool, fault: &str| {
            if !is_good {
                faults.push(fault.to_owned());
            }
        };
        let lists = [
            ("host_patterns", self.host_patterns.len()),
            ("host_labels", self.host_labels.len()),
            ("labels", self.labels.len()),
            ("checks", self.checks.len()),
            ("bundles", self.bundles.len()),
            ("plugins", self.plugins.len()),
            ("scrapes", self.scrapes.len()),
            ("tiers", self.tiers.len()),
        ];
        for (key, len) in lists {
            need(len <= LIST_MAX, &format!("{key}: more than {LIST_MAX} entries"));
        }
        need(is_text(&self.description), "description: longer than 1024 bytes");
        for pattern in &self.host_patterns {
            need(!pattern.is_empty() && is_text(pattern), "host_patterns: empty or too long");
        }
        for labels in &self.host_labels {
            need(!labels.is_empty(), "host_labels: an empty set would match every host");
        }
        let interval = self.heartbeat_interval_seconds.unwrap_or(1);
        need(
            (1..=HEARTBEAT_SECONDS_MAX).contains(&interval),
            "heartbeat_interval_seconds: must be between 1 and 600",
        );
        for name in self.labels.keys() {
            let fault = format!("labels: {name:?} is no label name, or belongs to Saker");
            need(is_free_label(name), &fault);
        }
        for name in &self.bundles {
            need(is_bundle_name(name), &format!("bundles: {name:?} is no name of a bundle"));
        }
        for seconds in self.tiers.values() {
            need(*seconds <= INTERVAL_SECONDS_MAX, "tiers: more than 86400 seconds");
        }
        faults.extend(self.checks.iter().filter_map(check_fault));
        faults.extend(self.plugins.iter().filter_map(plugin_fault));
        faults.extend(self.scrapes.iter().filter_map(scrape_fault));
        faults
    }
}

fn check_fault(check: &Check) -> Option<String> {
    let fault = match check {
        Check::PortListen { port: 0 } => "port 0 cannot be listened on",
        Check::ProcNum(process) | Check::ProcUsage(process)
            if process.name.is_empty() && process.cmdline.is_empty() =>
        {
            "a process needs a name or a part of its command line"
        }
        Check::DirectorySize { path } if !path.starts_with('/') => "the path must begin with /",
        Check::UrlHealth { url, .. } if !is_http(url) => "the url must be http or https",
        Check::UrlHealth { timeout, .. } if !(1..=60).contains(timeout) => {
            "the timeout must be between 1 and 60 seconds"
        }
        _ => return None,
    };
    Some(format!("checks: {fault}"))
}

fn plugin_fault(run: &PluginRun) -> Option<String> {
    let fault = if !is_bundle_name(&run.bundle) {
        "the bundle's name is not valid"
    } else if !is_relative(&run.path) {
        "the path must be relative and without `..`"
    } else if run.interval_seconds > INTERVAL_SECONDS_MAX
        || run.timeout_seconds > INTERVAL_SECONDS_MAX
    {
        "an interval or timeout has more than 86400 seconds"
    } else if run.args.len() > LIST_MAX || !run.args.iter().all(|argument| is_text(argument)) {
        "too many or too long arguments"
    } else {
        return None;
    };
    Some(format!("plugins: {} {}: {fault}", run.bundle, run.path))
}

fn scrape_fault(job: &ScrapeJob) -> Option<String> {
    let fault = if job.name.is_empty() || !is_text(&job.name) {
        "the name is empty or too long"
    } else if !is_http(&job.url) || !is_text(&job.url) {
        "the url must be http or https"
    } else if job.interval_seconds > INTERVAL_SECONDS_MAX
        || job.timeout_seconds > INTERVAL_SECONDS_MAX
    {
        "an interval or timeout has more than 86400 seconds"
    } else if !job.labels.keys().all(|name| is_label(name)) {
        "a label's name is not valid"
    } else {
        return None;
    };
    Some(format!("scrapes: {}: {fault}", job.name))
}

/// Whether a text is the name of a group: words of letters, digits, `_` and `-` with dots between.
pub(crate) fn is_group_name(name: &str) -> bool {
    name.len() <= NAME_BYTES_MAX && depth(name) <= DEPTH_MAX && name.split('.').all(is_word)
}

/// Whether a text is the name of a bundle: a folder's name.
pub(crate) fn is_bundle_name(name: &str) -> bool {
    name.len() <= 64 && is_word(name)
}

/// Whether a path stays inside the folder that it is put into.
pub(crate) fn is_relative(path: &str) -> bool {
    let is_part = |part: &str| !matches!(part, "" | "." | "..");
    path.len() <= TEXT_BYTES_MAX
        && !path.chars().any(|c| c.is_control() || c == '\\')
        && path.split('/').all(is_part)
}

/// How deep a group lies: 1 for one without parents.
pub(crate) fn depth(name: &str) -> usize {
    name.split('.').count()
}

/// The names of the groups above, the nearest last.
pub(crate) fn parents(name: &str) -> impl Iterator<Item = &str> {
    name.match_indices('.').map(|(dot, _)| &name[..dot])
}

fn is_word(word: &str) -> bool {
    let is_letter = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    !word.is_empty() && word.chars().all(is_letter)
}

fn is_label(name: &str) -> bool {
    let is_letter = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let is_start = |c: char| c.is_ascii_alphabetic() || c == '_';
    is_text(name) && name.starts_with(is_start) && name.chars().all(is_letter)
}

fn is_free_label(name: &str) -> bool {
    is_label(name) && !matches!(name, model::METRIC_NAME | model::ENDPOINT | model::ALERT_NAME)
}

fn is_text(text: &str) -> bool {
    text.len() <= TEXT_BYTES_MAX
}

fn is_http(url: &str) -> bool {
    url.starts_with("http://") || url.starts_with("https://")
}

/// Whether a pattern with `*` and `?` covers the whole text; in time of at most their product.
pub(crate) fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    // Where to go on when what follows the last star does not fit.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match (pattern.get(p), star) {
            (Some(b'*'), _) => {
                star = Some((p, t));
                p += 1;
            }
            (Some(&letter), _) if letter == b'?' || letter == text[t] => {
                p += 1;
                t += 1;
            }
            (_, Some((star_p, star_t))) => {
                star = Some((star_p, star_t + 1));
                p = star_p + 1;
                t = star_t + 1;
            }
            (_, None) => return false,
        }
    }
    pattern[p..].iter().all(|&letter| letter == b'*')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn spec(json: serde_json::Value) -> GroupSpec {
        serde_json::from_value(json).expect("a group")
    }

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_pattern_covers_the_whole_name() {
        for (pattern, name, covers) in [
            ("pay-*", "pay-01", true),
            ("pay-*", "xpay-01", false),
            ("*-01", "pay-01", true),
            ("p?y-*1", "pay-01", true),
            ("p?y", "pay-01", false),
            ("*", "", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-b-b", false),
        ] {
            assert_eq!(glob(pattern, name), covers, "{pattern} {name}");
        }
    }

    #[test]
    fn a_host_matches_by_name_or_by_all_labels_of_a_set() {
        let web = spec(json!({
            "host_patterns": ["web-*"],
            "host_labels": [{ "role": "web", "idc": "bj" }],
        }));
        let none = labels(&[]);
        assert_eq!(web.matches("web-1", &none), Some(Matched::Pattern { pattern: "web-*" }));
        assert!(web.matches("x", &labels(&[("role", "web"), ("idc", "bj"), ("a", "b")])).is_some());
        assert_eq!(web.matches("x", &labels(&[("role", "web")])), None);
        assert_eq!(GroupSpec::default().matches("x", &none), None);
    }

    #[test]
    fn names_are_words_with_dots_between() {
        for name in ["corp", "corp.pay.web-1", "a_B.c"] {
            assert!(is_group_name(name), "{name}");
        }
        for name in ["", ".", "a.", ".a", "a..b", "a/b", "a b", "组", &"a.".repeat(20)] {
            assert!(!is_group_name(name), "{name}");
        }
        assert_eq!(parents("corp.pay.web").collect::<Vec<_>>(), ["corp", "corp.pay"]);
        assert_eq!(depth("corp.pay.web"), 3);
    }

    #[test]
    fn every_fault_of_a_group_is_named() {
        let faults = spec(json!({
            "host_labels": [{}],
            "heartbeat_interval_seconds": 0,
            "labels": { "endpoint": "x" },
            "checks": [
                { "check": "port_listen", "port": 0 },
                { "check": "proc_num" },
                { "check": "directory_size", "path": "data" },
                { "check": "url_health", "url": "ftp://a", "timeout": 3 },
            ],
            "plugins": [{ "bundle": "sys", "path": "../x", "interval_seconds": 60 }],
            "scrapes": [{ "name": "node", "url": "localhost:9100", "interval_seconds": 15 }],
            "tiers": { "cpu": 100_000 },
        }))
        .faults();
        assert_eq!(faults.len(), 10, "{faults:#?}");
        assert_eq!(GroupSpec::default().faults(), [""; 0]);
    }

    #[test]
    fn a_key_with_a_spelling_mistake_is_refused() {
        let error = serde_json::from_value::<GroupSpec>(json!({ "scrape": [] })).unwrap_err();
        assert!(error.to_string().contains("unknown field `scrape`"), "{error}");
    }

    proptest! {
        #[test]
        fn a_pattern_without_wildcards_is_equality(pattern in "[a-c]{0,4}", name in "[a-c]{0,4}") {
            prop_assert_eq!(glob(&pattern, &name), pattern == name);
        }

        #[test]
        fn a_star_takes_what_is_between(head in "[ab]{0,3}", middle in "[ab*]{0,5}", tail in "[ab]{0,3}") {
            let name = format!("{head}{middle}{tail}");
            let pattern = format!("{head}*{tail}");
            prop_assert!(glob(&pattern, &name));
        }

        #[test]
        fn no_path_that_is_taken_leaves_its_folder(path in "[./a\\\\]{0,8}") {
            if is_relative(&path) {
                let inside = std::path::Path::new(&path).components()
                    .all(|part| matches!(part, std::path::Component::Normal(_)));
                prop_assert!(inside, "{}", path);
            }
        }
    }
}
