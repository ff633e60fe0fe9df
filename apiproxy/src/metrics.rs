//! Every metric of apiproxy.

use std::fmt;

use daemon::{Context, share_metric};
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use wire::prom_api::ErrorKind;

use crate::catalogue::Catalogue;

/// What was asked for, as a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Endpoint {
    Query,
    QueryRange,
    FormatQuery,
    ParseQuery,
    Series,
    Labels,
    LabelValues,
    Metadata,
    Rules,
    Alerts,
    FalconEndpoints,
    FalconCounters,
    FalconHistory,
    FalconLastPoint,
    FalconInfo,
    FalconGrafana,
    FalconGroups,
    Targets,
}

impl Endpoint {
    const ALL: [Self; 18] = [
        Self::Query,
        Self::QueryRange,
        Self::FormatQuery,
        Self::ParseQuery,
        Self::Series,
        Self::Labels,
        Self::LabelValues,
        Self::Metadata,
        Self::Rules,
        Self::Alerts,
        Self::FalconEndpoints,
        Self::FalconCounters,
        Self::FalconHistory,
        Self::FalconLastPoint,
        Self::FalconInfo,
        Self::FalconGrafana,
        Self::FalconGroups,
        Self::Targets,
    ];
}

impl EncodeLabelValue for Endpoint {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        let word = match self {
            Self::Query => "query",
            Self::QueryRange => "query_range",
            Self::FormatQuery => "format_query",
            Self::ParseQuery => "parse_query",
            Self::Series => "series",
            Self::Labels => "labels",
            Self::LabelValues => "label_values",
            Self::Metadata => "metadata",
            Self::Rules => "rules",
            Self::Alerts => "alerts",
            Self::FalconEndpoints => "falcon_endpoints",
            Self::FalconCounters => "falcon_counters",
            Self::FalconHistory => "falcon_history",
            Self::FalconLastPoint => "falcon_last_point",
            Self::FalconInfo => "falcon_info",
            Self::FalconGrafana => "falcon_grafana",
            Self::FalconGroups => "falcon_groups",
            Self::Targets => "targets",
        };
        EncodeLabelValue::encode(&word, encoder)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByResult {
    request: Endpoint,
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByEndpoint {
    request: Endpoint,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BySite {
    datacenter: String,
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfSite {
    datacenter: String,
}

/// What the cache had of the answer to a range query, as a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Cached {
    /// All of it, but for the fresh end.
    Hit,
    /// Some of it.
    Part,
    /// Nothing of it.
    Miss,
    /// Its answers cannot be kept.
    Unfit,
}

impl Cached {
    const fn word(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Part => "part",
            Self::Miss => "miss",
            Self::Unfit => "unfit",
        }
    }
}

/// Why a replica was asked what another one had been asked, as a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Again {
    /// The other was slower than usual.
    Hedge,
    /// The other failed, or had used up half of the time.
    Instead,
    /// The second answer was the first to come.
    Won,
}

impl Again {
    const fn word(self) -> &'static str {
        match self {
            Self::Hedge => "hedge",
            Self::Instead => "instead",
            Self::Won => "won",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByWord {
    result: &'static str,
}

/// The counters and gauges; clones count into the same.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    requests: Family<ByResult, Counter>,
    seconds: Family<ByEndpoint, Histogram, fn() -> Histogram>,
    sites: Family<BySite, Counter>,
    site_seconds: Family<OfSite, Histogram, fn() -> Histogram>,
    pub(crate) in_flight: Gauge,
    pub(crate) waiting: Gauge,
    /// Changes, questions and logins that were refused.
    pub(crate) refused: Counter,
    catalogue_hosts: Gauge,
    catalogue_shared: Gauge,
    catalogue_bytes: Gauge,
    site_again: Family<BySite, Counter>,
    cache: Family<ByWord, Counter>,
    cache_bytes: Gauge,
    cache_evicted: Counter,
}

impl Metrics {
    /// Registers all of them, touched with zero.
    pub(crate) fn register(context: &Context) -> Self {
        let buckets: fn() -> Histogram =
            || Histogram::new([0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 120.0]);
        let metrics = Self {
            requests: Family::default(),
            seconds: Family::new_with_constructor(buckets),
            sites: Family::default(),
            site_seconds: Family::new_with_constructor(buckets),
            in_flight: Gauge::default(),
            waiting: Gauge::default(),
            refused: Counter::default(),
            catalogue_hosts: Gauge::default(),
            catalogue_shared: Gauge::default(),
            catalogue_bytes: Gauge::default(),
            site_again: Family::default(),
            cache: Family::default(),
            cache_bytes: Gauge::default(),
            cache_evicted: Counter::default(),
        };
        for cached in [Cached::Hit, Cached::Part, Cached::Miss, Cached::Unfit] {
            drop(metrics.cache.get_or_create(&ByWord { result: cached.word() }));
        }
        for request in Endpoint::ALL {
            drop(metrics.requests.get_or_create(&ByResult { request, result: "success" }));
            drop(metrics.seconds.get_or_create(&ByEndpoint { request }));
        }
        let mut registry = context.registry();
        let help = "Requests by what was asked for and by success or the type of the error";
        share_metric(&mut registry, "apiproxy_requests", help, &metrics.requests);
        let help = "How long requests took, the wait for their turn included";
        share_metric(&mut registry, "apiproxy_request_seconds", help, &metrics.seconds);
        let help = "Questions to data centres by what came of them; skipped are those to one that failed too often";
        share_metric(&mut registry, "apiproxy_datacenter_requests", help, &metrics.sites);
        let help = "How long data centres took to answer";
        share_metric(&mut registry, "apiproxy_datacenter_seconds", help, &metrics.site_seconds);
        share_metric(
            &mut registry,
            "apiproxy_queries_in_flight",
            "Queries being worked on",
            &metrics.in_flight,
        );
        share_metric(
            &mut registry,
            "apiproxy_queries_waiting",
            "Queries waiting for their turn",
            &metrics.waiting,
        );
        let help = "Changes, questions and logins that were refused for want of a right token";
        share_metric(&mut registry, "apiproxy_refused", help, &metrics.refused);
        for (name, help, gauge) in [
            ("apiproxy_catalogue_hosts", "Hosts in the catalogue", &metrics.catalogue_hosts),
            (
                "apiproxy_catalogue_shared_hosts",
                "Hosts that several data centres may have series of",
                &metrics.catalogue_shared,
            ),
            ("apiproxy_catalogue_bytes", "Memory of the catalogue", &metrics.catalogue_bytes),
        ] {
            share_metric(&mut registry, name, help, gauge);
        }
        drop(registry);
        metrics.register_further(context);
        metrics
    }

