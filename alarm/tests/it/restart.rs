//! A restart loses nothing and repeats nothing.

use std::time::Duration;

use db::AuditEntry;
use model::Timestamp;
use testkit::eventually;

use crate::harness::{Alarm, PATIENCE, START, receiver, result, told, webhook};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn what_was_not_sent_before_the_restart_is_sent_after_it_and_the_rest_is_not_repeated() {
    let (webhook, _context) = webhook().await;
    let settings = receiver("ops", &webhook);
    let alarm = Alarm::start(&settings).await;
    alarm.fire("Told", "critical").await;
    alarm.until_case("it is told", "Told", |case| result(case) == "sent").await;
    webhook.answer_with(500);
    alarm.fire("Untold", "critical").await;
    alarm.until_case("it is retried", "Untold", |case| result(case) == "retrying").await;

    let alarm = alarm.restart(&settings, 2 * SECOND).await;
    webhook.answer_with(200);
    alarm
        .until_later("it is told after all", "Untold", SECOND, |case| result(case) == "sent")
        .await;
    let names: Vec<String> = webhook
        .bodies()
        .iter()
        .map(|body| body["alerts"][0]["labels"]["alertname"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(names.iter().filter(|name| *name == "Told").count(), 1, "{names:?}");
    assert_eq!(alarm.get_json("/alerts.json").await["total"], 2);
}

#[tokio::test]
async fn a_receiver_that_is_added_later_is_told_what_fires() {
    let (webhook, _context) = webhook().await;
    let alarm = Alarm::start("").await;
    alarm.fire("DiskFull", "critical").await;
    alarm.fire("LoadHigh", "warning").await;
    alarm.resolve("LoadHigh", "warning").await;
    let _alarm = alarm.restart(&receiver("ops", &webhook), SECOND).await;
    let bodies = told(&webhook, 1).await;
    assert_eq!(bodies[0]["alerts"][0]["labels"]["alertname"], "DiskFull");
}

#[tokio::test]
async fn leases_that_ran_out_while_alarm_was_away_get_time_for_their_renewal() {
    let (webhook, _context) = webhook().await;
    let settings = receiver("ops", &webhook);
    let alarm = Alarm::start(&settings).await;
    alarm.fire("DiskFull", "critical").await;
    alarm.until_case("it is told", "DiskFull", |case| result(case) == "sent").await;
    let alarm = alarm.restart(&settings, Duration::from_secs(2 * 3600)).await;
    assert_eq!(alarm.case("DiskFull").await["status"], "firing");
    alarm.fire("DiskFull", "critical").await;
    let case = alarm.case("DiskFull").await;
    assert_eq!(
        case["events"].as_array().unwrap().len(),
        1,
        "nothing happened to the alert: {case}"
    );
    alarm.advance(Duration::from_secs(301));
    alarm.fire("Another", "info").await;
    assert_eq!(alarm.case("DiskFull").await["status"], "firing");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alarm_that_runs_alone_forgets_old_entries_of_the_audit() {
    let (webhook, _context) = webhook().await;
    let alarm = Alarm::telling(&webhook).await;
    let entry = |id: &str, at| AuditEntry {
        id: id.to_owned(),
        at,
        actor: "ann".to_owned(),
        peer: String::new(),
        action: "silence.put".to_owned(),
        target: "silence/1".to_owned(),
        detail: String::new(),
    };
    for (id, at) in [("0-old", Timestamp(0)), ("1-new", START)] {
        alarm.db().audit().add(&entry(id, at)).await.unwrap();
    }
    eventually("the old one is forgotten", PATIENCE, async || {
        alarm.advance(600 * SECOND);
        let left = alarm.db().audit().page("", "", 9).await.unwrap();
        (left.len() == 1 && left[0].id == "1-new").then_some(())
    })
    .await;
}
