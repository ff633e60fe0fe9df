//! Prometheus' own names for what judge measures, so that dashboards made for Prometheus work. What has labels of
//! a group is registered twice from one counter; what Prometheus measures and judge does not otherwise is here.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use daemon::Context;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use tokio::time::Instant;

use super::{OfGroup, Seconds, of_group, whole};
use crate::rules::GroupKey;

/// Bounds of the histograms, those of Prometheus, in seconds.
const BOUNDS: [f64; 4] = [0.01, 0.1, 1.0, 10.0];
/// A summary tells of the observations of the last ten minutes, as that of Prometheus' client.
const SUMMARY_SPAN: Duration = Duration::from_secs(600);
/// Observations of one summary; of more the latest count.
const SUMMARY_VALUES_MAX: usize = 1_024;
const EVALUATION_QUANTILES: &[f64] = &[0.5, 0.9, 0.99];
const GROUP_QUANTILES: &[f64] = &[0.01, 0.05, 0.5, 0.9, 0.99];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfAlertmanager {
    alertmanager: String,
}

/// What exists under Prometheus' names only; clones count into the same.
#[derive(Debug, Clone)]
pub(crate) struct Aliases {
    sent: Family<OfAlertmanager, Counter>,
    errors: Family<OfAlertmanager, Counter>,
    dropped: Family<OfAlertmanager, Counter>,
    queue_length: Family<OfAlertmanager, Gauge>,
    latency: Family<OfAlertmanager, Histogram>,
    rule_duration: Histogram,
    group_duration: Histogram,
    last_rule_duration_sum: Family<OfGroup, Seconds>,
    last_restore_duration: Family<OfGroup, Seconds>,
    summaries: Arc<Mutex<Summaries>>,
}

impl Default for Aliases {
    fn default() -> Self {
        Self {
            sent: Family::default(),
            errors: Family::default(),
            dropped: Family::default(),
            queue_length: Family::default(),
            latency: Family::new_with_constructor(|| Histogram::new(BOUNDS)),
            rule_duration: Histogram::new(BOUNDS),
            group_duration: Histogram::new(BOUNDS),
            last_rule_duration_sum: Family::default(),
            last_restore_duration: Family::default(),
            summaries: Arc::default(),
        }
    }
}

#[derive(Debug, Default)]
struct Summaries {
    rule_duration: Summary,
    group_duration: Summary,
    /// By alertmanager.
    latency: BTreeMap<String, Summary>,
}

impl Aliases {
    /// Registers them, touched with zero for these alarms.
    pub(crate) fn register(&self, context: &Context, alarms: &[&str], outbox_alerts_max: usize) {
        let mut registry = context.registry();
        self.register_delivery(&mut registry, alarms, outbox_alerts_max);
        self.register_rules(&mut registry);
        drop(registry);
        for alarm in alarms {
            let of = of_alertmanager(alarm);
            for counter in [&self.sent, &self.errors, &self.dropped] {
                drop(counter.get_or_create(&of));
            }
            self.queue_length.get_or_create(&of).set(0);
            drop(self.latency.get_or_create(&of));
            self.summaries().latency.entry(of.alertmanager).or_default();
        }
        let summaries = self.summaries.clone();
        context.add_metrics_text(move |text| {
            let now = Instant::now();
            summaries.lock().unwrap_or_else(PoisonError::into_inner).put(text, now);
        });
    }

    fn register_delivery(&self, registry: &mut Registry, alarms: &[&str], capacity: usize) {
        for (name, help, counter) in [
            ("prometheus_notifications_sent", "Alerts that an alarm took", &self.sent),
            ("prometheus_notifications_errors", "Requests to an alarm that failed", &self.errors),
            (
                "prometheus_notifications_dropped",
                "Alerts that an alarm refused or an outbox had no room for",
                &self.dropped,
            ),
        ] {
            registry.register(name, help, counter.clone());
        }
        registry.register(
            "prometheus_notifications_queue_length",
            "Alerts in an outbox: the live ones",
            self.queue_length.clone(),
        );
        registry.register_with_unit(
            "prometheus_notifications_latency_histogram",
            "How long requests to an alarm take",
            Unit::Seconds,
            self.latency.clone(),
        );
        let (limit, known) = (Gauge::<i64>::default(), Gauge::<i64>::default());
        limit.set(whole(capacity));
        known.set(whole(alarms.len()));
        registry.register(
            "prometheus_notifications_queue_capacity",
            "Alerts an outbox holds at most",
            limit,
        );
        registry.register(
            "prometheus_notifications_alertmanagers_discovered",
            "Alarms that alerts are sent to",
            known,
        );
    }

