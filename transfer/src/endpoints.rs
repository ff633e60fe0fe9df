//! What each host sends, and how much it may: a bounded table of endpoints with their counts, a rate
//! and a number of series.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use model::{ENDPOINT, Labels, Timestamp};
use serde::Serialize;

use crate::config::Config;
use crate::metrics::Protocol;
use crate::quota::{Exceeded, Quota, QuotaLimits};
use crate::reason::Reason;

/// An endpoint that is silent for so long makes room for others.
const FORGET_AFTER: Duration = Duration::from_secs(3600);
/// How often a full table is looked through for silent endpoints.
const TIDY_EVERY: Duration = Duration::from_secs(60);
/// How much is kept, and how much one endpoint may send.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) endpoints_max: usize,
    pub(crate) of_each: QuotaLimits,
}

impl From<&Config> for Limits {
    fn from(config: &Config) -> Self {
        let of_each = QuotaLimits {
            samples_per_second_max: config.endpoint_samples_per_second_max,
            series_max: config.endpoint_series_max,
        };
        Self { endpoints_max: config.endpoints_max, of_each }
    }
}

/// Stands for the name of an endpoint: a hash with a seed that nobody outside can find out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct EndpointKey(u64);

/// What is known of an endpoint.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct EndpointCounts {
    pub(crate) endpoint: String,
    /// Samples received since the start, or since the endpoint was silent for an hour.
    pub(crate) samples: u64,
    /// Those beyond a limit of this endpoint.
    pub(crate) limited: u64,
    /// When the last one came.
    pub(crate) last: String,
    /// And how.
    pub(crate) protocol: &'static str,
}

/// The table.
#[derive(Debug)]
pub(crate) struct Endpoints {
    limits: Limits,
    hashing: RandomState,
    by_key: HashMap<EndpointKey, usize>,
    entries: Vec<Entry>,
    tidied: Timestamp,
}

#[derive(Debug)]
struct Entry {
    key: EndpointKey,
    name: String,
    samples: u64,
    limited: u64,
    last: Timestamp,
    protocol: Protocol,
    quota: Quota,
}

impl Endpoints {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            hashing: RandomState::new(),
            by_key: HashMap::new(),
            entries: Vec::new(),
            tidied: Timestamp::MIN,
        }
    }

    /// How many endpoints are known.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// What stands for the name of an endpoint in this process.
    pub(crate) fn key(&self, name: &str) -> EndpointKey {
        EndpointKey(self.hashing.hash_one(name))
    }

    /// Counts samples of a series that came at `now`; an error when its endpoint may not send them.
    /// Series without an endpoint always pass. `hint` is where the entry of the series before is.
    pub(crate) fn admit(
        &mut self,
        labels: &Labels,
        samples: usize,
        protocol: Protocol,
        now: Timestamp,
        hint: &mut Option<usize>,
    ) -> Result<(), Reason> {
        let Some(name) = labels.get(ENDPOINT) else { return Ok(()) };
        let hinted =
            hint.filter(|at| self.entries.get(*at).is_some_and(|entry| entry.name == name));
        let at = match hinted {
            Some(at) => Some(at),
            None => self.position(self.key(name), || name.to_owned(), now),
        };
        *hint = at;
        self.admit_at(at, || labels.hash(), samples, protocol, now)
    }

    /// As [`Endpoints::admit`], for an endpoint and a series that are known by their hashes.
    pub(crate) fn admit_known(
        &mut self,
        (key, name): (EndpointKey, impl FnOnce() -> String),
        (series, samples): (u64, usize),
        protocol: Protocol,
        now: Timestamp,
        hint: &mut Option<usize>,
    ) -> Result<(), Reason> {
        let hinted = hint.filter(|at| self.entries.get(*at).is_some_and(|entry| entry.key == key));
        let at = match hinted {
            Some(at) => Some(at),
            None => self.position(key, name, now),
        };
        *hint = at;
        self.admit_at(at, || series, samples, protocol, now)
    }

    fn admit_at(
        &mut self,
        at: Option<usize>,
        series: impl FnOnce() -> u64,
        samples: usize,
        protocol: Protocol,
        now: Timestamp,
    ) -> Result<(), Reason> {
        let limits = self.limits.of_each;
        let Some(entry) = at.and_then(|at| self.entries.get_mut(at)) else {
            return if limits.is_limited() { Err(Reason::EndpointsLimit) } else { Ok(()) };
        };
        let admitted = entry.quota.admit(series, samples, limits, now);
        (entry.last, entry.protocol) = (now, protocol);
        entry.samples += samples as u64;
        if admitted.is_err() {
            entry.limited += samples as u64;
        }
        admitted.map_err(|exceeded| match exceeded {
            Exceeded::Rate => Reason::EndpointRate,
            Exceeded::Series => Reason::EndpointSeries,
        })
    }

    /// Those who sent most, at most `limit` of them.
    pub(crate) fn busiest(&self, limit: usize) -> Vec<EndpointCounts> {
        let mut entries: Vec<&Entry> = self.entries.iter().collect();
        entries.sort_by(|a, b| b.samples.cmp(&a.samples).then_with(|| a.name.cmp(&b.name)));
        entries.into_iter().take(limit).map(Entry::counts).collect()
    }

    /// Where an endpoint is, made when it is new; `None` when the table is full.
    fn position(
        &mut self,
        key: EndpointKey,
        name: impl FnOnce() -> String,
        now: Timestamp,
    ) -> Option<usize> {
        if let Some(at) = self.by_key.get(&key) {
            return Some(*at);
        }
        if self.entries.len() >= self.limits.endpoints_max {
            self.tidy(now);
        }
        if self.entries.len() >= self.limits.endpoints_max {
            return None;
        }
        let at = self.entries.len();
        self.by_key.insert(key, at);
        self.entries.push(Entry {
            key,
            name: name(),
            samples: 0,
            limited: 0,
            last: now,
            protocol: Protocol::Falcon,
            quota: Quota::new(self.limits.of_each, now),
        });
        Some(at)
    }

    fn tidy(&mut self, now: Timestamp) {
        if now < self.tidied.plus(TIDY_EVERY) {
            return;
        }
        self.tidied = now;
        self.entries.retain(|entry| entry.last.plus(FORGET_AFTER) > now);
        let keys = self.entries.iter().enumerate();
        self.by_key = keys.map(|(at, entry)| (entry.key, at)).collect();
    }
}

