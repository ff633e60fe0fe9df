//! Settings of one destination, and of one token.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, Uri};
use serde::{Deserialize, Serialize};

use crate::queue::WhenFull;

/// An entry of `[[transfer.destinations]]` or `[[transfer.mirrors]]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Destination {
    /// The name in metrics and logs, and of the folder of its queue. Series are spread by the names:
    /// a destination that moves keeps its name.
    pub name: String,
    /// Where remote write, version 1, is taken.
    pub url: String,
    /// The store of this process instead of a URL; it has no queue, since it is a disk itself.
    pub local: bool,
    /// Its share of the series, beside the weights of the others.
    pub weight: f64,
    /// A file with the bearer token; empty for none. It is read again when the destination answers
    /// 401 or 403.
    pub token_file: PathBuf,
    /// More headers of every request, as `X-Scope-OrgID`. They are no place for secrets.
    pub headers: BTreeMap<String, String>,
    /// How long one request may take.
    #[serde(with = "model::duration_text")]
    pub timeout: Duration,
    /// Bytes of the queue on disk.
    pub queue_bytes_max: u64,
    /// What happens when the queue is full.
    pub when_full: WhenFull,
    /// Samples in one request.
    pub batch_samples_max: usize,
    /// Bytes of one request before compression.
    pub batch_bytes_max: usize,
    /// How long samples wait for others to fill a request.
    #[serde(with = "model::duration_text")]
    pub batch_wait: Duration,
    /// The pause after the first failure; it doubles with every further one.
    #[serde(with = "model::duration_text")]
    pub backoff_min: Duration,
    /// The longest pause.
    #[serde(with = "model::duration_text")]
    pub backoff_max: Duration,
    /// Requests at a time. More than one may deliver samples of a series out of order.
    pub in_flight_max: usize,
}

impl Default for Destination {
    fn default() -> Self {
        Self {
            name: String::new(),
            url: String::new(),
            local: false,
            weight: 1.0,
            token_file: PathBuf::new(),
            headers: BTreeMap::new(),
            timeout: Duration::from_secs(30),
            queue_bytes_max: 4 << 30,
            when_full: WhenFull::DropOldest,
            batch_samples_max: 10_000,
            batch_bytes_max: 4 << 20,
            batch_wait: Duration::from_millis(200),
            backoff_min: Duration::from_millis(500),
            backoff_max: Duration::from_secs(60),
            in_flight_max: 1,
        }
    }
}

impl Destination {
    /// What is wrong, field by field.
    pub(super) fn faults(&self) -> Vec<(&'static str, String)> {
        let mut faults = self.way_faults();
        let mut add = |key, is_wrong: bool, fault: &str| {
            if is_wrong {
                faults.push((key, fault.to_owned()));
            }
        };
        let is_weight = self.weight.is_finite() && self.weight > 0.0;
        add("weight", !is_weight, "must be a number above 0");
        add("timeout", self.timeout < Duration::from_millis(100), "must be at least 100ms");
        add("queue_bytes_max", self.queue_bytes_max < 1 << 20, "must be at least 1048576");
        add("batch_samples_max", self.batch_samples_max == 0, "must be at least 1");
        add("batch_bytes_max", self.batch_bytes_max == 0, "must be at least 1");
        add("in_flight_max", self.in_flight_max == 0, "must be at least 1");
        add("backoff_min", self.backoff_min.is_zero(), "must not be zero");
        add("backoff_max", self.backoff_max < self.backoff_min, "must not be below backoff_min");
        faults
    }

    fn way_faults(&self) -> Vec<(&'static str, String)> {
        let mut faults = Vec::new();
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if self.name.is_empty() || self.name.starts_with('.') || !self.name.chars().all(is_plain) {
            let fault = "must be letters, digits, '.', '_' and '-': it names a folder too";
            faults.push(("name", fault.to_owned()));
        }
        let uri: Option<Uri> = self.url.parse().ok();
        let is_http = uri.is_some_and(|uri| {
            matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some()
        });
        if self.local && !self.url.is_empty() {
            faults.push(("url", "must be empty when local is true".to_owned()));
        }
        if !self.local && !is_http {
            let fault = "must be as in \"http://vm-1:8428/api/v1/write\", or local must be true";
            faults.push(("url", fault.to_owned()));
        }
        for (name, value) in &self.headers {
            if HeaderName::try_from(name).is_err() || HeaderValue::try_from(value).is_err() {
                faults.push(("headers", format!("{name:?} or its value is no HTTP header")));
            }
        }
        faults
    }
}

/// An entry of `[[transfer.tokens]]`: a client that is counted and limited as a whole.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TokenConfig {
    /// The name in metrics and answers.
    pub name: String,
    /// A file with the bearer token.
    pub token_file: PathBuf,
    /// Samples a second on average; 0 is no limit.
    pub samples_per_second_max: usize,
    /// Series within an hour or two; 0 is no limit.
    pub series_max: usize,
}

impl TokenConfig {
    /// What is wrong, field by field.
    pub(super) fn faults(&self) -> Vec<(&'static str, String)> {
        let mut faults = Vec::new();
        if self.name.is_empty() {
            faults.push(("name", "must not be empty".to_owned()));
        }
        if self.token_file.as_os_str().is_empty() {
            faults.push(("token_file", "must name a file with the token".to_owned()));
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(one: &Destination) -> Vec<&'static str> {
        one.faults().into_iter().map(|(key, _)| key).collect()
    }

    fn good() -> Destination {
        let url = "https://user:secret@vm-1:8428/api/v1/write".to_owned();
        Destination { name: "vm-1".to_owned(), url, ..Destination::default() }
    }

    #[test]
    fn each_fault_of_a_destination_is_named() {
        assert_eq!(keys(&good()), [""; 0]);
        assert_eq!(keys(&Destination { local: true, url: String::new(), ..good() }), [""; 0]);
        assert_eq!(keys(&Destination::default()), ["name", "url"]);
        assert_eq!(keys(&Destination { name: "../up".to_owned(), ..good() }), ["name"]);
        assert_eq!(keys(&Destination { local: true, ..good() }), ["url"]);
        assert_eq!(keys(&Destination { url: "ftp://x/".to_owned(), ..good() }), ["url"]);
        assert_eq!(keys(&Destination { weight: f64::NAN, ..good() }), ["weight"]);
        let headers = BTreeMap::from([("a b".to_owned(), "c".to_owned())]);
        let bad = Destination {
            headers,
            timeout: Duration::ZERO,
            queue_bytes_max: 1,
            batch_samples_max: 0,
            batch_bytes_max: 0,
            in_flight_max: 0,
            backoff_min: Duration::ZERO,
            ..good()
        };
        let all = [
            "headers",
            "timeout",
            "queue_bytes_max",
            "batch_samples_max",
            "batch_bytes_max",
            "in_flight_max",
            "backoff_min",
        ];
        assert_eq!(keys(&bad), all);
        assert_eq!(keys(&Destination { backoff_max: Duration::ZERO, ..good() }), ["backoff_max"]);
    }

    #[test]
    fn a_token_needs_a_name_and_a_file() {
        assert_eq!(TokenConfig::default().faults().len(), 2);
    }
}
