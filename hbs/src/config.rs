//! Settings of hbs.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use daemon::Faults;
use serde::{Deserialize, Serialize};

use crate::UpgradeConfig;
use crate::share::ShareSettings;

/// The section `[hbs]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where agents and operators reach hbs.
    pub listen: SocketAddr,
    /// Where Open-Falcon's agents reach `Agent.ReportStatus` by JSON-RPC.
    pub rpc_listen: SocketAddr,
    /// JSON-RPC connections held at a time; an agent holds one.
    pub rpc_connections_max: usize,
    /// A JSON-RPC connection without a call for so long is closed.
    #[serde(with = "model::duration_text")]
    pub rpc_idle_timeout: Duration,
    /// Name of this hbs among those that share the hosts; empty for host name and `listen`.
    pub instance: String,
    /// A file with a name and a token a line. Changes are taken from this machine, and from others with one of these
    /// tokens; empty for none. Read again on SIGHUP.
    pub token_file: PathBuf,
    /// Transfer that takes the series hbs makes, as `http://host:port`.
    pub transfer_url: String,
    /// How often agents are told to send a heartbeat, unless a group of theirs says otherwise.
    #[serde(with = "model::duration_text")]
    pub heartbeat_interval: Duration,
    /// How often `agent_heartbeat_age_seconds` is written for every host.
    #[serde(with = "model::duration_text")]
    pub age_interval: Duration,
    /// After a start, a host that was not heard yet is left out of `agent_heartbeat_age_seconds` for so long: that
    /// hbs was away does not mean that the hosts were. At least two heartbeat intervals.
    #[serde(with = "model::duration_text")]
    pub start_grace: Duration,
    /// A host that was not heard for so long is shown as silent.
    #[serde(with = "model::duration_text")]
    pub silent_after: Duration,
    /// A host that was not heard for so long is forgotten; 0s keeps all.
    #[serde(with = "model::duration_text")]
    pub purge_after: Duration,
    /// More hosts than this are refused.
    pub hosts_max: usize,
    /// More groups than this are refused.
    pub groups_max: usize,
    /// How often changes of the groups that were made through another hbs are looked for.
    #[serde(with = "model::duration_text")]
    pub groups_poll: Duration,
    /// How long the one hbs that keeps the snapshot of the groups is waited for, when it is gone. At least two
    /// `groups_poll`.
    #[serde(with = "model::duration_text")]
    pub lease_time: Duration,
    /// Bytes of the files of one plugin bundle.
    pub bundle_bytes_max: usize,
    /// Bytes of one file of a plugin bundle; a MySQL server takes statements up to its `max_allowed_packet`.
    pub bundle_file_bytes_max: usize,
    /// Bytes of plugin files that are kept in memory.
    pub file_cache_bytes: usize,
    /// Addresses that Open-Falcon's agents are told to trust.
    pub trustable_ips: Vec<String>,
    /// Upgrades of the agent.
    pub upgrade: UpgradeConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: ([127, 0, 0, 1], 6031).into(),
            rpc_listen: ([127, 0, 0, 1], 6030).into(),
            rpc_connections_max: 20_000,
            rpc_idle_timeout: Duration::from_secs(600),
            instance: String::new(),
            token_file: PathBuf::new(),
            transfer_url: "http://127.0.0.1:6060".to_owned(),
            heartbeat_interval: Duration::from_secs(30),
            age_interval: Duration::from_secs(10),
            start_grace: Duration::from_secs(90),
            silent_after: Duration::from_secs(180),
            purge_after: Duration::from_secs(30 * 86_400),
            hosts_max: 100_000,
            groups_max: 10_000,
            groups_poll: Duration::from_secs(5),
            lease_time: Duration::from_secs(15),
            bundle_bytes_max: 16 << 20,
            bundle_file_bytes_max: 4 << 20,
            file_cache_bytes: 64 << 20,
            trustable_ips: Vec::new(),
            upgrade: UpgradeConfig::default(),
        }
    }
}

impl Config {
    /// Notes what is wrong, key by key.
    pub fn validate(&self, faults: &mut Faults) {
        if !self.transfer_url.starts_with("http://") && !self.transfer_url.starts_with("https://") {
            faults.add(
                "hbs.transfer_url",
                format!("{:?} must start with http:// or https://", self.transfer_url),
            );
        }
        if !(Duration::from_secs(1)..=Duration::from_secs(600)).contains(&self.heartbeat_interval) {
            faults.add("hbs.heartbeat_interval", "must be between 1s and 10m");
        }
        if self.age_interval < Duration::from_secs(1) {
            faults.add("hbs.age_interval", "must be at least 1s");
        }
        if self.start_grace < self.heartbeat_interval * 2 {
            faults.add(
                "hbs.start_grace",
                "must be at least two heartbeat_intervals, or a restart of hbs looks like silent hosts",
            );
        }
        if self.silent_after < self.heartbeat_interval * 2 {
            faults.add("hbs.silent_after", "must be at least two heartbeat_intervals");
        }
        self.upgrade.validate(self.heartbeat_interval, faults);
        if !self.purge_after.is_zero() && self.purge_after < Duration::from_secs(3600) {
            faults.add("hbs.purge_after", "must be at least 1h, or 0s to keep all hosts");
        }
        if self.groups_poll < Duration::from_secs(1) || self.lease_time < self.groups_poll * 2 {
            let fault = "groups_poll must be at least 1s, and lease_time at least two of them";
            faults.add("hbs.lease_time", fault);
        }
        if self.rpc_idle_timeout < Duration::from_secs(10) {
            faults.add("hbs.rpc_idle_timeout", "must be at least 10s");
        }
        let counts = [
            ("hbs.hosts_max", self.hosts_max),
            ("hbs.groups_max", self.groups_max),
            ("hbs.rpc_connections_max", self.rpc_connections_max),
            ("hbs.bundle_bytes_max", self.bundle_bytes_max),
            ("hbs.bundle_file_bytes_max", self.bundle_file_bytes_max),
        ];
        for (key, _) in counts.iter().filter(|(_, count)| *count == 0) {
            faults.add(key, "must be at least 1");
        }
        for address in self.trustable_ips.iter().filter(|ip| ip.parse::<IpAddr>().is_err()) {
            faults.add("hbs.trustable_ips", format!("{address:?} is no IP address"));
        }
    }

    /// The name this hbs takes the lease under.
    pub(crate) fn owner(&self) -> String {
        if !self.instance.is_empty() {
            return self.instance.clone();
        }
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        format!("{}/{}", host.trim(), self.listen)
    }

    pub(crate) fn share(&self) -> ShareSettings {
        ShareSettings { owner: self.owner(), lease_time: self.lease_time, poll: self.groups_poll }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        let mut faults = Faults::default();
        Config::default().validate(&mut faults);
        assert!(faults.list().is_empty(), "{:?}", faults.list());
    }

    #[test]
    fn every_fault_is_named() {
        let mut faults = Faults::default();
        let zero = Duration::ZERO;
        let config = Config {
            transfer_url: "localhost".into(),
            heartbeat_interval: zero,
            age_interval: zero,
            hosts_max: 0,
            groups_max: 0,
            purge_after: Duration::from_secs(5),
            groups_poll: Duration::from_secs(30),
            trustable_ips: vec!["localhost".into()],
            ..Config::default()
        };
        config.validate(&mut faults);
        assert_eq!(faults.list().len(), 8, "{:?}", faults.list());
    }
}