impl Entry {
    fn counts(&self) -> EndpointCounts {
        EndpointCounts {
            endpoint: self.name.to_owned(),
            samples: self.samples,
            limited: self.limited,
            last: self.last.rfc3339(),
            protocol: self.protocol.as_str(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_760_000_460);

    fn limits(samples_per_second_max: usize, series_max: usize) -> Limits {
        Limits { endpoints_max: 2, of_each: QuotaLimits { samples_per_second_max, series_max } }
    }

    fn send(
        table: &mut Endpoints,
        endpoint: &str,
        metric: &str,
        samples: usize,
        at: u64,
    ) -> Result<(), Reason> {
        let labels = Labels::from_pairs([("endpoint", endpoint), ("__name__", metric)]);
        let now = NOW.plus(Duration::from_secs(at));
        table.admit(&labels, samples, Protocol::Line, now, &mut None)
    }

    #[test]
    fn every_endpoint_is_counted_and_the_busiest_comes_first() {
        let mut table = Endpoints::new(limits(0, 0));
        for (endpoint, samples) in [("a", 1), ("b", 3), ("a", 1), ("c", 9)] {
            assert_eq!(
                send(&mut table, endpoint, "m", samples, 0),
                Ok(()),
                "without limits all pass"
            );
        }
        assert_eq!(table.admit(&Labels::empty(), 1, Protocol::Line, NOW, &mut None), Ok(()));
        let busiest = table.busiest(10);
        let seen: Vec<(&str, u64)> =
            busiest.iter().map(|one| (one.endpoint.as_str(), one.samples)).collect();
        assert_eq!(seen, [("b", 3), ("a", 2)], "the table is full");
        assert_eq!(table.busiest(1).len(), 1);
    }

    #[test]
    fn silent_endpoints_make_room() {
        let mut table = Endpoints::new(limits(0, 5));
        assert_eq!(send(&mut table, "a", "m", 1, 0), Ok(()));
        assert_eq!(send(&mut table, "b", "m", 1, 3000), Ok(()));
        assert_eq!(send(&mut table, "c", "m", 1, 3500), Err(Reason::EndpointsLimit));
        assert_eq!(send(&mut table, "c", "m", 1, 3660), Ok(()));
        assert_eq!(send(&mut table, "b", "m", 1, 3660), Ok(()));
        assert_eq!(table.len(), 2);
    }

    #[test]
    fn a_rate_allows_a_minute_at_once_and_then_its_average() {
        let mut table = Endpoints::new(limits(10, 0));
        assert_eq!(send(&mut table, "a", "m", 600, 0), Ok(()));
        assert_eq!(send(&mut table, "a", "m", 1, 0), Err(Reason::EndpointRate));
        assert_eq!(send(&mut table, "b", "m", 1, 0), Ok(()), "another endpoint has its own");
        assert_eq!(send(&mut table, "a", "m", 20, 2), Ok(()));
        assert_eq!(send(&mut table, "a", "m", 1, 2), Err(Reason::EndpointRate));
        assert_eq!(table.busiest(1)[0].limited, 2);
    }

    #[test]
    fn series_beyond_the_limit_wait_until_others_are_gone() {
        let mut table = Endpoints::new(limits(0, 2));
        for metric in ["x", "y", "x"] {
            assert_eq!(send(&mut table, "a", metric, 1, 0), Ok(()));
        }
        assert_eq!(send(&mut table, "a", "z", 1, 10), Err(Reason::EndpointSeries));
        assert_eq!(send(&mut table, "a", "x", 1, 3600), Ok(()), "a known series goes on");
        assert_eq!(
            send(&mut table, "a", "z", 1, 3600),
            Err(Reason::EndpointSeries),
            "y may come back"
        );
        assert_eq!(send(&mut table, "a", "x", 1, 7200), Ok(()));
        assert_eq!(send(&mut table, "a", "z", 1, 7200), Ok(()), "y has been away for a period");
    }
}
