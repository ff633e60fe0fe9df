//! Every metric of the alarm role.

use std::sync::atomic::AtomicU64;

use db::alerts::{AlertStatus, DeliveryResult};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry, Unit};

use crate::intake::Refusal;
use crate::pipeline::Reason;
use crate::plan::Stored;
use crate::routing::ObjectKind;
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

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ObjectLabels {
    kind: &'static str,
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct LeftOutLabels {
    kind: String,
    name: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct OutcomeLabel {
    result: &'static str,
}

/// Objects that are named; the others are counted only.
const LEFT_OUT_NAMED_MAX: usize = 50;

type Durations = Family<ReceiverLabel, Histogram>;

/// The metrics; clones count into the same ones.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    received: Family<StatusLabel, Counter>,
    refused: Family<ReasonLabel, Counter>,
    stored: Family<StoredLabels, Gauge>,
    notifications: Family<ResultLabels, Counter>,
    suppressed: Family<SuppressedLabels, Counter>,
    queued: Family<ReceiverLabel, Gauge>,
    told_alerts: Family<ReceiverLabel, Counter>,
    reloads: Family<OutcomeLabel, Counter>,
    reload_is_good: Gauge,
    last_reload: Gauge<f64, AtomicU64>,
    /// Groups of alerts that this instance dispatches.
    pub(crate) groups: Gauge,
    attempt_seconds: Durations,
    delay_seconds: Durations,
    /// Alerts whose lease ran out without news.
    pub(crate) leases_expired: Counter,
    /// The store failed in a background task.
    pub(crate) store_failures: Counter,
    /// Notifications given up within a day and not told since.
    pub(crate) undelivered: Gauge,
    last_intake: Gauge<f64, AtomicU64>,
    /// Watchdogs that are missing.
    pub(crate) watchdogs_missing: Gauge,
    pings: Family<OutcomeLabel, Counter>,
    /// Alerts that shared a group because there were too many.
    pub(crate) overflowed: Counter,
    falcon_events: Family<OutcomeLabel, Counter>,
    routing_objects: Family<ObjectLabels, Gauge>,
    left_out: Family<LeftOutLabels, Gauge>,
}

impl Metrics {
    /// Registers all metrics and touches those whose labels are known, so that they are there before anything
    /// happens.
    pub(crate) fn register(registry: &mut Registry, receivers: &[String]) -> Self {
        let undelivered = "Notifications given up within the last 24 hours and not told since";
        let metrics = Self {
            received: add(registry, "received_alerts", "Alerts accepted, refreshes included"),
            refused: add(registry, "refused_alerts", "Alerts refused, by reason"),
            stored: add(registry, "stored_alerts", "Alerts in the store"),
            notifications: add(
                registry,
                "notifications",
                "Attempts to send a message; failed means given up",
            ),
            suppressed: add(
                registry,
                "suppressed_notifications",
                "Notifications held back, by reason",
            ),
            queued: add(registry, "queued_events", "Events waiting for a receiver"),
            told_alerts: add(registry, "notified_alerts", "Alerts in accepted messages"),
            reloads: add(registry, "config_reloads", "Reloads of routes and receivers, by result"),
            reload_is_good: add(
                registry,
                "config_last_reload_successful",
                "Whether the latest reload of routes and receivers was accepted",
            ),
            last_reload: add(
                registry,
                "config_last_reload_success_timestamp_seconds",
                "When routes and receivers were loaded last",
            ),
            groups: add(registry, "groups", "Groups of alerts that this instance dispatches"),
            attempt_seconds: add_durations(
                registry,
                "notification_attempt",
                "Time one attempt to notify took",
            ),
            delay_seconds: add_durations(
                registry,
                "notification_delay",
                "Time from event to accepted message",
            ),
            leases_expired: add(registry, "leases_expired", "Alerts whose sender went silent"),
            store_failures: add(
                registry,
                "store_failures",
                "Failures of the store in background tasks",
            ),
            undelivered: add(registry, "undelivered_notifications", undelivered),
            last_intake: add(
                registry,
                "last_intake_timestamp_seconds",
                "When alerts were accepted last; 0: never",
            ),
            watchdogs_missing: add(registry, "watchdogs_missing", "Watchdogs without news"),
            pings: add(registry, "pings", "Requests to alarm.dead_man.ping_url, by result"),
            overflowed: add(
                registry,
                "overflowed_alerts",
                "Alerts put into the common group of their way, because there are alarm.groups_max groups",
            ),
            falcon_events: add(
                registry,
                "falcon_events",
                "Events of Open-Falcon's judges; bad and refused ones were put aside",
            ),
            routing_objects: add(
                registry,
                "routing_objects",
                "Routes, receivers and the like in the database; what is left out cannot be used",
            ),
            left_out: add(
                registry,
                "left_out_routing_object",
                "1 for each object of the database that cannot be used; page /routing says why",
            ),
        };
        for result in ["accepted", "bad", "refused"] {
            metrics.falcon_events(result, 0);
        }
        for result in ["ok", "failed"] {
            drop(metrics.reloads.get_or_create(&OutcomeLabel { result }));
            drop(metrics.pings.get_or_create(&OutcomeLabel { result }));
        }
        metrics.touch_totals();
        metrics.set_routing_objects(&[]);
        metrics.touch(receivers);
        metrics
    }

    fn touch_totals(&self) {
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
    }

    /// Makes the series of these receivers appear.
    pub(crate) fn touch(&self, receivers: &[String]) {
        for receiver in receivers {
            for result in [DeliveryResult::Sent, DeliveryResult::Retrying, DeliveryResult::Failed] {
                self.notifications.get_or_create(&result_labels(receiver, result)).inc_by(0);
            }
            for reason in Reason::ALL {
                self.suppressed.get_or_create(&suppressed_labels(receiver, reason)).inc_by(0);
            }
            self.set_queued(receiver, 0);
            self.told_alerts(receiver, 0);
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

    pub(crate) fn falcon_events(&self, result: &'static str, events: u64) {
        self.falcon_events.get_or_create(&OutcomeLabel { result }).inc_by(events);
    }

    /// Counts the objects of the database, and names those that are left out.
    pub(crate) fn set_routing_objects(&self, objects: &[Stored]) {
        for (state, is_bad) in [("used", false), ("left_out", true)] {
            for kind in ObjectKind::ALL.map(ObjectKind::as_str) {
                let is_it = |one: &&Stored| one.kind == kind && one.fault.is_empty() != is_bad;
                let count = i64::try_from(objects.iter().filter(is_it).count());
                let labels = ObjectLabels { kind, state };
                self.routing_objects.get_or_create(&labels).set(count.unwrap_or(i64::MAX));
            }
        }
        self.left_out.clear();
        let bad = objects.iter().filter(|one| !one.fault.is_empty()).take(LEFT_OUT_NAMED_MAX);
        for Stored { kind, name, .. } in bad {
            let labels = LeftOutLabels { kind: kind.to_owned(), name: name.to_owned() };
            self.left_out.get_or_create(&labels).set(1);
        }
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

    pub(crate) fn suppressed(&self, receiver: &str, reason: Reason, alerts: u64) {
        self.suppressed.get_or_create(&suppressed_labels(receiver, reason)).inc_by(alerts);
    }

    pub(crate) fn told_alerts(&self, receiver: &str, alerts: u64) {
        self.told_alerts.get_or_create(&receiver_label(receiver)).inc_by(alerts);
    }

    /// Notes whether the address outside answered.
    pub(crate) fn pinged(&self, is_good: bool) {
        let result = if is_good { "ok" } else { "failed" };
        self.pings.get_or_create(&OutcomeLabel { result }).inc();
    }

    /// Notes how a reload of the settings ended.
    pub(crate) fn reloaded(&self, is_good: bool, now: model::Timestamp) {
        let result = if is_good { "ok" } else { "failed" };
        self.reloads.get_or_create(&OutcomeLabel { result }).inc();
        self.reload_is_good.set(i64::from(is_good));
        if is_good {
            self.last_reload.set(now.seconds_f64());
        }
    }
}

fn add<M: Metric + Clone + Default>(registry: &mut Registry, name: &str, help: &str) -> M {
    let metric = M::default();
    registry.register(format!("alarm_{name}"), help, metric.clone());
    metric
}

fn add_durations(registry: &mut Registry, name: &str, help: &str) -> Durations {
    let durations = Durations::new_with_constructor(duration_histogram);
    registry.register_with_unit(format!("alarm_{name}"), help, Unit::Seconds, durations.clone());
    durations
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
            "alarm_routing_objects{kind=\"route\",state=\"left_out\"} 0",
            "alarm_store_failures_total 0",
            "alarm_undelivered_notifications 0",
            "alarm_last_intake_timestamp_seconds 0.0",
        ] {
            assert!(text.contains(line), "{line} is missing in:\n{text}");
        }
    }
}
