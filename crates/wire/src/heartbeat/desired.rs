//! The state that a host should be in: what hbs hands out instead of files on every host.

use std::collections::BTreeMap;
use std::fmt::Write;

use model::RelabelRule;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::check::Check;

/// What a host is to measure and run besides what its own configuration says.
///
/// It is merged from the groups of the host. `hash` names its content: a host that reports the same hash is
/// not sent it again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "Received")]
pub struct DesiredState {
    /// SHA-256 in hex of all the other fields as JSON; empty only in the default.
    pub hash: String,
    /// Seconds between two heartbeats.
    pub heartbeat_interval_seconds: u32,
    /// Labels to put on every sample of the host, besides its own, which win.
    pub labels: BTreeMap<String, String>,
    /// Checks to make.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<Check>,
    /// The files that plugins are run from.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub bundles: Vec<PluginBundle>,
    /// Plugins to run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub plugins: Vec<PluginRun>,
    /// Exporters on the host to scrape.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scrapes: Vec<ScrapeJob>,
    /// Seconds between two measurements by the name of a metric group; 0 switches a group off. The host's own
    /// configuration wins.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tiers: BTreeMap<String, u32>,
    /// Items of the lists that the reader does not understand, such as a kind of check of a newer hbs: what
    /// each is and why. They cost nothing but themselves.
    #[serde(skip)]
    pub unread: Vec<String>,
}

/// A state as it arrives: each item of its lists is read by itself.
#[derive(Deserialize)]
#[serde(default)]
struct Received {
    hash: String,
    heartbeat_interval_seconds: u32,
    labels: BTreeMap<String, String>,
    checks: Vec<Box<RawValue>>,
    bundles: Vec<Box<RawValue>>,
    plugins: Vec<Box<RawValue>>,
    scrapes: Vec<Box<RawValue>>,
    tiers: BTreeMap<String, u32>,
}

impl Default for Received {
    fn default() -> Self {
        Self {
            hash: String::new(),
            heartbeat_interval_seconds: HEARTBEAT_INTERVAL_SECONDS,
            labels: BTreeMap::new(),
            checks: Vec::new(),
            bundles: Vec::new(),
            plugins: Vec::new(),
            scrapes: Vec::new(),
            tiers: BTreeMap::new(),
        }
    }
}

impl From<Received> for DesiredState {
    fn from(received: Received) -> Self {
        let mut unread = Vec::new();
        Self {
            hash: received.hash,
            heartbeat_interval_seconds: received.heartbeat_interval_seconds,
            labels: received.labels,
            checks: read_items("check", &received.checks, &mut unread),
            bundles: read_items("bundle", &received.bundles, &mut unread),
            plugins: read_items("plugin", &received.plugins, &mut unread),
            scrapes: read_items("scrape", &received.scrapes, &mut unread),
            tiers: received.tiers,
            unread,
        }
    }
}

fn read_items<T: DeserializeOwned>(
    what: &str,
    items: &[Box<RawValue>],
    unread: &mut Vec<String>,
) -> Vec<T> {
    let mut read = Vec::with_capacity(items.len());
    for (at, item) in items.iter().enumerate() {
        match serde_json::from_str(item.get()) {
            Ok(item) => read.push(item),
            Err(error) => unread.push(format!("{what} {at}: {error}")),
        }
    }
    read
}

impl Default for DesiredState {
    /// No hash, a heartbeat a minute, nothing else.
    fn default() -> Self {
        Self {
            hash: String::new(),
            heartbeat_interval_seconds: HEARTBEAT_INTERVAL_SECONDS,
            labels: BTreeMap::new(),
            checks: Vec::new(),
            bundles: Vec::new(),
            plugins: Vec::new(),
            scrapes: Vec::new(),
            tiers: BTreeMap::new(),
            unread: Vec::new(),
        }
    }
}

const HEARTBEAT_INTERVAL_SECONDS: u32 = 60;

/// A set of files for plugins, as one version of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginBundle {
    /// Its name: the folder that its files are put into.
    pub name: String,
    /// SHA-256 in hex over the lines `<sha256> <mode> <path>\n` of its files, in the order of their paths.
    pub digest: String,
    /// Ed25519 signature over the digest's text, in base64; empty when the bundle is not signed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub signature: String,
    /// Its files.
    pub files: Vec<PluginFile>,
}

