//! Every metric of judge. Where Prometheus has a metric for the same thing, ours has its name with `judge_`
//! in the place of `prometheus_`.

mod prometheus;

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use daemon::Context;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Metric, Registry, Unit};

use crate::alert_state::Event;
use crate::rules::GroupKey;
use prometheus::Aliases;

type Seconds = Gauge<f64, AtomicU64>;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfGroup {
    rule_group: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfAlarm {
    alarm: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfEvent {
    event: &'static str,
}

/// The counters and gauges; clones count into the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Metrics {
    evaluations: Family<OfGroup, Counter>,
    evaluation_failures: Family<OfGroup, Counter>,
    iterations: Family<OfGroup, Counter>,
    iterations_missed: Family<OfGroup, Counter>,
    interval: Family<OfGroup, Seconds>,
    last_evaluation: Family<OfGroup, Seconds>,
    last_duration: Family<OfGroup, Seconds>,
    last_samples: Family<OfGroup, Gauge>,
    rules: Family<OfGroup, Gauge>,
    pending: Family<OfGroup, Gauge>,
    firing: Family<OfGroup, Gauge>,
    events: Family<OfEvent, Counter>,
    sent: Family<OfAlarm, Counter>,
    errors: Family<OfAlarm, Counter>,
    dropped: Family<OfAlarm, Counter>,
    relabel_dropped: Family<OfAlarm, Counter>,
    queue_length: Family<OfAlarm, Gauge>,
    queue_capacity: Family<OfAlarm, Gauge>,
    oldest_transition: Family<OfAlarm, Seconds>,
    oldest_overdue: Family<OfAlarm, Seconds>,
    pub(crate) groups: Gauge,
    pub(crate) groups_held: Gauge,
    pub(crate) state_failures: Counter,
    pub(crate) reloads: Counter,
    pub(crate) reload_failures: Counter,
    template_expansions: Counter,
    template_failures: Counter,
    pub(crate) passes: Counter,
    pub(crate) pass_rules: Counter,
    pub(crate) pass_failures: Counter,
    pub(crate) arrival_series: Counter,
    pub(crate) arrival_series_beyond_limit: Counter,
    pub(crate) arrival_evaluations: Counter,
    pub(crate) arrival_deferred: Counter,
    pub(crate) changes_refused: Counter,
    pub(crate) aliases: Aliases,
}

/// One evaluation of a group, in figures.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Figures {
    pub(crate) evaluations: u64,
    pub(crate) failures: u64,
    pub(crate) samples: usize,
    pub(crate) pending: usize,
    pub(crate) firing: usize,
    pub(crate) duration: Duration,
    /// How long its rules took, added up.
    pub(crate) rule_durations: Duration,
    pub(crate) at_seconds: f64,
}

const EVENTS: [(Event, &str); 7] = [
    (Event::Pending, "pending"),
    (Event::Fired, "fired"),
    (Event::Kept, "kept"),
    (Event::Held, "held"),
    (Event::Resolved, "resolved"),
    (Event::Dropped, "dropped"),
    (Event::Demoted, "demoted"),
];

impl Metrics {
    /// Registers all of them, touched with zero where the labels are known.
    pub(crate) fn register(context: &Context, alarms: &[&str], outbox_alerts_max: usize) -> Self {
        let metrics = Self::default();
        for (_, event) in EVENTS {
            drop(metrics.events.get_or_create(&OfEvent { event }));
        }
        for alarm in alarms {
            let of = of_alarm(alarm);
            let Self { sent, errors, dropped, relabel_dropped, .. } = &metrics;
            for counter in [sent, errors, dropped, relabel_dropped] {
                drop(counter.get_or_create(&of));
            }
            metrics.queue_length.get_or_create(&of).set(0);
            metrics.oldest_transition.get_or_create(&of).set(0.0);
            metrics.oldest_overdue.get_or_create(&of).set(0.0);
            metrics.queue_capacity.get_or_create(&of).set(whole(outbox_alerts_max));
        }
        let mut registry = context.registry();
        metrics.register_judge(&mut registry);
        metrics.register_groups(&mut registry);
        metrics.register_delivery(&mut registry);
        drop(registry);
        metrics.aliases.register(context, alarms, outbox_alerts_max);
        metrics
    }

