//! Settings of transfer.

mod destination;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use daemon::Faults;
use model::RelabelRule;
use regex::Regex;
use serde::{Deserialize, Serialize};

pub use self::destination::{Destination, TokenConfig};
use crate::route::{DESTINATIONS_MAX, Hash, HashBy};

/// The section `[transfer]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where samples are pushed to over HTTP.
    pub listen: SocketAddr,
    /// Where Open-Falcon's agents reach `Transfer.Update` by JSON-RPC.
    pub rpc_listen: SocketAddr,
    /// JSON-RPC connections held at a time; an agent holds one.
    pub rpc_connections_max: usize,
    /// A JSON-RPC connection without a call for so long is closed.
    #[serde(with = "model::duration_text")]
    pub rpc_idle_timeout: Duration,
    /// Bytes of one JSON-RPC call.
    pub rpc_object_bytes_max: usize,
    /// Where lines are taken: Open-Falcon's `update` and OpenTSDB's `put`.
    pub line_listen: SocketAddr,
    /// Line connections held at a time.
    pub line_connections_max: usize,
    /// A line connection that is silent for so long is closed.
    #[serde(with = "model::duration_text")]
    pub line_idle_timeout: Duration,
    /// Bytes of one line.
    pub line_bytes_max: usize,
    /// Requests worked on at a time; further ones wait for `request_wait` and are then refused with
    /// 429.
    pub requests_in_flight_max: usize,
    /// How long a request waits for its turn.
    #[serde(with = "model::duration_text")]
    pub request_wait: Duration,
    /// How long a request may take from its turn on, the sending of its body included.
    #[serde(with = "model::duration_text")]
    pub request_timeout: Duration,
    /// Bytes of a body as it is sent.
    pub body_bytes_max: usize,
    /// Bytes of a remote-write message after decompression.
    pub message_bytes_max: usize,
    /// Samples in one request.
    pub samples_per_request_max: usize,
    /// Labels of a series, its name and host included.
    pub labels_per_series_max: usize,
    /// Bytes of a label name.
    pub label_name_bytes_max: usize,
    /// Bytes of a label value, and of a metric name.
    pub label_value_bytes_max: usize,
    /// How far a sample may lie ahead of our clock.
    #[serde(with = "model::duration_text")]
    pub future_max: Duration,
    /// Metric names that Open-Falcon clients may introduce.
    pub falcon_names_max: usize,
    /// Label sets that are remembered by the bytes they came in, so that they need not be read again;
    /// 0 remembers none.
    pub known_series_max: usize,
    /// Endpoints of which transfer keeps counts; silent ones make room after an hour.
    pub endpoints_max: usize,
    /// Samples a second that one endpoint may send on average; 0 is no limit.
    pub endpoint_samples_per_second_max: usize,
    /// Series that one endpoint may send within an hour or two; 0 is no limit.
    pub endpoint_series_max: usize,
    /// Whether HTTP requests without one of the tokens are refused with 401.
    pub token_required: bool,
    /// Destinations that each series goes to.
    pub replication: usize,
    /// How series are spread over the destinations.
    pub hash: Hash,
    /// What stays together.
    pub hash_by: HashBy,
    /// Whether what is queued is brought to disk before a client is answered, so that it survives a
    /// power cut too; else it survives only the death of the process.
    pub queue_sync: bool,
    /// At the stop of the process, how long queues are emptied. The rest is sent after the start.
    #[serde(with = "model::duration_text")]
    pub drain_timeout: Duration,
    /// What is done to the labels of every series, in this order, before its limits are checked.
    pub relabel: Vec<RelabelRule>,
    /// Where series go; none means the store of this process, for all of them.
    pub destinations: Vec<Destination>,
    /// Where all series go besides.
    pub mirrors: Vec<Destination>,
    /// Clients that are counted and limited by the token they show.
    pub tokens: Vec<TokenConfig>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: ([127, 0, 0, 1], 6060).into(),
            rpc_listen: ([127, 0, 0, 1], 8433).into(),
            rpc_connections_max: 10_000,
            rpc_idle_timeout: Duration::from_secs(600),
            rpc_object_bytes_max: 4 << 20,
            line_listen: ([127, 0, 0, 1], 4444).into(),
            line_connections_max: 1000,
            line_idle_timeout: Duration::from_secs(3600),
            line_bytes_max: 8 << 10,
            requests_in_flight_max: 32,
            request_wait: Duration::from_secs(5),
            request_timeout: Duration::from_secs(30),
            body_bytes_max: 16 << 20,
            message_bytes_max: 32 << 20,
            samples_per_request_max: 500_000,
            labels_per_series_max: 64,
            label_name_bytes_max: 256,
            label_value_bytes_max: 2048,
            future_max: Duration::from_secs(600),
            falcon_names_max: 100_000,
            known_series_max: 1_000_000,
            endpoints_max: 100_000,
            endpoint_samples_per_second_max: 0,
            endpoint_series_max: 0,
            token_required: false,
            replication: 1,
            hash: Hash::Rendezvous,
            hash_by: HashBy::Endpoint,
            queue_sync: true,
            drain_timeout: Duration::from_secs(5),
            relabel: Vec::new(),
            destinations: Vec::new(),
            mirrors: Vec::new(),
            tokens: Vec::new(),
        }
    }
}

