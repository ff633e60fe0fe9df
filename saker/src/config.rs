//! The configuration file of the central roles: one section a role.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use daemon::{CommonArgs, Faults, StartError, load_config};
use serde::{Deserialize, Serialize};
use storage::RemoteConfig;

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
    /// A store that judge and apiproxy read over the network instead of the one in `data_dir`: the address before
    /// `/api/v1/query`. Empty for none.
    pub(crate) url: String,
    /// Where judge writes by remote write then, the whole address.
    pub(crate) write_url: String,
    /// A file with the bearer token for both. Empty for none.
    pub(crate) token_file: PathBuf,
    /// More headers of every request.
    pub(crate) headers: BTreeMap<String, String>,
    /// How long a write may take with its repetitions, and a question that has no time of its own.
    #[serde(with = "model::duration_text")]
    pub(crate) timeout: Duration,
    /// Most bytes of an answer.
    pub(crate) answer_bytes_max: usize,
    /// For how long queries see what their own process has just written, whatever the store shows yet.
    #[serde(with = "model::duration_text")]
    pub(crate) overlay_span: Duration,
}

impl Default for StorageConfig {
    fn default() -> Self {
        let limits = storage::Limits::default();
        let (local, remote) = (storage::LocalConfig::new(""), storage::RemoteConfig::new("", ""));
        Self {
            retention: limits.retention,
            out_of_order_window: limits.out_of_order_window,
            series_max: limits.series_max,
            block_span: local.block_span,
            retention_bytes: local.block_bytes_max,
            block_cache_bytes_max: local.block_cache_bytes_max,
            url: String::new(),
            write_url: String::new(),
            token_file: PathBuf::new(),
            headers: BTreeMap::new(),
            timeout: remote.timeout,
            answer_bytes_max: remote.answer_bytes_max,
            overlay_span: remote.overlay_span,
        }
    }
}

impl StorageConfig {
    /// The store behind the network, if one is named.
    pub(crate) fn remote(&self) -> Option<RemoteConfig> {
        let headers = self.headers.iter().map(|(name, text)| (name.clone(), text.clone()));
        (!self.url.is_empty()).then(|| RemoteConfig {
            headers: headers.collect(),
            timeout: self.timeout,
            answer_bytes_max: self.answer_bytes_max,
            overlay_span: self.overlay_span,
            ..RemoteConfig::new(self.url.as_str(), self.write_url.as_str())
        })
    }

    fn validate(&self, faults: &mut Faults) {
        if self.retention < Duration::from_secs(3600) {
            faults.add(
                "storage.retention",
                "must be at least 1h, or rules have nothing to look back on",
            );
        }
        if self.series_max == 0 {
            faults.add("storage.series_max", "must be at least 1");
        }
        if self.block_span < Duration::from_secs(60) {
            faults.add(
                "storage.block_span",
                "must be at least 1m, or there are more blocks than samples in them",
            );
        }
        if let Some(Err(error)) = self.remote().map(|remote| remote.check()) {
            faults.add("storage.url", error.to_string());
        }
        if self.timeout < Duration::from_secs(1) {
            faults.add("storage.timeout", "must be at least 1s");
        }
        if self.answer_bytes_max == 0 {
            faults.add("storage.answer_bytes_max", "must be at least 1");
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
        self.storage.validate(faults);
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