    fn register_judge(&self, registry: &mut Registry) {
        add(registry, "judge_rule_groups", "Rule groups that judge knows", &self.groups);
        add(
            registry,
            "judge_rule_groups_held",
            "Rule groups that this judge holds",
            &self.groups_held,
        );
        add(
            registry,
            "judge_state_failures",
            "Times the shared state could not be read or written; nothing new was sent then",
            &self.state_failures,
        );
        add(registry, "judge_rule_reloads", "Times the rules were read again", &self.reloads);
        add(
            registry,
            "judge_rule_reload_failures",
            "Faults found in rule files and groups, which were left out",
            &self.reload_failures,
        );
        add(registry, "judge_passes", "Questions answered for many rules at once", &self.passes);
        add(
            registry,
            "judge_pass_rules",
            "Evaluations of rules that took their part of such an answer",
            &self.pass_rules,
        );
        add(
            registry,
            "judge_pass_failures",
            "Questions that could not be answered for all; their rules were evaluated one by one",
            &self.pass_failures,
        );
        for (name, help, counter) in [
            (
                "judge_arrival_series",
                "Series with new samples that rules may be waiting for",
                &self.arrival_series,
            ),
            (
                "judge_arrival_series_beyond_limit",
                "Such series that there was no room for; all rules were evaluated then",
                &self.arrival_series_beyond_limit,
            ),
            (
                "judge_arrival_evaluations",
                "Evaluations of rules because their data arrived",
                &self.arrival_evaluations,
            ),
            (
                "judge_arrival_deferred",
                "Evaluations on arrival left to the next slot, as they cost much or another one was running",
                &self.arrival_deferred,
            ),
        ] {
            add(registry, name, help, counter);
        }
        add(
            registry,
            "judge_changes_refused",
            "Changes of rules asked for by somebody who may not make them",
            &self.changes_refused,
        );
        add(registry, "judge_alert_events", "What happened to alerts", &self.events);
        self.register_templates(registry);
    }

    fn register_templates(&self, registry: &mut Registry) {
        add(
            registry,
            "judge_template_text_expansions",
            "Templates of labels and annotations that were rendered",
            &self.template_expansions,
        );
        add(
            registry,
            "judge_template_text_expansion_failures",
            "Templates that failed; their alerts have a text that says so in its place",
            &self.template_failures,
        );
    }

    fn register_groups(&self, registry: &mut Registry) {
        for (name, help, counter) in [
            ("judge_rule_evaluations", "Evaluations of rules", &self.evaluations),
            (
                "judge_rule_evaluation_failures",
                "Evaluations of rules that failed and changed nothing",
                &self.evaluation_failures,
            ),
            ("judge_rule_group_iterations", "Evaluations of groups", &self.iterations),
            (
                "judge_rule_group_iterations_missed",
                "Slots that passed without an evaluation, as the one before took too long or judge was away",
                &self.iterations_missed,
            ),
        ] {
            add(registry, name, help, counter);
            add(registry, &as_prometheus(name), help, counter);
        }
        for (name, help, gauge) in [
            ("judge_rule_group_interval", "Interval of a group", &self.interval),
            (
                "judge_rule_group_last_duration",
                "How long the last evaluation took",
                &self.last_duration,
            ),
            (
                "judge_rule_group_last_evaluation_timestamp",
                "Slot of the last evaluation, since the epoch",
                &self.last_evaluation,
            ),
        ] {
            registry.register_with_unit(name, help, Unit::Seconds, gauge.clone());
            registry.register_with_unit(as_prometheus(name), help, Unit::Seconds, gauge.clone());
        }
        for (name, help, gauge) in [
            ("judge_rule_group_rules", "Rules of a group", &self.rules),
            (
                "judge_rule_group_last_evaluation_samples",
                "Samples the last evaluation gave",
                &self.last_samples,
            ),
        ] {
            add(registry, name, help, gauge);
            add(registry, &as_prometheus(name), help, gauge);
        }
        for (name, help, gauge) in [
            ("judge_alerts_pending", "Alerts that wait out their hold", &self.pending),
            ("judge_alerts_firing", "Alerts that fire", &self.firing),
        ] {
            add(registry, name, help, gauge);
        }
    }

    fn register_delivery(&self, registry: &mut Registry) {
        for (name, help, counter) in [
            ("judge_notifications_sent", "Alerts that an alarm took", &self.sent),
            ("judge_notifications_errors", "Requests to an alarm that failed", &self.errors),
            (
                "judge_notifications_dropped",
                "Alerts that an alarm refused or an outbox had no room for; they are offered again later",
                &self.dropped,
            ),
            (
                "judge_notifications_relabel_dropped",
                "Alerts that relabelling kept from an alarm, each time that they were to be told",
                &self.relabel_dropped,
            ),
        ] {
            add(registry, name, help, counter);
        }
        for (name, help, gauge) in [
            (
                "judge_notifications_queue_length",
                "Alerts in an outbox: the live ones",
                &self.queue_length,
            ),
            (
                "judge_notifications_queue_capacity",
                "Alerts an outbox holds at most",
                &self.queue_capacity,
            ),
        ] {
            add(registry, name, help, gauge);
        }
        registry.register_with_unit(
            "judge_notifications_oldest_transition",
            "How long the oldest news has been waiting for an alarm",
            Unit::Seconds,
            self.oldest_transition.clone(),
        );
        registry.register_with_unit(
            "judge_notifications_oldest_overdue",
            "How long what an alarm should have been told, news or repetition, has been waiting at most",
            Unit::Seconds,
            self.oldest_overdue.clone(),
        );
    }