    fn register_rules(&self, registry: &mut Registry) {
        for (name, help, histogram) in [
            (
                "prometheus_rule_evaluation_duration_histogram",
                "How long the evaluation of a rule takes",
                &self.rule_duration,
            ),
            (
                "prometheus_rule_group_duration_histogram",
                "How long the evaluation of a group takes",
                &self.group_duration,
            ),
        ] {
            registry.register_with_unit(name, help, Unit::Seconds, histogram.clone());
        }
        for (name, help, gauge) in [
            (
                "prometheus_rule_group_last_rule_duration_sum",
                "How long the rules of a group took in its last evaluation, added up",
                &self.last_rule_duration_sum,
            ),
            (
                "prometheus_rule_group_last_restore_duration",
                "How long it took to find the state of a group's alerts again",
                &self.last_restore_duration,
            ),
        ] {
            registry.register_with_unit(name, help, Unit::Seconds, gauge.clone());
        }
    }

    /// Notes a group that is there.
    pub(crate) fn group(&self, key: &GroupKey) {
        for gauge in [&self.last_rule_duration_sum, &self.last_restore_duration] {
            drop(gauge.get_or_create(&of_group(key)));
        }
    }

    /// Removes what is said of a group that is no more.
    pub(crate) fn forget_group(&self, key: &GroupKey) {
        for gauge in [&self.last_rule_duration_sum, &self.last_restore_duration] {
            gauge.remove(&of_group(key));
        }
    }

    /// Notes an evaluation of a rule.
    pub(crate) fn rule_evaluated(&self, took: Duration) {
        self.rule_duration.observe(took.as_secs_f64());
        self.summaries().rule_duration.observe(took, Instant::now());
    }

    /// Notes an evaluation of a group, and how long its rules took together.
    pub(crate) fn group_evaluated(&self, key: &GroupKey, took: Duration, rules: Duration) {
        self.group_duration.observe(took.as_secs_f64());
        self.summaries().group_duration.observe(took, Instant::now());
        self.last_rule_duration_sum.get_or_create(&of_group(key)).set(rules.as_secs_f64());
    }

    /// Notes how long it took to find the state of a group.
    pub(crate) fn group_restored(&self, key: &GroupKey, took: Duration) {
        self.last_restore_duration.get_or_create(&of_group(key)).set(took.as_secs_f64());
    }

    /// Notes a request to an alarm.
    pub(crate) fn posted(&self, alarm: &str, took: Duration) {
        let of = of_alertmanager(alarm);
        self.latency.get_or_create(&of).observe(took.as_secs_f64());
        let mut summaries = self.summaries();
        summaries.latency.entry(of.alertmanager).or_default().observe(took, Instant::now());
    }

    pub(crate) fn delivered(&self, alarm: &str, alerts: usize) {
        self.sent.get_or_create(&of_alertmanager(alarm)).inc_by(alerts as u64);
    }

    pub(crate) fn failed(&self, alarm: &str) {
        self.errors.get_or_create(&of_alertmanager(alarm)).inc();
    }

    pub(crate) fn dropped(&self, alarm: &str, alerts: usize) {
        self.dropped.get_or_create(&of_alertmanager(alarm)).inc_by(alerts as u64);
    }

    pub(crate) fn queue_length(&self, alarm: &str, length: usize) {
        self.queue_length.get_or_create(&of_alertmanager(alarm)).set(whole(length));
    }

