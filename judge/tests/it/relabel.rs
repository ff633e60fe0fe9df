//! What alarms are told of alerts: relabelled for all, then for one, and with what authorizes there.

use std::time::Duration;

use judge::AlarmConfig;
use model::RelabelRule;
use testkit::eventually;

use crate::alarm::{Alarm, Heard};
use crate::world::{INTERVAL, PATIENCE, World};

const MINUTE: Duration = Duration::from_secs(60);

fn rule(toml: &str) -> RelabelRule {
    toml::from_str(toml).expect("the rule can be read")
}

fn of_rule(heard: Vec<Heard>) -> Vec<Heard> {
    heard.into_iter().filter(|heard| heard.label("alertname") == Some("Down")).collect()
}

#[tokio::test]
async fn alerts_are_relabelled_for_all_alarms_and_then_for_one() {
    let world = World::new().await;
    let other = Alarm::start(&world.clock).await;
    let mut config = world.config_with("  - {alert: Down, expr: up == 0}\n");
    config.external_labels = model::Labels::from_pairs([("dc", "east"), ("replica", "1")]);
    config.alert_relabel = vec![
        rule("source_labels = ['dc', 'replica']\ntarget_label = 'from'"),
        rule("action = 'labeldrop'\nregex = 'replica'"),
    ];
    let keep = "action = 'keep'\nsource_labels = ['endpoint']\nregex = 'web-.*'";
    config.alarms =
        vec![AlarmConfig { url: other.url(), relabel: vec![rule(keep)], ..AlarmConfig::default() }];
    let judge = world.judge_with(config).await;
    for host in ["web-1", "db-1"] {
        world.push(&[("__name__", "up"), ("endpoint", host)], 0.0).await;
    }
    world.step(&judge, INTERVAL).await;
    eventually("one alarm hears of both", PATIENCE, async || {
        (of_rule(world.heard()).len() == 2).then_some(())
    })
    .await;
    let heard = eventually("the other hears of one", PATIENCE, async || other.heard().pop()).await;
    let labels = "{alertname=\"Down\", dc=\"east\", endpoint=\"web-1\", from=\"east;1\"}";
    assert_eq!((other.heard().len(), heard.alert.labels.to_string().as_str()), (1, labels));
    let metrics =
        testkit::get_text(&world.http, &format!("{}/metrics", judge.url)).await.expect("metrics");
    let kept_from =
        format!("judge_notifications_relabel_dropped_total{{alarm=\"{}\"}}", other.url());
    let line = metrics.lines().find(|line| line.starts_with(&kept_from)).expect("it is counted");
    assert!(line.ends_with(" 1"), "{line}");
}

#[tokio::test]
async fn the_end_of_a_relabelled_alert_waits_for_an_alarm_that_is_away() {
    let world = World::new().await;
    let up = [("__name__", "up"), ("endpoint", "web-1")];
    let mut config = world.config_with("  - {alert: Down, expr: up == 0}\n");
    config.alert_relabel = vec![rule("source_labels = ['endpoint']\ntarget_label = 'host'")];
    let judge = world.judge_with(config).await;
    world.push(&up, 0.0).await;
    world.step(&judge, INTERVAL).await;
    world.hears("it fires", |heard| heard.label("host") == Some("web-1")).await;
    world.alarm.answer_with(404);
    world.clock.advance(Duration::from_secs(1));
    world.push(&up, 1.0).await;
    // Longer than an end that was told is remembered.
    for _ in 0..80 {
        world.step(&judge, INTERVAL).await;
        world.push(&up, 1.0).await;
    }
    let before = world.heard().len();
    world.alarm.answer_with(200);
    world.step(&judge, MINUTE).await;
    eventually("its end is told", PATIENCE, async || {
        of_rule(world.heard().split_off(before)).into_iter().find(Heard::is_end)
    })
    .await;
}

#[tokio::test]
async fn an_alarm_is_shown_what_authorizes_and_a_new_one_is_read_when_it_is_refused() {
    let world = World::new().await;
    let file = world.folder.path().join("token");
    std::fs::write(&file, "old").unwrap();
    world.alarm.wants("Bearer new");
    let mut config = world.config_with("  - {alert: Down, expr: up == 0}\n");
    let url = std::mem::take(&mut config.alarm_urls).remove(0);
    config.alarms = vec![AlarmConfig { url, token_file: file.clone(), ..AlarmConfig::default() }];
    let judge = world.judge_with(config).await;
    world.push(&[("__name__", "up"), ("endpoint", "web-1")], 0.0).await;
    world.step(&judge, INTERVAL).await;
    eventually("it is refused", PATIENCE, async || (world.alarm.refused() > 0).then_some(())).await;
    assert_eq!(world.heard(), []);
    std::fs::write(&file, "new").unwrap();
    for _ in 0..3 {
        world.step(&judge, INTERVAL * 2).await;
    }
    world.hears("it is let in", |_| true).await;
}

#[tokio::test]
async fn a_secret_that_cannot_be_read_ends_the_start() {
    let world = World::new().await;
    let mut config = world.config();
    let token_file = world.folder.path().join("nothing");
    let url = "http://127.0.0.1:1".to_owned();
    config.alarms = vec![AlarmConfig { url, token_file, ..AlarmConfig::default() }];
    let error = world.try_judge(config).await.err().expect("it does not start");
    assert!(format!("{error:#}").contains("nothing"), "{error:#}");
}
