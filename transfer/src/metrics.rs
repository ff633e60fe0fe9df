//! Every metric of transfer.

use daemon::{Context, share_metric};
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

use crate::reason::{Reason, Refusals};

/// How samples came in, as a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Protocol {
    RemoteWrite,
    Falcon,
    JsonRpc,
    Line,
    OpenTsdb,
    OpenTsdbLine,
    PrometheusText,
    Influx,
}

/// Why a whole request was refused, as a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum RequestFault {
    /// The body cannot be read.
    Malformed,
    /// The body or its contents are beyond a limit.
    TooLarge,
    /// Another type or encoding than we speak.
    UnsupportedType,
    /// `requests_in_flight_max` requests were being worked on for all of `request_wait`.
    InFlight,
    /// It took longer than `request_timeout`.
    Timeout,
    /// The store, or the queue of a destination, failed.
    Storage,
    /// The queue of a destination is full, and nothing is to be dropped.
    QueueFull,
    /// A token is missing or not known.
    Token,
}

impl Protocol {
    pub(crate) const ALL: [Self; 8] = [
        Self::RemoteWrite,
        Self::Falcon,
        Self::JsonRpc,
        Self::Line,
        Self::OpenTsdb,
        Self::OpenTsdbLine,
        Self::PrometheusText,
        Self::Influx,
    ];

    /// The word for metrics and logs.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::RemoteWrite => "remote_write",
            Self::Falcon => "falcon",
            Self::JsonRpc => "json_rpc",
            Self::Line => "line",
            Self::OpenTsdb => "opentsdb",
            Self::OpenTsdbLine => "opentsdb_line",
            Self::PrometheusText => "prometheus_text",
            Self::Influx => "influx",
        }
    }
}

impl RequestFault {
    const ALL: [Self; 8] = [
        Self::Malformed,
        Self::TooLarge,
        Self::UnsupportedType,
        Self::InFlight,
        Self::Timeout,
        Self::Storage,
        Self::QueueFull,
        Self::Token,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::TooLarge => "too_large",
            Self::UnsupportedType => "unsupported_type",
            Self::InFlight => "requests_in_flight_max",
            Self::Timeout => "request_timeout",
            Self::Storage => "storage",
            Self::QueueFull => "queue_full",
            Self::Token => "token",
        }
    }
}

