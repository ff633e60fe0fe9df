//! Settings of apiproxy.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use daemon::Faults;
use serde::{Deserialize, Serialize};
use storage::RemoteConfig;

use crate::catalogue::SITES_MAX;

/// Most replicas of a data centre.
const REPLICAS_MAX: usize = 8;
/// Agents that were out of touch for a moment send their samples within this time.
const FRESH_MIN: Duration = Duration::from_secs(300);

/// The section `[apiproxy]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where the API is served.
    pub listen: SocketAddr,
    /// How long a query may take, the wait for its turn included. A client may ask for less.
    #[serde(with = "model::duration_text")]
    pub query_timeout: Duration,
    /// Queries worked on at a time; further ones wait for their turn.
    pub queries_in_flight_max: usize,
    /// Points a series may have in the answer to a range query.
    pub points_max: usize,
    /// Samples a query may hold at one time.
    pub samples_max: usize,
    /// How old the newest sample of a series may be to still be its value.
    #[serde(with = "model::duration_text")]
    pub lookback: Duration,
    /// The judge that answers for rules and alerts, as `http://host:port`; empty for none.
    pub judge_url: String,
    /// The data centres that are asked; none asks the store of `[storage]` alone.
    pub datacenters: Vec<DataCentreConfig>,
    /// hbs of the store of `[storage]` where no data centre is named; `saker standalone` knows its own.
    pub hbs_urls: Vec<String>,
    /// A file with a name and a token a line: who may set data centres from other machines, and the users of
    /// Open-Falcon's `Apitoken`. Read again on SIGHUP; empty for none.
    pub token_file: PathBuf,
    /// Whether questions from other machines take one of these tokens, too.
    pub token_required: bool,
    /// Most memory for answers to range queries that are kept; 0 keeps none.
    pub cache_bytes_max: usize,
    /// Answers about times that are newer than this are not kept: samples may still arrive. At least five minutes,
    /// and at least the out-of-order window of `[storage]`.
    #[serde(with = "model::duration_text")]
    pub cache_fresh: Duration,
    /// How long an answer is kept. What arrives even later than `cache_fresh` is seen after this time.
    #[serde(with = "model::duration_text")]
    pub cache_age_max: Duration,
}

/// A section `[[apiproxy.datacenters]]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DataCentreConfig {
    /// Its name.
    pub name: String,
    /// Where its store is read: the address before `/api/v1/query`. Empty for the store of `[storage]`.
    pub url: String,
    /// A file with the bearer token. Empty for none.
    pub token_file: PathBuf,
    /// More headers of every request.
    pub headers: BTreeMap<String, String>,
    /// How long it is waited for.
    #[serde(with = "model::duration_text")]
    pub timeout: Duration,
    /// Labels that its series get in answers.
    pub labels: BTreeMap<String, String>,
    /// Its judge; empty for none.
    pub judge_url: String,
    /// Its hbs, which tell which hosts live there, as `http://host:port`.
    pub hbs_urls: Vec<String>,
    /// Further addresses that hold the same series as `url`, which are asked when it is slow or away. They take the same
    /// token and headers.
    pub replicas: Vec<String>,
}

impl Default for DataCentreConfig {
    fn default() -> Self {
        Self {
            name: String::new(),
            url: String::new(),
            token_file: PathBuf::new(),
            headers: BTreeMap::new(),
            timeout: Duration::from_secs(10),
            labels: BTreeMap::new(),
            judge_url: String::new(),
            hbs_urls: Vec::new(),
            replicas: Vec::new(),
        }
    }
}

impl DataCentreConfig {
    /// Its store behind the network; nothing when it is the one of `[storage]`.
    pub fn remote(&self, token: Option<String>) -> Option<RemoteConfig> {
        (!self.url.is_empty()).then(|| self.store_at(&self.url, token))
    }

    /// Its replicas behind the network.
    pub fn remote_replicas(&self, token: Option<&str>) -> Vec<RemoteConfig> {
        let at = |url: &String| self.store_at(url, token.map(str::to_owned));
        self.replicas.iter().map(at).collect()
    }

    fn store_at(&self, url: &str, token: Option<String>) -> RemoteConfig {
        let headers = self.headers.iter().map(|(name, text)| (name.clone(), text.clone()));
        RemoteConfig {
            token,
            headers: headers.collect(),
            timeout: self.timeout,
            ..RemoteConfig::new(url, "")
        }
    }

