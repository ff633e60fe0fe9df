//! The configuration: `agent.toml`.

pub mod import;
mod jobs;
pub mod layers;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use daemon::Faults;
use model::{ENDPOINT, METRIC_NAME, is_label_name};
use serde::{Deserialize, Serialize};

use crate::catalogue::Group;

pub use jobs::{CheckSettings, INTERVAL_MAX, Limits, Plugins, ScrapeSettings};

/// Everything the agent can be told. A key that is not set has the default of `agent.example.toml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The host's name in every sample; without it the kernel's host name.
    pub endpoint: Option<String>,
    /// Where local programs push samples and `/metrics` is read.
    pub listen: SocketAddr,
    /// Where the spool is kept.
    pub data_dir: PathBuf,
    /// Where `proc`, `sys` and `etc` are found; another folder than `/` for an agent in a container.
    pub root: PathBuf,
    /// Labels put on every sample, besides `endpoint`.
    pub labels: BTreeMap<String, String>,
    /// Where samples go.
    pub transfer: Transfer,
    /// What keeps samples while transfer is away.
    pub spool: Spool,
    /// Where heartbeats go.
    pub hbs: Hbs,
    /// What local programs may push.
    pub push: Push,
    /// What is measured.
    pub collect: Collect,
    /// Groups of metrics that differ from their default.
    pub groups: BTreeMap<Group, GroupSettings>,
    /// Time servers.
    pub ntp: Ntp,
    /// Checks besides those of hbs.
    pub checks: Vec<CheckSettings>,
    /// Plugins.
    pub plugins: Plugins,
    /// Exporters that are scraped besides those of hbs.
    pub scrape: Vec<ScrapeSettings>,
    /// Limits of checks and scrapes.
    pub limits: Limits,
    /// How the agent upgrades itself.
    pub upgrade: Upgrade,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            endpoint: None,
            listen: SocketAddr::from(([127, 0, 0, 1], 1988)),
            data_dir: PathBuf::from("/var/lib/saker-agent"),
            root: PathBuf::from("/"),
            labels: BTreeMap::new(),
            transfer: Transfer::default(),
            spool: Spool::default(),
            hbs: Hbs::default(),
            push: Push::default(),
            collect: Collect::default(),
            groups: BTreeMap::new(),
            ntp: Ntp::default(),
            checks: Vec::new(),
            plugins: Plugins::default(),
            scrape: Vec::new(),
            limits: Limits::default(),
            upgrade: Upgrade::default(),
        }
    }
}

/// Where samples go.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Transfer {
    /// Base addresses. One is used at a time; when it fails, the next.
    pub addresses: Vec<String>,
    /// How long one request may take.
    #[serde(with = "model::duration_text")]
    pub timeout: Duration,
    /// The longest pause between two tries.
    #[serde(with = "model::duration_text")]
    pub backoff_max: Duration,
    /// Hosts spread their requests over this span after each slot, by a hash of their name.
    #[serde(with = "model::duration_text")]
    pub spread: Duration,
}

impl Default for Transfer {
    fn default() -> Self {
        Self {
            addresses: vec!["http://127.0.0.1:6060".to_owned()],
            timeout: Duration::from_secs(10),
            backoff_max: Duration::from_secs(30),
            spread: Duration::from_secs(2),
        }
    }
}

/// What keeps samples while transfer is away.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Spool {
    /// Bytes on disk; the oldest samples make room for new ones.
    pub bytes_max: u64,
    /// Bytes in memory, for what is fresh and for times when the disk cannot be written.
    pub memory_bytes_max: usize,
}

impl Default for Spool {
    fn default() -> Self {
        Self { bytes_max: 256 << 20, memory_bytes_max: 1 << 20 }
    }
}

/// Where heartbeats go.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Hbs {
    /// Base addresses; the first that answers is kept to. None: no heartbeats.
    pub addresses: Vec<String>,
    /// Time between two heartbeats, until hbs names another.
    #[serde(with = "model::duration_text")]
    pub interval: Duration,
    /// How long one heartbeat may take.
    #[serde(with = "model::duration_text")]
    pub timeout: Duration,
}

impl Default for Hbs {
    fn default() -> Self {
        Self {
            addresses: vec!["http://127.0.0.1:6031".to_owned()],
            interval: Duration::from_secs(30),
            timeout: Duration::from_secs(5),
        }
    }
}

/// What local programs may push.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Push {
    /// Bytes of one body.
    pub body_bytes_max: usize,
    /// Samples of one body.
    pub samples_max: usize,
}

impl Default for Push {
    fn default() -> Self {
        Self { body_bytes_max: 4 << 20, samples_max: 20_000 }
    }
}

/// What is measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Collect {
    /// How long one group may take before it is cut off and skipped.
    #[serde(with = "model::duration_text")]
    pub deadline: Duration,
    /// How long one file system may take before it counts as stale.
    #[serde(with = "model::duration_text")]
    pub mount_deadline: Duration,
    /// Network interfaces whose names begin so are not measured.
    pub interfaces_ignored: Vec<String>,
    /// File systems of these types are not measured; a `*` at the end stands for anything.
    pub fstypes_ignored: Vec<String>,
    /// File systems mounted at or below these folders are not measured.
    pub mounts_ignored: Vec<String>,
}

