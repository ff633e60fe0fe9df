//! The configuration file of the central roles: one section a role.

use std::path::PathBuf;
use std::time::Duration;

use daemon::{CommonArgs, Faults, StartError, load_config};
use serde::{Deserialize, Serialize};

use crate::cli::RunArgs;
use crate::stores::{DatabaseConfig, StateConfig};

/// The whole file. Every key has a default, so an empty file, or none, runs on one machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// Where samples are kept, and unless `[db]` says otherwise rules, hosts and alerts.
    pub(crate) data_dir: PathBuf,
    pub(crate) db: DatabaseConfig,
    pub(crate) state: StateConfig,
    pub(crate) storage: StorageConfig,
    pub(crate) transfer: transfer::Config,
    pub(crate) hbs: hbs::Config,
    pub(crate) judge: judge::Config,
    pub(crate) alarm: alarm::Config,
    pub(crate) apiproxy: apiproxy::Config,
}

/// The section `[storage]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct StorageConfig {
    /// How long samples are kept.
    #[serde(with = "model::duration_text")]
    pub(crate) retention: Duration,
    /// How far behind the newest sample of its series a sample may come.
    #[serde(with = "model::duration_text")]
    pub(crate) out_of_order_window: Duration,
    /// Most series in memory at a time; samples of further ones are refused and counted.
    pub(crate) series_max: usize,
    /// Samples leave memory for a block on disk in pieces of this length.
    #[serde(with = "model::duration_text")]
    pub(crate) block_span: Duration,
    /// Most bytes of all blocks together; the oldest are deleted first. 0 for no bound.
    pub(crate) retention_bytes: u64,
    /// Most memory for what was read of blocks.
    pub(crate) block_cache_bytes_max: usize,
}

impl Default for StorageConfig {
    fn default() -> Self {
        let limits = storage::Limits::default();
        let local = storage::LocalConfig::new("");
        Self {
            retention: limits.retention,
            out_of_order_window: limits.out_of_order_window,
            series_max: limits.series_max,
            block_span: local.block_span,
            retention_bytes: local.block_bytes_max,
            block_cache_bytes_max: local.block_cache_bytes_max,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: "data".into(),
            db: DatabaseConfig::default(),
            state: StateConfig::default(),
            storage: StorageConfig::default(),
            transfer: transfer::Config::default(),
            hbs: hbs::Config::default(),
            judge: judge::Config::default(),
            alarm: alarm::Config::default(),
            apiproxy: apiproxy::Config::default(),
        }
    }
}

impl Config {
    /// Reads the file that the arguments name, and lets the arguments go before it.
    pub(crate) fn load(common: &CommonArgs, args: Option<&RunArgs>) -> Result<Self, StartError> {
        let mut config: Self = load_config(common.config.as_deref(), Self::validate)?;
        if let Some(args) = args {
            if let Some(dir) = &args.data_dir {
                config.data_dir.clone_from(dir);
            }
            if !args.rules.is_empty() {
                config.judge.rule_files.clone_from(&args.rules);
            }
        }
        Ok(config)
    }

    pub(crate) fn validate(&self, faults: &mut Faults) {
        if self.data_dir.as_os_str().is_empty() {
            faults.add("data_dir", "must not be empty");
        }
        if self.storage.retention < Duration::from_secs(3600) {
            faults.add(
                "storage.retention",
                "must be at least 1h, or rules have nothing to look back on",
            );
        }
        if self.storage.series_max == 0 {
            faults.add("storage.series_max", "must be at least 1");
        }
        if self.storage.block_span < Duration::from_secs(60) {
            faults.add(
                "storage.block_span",
                "must be at least 1m, or there are more blocks than samples in them",
            );
        }
        self.db.validate(faults);
        self.state.validate(faults);
        self.transfer.validate(faults);
        self.hbs.validate(faults);
        self.judge.validate(faults);
        self.alarm.validate(faults);
        self.apiproxy.validate(faults);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_file_is_valid_and_shows_the_defaults() {
        let text = include_str!("../../saker.example.toml");
        let example: Config =
            daemon::parse_config("saker.example.toml", text, Config::validate).expect("valid");
        assert_eq!(example, Config::default());
    }
}
