//! Prometheus' names for what judge measures.

use std::collections::BTreeMap;

use testkit::{eventually, get_text};

use crate::world::{INTERVAL, PATIENCE, World};

/// Every metric of rules and notifications that Prometheus has: name, type, labels of a sample.
const PROMETHEUS: [(&str, &str, &str); 23] = [
    ("prometheus_notifications_latency_seconds", "summary", "alertmanager quantile"),
    ("prometheus_notifications_latency_histogram_seconds", "histogram", "le alertmanager"),
    ("prometheus_notifications_errors", "counter", "alertmanager"),
    ("prometheus_notifications_sent", "counter", "alertmanager"),
    ("prometheus_notifications_dropped", "counter", "alertmanager"),
    ("prometheus_notifications_queue_length", "gauge", "alertmanager"),
    ("prometheus_notifications_queue_capacity", "gauge", ""),
    ("prometheus_notifications_alertmanagers_discovered", "gauge", ""),
    ("prometheus_rule_evaluation_duration_seconds", "summary", "quantile"),
    ("prometheus_rule_evaluation_duration_histogram_seconds", "histogram", "le"),
    ("prometheus_rule_group_duration_seconds", "summary", "quantile"),
    ("prometheus_rule_group_duration_histogram_seconds", "histogram", "le"),
    ("prometheus_rule_group_iterations", "counter", "rule_group"),
    ("prometheus_rule_group_iterations_missed", "counter", "rule_group"),
    ("prometheus_rule_evaluations", "counter", "rule_group"),
    ("prometheus_rule_evaluation_failures", "counter", "rule_group"),
    ("prometheus_rule_group_interval_seconds", "gauge", "rule_group"),
    ("prometheus_rule_group_last_evaluation_timestamp_seconds", "gauge", "rule_group"),
    ("prometheus_rule_group_last_duration_seconds", "gauge", "rule_group"),
    ("prometheus_rule_group_last_rule_duration_sum_seconds", "gauge", "rule_group"),
    ("prometheus_rule_group_last_restore_duration_seconds", "gauge", "rule_group"),
    ("prometheus_rule_group_rules", "gauge", "rule_group"),
    ("prometheus_rule_group_last_evaluation_samples", "gauge", "rule_group"),
];

/// The first sample of a family: its name and its labels.
fn sample<'a>(text: &'a str, family: &str, kind: &str) -> Option<(&'a str, String)> {
    let suffix = match kind {
        "counter" => "_total",
        "histogram" => "_bucket",
        _ => "",
    };
    let wanted = format!("{family}{suffix}");
    let mut lines = text.lines().filter(|line| !line.starts_with('#'));
    let line = lines.find(|line| line.split(['{', ' ']).next() == Some(&wanted))?;
    let labels = line.split_once('{').map_or("", |(_, rest)| rest);
    let names = labels.split('"').step_by(2).filter_map(|part| part.strip_suffix('='));
    let names: Vec<&str> = names.map(|name| name.trim_start_matches(',')).collect();
    Some((line, names.join(" ")))
}

#[tokio::test]
async fn every_metric_of_prometheus_is_there_with_its_type_and_labels() {
    let world = World::new().await;
    let judge = world.judge("  - {record: 'up:sum', expr: sum(up)}\n").await;
    world.step(&judge, INTERVAL).await;
    let url = format!("{}/metrics", judge.url);
    let text = get_text(&world.http, &url).await.unwrap();
    let types: BTreeMap<&str, &str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
    for (name, kind, labels) in PROMETHEUS {
        assert_eq!(types.get(name), Some(&kind), "{name}");
        let (line, found) = sample(&text, name, kind).unwrap_or_else(|| panic!("{name}\n{text}"));
        assert_eq!(found, labels, "{line}");
    }
    let ours = types.keys().filter(|name| name.starts_with("prometheus_")).count();
    assert_eq!(ours, PROMETHEUS.len(), "{types:#?}");
    assert!(text.ends_with("# EOF\n"));
}

#[tokio::test]
async fn the_figures_under_both_names_are_the_same() {
    let world = World::new().await;
    let judge = world.judge("  - {alert: A, expr: vector(1)}\n").await;
    world.step(&judge, INTERVAL).await;
    world.hears("the alert", |heard| heard.label("alertname") == Some("A")).await;
    let url = format!("{}/metrics", judge.url);
    let value = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(&format!("{name}{{")))?;
        line.rsplit_once(' ').map(|(_, value)| value.to_owned())
    };
    let text = eventually("the delivery is counted", PATIENCE, async || {
        let text = get_text(&world.http, &url).await?;
        let sent = value(&text, "judge_notifications_sent_total")?;
        (sent == "1").then_some(text)
    })
    .await;
    for name in ["rule_evaluations_total", "rule_group_rules", "notifications_sent_total"] {
        let both = ["judge", "prometheus"].map(|who| value(&text, &format!("{who}_{name}")));
        assert!(both[0].is_some() && both[0] == both[1], "{name}: {both:?}");
    }
    let address = format!("alertmanager=\"{}/api/v2/alerts\"", world.alarm.url());
    assert!(text.contains(&address), "{address}");
}
