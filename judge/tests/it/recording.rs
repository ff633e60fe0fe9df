//! Recording rules.

use std::time::Duration;

use model::{Matcher, Selection, Series, Timestamp, is_stale};

use crate::world::{INTERVAL, World};

const IDLE: [(&str, &str); 2] = [("__name__", "cpu_idle"), ("endpoint", "web-1")];

async fn stored(world: &World, name: &str) -> Vec<Series> {
    let matchers = vec![Matcher::equal("__name__", name)];
    let selection = Selection { matchers, start: Timestamp::MIN, end: Timestamp::MAX };
    world.storage.reader().select(&selection).await.expect("memory can be read")
}

#[tokio::test]
async fn a_later_rule_sees_in_the_same_cycle_what_an_earlier_one_recorded() {
    let world = World::new().await;
    let rules = "  - {record: 'cpu:busy', expr: 100 - cpu_idle, labels: {dc: east}}\n  \
                 - {alert: Busy, expr: 'cpu:busy > 90'}\n";
    let judge = world.judge(rules).await;
    world.push(&IDLE, 5.0).await;
    world.step(&judge, INTERVAL).await;
    let heard = world.hears("the alert fires in the first cycle", |_| true).await;
    assert_eq!(
        heard.alert.labels.to_string(),
        "{alertname=\"Busy\", dc=\"east\", endpoint=\"web-1\"}"
    );
    let series = stored(&world, "cpu:busy").await;
    assert_eq!((series.len(), series[0].samples[0].value), (1, 95.0));
}

#[tokio::test]
async fn rules_evaluated_together_write_what_they_would_one_by_one() {
    let world = World::new().await;
    let many: String =
        (0..20).map(|n| format!("  - {{record: 'r{n}', expr: cpu_idle + {n}}}\n")).collect();
    let rules = format!(
        "  - {{record: early, expr: late}}\n{many}  - {{record: late, expr: r0 + r19}}\n  \
         - {{record: broken, expr: 'r1 + on () {{__name__=~\"r.\"}}'}}\n  - {{record: last, expr: late + 1}}\n"
    );
    let judge = world.judge(&rules).await;
    world.push(&IDLE, 5.0).await;
    world.step(&judge, INTERVAL).await;
    let values = async |name: &str| -> Vec<f64> {
        let series = stored(&world, name).await;
        series.iter().flat_map(|series| series.samples.iter().map(|s| s.value)).collect()
    };
    assert_eq!((values("late").await, values("last").await), (vec![29.0], vec![30.0]));
    // A rule that reads a later one sees the cycle before.
    assert!(values("early").await.is_empty());
    world.step(&judge, INTERVAL).await;
    assert_eq!(values("early").await, [29.0]);
    let group = judge.group(&world, "g").await.expect("the rules are known");
    let failed: Vec<&str> = group["rules"]
        .as_array()
        .expect("a group has rules")
        .iter()
        .filter(|rule| rule["health"] == "err")
        .filter_map(|rule| rule["name"].as_str())
        .collect();
    assert_eq!(failed, ["broken"]);
}

#[tokio::test]
async fn a_recorded_series_ends_with_a_staleness_marker() {
    let world = World::new().await;
    let judge = world.judge("  - {record: low, expr: cpu_idle < 10}\n").await;
    world.push(&IDLE, 5.0).await;
    world.step(&judge, INTERVAL).await;
    world.push(&IDLE, 50.0).await;
    world.step(&judge, INTERVAL).await;
    world.step(&judge, INTERVAL).await;
    let series = stored(&world, "low").await;
    let samples = &series[0].samples;
    assert_eq!(samples.len(), 2, "one value, one marker: {samples:?}");
    assert!(!is_stale(samples[0].value) && is_stale(samples[1].value));
    assert_eq!(samples[1].timestamp.since(samples[0].timestamp), INTERVAL);
}

#[tokio::test]
async fn missed_slots_are_counted_and_not_made_up_for() {
    let world = World::new().await;
    let judge = world.judge("  - {record: one, expr: vector(1)}\n").await;
    world.step(&judge, INTERVAL).await;
    world.step(&judge, Duration::from_secs(150)).await;
    assert_eq!(stored(&world, "one").await[0].samples.len(), 2);
    let metrics =
        testkit::get_text(&world.http, &format!("{}/metrics", judge.url)).await.expect("metrics");
    let line =
        metrics.lines().find(|line| line.starts_with("judge_rule_group_iterations_missed_total"));
    assert!(line.is_some_and(|line| line.ends_with(" 9")), "{line:?}");
}