impl Default for Collect {
    fn default() -> Self {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        Self {
            deadline: Duration::from_secs(5),
            mount_deadline: Duration::from_secs(1),
            interfaces_ignored: texts(&[
                "lo", "veth", "docker", "br-", "virbr", "cali", "flannel", "cni", "ifb", "dummy",
            ]),
            fstypes_ignored: texts(&[
                "autofs",
                "binfmt_misc",
                "bpf",
                "cgroup*",
                "configfs",
                "debugfs",
                "devpts",
                "devtmpfs",
                "efivarfs",
                "fuse*",
                "hugetlbfs",
                "iso9660",
                "mqueue",
                "nsfs",
                "overlay",
                "proc",
                "pstore",
                "ramfs",
                "rootfs",
                "rpc_pipefs",
                "securityfs",
                "selinuxfs",
                "squashfs",
                "sysfs",
                "tmpfs",
                "tracefs",
            ]),
            mounts_ignored: texts(&[
                "/dev",
                "/proc",
                "/sys",
                "/var/lib/docker",
                "/var/lib/kubelet",
                "/run",
            ]),
        }
    }
}

/// How one group of metrics differs from its default.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GroupSettings {
    /// Whether it is measured.
    pub enabled: Option<bool>,
    /// How often.
    pub interval: Option<Interval>,
}

/// Time between two rounds, as text in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Interval(#[serde(with = "model::duration_text")] pub Duration);

impl From<Duration> for Interval {
    fn from(span: Duration) -> Self {
        Self(span)
    }
}

/// Time servers. Without any there is no `sys_ntp_offset`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ntp {
    /// Names or addresses, with a port when it is not 123. The first that answers is believed.
    pub servers: Vec<String>,
    /// How long to wait for each.
    #[serde(with = "model::duration_text")]
    pub timeout: Duration,
}

impl Default for Ntp {
    fn default() -> Self {
        Self { servers: Vec::new(), timeout: Duration::from_secs(1) }
    }
}

/// How the agent upgrades itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Upgrade {
    /// Whether offers of hbs are followed.
    pub enabled: bool,
    /// The folder of releases; the launcher's `--base` must be the same.
    pub dir: PathBuf,
    /// Public Ed25519 keys in base64, one a line; the launcher's `--keys` must be the same. When there are any,
    /// only signed releases are taken.
    pub keys: PathBuf,
    /// Bytes of one file, at most.
    pub bytes_max: u64,
    /// How long a download may take, with all its tries.
    #[serde(with = "model::duration_text")]
    pub download_timeout: Duration,
    /// How long a new release must run before its local checks have passed.
    #[serde(with = "model::duration_text")]
    pub soak: Duration,
    /// How long the local checks may take; then the agent goes back.
    #[serde(with = "model::duration_text")]
    pub local_timeout: Duration,
    /// How long an answer of any hbs may take after that; then the agent goes back.
    #[serde(with = "model::duration_text")]
    pub contact_timeout: Duration,
}

impl Default for Upgrade {
    fn default() -> Self {
        Self {
            enabled: true,
            dir: PathBuf::from(launcher::layout::DEFAULT_BASE),
            keys: PathBuf::from(launcher::keys::DEFAULT_FILE),
            bytes_max: 256 << 20,
            download_timeout: Duration::from_secs(600),
            soak: Duration::from_secs(60),
            local_timeout: Duration::from_secs(300),
            contact_timeout: Duration::from_secs(1800),
        }
    }
}

impl Config {
    /// The groups that are measured and how often, in the order of [`Group::ALL`].
    pub fn enabled_groups(&self) -> Vec<(Group, Duration)> {
        let settings = |group| self.groups.get(&group);
        let is_on =
            |group: &Group| settings(*group).and_then(|s| s.enabled).unwrap_or(group.is_default());
        let interval = |group: Group| {
            settings(group).and_then(|s| s.interval).map_or(group.interval(), |i| i.0)
        };
        Group::ALL.into_iter().filter(is_on).map(|group| (group, interval(group))).collect()
    }

