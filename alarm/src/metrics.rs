//! Every metric of the alarm role.

use std::sync::atomic::AtomicU64;

use db::alerts::{AlertStatus, DeliveryResult};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::intake::Refusal;
use crate::pipeline::Reason;
use crate::severity::Severity;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct StatusLabel {
    status: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct StoredLabels {
    status: &'static str,
    severity: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ReasonLabel {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ReceiverLabel {
    receiver: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ResultLabels {
    receiver: String,
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct SuppressedLabels {
    receiver: String,
    reason: &'static str,
}

/// The metrics; clones count into the same ones.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    received: Family<StatusLabel, Counter>,
    refused: Family<ReasonLabel, Counter>,
    stored: Family<StoredLabels, Gauge>,
    notifications: Family<ResultLabels, Counter>,
    suppressed: Family<SuppressedLabels, Counter>,
    queued: Family<ReceiverLabel, Gauge>,
    attempt_seconds: Family<ReceiverLabel, Histogram>,
    delay_seconds: Family<ReceiverLabel, Histogram>,
    /// Alerts whose lease ran out without news.
    pub(crate) leases_expired: Counter,
    /// The store failed in a background task.
    pub(crate) store_failures: Counter,
    /// Notifications given up within a day and not told since.
    pub(crate) undelivered: Gauge,
    last_intake: Gauge<f64, AtomicU64>,
}

impl Metrics {
    /// Registers all metrics and touches those whose labels are known, so that they are there before anything happens.
    pub(crate) fn register(registry: &mut Registry, receivers: &[String]) -> Self {
        let metrics = Self {
            received: Family::default(),
            refused: Family::default(),
            stored: Family::default(),
            notifications: Family::default(),
            suppressed: Family::default(),
            queued: Family::default(),
            attempt_seconds: Family::new_with_constructor(duration_histogram),
            delay_seconds: Family::new_with_constructor(duration_histogram),
            leases_expired: Counter::default(),
            store_failures: Counter::default(),
            undelivered: Gauge::default(),
            last_intake: Gauge::default(),
        };
        metrics.add_to(registry);
        metrics.touch(receivers);
        metrics
    }

    fn add_to(&self, registry: &mut Registry) {
        let received = "Alerts accepted, refreshes included";
        registry.register("alarm_received_alerts", received, self.received.clone());
        registry.register("alarm_refused_alerts", "Alerts refused, by reason", self.refused.clone());
        registry.register("alarm_stored_alerts", "Alerts in the store", self.stored.clone());
        let notifications = "Attempts to notify, by result: sent, retrying, failed (given up)";
        registry.register("alarm_notifications", notifications, self.notifications.clone());
        let suppressed = "Notifications that the pipeline held back, by reason";
        registry.register("alarm_suppressed_notifications", suppressed, self.suppressed.clone());
        registry.register("alarm_queued_events", "Events waiting for a receiver", self.queued.clone());
        let attempt = "Time that one attempt to notify took";
        let attempt_seconds = self.attempt_seconds.clone();
        registry.register_with_unit("alarm_notification_attempt", attempt, Unit::Seconds, attempt_seconds);
        let delay = "Time from the event to its accepted notification";
        let delay_seconds = self.delay_seconds.clone();
        registry.register_with_unit("alarm_notification_delay", delay, Unit::Seconds, delay_seconds);
        let leases = "Alerts whose sender went silent";
        registry.register("alarm_leases_expired", leases, self.leases_expired.clone());
        let failures = "Failures of the store in background tasks";
        registry.register("alarm_store_failures", failures, self.store_failures.clone());
        let undelivered = "Notifications given up within the last 24 hours and not told since";
        registry.register("alarm_undelivered_notifications", undelivered, self.undelivered.clone());
        let last_intake = "Unix time of the latest accepted alerts; 0 when there were none since the start";
        let gauge = self.last_intake.clone();
        registry.register_with_unit("alarm_last_intake_timestamp", last_intake, Unit::Seconds, gauge);
    }

    fn touch(&self, receivers: &[String]) {
        for status in [AlertStatus::Firing, AlertStatus::Resolved] {
            self.received_alerts(status, 0);
        }
        for refusal in Refusal::ALL {
            self.refused_alerts(refusal, 0);
        }
        for status in [AlertStatus::Firing, AlertStatus::Stale, AlertStatus::Resolved] {
            for severity in Severity::ALL {
                self.set_stored(status, severity, 0);
            }
        }
        for receiver in receivers {
            for result in [DeliveryResult::Sent, DeliveryResult::Retrying, DeliveryResult::Failed] {
                self.notifications.get_or_create(&result_labels(receiver, result)).inc_by(0);
            }
            for reason in Reason::ALL {
                self.suppressed.get_or_create(&suppressed_labels(receiver, reason)).inc_by(0);
            }
            self.set_queued(receiver, 0);
            drop(self.attempt_seconds.get_or_create(&receiver_label(receiver)));
            drop(self.delay_seconds.get_or_create(&receiver_label(receiver)));
        }
    }

    pub(crate) fn received_alerts(&self, status: AlertStatus, alerts: u64) {
        self.received.get_or_create(&StatusLabel { status: status.as_str() }).inc_by(alerts);
    }

    pub(crate) fn refused_alerts(&self, refusal: Refusal, alerts: u64) {
        self.refused.get_or_create(&ReasonLabel { reason: refusal.as_str() }).inc_by(alerts);
    }

    pub(crate) fn set_stored(&self, status: AlertStatus, severity: Severity, alerts: i64) {
        let labels = StoredLabels { status: status.as_str(), severity: severity.as_str() };
        self.stored.get_or_create(&labels).set(alerts);
    }

    pub(crate) fn set_queued(&self, receiver: &str, events: i64) {
        self.queued.get_or_create(&receiver_label(receiver)).set(events);
    }

    pub(crate) fn took_in_at(&self, now: model::Timestamp) {
        self.last_intake.set(now.seconds_f64());
    }

    pub(crate) fn attempted(&self, receiver: &str, result: DeliveryResult, seconds: f64) {
        self.notifications.get_or_create(&result_labels(receiver, result)).inc();
        self.attempt_seconds.get_or_create(&receiver_label(receiver)).observe(seconds);
    }

    pub(crate) fn delivered_after(&self, receiver: &str, seconds: f64) {
        self.delay_seconds.get_or_create(&receiver_label(receiver)).observe(seconds);
    }

    pub(crate) fn suppressed(&self, receiver: &str, reason: Reason) {
        self.suppressed.get_or_create(&suppressed_labels(receiver, reason)).inc();
    }
}

fn duration_histogram() -> Histogram {
    Histogram::new([0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0])
}

fn receiver_label(receiver: &str) -> ReceiverLabel {
    ReceiverLabel { receiver: receiver.to_owned() }
}

fn result_labels(receiver: &str, result: DeliveryResult) -> ResultLabels {
    ResultLabels { receiver: receiver.to_owned(), result: result.as_str() }
}

fn suppressed_labels(receiver: &str, reason: Reason) -> SuppressedLabels {
    SuppressedLabels { receiver: receiver.to_owned(), reason: reason.as_str() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_there_before_anything_happens() {
        let mut registry = Registry::default();
        Metrics::register(&mut registry, &["ops".to_owned()]);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            "alarm_received_alerts_total{status=\"firing\"} 0",
            "alarm_refused_alerts_total{reason=\"too_many_stored\"} 0",
            "alarm_stored_alerts{status=\"stale\",severity=\"critical\"} 0",
            "alarm_notifications_total{receiver=\"ops\",result=\"failed\"} 0",
            "alarm_suppressed_notifications_total{receiver=\"ops\",reason=\"already_told\"} 0",
            "alarm_queued_events{receiver=\"ops\"} 0",
            "alarm_notification_delay_seconds_count{receiver=\"ops\"} 0",
            "alarm_leases_expired_total 0",
            "alarm_store_failures_total 0",
            "alarm_undelivered_notifications 0",
            "alarm_last_intake_timestamp_seconds 0.0",
        ] {
            assert!(text.contains(line), "{line} is missing in:\n{text}");
        }
    }
}