    /// Notes what is wrong, each under its key behind `prefix`.
    pub(crate) fn validate(&self, prefix: &str, faults: &mut Faults) {
        let mut add = |key: &str, fault: String| {
            faults.add(&format!("{prefix}{key}"), fault);
        };
        if self.name.is_empty() || self.name.contains(',') {
            add("name", "must not be empty nor hold commas".to_owned());
        }
        if let Some(Err(error)) = self.remote(None).map(|remote| remote.check()) {
            add("url", error.to_string());
        }
        if self.replicas.len() > REPLICAS_MAX {
            add("replicas", format!("there may be {REPLICAS_MAX}"));
        }
        for replica in self.remote_replicas(None) {
            if let Err(error) = replica.check() {
                add("replicas", error.to_string());
            }
        }
        if self.timeout < Duration::from_secs(1) {
            add("timeout", "must be at least 1s".to_owned());
        }
        if let Some(name) = self.labels.keys().find(|name| !model::is_label_name(name)) {
            add("labels", format!("{name:?} is no name of a label"));
        }
        if !is_address_or_empty(&self.judge_url) {
            add("judge_url", "must start with http:// or https://, or be empty".to_owned());
        }
        if let Some(url) = odd_hbs(&self.hbs_urls) {
            add("hbs_urls", format!("{url:?} must start with http:// or https://"));
        }
    }
}

fn odd_hbs(urls: &[String]) -> Option<&String> {
    urls.iter().find(|url| url.is_empty() || !is_address_or_empty(url))
}

fn is_address_or_empty(url: &str) -> bool {
    url.is_empty() || url.starts_with("http://") || url.starts_with("https://")
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: ([127, 0, 0, 1], 8080).into(),
            query_timeout: Duration::from_secs(120),
            queries_in_flight_max: 20,
            points_max: 11_000,
            samples_max: 50_000_000,
            lookback: Duration::from_secs(300),
            judge_url: "http://127.0.0.1:6081".to_owned(),
            datacenters: Vec::new(),
            hbs_urls: Vec::new(),
            token_file: PathBuf::new(),
            token_required: false,
            cache_bytes_max: 64 << 20,
            cache_fresh: Duration::from_secs(3600),
            cache_age_max: Duration::from_secs(600),
        }
    }
}

impl Config {
    /// Whether the store of `[storage]` is asked.
    pub fn needs_store(&self) -> bool {
        self.datacenters.is_empty() || self.datacenters.iter().any(|centre| centre.url.is_empty())
    }

    /// Notes what is wrong, key by key.
    pub fn validate(&self, faults: &mut Faults) {
        for (key, value) in [
            ("apiproxy.queries_in_flight_max", self.queries_in_flight_max),
            ("apiproxy.points_max", self.points_max),
            ("apiproxy.samples_max", self.samples_max),
        ] {
            if value == 0 {
                faults.add(key, "must be at least 1");
            }
        }
        for (key, value) in
            [("apiproxy.query_timeout", self.query_timeout), ("apiproxy.lookback", self.lookback)]
        {
            if value < Duration::from_secs(1) {
                faults.add(key, "must be at least 1s");
            }
        }
        if self.cache_fresh < FRESH_MIN {
            faults.add("apiproxy.cache_fresh", "must be at least 5m");
        }
        if self.datacenters.len() > SITES_MAX {
            faults.add("apiproxy.datacenters", format!("there may be {SITES_MAX}"));
        }
        let mut names = BTreeSet::new();
        for (at, centre) in self.datacenters.iter().enumerate() {
            centre.validate(&format!("apiproxy.datacenters[{at}]."), faults);
            if !names.insert(&centre.name) {
                faults.add("apiproxy.datacenters", format!("{:?} occurs twice", centre.name));
            }
        }
        if let Some(url) = odd_hbs(&self.hbs_urls) {
            faults.add("apiproxy.hbs_urls", format!("{url:?} must start with http:// or https://"));
        }
        if self.token_required && self.token_file.as_os_str().is_empty() {
            faults.add("apiproxy.token_required", "needs tokens: set apiproxy.token_file");
        }
        if !is_address_or_empty(&self.judge_url) {
            let fault =
                format!("{:?} must start with http:// or https://, or be empty", self.judge_url);
            faults.add("apiproxy.judge_url", fault);
        }
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
        let config = Config {
            points_max: 0,
            samples_max: 0,
            lookback: Duration::ZERO,
            judge_url: "judge:6081".to_owned(),
            hbs_urls: vec!["hbs:6031".to_owned()],
            token_required: true,
            cache_fresh: Duration::from_secs(299),
            datacenters: vec![
                DataCentreConfig {
                    url: "bj".to_owned(),
                    replicas: vec!["http://bj2:8080".to_owned(), "bj3".to_owned()],
                    ..DataCentreConfig::default()
                },
                DataCentreConfig { name: "sh".to_owned(), ..DataCentreConfig::default() },
                DataCentreConfig { name: "sh".to_owned(), ..DataCentreConfig::default() },
            ],
            ..Config::default()
        };
        config.validate(&mut faults);
        let keys: Vec<&str> =
            faults.list().iter().filter_map(|fault| fault.split(':').next()).collect();
        assert_eq!(
            keys,
            [
                "apiproxy.points_max",
                "apiproxy.samples_max",
                "apiproxy.lookback",
                "apiproxy.cache_fresh",
                "apiproxy.datacenters[0].name",
                "apiproxy.datacenters[0].url",
                "apiproxy.datacenters[0].replicas",
                "apiproxy.datacenters",
                "apiproxy.hbs_urls",
                "apiproxy.token_required",
                "apiproxy.judge_url"
            ]
        );
    }
}
