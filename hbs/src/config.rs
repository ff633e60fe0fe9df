//! Settings of hbs.

use std::net::SocketAddr;
use std::time::Duration;

use daemon::Faults;
use serde::{Deserialize, Serialize};

use crate::UpgradeConfig;

/// The section `[hbs]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where agents and operators reach hbs.
    pub listen: SocketAddr,
    /// Transfer that takes the series hbs makes, as `http://host:port`.
    pub transfer_url: String,
    /// How often agents are told to send a heartbeat.
    #[serde(with = "model::duration_text")]
    pub heartbeat_interval: Duration,
    /// How often `agent_heartbeat_age_seconds` is written for every host.
    #[serde(with = "model::duration_text")]
    pub age_interval: Duration,
    /// After a start, a host that was not heard yet is left out of `agent_heartbeat_age_seconds` for so long: that
    /// hbs was away does not mean that the hosts were. At least two heartbeat intervals.
    #[serde(with = "model::duration_text")]
    pub start_grace: Duration,
    /// More hosts than this are refused.
    pub hosts_max: usize,
    /// Upgrades of the agent.
    pub upgrade: UpgradeConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: ([127, 0, 0, 1], 6031).into(),
            transfer_url: "http://127.0.0.1:6060".to_owned(),
            heartbeat_interval: Duration::from_secs(30),
            age_interval: Duration::from_secs(10),
            start_grace: Duration::from_secs(90),
            hosts_max: 100_000,
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
        if !(Duration::from_secs(1)..=Duration::from_secs(3600)).contains(&self.heartbeat_interval)
        {
            faults.add("hbs.heartbeat_interval", "must be between 1s and 1h");
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
        if self.hosts_max == 0 {
            faults.add("hbs.hosts_max", "must be at least 1");
        }
        self.upgrade.validate(self.heartbeat_interval, faults);
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
            ..Config::default()
        };
        config.validate(&mut faults);
        assert_eq!(faults.list().len(), 4, "{:?}", faults.list());
    }
}
