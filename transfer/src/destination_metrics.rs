//! What each destination costs and owes, as metrics.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use daemon::{Clock, Context, share_metric};
use model::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabelSet, EncodeLabelValue, EncodeMetric, LabelValueEncoder,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;

use crate::destination::Destination;
use crate::forward::Away;
use crate::queue::Stats;

/// Why samples of a destination were dropped, as a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum DropReason {
    /// The destination answered 400: samples too old, or bad to its mind.
    BadRequest,
    /// It answered 413 to a request that cannot be made smaller.
    TooLarge,
    /// It answered 415: it does not speak remote write, version 1.
    UnsupportedType,
    /// It answered 422.
    Unprocessable,
    /// It answered another 4xx.
    Other4xx,
}

/// Why a request is sent again, as a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum RetryReason {
    /// No connection, or it broke.
    Connect,
    /// No answer in time.
    Timeout,
    /// 429.
    TooManyRequests,
    /// 5xx.
    Server,
    /// 401, 403, 404, 407, or a redirect: something is configured wrongly.
    Denied,
}

impl DropReason {
    const ALL: [Self; 5] = [
        Self::BadRequest,
        Self::TooLarge,
        Self::UnsupportedType,
        Self::Unprocessable,
        Self::Other4xx,
    ];

    /// The reason that a status is.
    pub(crate) fn of_status(status: StatusCode) -> Self {
        match status {
            StatusCode::BAD_REQUEST => Self::BadRequest,
            StatusCode::PAYLOAD_TOO_LARGE => Self::TooLarge,
            StatusCode::UNSUPPORTED_MEDIA_TYPE => Self::UnsupportedType,
            StatusCode::UNPROCESSABLE_ENTITY => Self::Unprocessable,
            _ => Self::Other4xx,
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "http_400",
            Self::TooLarge => "http_413",
            Self::UnsupportedType => "http_415",
            Self::Unprocessable => "http_422",
            Self::Other4xx => "http_4xx",
        }
    }
}

impl RetryReason {
    const ALL: [Self; 5] =
        [Self::Connect, Self::Timeout, Self::TooManyRequests, Self::Server, Self::Denied];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Timeout => "timeout",
            Self::TooManyRequests => "http_429",
            Self::Server => "http_5xx",
            Self::Denied => "denied",
        }
    }
}

impl EncodeLabelValue for RetryReason {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        EncodeLabelValue::encode(&self.as_str(), encoder)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByDestination {
    destination: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByReason {
    destination: String,
    reason: RetryReason,
}

/// The counters of all destinations.
#[derive(Debug, Clone)]
pub(crate) struct AllMetrics {
    sent: Family<ByDestination, Counter>,
    retries: Family<ByReason, Counter>,
    request_seconds: Family<ByDestination, Histogram>,
    delivery_seconds: Family<ByDestination, Histogram>,
    parts: Vec<Part>,
}

/// What is read off a destination when somebody asks for `/metrics`.
#[derive(Debug, Clone)]
struct Part {
    destination: Arc<Destination>,
    dropped: Dropped,
}

type Dropped = Arc<[Counter; DropReason::ALL.len()]>;

/// The counters of one destination; clones count into the same.
#[derive(Debug, Clone)]
pub(crate) struct DestinationMetrics {
    sent: Counter,
    retries: [Counter; RetryReason::ALL.len()],
    dropped: Dropped,
    request_seconds: Histogram,
    delivery_seconds: Histogram,
}

impl AllMetrics {
    /// Registers the metrics of these destinations.
    pub(crate) fn register(
        destinations: &[Arc<Destination>],
        away: Arc<Away>,
        context: &Context,
    ) -> Self {
        let part = |destination: &Arc<Destination>| Part {
            destination: Arc::clone(destination),
            dropped: Dropped::default(),
        };
        let parts: Vec<Part> = destinations.iter().map(part).collect();
        let metrics = Self {
            sent: Family::default(),
            retries: Family::default(),
            request_seconds: Family::new_with_constructor(|| {
                Histogram::new([0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0])
            }),
            delivery_seconds: Family::new_with_constructor(|| {
                Histogram::new([0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0])
            }),
            parts: parts.clone(),
        };
        let mut all = context.registry();
        let help = "Samples that a destination has taken";
        share_metric(&mut all, "transfer_destination_sent_samples", help, &metrics.sent);
        let help = "Requests that a destination did not take and that are sent again, by reason";
        share_metric(&mut all, "transfer_destination_retries", help, &metrics.retries);
        let help = "How long a destination takes to answer";
        let name = "transfer_destination_request_seconds";
        share_metric(&mut all, name, help, &metrics.request_seconds);
        let help = "How long the oldest sample of a request was in the queue when it was taken";
        let name = "transfer_destination_delivery_seconds";
        share_metric(&mut all, name, help, &metrics.delivery_seconds);
        all.register_collector(Box::new(Queues { parts, away, clock: context.clock.clone() }));
        drop(all);
        metrics
    }