impl PluginBundle {
    /// The text whose SHA-256 in hex is `digest`: a line `<sha256> <mode> <path>` for every file, in the order
    /// of the bytes of their paths; the mode is 755 for what is run, else 644.
    pub fn manifest(&self) -> String {
        let mut files: Vec<&PluginFile> = self.files.iter().collect();
        files.sort_by(|a, b| a.path.as_bytes().cmp(b.path.as_bytes()));
        let mut manifest = String::new();
        for file in files {
            let mode = if file.executable { "755" } else { "644" };
            let _ = writeln!(manifest, "{} {mode} {}", file.sha256, file.path);
        }
        manifest
    }
}

/// A file of a bundle. Its bytes are at `/v1/plugins/<sha256>` of hbs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginFile {
    /// Its path in the bundle, relative, without `..`.
    pub path: String,
    /// SHA-256 of its bytes, in hex.
    pub sha256: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// Whether it is run.
    #[serde(default)]
    pub executable: bool,
}

/// A plugin to run, every `interval_seconds` on the wall clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginRun {
    /// The bundle that it is in.
    pub bundle: String,
    /// Its path in the bundle.
    pub path: String,
    /// Arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Seconds between two runs.
    pub interval_seconds: u32,
    /// Seconds until its process group is killed; 0 means just under the interval.
    #[serde(default)]
    pub timeout_seconds: u32,
    /// What it prints.
    #[serde(default)]
    pub format: MetricsFormat,
}

/// What a plugin prints.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MetricsFormat {
    /// Open-Falcon's JSON list of samples if the output begins with `[`, else Prometheus text.
    #[default]
    Detect,
    /// Open-Falcon's JSON list of samples.
    Falcon,
    /// Prometheus text.
    Prometheus,
}

/// An exporter on the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScrapeJob {
    /// Its name: label `job`.
    pub name: String,
    /// Where it is read; the host in it is loopback or a name of the host itself.
    pub url: String,
    /// Seconds between two scrapes.
    pub interval_seconds: u32,
    /// Seconds that a scrape may take; 0 means the interval.
    #[serde(default)]
    pub timeout_seconds: u32,
    /// Labels put on every sample.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// What is done with the labels of the scraped series, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub relabel: Vec<RelabelRule>,
    /// A scrape with more samples fails as a whole; 0 means the limit of the host's configuration.
    #[serde(default)]
    pub samples_max: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_of_a_newer_hbs_costs_only_itself() {
        let text = r#"{"hash":"h","checks":[{"check":"gpu_heat","card":1},{"check":"port_listen","port":22}],
            "scrapes":[{"name":"x"}]}"#;
        let state: DesiredState = serde_json::from_str(text).expect("the frame is whole");
        assert_eq!(state.checks, [Check::PortListen { port: 22 }]);
        assert!(state.scrapes.is_empty() && state.heartbeat_interval_seconds == 60);
        assert_eq!(state.unread.len(), 2);
        assert!(state.unread[0].starts_with("check 0: unknown variant `gpu_heat`"), "{state:?}");
        assert_eq!(state.unread[1].split(" at ").next(), Some("scrape 0: missing field `url`"));
    }

    #[test]
    fn a_state_reads_back_as_it_was_written() {
        let state = DesiredState {
            hash: "ab".into(),
            checks: vec![Check::DirectorySize { path: "/data".into() }],
            tiers: BTreeMap::from([("disk".into(), 60)]),
            scrapes: vec![ScrapeJob {
                name: "node".into(),
                url: "http://127.0.0.1:9100/metrics".into(),
                interval_seconds: 30,
                timeout_seconds: 0,
                labels: BTreeMap::new(),
                relabel: vec![RelabelRule { regex: "go_.*".into(), ..RelabelRule::default() }],
                samples_max: 0,
            }],
            ..DesiredState::default()
        };
        let text = serde_json::to_string(&state).expect("it is plain");
        assert_eq!(serde_json::from_str::<DesiredState>(&text).expect("it is ours"), state);
    }

    #[test]
    fn a_bundle_is_named_by_its_files_in_the_order_of_their_paths() {
        let file = |path: &str, executable| PluginFile {
            path: path.into(),
            sha256: "00ff".into(),
            bytes: 1,
            executable,
        };
        let bundle = PluginBundle {
            name: "base".into(),
            digest: String::new(),
            signature: String::new(),
            files: vec![file("sys/b", false), file("a/60_x.py", true)],
        };
        assert_eq!(bundle.manifest(), "00ff 755 a/60_x.py\n00ff 644 sys/b\n");
    }
}
