//! From a sample to the alarm.

use std::time::Duration;

use model::Labels;
use serde_json::json;

use crate::alarm::Heard;
use crate::world::{INTERVAL, World};

const DOWN: &str = "  - alert: Down\n    expr: up == 0\n    for: 30s\n    labels: {severity: critical}\n    \
                    annotations: {summary: '{{ $labels.endpoint }} is {{ $value }}'}\n";
const UP: [(&str, &str); 2] = [("__name__", "up"), ("endpoint", "web-1")];

#[tokio::test]
async fn an_alert_fires_after_its_hold_and_the_alarm_hears_of_its_end() {
    let world = World::new().await;
    let judge = world.judge(DOWN).await;
    world.push(&UP, 0.0).await;
    world.steps(&judge, 2, &UP, 0.0).await;
    assert_eq!(world.heard(), [], "the hold is not over");
    world.steps(&judge, 2, &UP, 0.0).await;
    let fired = world.hears("the alert fires", |_| true).await;
    let labels = [("alertname", "Down"), ("endpoint", "web-1"), ("severity", "critical")];
    assert_eq!(fired.alert.labels, Labels::from_pairs(labels));
    assert_eq!(fired.alert.annotations["summary"], "web-1 is 0");
    assert_eq!(fired.alert.ends_at, fired.at.plus(Duration::from_secs(240)), "four resend delays");

    world.clock.advance(Duration::from_secs(1));
    world.push(&UP, 1.0).await;
    world.step(&judge, INTERVAL).await;
    let ended = world.hears("the alert ends", Heard::is_end).await;
    assert_eq!(ended.identity(), fired.identity());
}

#[tokio::test]
async fn a_firing_alert_is_sent_again_every_minute_with_a_later_end() {
    let world = World::new().await;
    let judge = world.judge("  - {alert: Down, expr: up == 0}\n").await;
    world.push(&UP, 0.0).await;
    world.steps(&judge, 1, &UP, 0.0).await;
    let first = world.hears("the alert fires", |_| true).await;
    world.steps(&judge, 5, &UP, 0.0).await;
    let second =
        world.hears("it is sent again", |heard| heard.alert.ends_at > first.alert.ends_at).await;
    assert_eq!(second.identity(), first.identity());
}

#[tokio::test]
async fn a_query_that_fails_leaves_the_alert_firing_and_says_why() {
    let world = World::new().await;
    let judge = world.judge("  - {alert: Down, expr: '(up == 0) + on (endpoint) owner'}\n").await;
    let owner = |name| [("__name__", "owner"), ("endpoint", "web-1"), ("team", name)];
    world.push(&UP, 0.0).await;
    world.push(&owner("a"), 1.0).await;
    world.step(&judge, INTERVAL).await;
    world.hears("the alert fires", |_| true).await;

    // A second owner makes the match ambiguous, which is an error of the query and not an empty answer.
    world.push(&owner("b"), 1.0).await;
    world.push(&UP, 0.0).await;
    world.step(&judge, INTERVAL).await;
    let group = judge.group(&world, "g").await.expect("the group is shown");
    let rule = &group["rules"][0];
    assert_eq!((&rule["health"], &rule["state"]), (&json!("err"), &json!("firing")), "{rule}");
    assert!(rule["lastError"].as_str().expect("a reason").contains("duplicate series"), "{rule}");
    assert!(!world.heard_of_an_end());
}

#[tokio::test]
async fn alerts_are_series_too() {
    let world = World::new().await;
    let rules = "  - {alert: Down, expr: up == 0, for: 1m}\n  \
                 - {alert: AnyAlert, expr: 'ALERTS{alertname=\"Down\"}'}\n";
    let judge = world.judge(rules).await;
    world.push(&UP, 0.0).await;
    world.step(&judge, INTERVAL).await;
    let heard = world.hears("the second rule sees the first one's alert", |_| true).await;
    assert_eq!(heard.label("alertstate"), Some("pending"), "{heard:?}");
    assert_eq!(heard.label("alertname"), Some("AnyAlert"));
}

#[tokio::test]
async fn two_elements_with_the_labels_of_one_alert_fail_the_rule() {
    let world = World::new().await;
    let judge = world.judge("  - {alert: Down, expr: up == 0, labels: {endpoint: all}}\n").await;
    world.push(&UP, 0.0).await;
    world.push(&[("__name__", "up"), ("endpoint", "web-2")], 0.0).await;
    world.step(&judge, INTERVAL).await;
    let group = judge.group(&world, "g").await.expect("the group is shown");
    assert!(
        group["rules"][0]["lastError"].as_str().expect("a reason").contains("the same alert"),
        "{group}"
    );
    assert_eq!(world.heard(), []);
}

#[tokio::test]
async fn more_results_than_the_limit_fail_the_rule_and_end_nothing() {
    let world = World::new().await;
    let file = world.folder.path().join("limit.yml");
    let text =
        "groups: [{name: g, interval: 15s, limit: 1, rules: [{alert: Down, expr: up == 0}]}]";
    std::fs::write(&file, text).unwrap();
    let judge = world.judge_with(judge::Config { rule_files: vec![file], ..world.config() }).await;
    world.push(&UP, 0.0).await;
    world.step(&judge, INTERVAL).await;
    world.hears("the alert fires", |_| true).await;
    world.push(&UP, 0.0).await;
    world.push(&[("__name__", "up"), ("endpoint", "web-2")], 0.0).await;
    world.step(&judge, INTERVAL).await;
    let group = judge.group(&world, "g").await.expect("the group is shown");
    assert_eq!(
        (&group["rules"][0]["health"], &group["rules"][0]["state"]),
        (&json!("err"), &json!("firing"))
    );
    assert!(!world.heard_of_an_end());
}

#[tokio::test]
async fn external_labels_are_added_where_an_alert_lacks_them() {
    let world = World::new().await;
    let external_labels = Labels::from_pairs([("dc", "east"), ("endpoint", "judge")]);
    let rules = "  - {alert: Down, expr: up == 0, annotations: {dc: '{{ $externalLabels.dc }}'}}\n";
    let config = judge::Config { external_labels, ..world.config_with(rules) };
    let judge = world.judge_with(config).await;
    world.push(&UP, 0.0).await;
    world.step(&judge, INTERVAL).await;
    let heard = world.hears("the alert fires", |_| true).await;
    assert_eq!(
        heard.alert.labels.to_string(),
        "{alertname=\"Down\", dc=\"east\", endpoint=\"web-1\"}"
    );
    assert_eq!(heard.alert.annotations["dc"], "east");
}

#[tokio::test]
async fn keep_firing_for_bridges_a_short_recovery() {
    let world = World::new().await;
    let judge = world.judge("  - {alert: Down, expr: up == 0, keep_firing_for: 1m}\n").await;
    world.push(&UP, 0.0).await;
    world.steps(&judge, 1, &UP, 0.0).await;
    world.hears("the alert fires", |_| true).await;
    world.clock.advance(Duration::from_secs(1));
    world.push(&UP, 1.0).await;
    world.steps(&judge, 3, &UP, 1.0).await;
    let alerts = judge.get(&world, "/api/v1/alerts").await.expect("the alerts");
    assert!(alerts["alerts"][0]["keepFiringSince"].is_string(), "{alerts}");
    assert!(!world.heard_of_an_end());
    world.steps(&judge, 4, &UP, 1.0).await;
    world.hears("the alert ends", Heard::is_end).await;
}