    /// Notes a group that is there.
    pub(crate) fn group(&self, key: &GroupKey, interval: Duration, rules: usize) {
        let of = of_group(key);
        self.aliases.group(key);
        self.interval.get_or_create(&of).set(interval.as_secs_f64());
        self.rules.get_or_create(&of).set(whole(rules));
        for counter in [
            &self.evaluations,
            &self.evaluation_failures,
            &self.iterations,
            &self.iterations_missed,
        ] {
            drop(counter.get_or_create(&of));
        }
    }

    /// Removes what is said of a group that is no more.
    pub(crate) fn forget_group(&self, key: &GroupKey) {
        let of = of_group(key);
        self.aliases.forget_group(key);
        for counter in [
            &self.evaluations,
            &self.evaluation_failures,
            &self.iterations,
            &self.iterations_missed,
        ] {
            counter.remove(&of);
        }
        for gauge in [&self.interval, &self.last_evaluation, &self.last_duration] {
            gauge.remove(&of);
        }
        for gauge in [&self.last_samples, &self.rules, &self.pending, &self.firing] {
            gauge.remove(&of);
        }
    }

    /// Notes an evaluation.
    pub(crate) fn evaluated(&self, key: &GroupKey, missed: u64, figures: &Figures) {
        let of = of_group(key);
        self.aliases.group_evaluated(key, figures.duration, figures.rule_durations);
        self.iterations.get_or_create(&of).inc();
        self.iterations_missed.get_or_create(&of).inc_by(missed);
        self.evaluations.get_or_create(&of).inc_by(figures.evaluations);
        self.evaluation_failures.get_or_create(&of).inc_by(figures.failures);
        self.last_evaluation.get_or_create(&of).set(figures.at_seconds);
        self.last_duration.get_or_create(&of).set(figures.duration.as_secs_f64());
        self.last_samples.get_or_create(&of).set(whole(figures.samples));
        self.pending.get_or_create(&of).set(whole(figures.pending));
        self.firing.get_or_create(&of).set(whole(figures.firing));
    }

    /// Notes renderings of templates and those of them that failed.
    pub(crate) fn template_expansions(&self, expansions: u64, failures: u64) {
        self.template_expansions.inc_by(expansions);
        self.template_failures.inc_by(failures);
    }

    /// Notes what happened to an alert.
    pub(crate) fn event(&self, event: Event) {
        if let Some((_, event)) = EVENTS.iter().find(|(known, _)| *known == event) {
            self.events.get_or_create(&OfEvent { event }).inc();
        }
    }

    /// Notes a request to an alarm and its alerts.
    pub(crate) fn delivered(&self, alarm: &str, alerts: usize) {
        self.aliases.delivered(alarm, alerts);
        self.sent.get_or_create(&of_alarm(alarm)).inc_by(alerts as u64);
    }

    /// Notes a request to an alarm that failed.
    pub(crate) fn delivery_failed(&self, alarm: &str) {
        self.aliases.failed(alarm);
        self.errors.get_or_create(&of_alarm(alarm)).inc();
    }

    /// Notes alerts that could not be put in an outbox or were refused.
    pub(crate) fn dropped(&self, alarm: &str, alerts: usize) {
        self.aliases.dropped(alarm, alerts);
        self.dropped.get_or_create(&of_alarm(alarm)).inc_by(alerts as u64);
    }

    /// Notes alerts that an alarm is not told of.
    pub(crate) fn relabel_dropped(&self, alarm: &str, alerts: usize) {
        if alerts > 0 {
            self.relabel_dropped.get_or_create(&of_alarm(alarm)).inc_by(alerts as u64);
        }
    }

    /// Notes how long what is due the longest has been waiting.
    pub(crate) fn overdue(&self, alarm: &str, oldest: Duration) {
        self.oldest_overdue.get_or_create(&of_alarm(alarm)).set(oldest.as_secs_f64());
    }

    /// Notes how an outbox stands.
    pub(crate) fn outbox(&self, alarm: &str, length: usize, oldest_transition: Duration) {
        let of = of_alarm(alarm);
        self.aliases.queue_length(alarm, length);
        self.queue_length.get_or_create(&of).set(whole(length));
        self.oldest_transition.get_or_create(&of).set(oldest_transition.as_secs_f64());
    }
}

fn add<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, metric: &M) {
    registry.register(name, help, metric.clone());
}

/// Prometheus' name for the same thing.
fn as_prometheus(name: &str) -> String {
    name.replacen("judge_", "prometheus_", 1)
}

fn of_group(key: &GroupKey) -> OfGroup {
    OfGroup { rule_group: key.to_string() }
}

fn of_alarm(alarm: &str) -> OfAlarm {
    OfAlarm { alarm: alarm.to_owned() }
}

fn whole(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
