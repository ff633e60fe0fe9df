//! Settings of apiproxy.

use std::net::SocketAddr;
use std::time::Duration;

use daemon::Faults;
use serde::{Deserialize, Serialize};

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
        }
    }
}

impl Config {
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
        let is_address = |url: &str| url.starts_with("http://") || url.starts_with("https://");
        if !self.judge_url.is_empty() && !is_address(&self.judge_url) {
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
                "apiproxy.judge_url"
            ]
        );
    }
}
