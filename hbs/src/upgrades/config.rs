//! Settings of upgrades.

use std::path::PathBuf;
use std::time::Duration;

use daemon::Faults;
use serde::{Deserialize, Serialize};

/// The section `[hbs.upgrade]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UpgradeConfig {
    /// Hosts that are upgraded at once, over all hbs. A rollout may ask for fewer, not for more.
    pub in_flight_max: u32,
    /// A host that is not heard of for so long gives its place to another one. Longer than a
    /// download, a restart and a heartbeat together.
    #[serde(with = "model::duration_text")]
    pub lease: Duration,
    /// A host that still is underway after so long gives its place up, whatever it says.
    #[serde(with = "model::duration_text")]
    pub underway_max: Duration,
    /// Hosts wait a random part of this before they download; canaries do not.
    #[serde(with = "model::duration_text")]
    pub spread: Duration,
    /// The folder with `bin_<version>` and `cfg_<version>`, served at `/file/`. Empty for none.
    pub files: PathBuf,
    /// A Unix socket, for its owner only, that takes the calls of upgrades. Empty for none.
    pub socket: PathBuf,
}

impl Default for UpgradeConfig {
    fn default() -> Self {
        Self {
            in_flight_max: 2000,
            lease: Duration::from_secs(180),
            underway_max: Duration::from_secs(3600),
            spread: Duration::from_secs(10),
            files: PathBuf::new(),
            socket: PathBuf::new(),
        }
    }
}

impl UpgradeConfig {
    /// Notes what is wrong, key by key.
    pub fn validate(&self, heartbeat_interval: Duration, faults: &mut Faults) {
        if self.in_flight_max == 0 {
            faults.add("hbs.upgrade.in_flight_max", "must be at least 1");
        }
        if self.lease < heartbeat_interval * 2 {
            faults.add(
                "hbs.upgrade.lease",
                "must be at least two heartbeat_intervals, or hosts are lost while they download",
            );
        }
        if self.underway_max < self.lease {
            faults.add("hbs.upgrade.underway_max", "must be at least hbs.upgrade.lease");
        }
        if self.spread > self.lease / 2 {
            faults.add("hbs.upgrade.spread", "must be at most half of hbs.upgrade.lease");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_named() {
        let zero = Duration::ZERO;
        let config = UpgradeConfig {
            in_flight_max: 0,
            lease: Duration::from_secs(59),
            underway_max: zero,
            spread: Duration::from_secs(30),
            ..UpgradeConfig::default()
        };
        let mut faults = Faults::default();
        config.validate(Duration::from_secs(30), &mut faults);
        assert_eq!(faults.list().len(), 4, "{:?}", faults.list());
        let mut faults = Faults::default();
        UpgradeConfig::default().validate(Duration::from_secs(30), &mut faults);
        assert!(faults.list().is_empty(), "{:?}", faults.list());
    }
}