macro_rules! encode_as_str {
    ($($type:ty),*) => {$(
        impl EncodeLabelValue for $type {
            fn encode(
                &self,
                encoder: &mut prometheus_client::encoding::LabelValueEncoder<'_>,
            ) -> Result<(), std::fmt::Error> {
                EncodeLabelValue::encode(&self.as_str(), encoder)
            }
        }
    )*};
}
encode_as_str!(Protocol, RequestFault);

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByProtocol {
    protocol: Protocol,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByReason {
    reason: Reason,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByFault {
    reason: RequestFault,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByToken {
    token: String,
}

/// The counters and gauges; clones count into the same.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    received: Family<ByProtocol, Counter>,
    pub(crate) stored: Counter,
    refused: Family<ByReason, Counter>,
    refused_requests: Family<ByFault, Counter>,
    of_tokens: Family<ByToken, Counter>,
    pub(crate) refused_metadata: Counter,
    pub(crate) skipped_histograms: Counter,
    pub(crate) skipped_exemplars: Counter,
    pub(crate) falcon_names: Gauge,
    pub(crate) endpoints: Gauge,
    pub(crate) requests_in_flight: Gauge,
    pub(crate) rpc_connections: Gauge,
    pub(crate) line_connections: Gauge,
    pub(crate) lost_line_samples: Counter,
    pub(crate) write_seconds: Histogram,
}

impl Metrics {
    /// Registers all of them, touched with zero.
    pub(crate) fn register(context: &Context) -> Self {
        let metrics = Self::new();
        let all = &mut *context.registry();
        let help = "Samples received, refused ones included";
        share_metric(all, "transfer_received_samples", help, &metrics.received);
        let help = "Samples acknowledged by the store or put in the queues of destinations, repetitions included";
        share_metric(all, "transfer_stored_samples", help, &metrics.stored);
        share_metric(
            all,
            "transfer_refused_samples",
            "Samples refused, by reason",
            &metrics.refused,
        );
        let help = "Requests refused as a whole, by reason";
        share_metric(all, "transfer_refused_requests", help, &metrics.refused_requests);
        let help = "Samples received with a token, refused ones included";
        share_metric(all, "transfer_token_samples", help, &metrics.of_tokens);
        let help = "Pieces of metadata refused by the store because it has too many";
        share_metric(all, "transfer_refused_metadata", help, &metrics.refused_metadata);
        let help = "Native histograms left out: they are not supported yet";
        share_metric(all, "transfer_skipped_histograms", help, &metrics.skipped_histograms);
        let help = "Exemplars left out: they are not supported yet";
        share_metric(all, "transfer_skipped_exemplars", help, &metrics.skipped_exemplars);
        let help = "Canonical metric names owned by an Open-Falcon metric";
        share_metric(all, "transfer_falcon_names", help, &metrics.falcon_names);
        let help = "Endpoints of which counts are kept";
        share_metric(all, "transfer_endpoints", help, &metrics.endpoints);
        let help = "Requests being worked on";
        share_metric(all, "transfer_requests_in_flight", help, &metrics.requests_in_flight);
        let help = "JSON-RPC connections that are open";
        share_metric(all, "transfer_rpc_connections", help, &metrics.rpc_connections);
        let help = "Connections of the line socket that are open";
        share_metric(all, "transfer_line_connections", help, &metrics.line_connections);
        let help =
            "Samples of the line socket given up because the store did not take them in time";
        share_metric(all, "transfer_lost_line_samples", help, &metrics.lost_line_samples);
        let help = "How long the store, or the queues of destinations, took to acknowledge a batch";
        share_metric(all, "transfer_write_seconds", help, &metrics.write_seconds);
        metrics
    }

    fn new() -> Self {
        let metrics = Self {
            received: Family::default(),
            stored: Counter::default(),
            refused: Family::default(),
            refused_requests: Family::default(),
            of_tokens: Family::default(),
            refused_metadata: Counter::default(),
            skipped_histograms: Counter::default(),
            skipped_exemplars: Counter::default(),
            falcon_names: Gauge::default(),
            endpoints: Gauge::default(),
            requests_in_flight: Gauge::default(),
            rpc_connections: Gauge::default(),
            line_connections: Gauge::default(),
            lost_line_samples: Counter::default(),
            write_seconds: Histogram::new([0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0]),
        };
        for protocol in Protocol::ALL {
            drop(metrics.received.get_or_create(&ByProtocol { protocol }));
        }
        for reason in Reason::all() {
            drop(metrics.refused.get_or_create(&ByReason { reason }));
        }
        for reason in RequestFault::ALL {
            drop(metrics.refused_requests.get_or_create(&ByFault { reason }));
        }
        metrics
    }

    /// Counts the samples of a request that could be read.
    pub(crate) fn received(&self, protocol: Protocol, samples: usize) {
        self.received.get_or_create(&ByProtocol { protocol }).inc_by(samples as u64);
    }

    /// Counts samples received with a token.
    pub(crate) fn received_with(&self, token: &str, samples: usize) {
        let by = ByToken { token: token.to_owned() };
        self.of_tokens.get_or_create(&by).inc_by(samples as u64);
    }

    /// Samples received in one protocol.
    pub(crate) fn received_of(&self, protocol: Protocol) -> u64 {
        self.received.get_or_create(&ByProtocol { protocol }).get()
    }

    /// Samples refused for whatever reason.
    pub(crate) fn refused_in_all(&self) -> u64 {
        Reason::all().map(|reason| self.refused.get_or_create(&ByReason { reason }).get()).sum()
    }

    /// Counts what became of them.
    pub(crate) fn done(&self, stored: usize, refusals: &Refusals) {
        self.stored.inc_by(stored as u64);
        for (reason, samples) in refusals.by_reason() {
            self.refused.get_or_create(&ByReason { reason }).inc_by(samples as u64);
        }
    }

    /// Counts a request that was refused as a whole.
    pub(crate) fn refused_request(&self, reason: RequestFault) {
        self.refused_requests.get_or_create(&ByFault { reason }).inc();
    }
}
