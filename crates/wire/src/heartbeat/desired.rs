//! The state that a host should be in: what hbs hands out instead of files on every host.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What a host is to measure and run besides what its own configuration says.
///
/// It is merged from the groups of the host. `hash` names its content: a host that reports the same hash is
/// not sent it again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DesiredState {
    /// SHA-256 in hex of all the other fields as JSON; empty only in the default.
    #[serde(default)]
    pub hash: String,
    /// Seconds between two heartbeats.
    #[serde(default = "heartbeat_interval_seconds")]
    pub heartbeat_interval_seconds: u32,
    /// Labels to put on every sample of the host, besides its own, which win.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Checks to make.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<Check>,
    /// The files that plugins are run from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bundles: Vec<PluginBundle>,
    /// Plugins to run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub plugins: Vec<PluginRun>,
    /// Exporters on the host to scrape.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scrapes: Vec<ScrapeJob>,
    /// Seconds between two measurements by the name of a metric group; 0 switches a group off. The host's own
    /// configuration wins.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tiers: BTreeMap<String, u32>,
}

impl Default for DesiredState {
    /// No hash, a heartbeat a minute, nothing else.
    fn default() -> Self {
        Self {
            hash: String::new(),
            heartbeat_interval_seconds: heartbeat_interval_seconds(),
            labels: BTreeMap::new(),
            checks: Vec::new(),
            bundles: Vec::new(),
            plugins: Vec::new(),
            scrapes: Vec::new(),
            tiers: BTreeMap::new(),
        }
    }
}

fn heartbeat_interval_seconds() -> u32 {
    60
}

/// Something to look at on the host, with the metric it is reported as.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "check", rename_all = "snake_case")]
pub enum Check {
    /// `net.port.listen`, tag `port`: 1 if something listens on the TCP or UDP port, else 0.
    PortListen {
        /// The port.
        port: u16,
    },
    /// `proc.num`, tags `name` and `cmdline`: how many processes match.
    ProcNum(ProcessMatch),
    /// `proc.cpu` and `proc.mem`, tags `name` and `cmdline`: what the processes that match use together.
    ProcUsage(ProcessMatch),
    /// `du.bs`, tag `path`: bytes in a folder, -1 if it cannot be read.
    DirectorySize {
        /// The folder.
        path: String,
    },
    /// `url.check.health`, tags `url`, `timeout` and `src`: 1 if a HEAD request is answered with 200, else 0.
    UrlHealth {
        /// The address.
        url: String,
        /// How long the answer may take, in seconds.
        timeout: u32,
    },
}

/// Which processes are meant. Kernel threads never match.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ProcessMatch {
    /// The name as the kernel has it, cut to 15 bytes; all when it is empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// A part of the command line; all when it is empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub cmdline: String,
}

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
}