    /// What the catalogue has come to; `told_bytes` is the memory of who told what.
    pub(crate) fn catalogue(&self, catalogue: &Catalogue, told_bytes: usize) {
        let number = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        self.catalogue_hosts.set(number(catalogue.len()));
        self.catalogue_shared.set(number(catalogue.shared().len()));
        self.catalogue_bytes.set(number(catalogue.bytes() + told_bytes));
    }

    fn register_further(&self, context: &Context) {
        let mut registry = context.registry();
        let help = "Second requests of a question to replicas of a data centre: because the first was slow (hedge), failed or took half of the time (instead); won are those that answered first";
        share_metric(&mut registry, "apiproxy_datacenter_second_requests", help, &self.site_again);
        let help = "Range queries by what of their answer had been kept; unfit are those of which nothing can be";
        share_metric(&mut registry, "apiproxy_cache_requests", help, &self.cache);
        let help = "Memory of the answers to range queries that are kept";
        share_metric(&mut registry, "apiproxy_cache_bytes", help, &self.cache_bytes);
        let help = "Kept answers that went for others, for want of apiproxy.cache_bytes_max";
        share_metric(&mut registry, "apiproxy_cache_evicted", help, &self.cache_evicted);
    }

    /// Counts a second request of a question to a data centre.
    pub(crate) fn site_asked_again(&self, name: &str, why: Again) {
        let datacenter = name.to_owned();
        self.site_again.get_or_create(&BySite { datacenter, result: why.word() }).inc();
    }

    /// Counts a range query by what the cache had of it.
    pub(crate) fn cache(&self, cached: Cached) {
        self.cache.get_or_create(&ByWord { result: cached.word() }).inc();
    }

    /// Counts kept answers that went for others.
    pub(crate) fn cache_evicted(&self, count: usize) {
        self.cache_evicted.inc_by(u64::try_from(count).unwrap_or(u64::MAX));
    }

    /// Tells how much the cache holds now.
    pub(crate) fn cache_holds(&self, bytes: usize) {
        self.cache_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// Counts a question to a data centre.
    pub(crate) fn site_asked(&self, name: &str, is_answered: bool, seconds: f64) {
        let result = if is_answered { "success" } else { "failure" };
        self.sites.get_or_create(&BySite { datacenter: name.to_owned(), result }).inc();
        self.site_seconds.get_or_create(&OfSite { datacenter: name.to_owned() }).observe(seconds);
    }

    /// Counts a question that was not put to a data centre because it failed too often.
    pub(crate) fn site_skipped(&self, name: &str) {
        let datacenter = name.to_owned();
        self.sites.get_or_create(&BySite { datacenter, result: "skipped" }).inc();
    }

    /// Counts a request that has an answer.
    pub(crate) fn done(&self, request: Endpoint, error: Option<ErrorKind>, seconds: f64) {
        let result = error.map_or("success", ErrorKind::as_str);
        self.requests.get_or_create(&ByResult { request, result }).inc();
        self.seconds.get_or_create(&ByEndpoint { request }).observe(seconds);
    }
}

/// Counts something up for as long as it lives, also when a client goes away in the midst of it.
pub(crate) struct Counted(Gauge);

impl Counted {
    pub(crate) fn up(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}