    /// Notes every fault that single values cannot show.
    pub fn validate(&self, faults: &mut Faults) {
        if self.endpoint.as_deref().is_some_and(|name| name.trim().is_empty() || name.len() > 255) {
            faults
                .add("endpoint", "must have 1 to 255 bytes; leave it out to take the host's name");
        }
        for name in self.labels.keys() {
            if !is_label_name(name) || name == ENDPOINT || name == METRIC_NAME {
                faults.add(
                    &format!("labels.{name}"),
                    "is not a label name that may be set (letters, digits, _)",
                );
            }
        }
        check_addresses("transfer.addresses", &self.transfer.addresses, faults);
        check_addresses("hbs.addresses", &self.hbs.addresses, faults);
        if self.transfer.addresses.is_empty() {
            faults.add(
                "transfer.addresses",
                "must name at least one transfer, such as http://127.0.0.1:6060",
            );
        }
        for (key, span) in [
            ("transfer.timeout", self.transfer.timeout),
            ("transfer.backoff_max", self.transfer.backoff_max),
            ("hbs.interval", self.hbs.interval),
            ("hbs.timeout", self.hbs.timeout),
            ("ntp.timeout", self.ntp.timeout),
            ("collect.deadline", self.collect.deadline),
            ("collect.mount_deadline", self.collect.mount_deadline),
            ("upgrade.download_timeout", self.upgrade.download_timeout),
            ("upgrade.local_timeout", self.upgrade.local_timeout),
            ("upgrade.contact_timeout", self.upgrade.contact_timeout),
        ] {
            if span.is_zero() || span > Duration::from_secs(3600) {
                faults.add(key, "must be between 1ms and 1h");
            }
        }
        self.validate_groups(faults);
        if self.spool.bytes_max < 1 << 16 {
            faults.add("spool.bytes_max", "must be at least 65536");
        }
        if self.spool.memory_bytes_max < 1 << 16 {
            faults.add("spool.memory_bytes_max", "must be at least 65536");
        }
        if self.push.body_bytes_max == 0 || self.push.samples_max == 0 {
            faults.add("push", "body_bytes_max and samples_max must be at least 1");
        }
        if self.upgrade.soak >= self.upgrade.local_timeout {
            faults.add("upgrade.soak", "must be shorter than upgrade.local_timeout");
        }
        if self.ntp.servers.len() > 4 {
            faults.add("ntp.servers", "at most 4 are asked; name the best ones");
        }
        jobs::validate(self, faults);
    }

    fn validate_groups(&self, faults: &mut Faults) {
        for (group, settings) in &self.groups {
            let Some(Interval(interval)) = settings.interval else { continue };
            let is_whole = interval.subsec_nanos() == 0;
            if !is_whole || interval.is_zero() || interval > Duration::from_secs(3600) {
                let key = format!("groups.{}.interval", group.as_str());
                faults.add(&key, "must be whole seconds, from 1s to 1h");
            }
        }
        let shortest = self.enabled_groups().into_iter().map(|(_, interval)| interval).min();
        if shortest.is_some_and(|shortest| self.transfer.spread >= shortest) {
            faults.add("transfer.spread", "must be shorter than the shortest interval of a group");
        }
    }
}

fn check_addresses(key: &str, addresses: &[String], faults: &mut Faults) {
    for address in addresses {
        let is_base = reqwest::Url::parse(address).is_ok_and(|url| {
            matches!(url.scheme(), "http" | "https") && url.has_host() && url.query().is_none()
        });
        if !is_base {
            faults.add(key, format!("{address:?} is not an address such as http://10.0.0.1:6060"));
        }
    }
}

#[cfg(test)]
mod tests {
    use daemon::parse_config;

    use super::*;

    fn parse(text: &str) -> Result<Config, String> {
        parse_config("agent.toml", text, Config::validate).map_err(|error| error.to_string())
    }

    #[test]
    fn the_example_is_the_default() {
        assert_eq!(parse(include_str!("../agent.example.toml")), Ok(Config::default()));
    }

    #[test]
    fn all_faults_are_told_at_once_with_their_keys() {
        let text = r#"
            endpoint = " "
            labels = { endpoint = "x", "a-b" = "y" }
            [transfer]
            addresses = ["127.0.0.1:6060"]
            spread = "20s"
            [spool]
            bytes_max = 5
            [groups.cpu]
            interval = "500ms"
            [ntp]
            servers = ["a", "b", "c", "d", "e"]
        "#;
        let told = parse(text).expect_err("faults");
        for key in [
            "endpoint:",
            "labels.endpoint:",
            "labels.a-b:",
            "transfer.addresses:",
            "transfer.spread:",
            "spool.bytes_max:",
            "groups.cpu.interval:",
            "ntp.servers:",
        ] {
            assert!(told.contains(key), "{key} in {told}");
        }
    }

    #[test]
    fn unknown_keys_and_groups_are_refused() {
        assert!(parse("intervall = 3").unwrap_err().contains("unknown field `intervall`"));
        assert!(
            parse("[groups.gpu]\nenabled = true").unwrap_err().contains("unknown variant `gpu`")
        );
    }

    #[test]
    fn groups_can_be_moved_and_switched() {
        let config = parse(
            "[groups]\npercore = { enabled = true }\ncpu = { interval = '30s' }\nload = { enabled = false }",
        );
        let groups = config.unwrap().enabled_groups();
        assert!(groups.contains(&(Group::Percore, Duration::from_secs(10))));
        assert!(groups.contains(&(Group::Cpu, Duration::from_secs(30))));
        assert!(!groups.iter().any(|(group, _)| *group == Group::Load));
    }
}