    /// Those of one destination, touched with zero.
    pub(crate) fn of(&self, one: &Arc<Destination>) -> DestinationMetrics {
        let destination = one.settings.name.clone();
        let by = ByDestination { destination: destination.clone() };
        let retries = RetryReason::ALL.map(|reason| {
            let by = ByReason { destination: destination.clone(), reason };
            self.retries.get_or_create(&by).clone()
        });
        let part = self.parts.iter().find(|part| Arc::ptr_eq(&part.destination, one));
        DestinationMetrics {
            sent: self.sent.get_or_create(&by).clone(),
            retries,
            dropped: part.map(|part| Arc::clone(&part.dropped)).unwrap_or_default(),
            request_seconds: self.request_seconds.get_or_create(&by).clone(),
            delivery_seconds: self.delivery_seconds.get_or_create(&by).clone(),
        }
    }
}

impl DestinationMetrics {
    /// Counts samples that were taken.
    pub(crate) fn sent(&self, samples: u64) {
        self.sent.inc_by(samples);
    }

    /// Counts a request that is sent again.
    pub(crate) fn retried(&self, reason: RetryReason) {
        if let Some(at) = RetryReason::ALL.iter().position(|one| *one == reason) {
            self.retries[at].inc();
        }
    }

    /// Counts samples that are given up.
    pub(crate) fn dropped(&self, reason: DropReason, samples: u64) {
        if let Some(at) = DropReason::ALL.iter().position(|one| *one == reason) {
            self.dropped[at].inc_by(samples);
        }
    }

    /// Notes how long an answer took.
    pub(crate) fn answered(&self, took: Duration) {
        self.request_seconds.observe(took.as_secs_f64());
    }

    /// Notes when samples that came at `queued_at` were taken.
    pub(crate) fn delivered(&self, queued_at: Timestamp, now: Timestamp) {
        self.delivery_seconds.observe(now.since(queued_at).as_secs_f64());
    }
}

/// Reads the queues when somebody asks for `/metrics`.
#[derive(Debug)]
struct Queues {
    parts: Vec<Part>,
    away: Arc<Away>,
    clock: Clock,
}

impl Collector for Queues {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let now = self.clock.now();
        let encoder = &mut encoder;
        let help = "Bytes of a destination's queue on disk.";
        self.gauge(encoder, "transfer_destination_queue_bytes", help, |_, stats| stats.bytes)?;
        let help = "Samples that wait in a destination's queue.";
        let name = "transfer_destination_queue_samples";
        self.gauge(encoder, name, help, |_, stats| stats.waiting_samples)?;
        let help = "For how long the oldest sample has waited in a destination's queue.";
        let name = "transfer_destination_queue_age_seconds";
        let age = |_: &Part, stats: Stats| {
            stats.waiting_since.map_or(0, |since| now.since(since).as_secs())
        };
        self.gauge(encoder, name, help, age)?;
        let help = "Whether a destination took the last request, or none was sent yet.";
        let is_up =
            |part: &Part, _| u64::from(!self.away.contains(&part.destination.settings.name));
        self.gauge(encoder, "transfer_destination_up", help, is_up)?;
        self.encode_dropped(encoder)
    }
}

impl Queues {
    fn gauge(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
        value: impl Fn(&Part, Stats) -> u64,
    ) -> fmt::Result {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for part in &self.parts {
            let value = value(part, part.destination.queue.stats());
            let metric = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            let labels = [("destination", part.destination.settings.name.as_str())];
            metric.encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn encode_dropped(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let name = "transfer_destination_dropped_samples";
        let help = "Acknowledged samples that a destination will not get, by reason.";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for part in &self.parts {
            let stats = part.destination.queue.stats();
            let of_queue =
                [("queue_full", stats.dropped_samples), ("damaged", stats.damaged_samples)];
            let refused = DropReason::ALL.iter().zip(part.dropped.iter());
            let refused = refused.map(|(reason, count)| (reason.as_str(), count.get()));
            for (reason, count) in of_queue.into_iter().chain(refused) {
                let labels =
                    [("destination", part.destination.settings.name.as_str()), ("reason", reason)];
                ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}