    fn summaries(&self) -> std::sync::MutexGuard<'_, Summaries> {
        self.summaries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The address that alerts go to, as Prometheus writes it.
fn of_alertmanager(alarm: &str) -> OfAlertmanager {
    OfAlertmanager { alertmanager: format!("{alarm}{}", wire::alert::PATH) }
}

impl Summaries {
    fn put(&mut self, text: &mut String, now: Instant) {
        let name = "prometheus_rule_evaluation_duration_seconds";
        heading(text, name, "How long the evaluation of a rule takes.");
        self.rule_duration.put(text, name, "", EVALUATION_QUANTILES, now);
        let name = "prometheus_rule_group_duration_seconds";
        heading(text, name, "How long the evaluation of a group takes.");
        self.group_duration.put(text, name, "", GROUP_QUANTILES, now);
        let name = "prometheus_notifications_latency_seconds";
        heading(text, name, "How long requests to an alarm take.");
        for (alertmanager, summary) in &mut self.latency {
            let label = format!("alertmanager=\"{}\"", escaped(alertmanager));
            summary.put(text, name, &label, EVALUATION_QUANTILES, now);
        }
    }
}

fn heading(text: &mut String, name: &str, help: &str) {
    let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} summary\n# UNIT {name} seconds\n");
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// The latest observations, and how many there ever were.
#[derive(Debug, Default)]
struct Summary {
    latest: VecDeque<(Instant, f64)>,
    count: u64,
    sum: f64,
}

impl Summary {
    fn observe(&mut self, took: Duration, now: Instant) {
        if self.latest.len() == SUMMARY_VALUES_MAX {
            self.latest.pop_front();
        }
        self.latest.push_back((now, took.as_secs_f64()));
        self.count += 1;
        self.sum += took.as_secs_f64();
    }

    /// The quantiles of the last ten minutes; not a number when nothing was observed.
    fn quantiles(&mut self, quantiles: &[f64], now: Instant) -> Vec<f64> {
        let is_old = |(at, _): &(Instant, f64)| now.duration_since(*at) > SUMMARY_SPAN;
        while self.latest.front().is_some_and(is_old) {
            self.latest.pop_front();
        }
        let mut values: Vec<f64> = self.latest.iter().map(|(_, value)| *value).collect();
        values.sort_by(f64::total_cmp);
        let rank = |quantile: &f64| {
            let rank = (quantile * values.len() as f64).ceil() as usize;
            values.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
        };
        quantiles.iter().map(rank).collect()
    }

    fn put(&mut self, text: &mut String, name: &str, label: &str, quantiles: &[f64], now: Instant) {
        let comma = if label.is_empty() { "" } else { "," };
        for (quantile, value) in quantiles.iter().zip(self.quantiles(quantiles, now)) {
            let _ = writeln!(text, "{name}{{{label}{comma}quantile=\"{quantile}\"}} {value}");
        }
        let braces = if label.is_empty() { String::new() } else { format!("{{{label}}}") };
        let _ = writeln!(text, "{name}_sum{braces} {}", self.sum);
        let _ = writeln!(text, "{name}_count{braces} {}", self.count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_tells_of_the_last_ten_minutes() {
        let mut summary = Summary::default();
        let start = Instant::now();
        assert!(summary.quantiles(&[0.5], start)[0].is_nan());
        for millis in 1..=100 {
            summary.observe(Duration::from_millis(millis), start);
        }
        assert_eq!(summary.quantiles(&[0.5, 0.9, 0.99], start), [0.05, 0.09, 0.099]);
        let later = start + SUMMARY_SPAN + Duration::from_secs(1);
        summary.observe(Duration::from_secs(2), later);
        assert_eq!(summary.quantiles(&[0.01, 0.5], later), [2.0, 2.0]);
        assert_eq!((summary.count, summary.latest.len()), (101, 1));
    }

    #[test]
    fn a_summary_is_bounded_and_written_as_prometheus_writes_it() {
        let mut summary = Summary::default();
        for _ in 0..SUMMARY_VALUES_MAX * 2 {
            summary.observe(Duration::from_secs(1), Instant::now());
        }
        assert_eq!(summary.latest.len(), SUMMARY_VALUES_MAX);
        let mut text = String::new();
        summary.put(&mut text, "x_seconds", "a=\"b\"", &[0.5], Instant::now());
        let expected = "x_seconds{a=\"b\",quantile=\"0.5\"} 1\nx_seconds_sum{a=\"b\"} 2048\n\
                        x_seconds_count{a=\"b\"} 2048\n";
        assert_eq!(text, expected);
    }
}
