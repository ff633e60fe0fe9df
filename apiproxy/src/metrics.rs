//! Every metric of apiproxy.

use std::fmt;

use daemon::Context;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use wire::prom_api::ErrorKind;

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
}

impl Endpoint {
    const ALL: [Self; 16] = [
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

/// The counters and gauges; clones count into the same.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    requests: Family<ByResult, Counter>,
    seconds: Family<ByEndpoint, Histogram, fn() -> Histogram>,
    pub(crate) in_flight: Gauge,
    pub(crate) waiting: Gauge,
}

impl Metrics {
    /// Registers all of them, touched with zero.
    pub(crate) fn register(context: &Context) -> Self {
        let buckets: fn() -> Histogram =
            || Histogram::new([0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 120.0]);
        let metrics = Self {
            requests: Family::default(),
            seconds: Family::new_with_constructor(buckets),
            in_flight: Gauge::default(),
            waiting: Gauge::default(),
        };
        for request in Endpoint::ALL {
            drop(metrics.requests.get_or_create(&ByResult { request, result: "success" }));
            drop(metrics.seconds.get_or_create(&ByEndpoint { request }));
        }
        let mut registry = context.registry();
        let help = "Requests by what was asked for and by success or the type of the error";
        registry.register("apiproxy_requests", help, metrics.requests.clone());
        let help = "How long requests took, the wait for their turn included";
        registry.register("apiproxy_request_seconds", help, metrics.seconds.clone());
        registry.register(
            "apiproxy_queries_in_flight",
            "Queries being worked on",
            metrics.in_flight.clone(),
        );
        registry.register(
            "apiproxy_queries_waiting",
            "Queries waiting for their turn",
            metrics.waiting.clone(),
        );
        drop(registry);
        metrics
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
