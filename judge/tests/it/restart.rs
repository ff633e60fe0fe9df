//! Restarts, kills and outages: no alert is lost, none starts anew, none ends falsely.

use std::time::Duration;

use crate::alarm::Heard;
use crate::world::{INTERVAL, World};

const DOWN: &str = "  - {alert: Down, expr: up == 0}\n";
const UP: [(&str, &str); 2] = [("__name__", "up"), ("endpoint", "web-1")];
const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_killed_judge_goes_on_with_its_firing_alert_and_its_old_start() {
    let world = World::new().await;
    let judge = world.judge(DOWN).await;
    world.push(&UP, 0.0).await;
    world.step(&judge, INTERVAL).await;
    let fired = world.hears("the alert fires", |_| true).await;
    judge.kill();

    // Judge and senders are away for so long that a query finds nothing.
    world.clock.advance(MINUTE * 10);
    let told_before = world.heard().len();
    let judge = world.judge(DOWN).await;
    world.step(&judge, INTERVAL).await;
    let again =
        world.hears("it is told again", |heard| heard.at > fired.at.plus(MINUTE * 10)).await;
    assert_eq!(again.identity(), fired.identity());
    for _ in 0..10 {
        world.step(&judge, INTERVAL).await;
    }
    assert!(world.heard().len() > told_before);
    assert!(!world.heard_of_an_end(), "the senders may still be delivering what they kept");

    for _ in 0..4 {
        world.step(&judge, INTERVAL).await;
    }
    let ended = world.hears("absence counts in the end", Heard::is_end).await;
    assert_eq!(ended.identity(), fired.identity());
}

#[tokio::test]
async fn an_alert_that_is_seen_after_a_restart_ends_as_ever() {
    let world = World::new().await;
    let judge = world.judge(DOWN).await;
    world.push(&UP, 0.0).await;
    world.step(&judge, INTERVAL).await;
    world.hears("the alert fires", |_| true).await;
    judge.kill();
    let judge = world.judge(DOWN).await;
    world.steps(&judge, 2, &UP, 0.0).await;
    world.clock.advance(Duration::from_secs(1));
    world.push(&UP, 1.0).await;
    world.step(&judge, INTERVAL).await;
    world.hears("the alert ends at once", Heard::is_end).await;
}

#[tokio::test]
async fn a_judge_killed_in_every_slot_tells_one_start() {
    let world = World::new().await;
    let mut starts = Vec::new();
    for _ in 0..6 {
        let judge = world.judge(DOWN).await;
        world.push(&UP, 0.0).await;
        let told_before = world.heard().len();
        world.step(&judge, INTERVAL).await;
        testkit::eventually("the alert is told", MINUTE, async || {
            (world.heard().len() > told_before).then_some(())
        })
        .await;
        judge.kill();
        starts.extend(world.heard().iter().map(|heard| heard.alert.starts_at));
    }
    starts.dedup();
    assert_eq!(starts.len(), 1, "{starts:?}");
    assert!(!world.heard_of_an_end());
}

#[tokio::test]
async fn an_alert_that_waits_out_its_hold_goes_on_waiting_after_a_restart() {
    let world = World::new().await;
    let rules = "  - {alert: Down, expr: up == 0, for: 1m}\n";
    let judge = world.judge(rules).await;
    world.push(&UP, 0.0).await;
    world.steps(&judge, 3, &UP, 0.0).await;
    judge.kill();
    let judge = world.judge(rules).await;
    world.steps(&judge, 2, &UP, 0.0).await;
    world.hears("the hold is over after a minute in all", |_| true).await;
}

#[tokio::test]
async fn an_end_that_no_alarm_took_is_told_after_a_restart() {
    let world = World::new().await;
    let judge = world.judge(DOWN).await;
    world.push(&UP, 0.0).await;
    world.step(&judge, INTERVAL).await;
    let fired = world.hears("the alert fires", |_| true).await;
    world.alarm.answer_with(503);
    world.steps(&judge, 13, &UP, 0.0).await;
    world.clock.advance(Duration::from_secs(1));
    world.push(&UP, 1.0).await;
    world.step(&judge, INTERVAL).await;
    let ends = judge.get(&world, "/api/v1/alerts").await.expect("the alerts");
    assert_eq!(ends["alerts"], serde_json::json!([]));
    judge.kill();

    // Older than what Prometheus remembers of an end.
    world.clock.advance(MINUTE * 20);
    let told_before = world.heard().len();
    world.alarm.answer_with(200);
    let judge = world.judge(DOWN).await;
    world.step(&judge, INTERVAL).await;
    let ended = testkit::eventually("the end is told", MINUTE, async || {
        world.heard().split_off(told_before).into_iter().find(Heard::is_end)
    })
    .await;
    assert_eq!(ended.identity(), fired.identity());
}

#[tokio::test]
async fn an_alert_whose_rule_is_removed_ends() {
    let world = World::new().await;
    let judge = world.judge(DOWN).await;
    world.push(&UP, 0.0).await;
    world.step(&judge, INTERVAL).await;
    let fired = world.hears("the alert fires", |_| true).await;
    world.config_with("  - {alert: Other, expr: up == 7}\n");
    judge.context.request_reload();
    testkit::eventually("the rules are read", MINUTE, async || {
        let group = judge.group(&world, "g").await?;
        (group["rules"][0]["name"] == "Other").then_some(())
    })
    .await;
    world.step(&judge, INTERVAL).await;
    let ended = world.hears("the alert ends", Heard::is_end).await;
    assert_eq!(ended.identity(), fired.identity());
}

#[tokio::test]
async fn without_shared_state_nothing_new_is_told_and_what_was_told_is_repeated() {
    let world = World::new().await;
    let judge = world.judge(DOWN).await;
    world.push(&UP, 0.0).await;
    world.step(&judge, INTERVAL).await;
    let fired = world.hears("the alert fires", |_| true).await;
    judge.db.close().await;
    world.push(&[("__name__", "up"), ("endpoint", "web-2")], 0.0).await;
    world.clock.advance(INTERVAL);
    let ready = format!("{}/-/ready", judge.url);
    testkit::eventually("the operator is told", MINUTE, async || {
        let answer = world.http.get(&ready).send().await.ok()?.text().await.ok()?;
        answer.contains("shared state").then_some(())
    })
    .await;
    world.clock.advance(MINUTE);
    let again = world.hears("the first alert is repeated", |heard| heard.at > fired.at).await;
    assert_eq!(again.identity(), fired.identity());
    assert!(world.heard().iter().all(|heard| heard.label("endpoint") == Some("web-1")));
    assert!(!world.heard_of_an_end());
}