impl Config {
    /// Notes what is wrong, key by key.
    pub fn validate(&self, faults: &mut Faults) {
        for (key, value) in [
            ("transfer.requests_in_flight_max", self.requests_in_flight_max),
            ("transfer.rpc_connections_max", self.rpc_connections_max),
            ("transfer.rpc_object_bytes_max", self.rpc_object_bytes_max),
            ("transfer.line_connections_max", self.line_connections_max),
            ("transfer.line_bytes_max", self.line_bytes_max),
            ("transfer.body_bytes_max", self.body_bytes_max),
            ("transfer.message_bytes_max", self.message_bytes_max),
            ("transfer.samples_per_request_max", self.samples_per_request_max),
            ("transfer.label_name_bytes_max", self.label_name_bytes_max),
            ("transfer.label_value_bytes_max", self.label_value_bytes_max),
        ] {
            if value == 0 {
                faults.add(key, "must be at least 1");
            }
        }
        if self.labels_per_series_max < 2 {
            faults.add(
                "transfer.labels_per_series_max",
                "must be at least 2: name and host are labels too",
            );
        }
        if self.message_bytes_max < self.body_bytes_max {
            faults.add("transfer.message_bytes_max", "must not be below body_bytes_max");
        }
        for (key, timeout) in [
            ("transfer.rpc_idle_timeout", self.rpc_idle_timeout),
            ("transfer.line_idle_timeout", self.line_idle_timeout),
        ] {
            if timeout.is_zero() {
                faults.add(key, "must not be zero");
            }
        }
        for (at, rule) in self.relabel.iter().enumerate() {
            for fault in rule.faults::<Regex>() {
                faults.add(&format!("transfer.relabel[{at}]"), fault);
            }
        }
        if self.request_timeout < Duration::from_secs(1) {
            faults.add("transfer.request_timeout", "must be at least 1s");
        }
        self.validate_way_out(faults);
        self.validate_tokens(faults);
    }

    /// Whether samples go into the store of this process.
    pub fn is_storing(&self) -> bool {
        self.destinations.is_empty() || self.way_out().any(|one| one.local)
    }

    /// Destinations and the mirrors behind them.
    pub(crate) fn way_out(&self) -> impl Iterator<Item = &Destination> {
        self.destinations.iter().chain(&self.mirrors)
    }

    fn validate_way_out(&self, faults: &mut Faults) {
        let mut names = BTreeSet::new();
        for (list, all) in [("destinations", &self.destinations), ("mirrors", &self.mirrors)] {
            for (at, one) in all.iter().enumerate() {
                for (key, fault) in one.faults() {
                    faults.add(&format!("transfer.{list}[{at}].{key}"), fault);
                }
                if !names.insert(one.name.as_str()) {
                    faults.add(&format!("transfer.{list}[{at}].name"), "is there twice");
                }
            }
        }
        if self.way_out().filter(|one| one.local).count() > 1 {
            faults.add("transfer.destinations", "only one can be local");
        }
        if self.way_out().count() > DESTINATIONS_MAX {
            let fault = format!("with the mirrors at most {DESTINATIONS_MAX}");
            faults.add("transfer.destinations", fault);
        }
        if self.destinations.is_empty() && !self.mirrors.is_empty() {
            let fault = "need destinations; name the store of this process with local = true";
            faults.add("transfer.mirrors", fault);
        }
        let too_many = self.replication > self.destinations.len().max(1);
        if self.replication == 0 || too_many {
            faults.add("transfer.replication", "must be between 1 and the number of destinations");
        }
        let is_weighted = self.destinations.iter().any(|one| one.weight != 1.0);
        if self.hash == Hash::OpenFalcon && is_weighted {
            faults.add("transfer.hash", "the ring of open-falcon has no weights");
        }
        if self.drain_timeout > Duration::from_secs(9) {
            faults.add("transfer.drain_timeout", "must be at most 9s: a task is cut off after 10s");
        }
    }

