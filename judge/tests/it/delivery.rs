//! Alarms that are away, slow to come back, or refuse.

use testkit::eventually;

use crate::alarm::{Alarm, Heard};
use crate::world::{INTERVAL, PATIENCE, World};

const DOWN: &str = "  - {alert: Down, expr: up == 0}\n";
const UP: [(&str, &str); 2] = [("__name__", "up"), ("endpoint", "web-1")];

#[tokio::test]
async fn an_alarm_that_was_away_gets_the_news_when_it_is_back() {
    let world = World::new().await;
    world.alarm.answer_with(503);
    let judge = world.judge(DOWN).await;
    world.push(&UP, 0.0).await;
    world.steps(&judge, 8, &UP, 0.0).await;
    let attempts = world.alarm.batches().len();
    assert!((2..=8).contains(&attempts), "attempts are spaced out: {attempts}");
    world.alarm.answer_with(200);
    let of_rule = |heard: &Heard| heard.label("alertname") == Some("Down");
    let told = world.in_time("it is told", async || {
        world.heard().split_off(attempts).into_iter().rfind(of_rule)
    });
    let last = told.await;
    assert!(!last.is_end(), "it still fires: {last:?}");
    let metrics =
        testkit::get_text(&world.http, &format!("{}/metrics", judge.url)).await.expect("metrics");
    assert!(metrics.contains("judge_notifications_errors_total"), "{metrics}");
}

#[tokio::test]
async fn one_alarm_that_is_away_does_not_hold_up_the_other() {
    let world = World::new().await;
    let other = Alarm::start(&world.clock).await;
    world.alarm.answer_with(500);
    let mut config = world.config_with(DOWN);
    config.alarm_urls.push(other.url());
    let judge = world.judge_with(config).await;
    world.push(&UP, 0.0).await;
    world.step(&judge, INTERVAL).await;
    eventually("the other alarm hears", PATIENCE, async || other.heard().pop()).await;
}

#[tokio::test]
async fn a_thousand_alerts_arrive_in_batches() {
    let world = World::new().await;
    let judge = world.judge(DOWN).await;
    for host in 0..1000 {
        world.push(&[("__name__", "up"), ("endpoint", &format!("web-{host}"))], 0.0).await;
    }
    world.step(&judge, INTERVAL).await;
    eventually("all arrive", PATIENCE, async || (world.heard().len() == 1000).then_some(())).await;
    let sizes: Vec<usize> = world.alarm.batches().iter().map(Vec::len).collect();
    assert_eq!(sizes, [256, 256, 256, 232]);
}
