//! Restarts, kills and outages: no alert is lost, none starts anew, none ends falsely.

use std::time::Duration;

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
    let again = world.hears("it is told again", |heard| heard.ends_at > world.clock.now()).await;
    assert_eq!((&again.labels, again.starts_at), (&fired.labels, fired.starts_at));
    for _ in 0..10 {
        world.step(&judge, INTERVAL).await;
    }
    assert!(world.heard().len() > told_before);
    assert!(!world.heard_of_an_end(), "the senders may still be delivering what they kept");

    for _ in 0..4 {
        world.step(&judge, INTERVAL).await;
    }
    let ended = world.hears("absence counts in the end", |heard| heard.ends_at <= world.clock.now()).await;
    assert_eq!(ended.starts_at, fired.starts_at);
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
    world.hears("the alert ends at once", |heard| heard.ends_at <= world.clock.now()).await;
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
        starts.extend(world.heard().iter().map(|heard| heard.starts_at));
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
    world.push(&[("__name__", "other")], 0.0).await;
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
    testkit::eventually("the end is told", MINUTE, async || {
        let heard = world.heard().split_off(told_before);
        heard
            .into_iter()
            .find(|heard| heard.ends_at <= world.clock.now() && heard.starts_at == fired.starts_at)
    })
    .await;
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
    let ended = world.hears("the alert ends", |heard| heard.ends_at <= world.clock.now()).await;
    assert_eq!((ended.labels, ended.starts_at), (fired.labels, fired.starts_at));
}