    fn validate_tokens(&self, faults: &mut Faults) {
        let mut names = BTreeSet::new();
        for (at, token) in self.tokens.iter().enumerate() {
            for (key, fault) in token.faults() {
                faults.add(&format!("transfer.tokens[{at}].{key}"), fault);
            }
            if !names.insert(token.name.as_str()) {
                faults.add(&format!("transfer.tokens[{at}].name"), "is there twice");
            }
        }
        if self.token_required && self.tokens.is_empty() {
            faults.add("transfer.token_required", "there are no tokens to show");
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

    fn destination(name: &str) -> Destination {
        let url = "http://127.0.0.1:1/api/v1/write".to_owned();
        Destination { name: name.to_owned(), url, ..Destination::default() }
    }

    fn check(config: &Config, faulty: &[&str]) {
        let mut faults = Faults::default();
        config.validate(&mut faults);
        let keys: Vec<&str> =
            faults.list().iter().filter_map(|fault| fault.split(':').next()).collect();
        assert_eq!(keys, faulty);
    }

    #[test]
    fn faults_of_the_way_out_are_named() {
        let local = Destination { local: true, name: "here".to_owned(), ..Destination::default() };
        let destinations = vec![destination("a"), local.clone()];
        let config = Config { destinations, replication: 2, ..Config::default() };
        check(&config, &[]);
        assert!(config.is_storing() && Config::default().is_storing());
        let also_here = vec![Destination { name: "too".to_owned(), ..local }];
        check(&Config { mirrors: also_here, ..config }, &["transfer.destinations"]);

        let heavy = Destination { weight: 2.0, ..destination("a") };
        let config = Config {
            destinations: vec![destination("a"), heavy],
            replication: 3,
            hash: Hash::OpenFalcon,
            drain_timeout: Duration::from_secs(60),
            token_required: true,
            ..Config::default()
        };
        assert!(!config.is_storing());
        let faulty = [
            "transfer.destinations[1].name",
            "transfer.replication",
            "transfer.hash",
            "transfer.drain_timeout",
            "transfer.token_required",
        ];
        check(&config, &faulty);
        let mirrors = vec![destination("m")];
        check(&Config { mirrors, ..Config::default() }, &["transfer.mirrors"]);
        let many = (0..65).map(|at| destination(&format!("d{at}"))).collect();
        check(&Config { destinations: many, ..Config::default() }, &["transfer.destinations"]);
    }

    #[test]
    fn every_fault_is_named() {
        let mut faults = Faults::default();
        let config = Config {
            requests_in_flight_max: 0,
            message_bytes_max: 5,
            labels_per_series_max: 1,
            request_timeout: Duration::ZERO,
            line_idle_timeout: Duration::ZERO,
            relabel: vec![
                RelabelRule { target_label: "a".into(), ..RelabelRule::default() },
                RelabelRule { regex: "(".into(), ..RelabelRule::default() },
            ],
            ..Config::default()
        };
        config.validate(&mut faults);
        let keys: Vec<&str> =
            faults.list().iter().filter_map(|fault| fault.split(':').next()).collect();
        assert_eq!(
            keys,
            [
                "transfer.requests_in_flight_max",
                "transfer.labels_per_series_max",
                "transfer.message_bytes_max",
                "transfer.line_idle_timeout",
                "transfer.relabel[1]",
                "transfer.relabel[1]",
                "transfer.request_timeout",
            ]
        );
    }
}
