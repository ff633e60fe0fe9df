//! A configuration file of Alertmanager: routes, groups, inhibition, times, reload, and who takes an alert.

use std::path::PathBuf;
use std::time::Duration;

use daemon::Clock;
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::{Webhook, eventually};

use crate::harness::{Alarm, PATIENCE, START, result, told, webhook};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// A file and the settings that name it.
struct File {
    path: PathBuf,
    _folder: TempDir,
}

impl File {
    fn new(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("alertmanager.yml");
        std::fs::write(&path, text).unwrap();
        Self { path, _folder: folder }
    }

    fn settings(&self) -> String {
        format!("alertmanager_config = \"{}\"\n", self.path.display())
    }

    fn write(&self, text: &str) {
        std::fs::write(&self.path, text).unwrap();
    }
}

/// Groups by `team`, with the webhook as the only receiver.
fn grouped(webhook: &Webhook) -> String {
    format!(
        "route: {{receiver: ops, group_by: [team], group_wait: 30s, group_interval: 5m, repeat_interval: 4h,\n\
           labels: {{owner: '{{{{ .GroupLabels.team }}}} of eu', tier: '1'}}}}\n\
         receivers: [{{name: ops, webhook_configs: [{{url: '{}'}}]}}]\n",
        webhook.url()
    )
}

async fn post(alarm: &Alarm, name: &str, labels: &[(&str, &str)], ends_in: i64) {
    let mut all = json!({ "alertname": name });
    for (label, value) in labels {
        all[*label] = json!(value);
    }
    let alert = json!([{
        "labels": all, "startsAt": alarm.moment(0.min(ends_in)), "endsAt": alarm.moment(ends_in),
    }]);
    assert_eq!(alarm.post(alert.to_string()).await, (200, String::new()));
}

async fn fire(alarm: &Alarm, name: &str, labels: &[(&str, &str)]) {
    post(alarm, name, labels, 36_000).await;
}

/// Moves the clock in steps until the webhook has been asked so often.
async fn told_later(alarm: &Alarm, webhook: &Webhook, count: usize, step: Duration) -> Vec<Value> {
    eventually("the webhook is told", PATIENCE, async || {
        alarm.advance(step);
        Some(webhook.bodies()).filter(|bodies| bodies.len() >= count)
    })
    .await
}

fn names(body: &Value) -> Vec<&str> {
    let alerts = body["alerts"].as_array().unwrap().iter();
    let mut names: Vec<&str> =
        alerts.map(|alert| alert["labels"]["alertname"].as_str().unwrap()).collect();
    names.sort_unstable();
    names
}

#[tokio::test]
async fn alerts_of_a_group_are_one_message_and_later_ones_have_only_what_is_new() {
    let (webhook, _context) = webhook().await;
    let file = File::new(&grouped(&webhook));
    let alarm = Alarm::start(&file.settings()).await;
    fire(&alarm, "Alpha", &[("team", "db")]).await;
    fire(&alarm, "Bravo", &[("team", "db")]).await;
    let bodies = told_later(&alarm, &webhook, 1, 5 * SECOND).await;
    assert!(alarm.context.clock.now().since(START) >= 30 * SECOND);
    assert_eq!(names(&bodies[0]), ["Alpha", "Bravo"]);
    assert_eq!(bodies[0]["groupKey"], "{}:{team=\"db\"}");
    assert_eq!(bodies[0]["groupLabels"], json!({ "team": "db" }));
    assert_eq!(bodies[0]["notification_reason"], "first notification");
    assert_eq!(bodies[0]["routeLabels"], json!({ "owner": "db of eu", "tier": "1" }));
    alarm.until_case("it is noted", "Bravo", |case| result(case) == "sent").await;
    fire(&alarm, "Charlie", &[("team", "db")]).await;
    let bodies = told_later(&alarm, &webhook, 2, 30 * SECOND).await;
    assert_eq!(names(&bodies[1]), ["Charlie"]);
    assert_eq!(
        (&bodies[1]["truncatedAlerts"], &bodies[1]["status"]),
        (&json!(2), &json!("firing"))
    );
    assert_eq!(bodies[1]["notification_reason"], "new alerts added");
    alarm.until_case("it is noted", "Charlie", |case| result(case) == "sent").await;
    post(&alarm, "Charlie", &[("team", "db")], 0).await;
    let bodies = told_later(&alarm, &webhook, 3, 30 * SECOND).await;
    assert_eq!(bodies[2]["alerts"][0]["status"], "resolved");
    assert_eq!(bodies[2]["status"], "firing", "others of the group fire");
    assert_eq!(bodies[2]["notification_reason"], "some alerts resolved");
    let metrics = alarm.get("/metrics").await;
    assert!(metrics.contains("alarm_notified_alerts_total{receiver=\"ops\"} 4"), "{metrics}");
}

#[tokio::test]
async fn a_restart_in_the_middle_of_group_wait_loses_nothing_and_repeats_nothing() {
    let (webhook, _context) = webhook().await;
    let file = File::new(&grouped(&webhook));
    let alarm = Alarm::start(&file.settings()).await;
    fire(&alarm, "Alpha", &[("team", "db")]).await;
    let alarm = alarm.restart(&file.settings(), 20 * SECOND).await;
    assert!(webhook.bodies().is_empty());
    let bodies = told_later(&alarm, &webhook, 1, 2 * SECOND).await;
    assert_eq!(names(&bodies[0]), ["Alpha"]);
    assert!(alarm.context.clock.now().since(START) < MINUTE, "its wait went on");
    alarm.until_case("it is noted", "Alpha", |case| result(case) == "sent").await;
    let alarm = alarm.restart(&file.settings(), SECOND).await;
    fire(&alarm, "Marker", &[("team", "other")]).await;
    let bodies = told_later(&alarm, &webhook, 2, 5 * SECOND).await;
    assert_eq!(names(&bodies[1]), ["Marker"]);
}

#[tokio::test]
async fn what_is_inhibited_is_seen_held_back_and_told_when_the_source_ends() {
    let (webhook, _context) = webhook().await;
    let text = format!(
        "route: {{receiver: ops, group_by: ['...'], group_wait: 0s, group_interval: 10s}}\n\
         receivers: [{{name: ops, webhook_configs: [{{url: '{}'}}]}}]\n\
         inhibit_rules: [{{source_matchers: [severity=critical], target_matchers: [severity=warning], equal: [host]}}]\n",
        webhook.url()
    );
    let file = File::new(&text);
    let alarm = Alarm::start(&file.settings()).await;
    fire(&alarm, "Down", &[("severity", "critical"), ("host", "a")]).await;
    told(&webhook, 1).await;
    fire(&alarm, "Slow", &[("severity", "warning"), ("host", "a")]).await;
    let case = alarm.until_case("it is held", "Slow", |case| result(case) == "skipped").await;
    assert_eq!(case["told"][0]["detail"], "inhibited");
    let listed = alarm.get_json("/api/v2/alerts?filter=alertname=Slow").await;
    assert_eq!(listed[0]["status"]["state"], "suppressed");
    assert_eq!(listed[0]["status"]["inhibitedBy"].as_array().unwrap().len(), 1);
    assert_eq!(alarm.get_json("/api/v2/alerts?inhibited=false").await.as_array().unwrap().len(), 1);
    assert!(alarm.get("/alerts").await.contains("another alert that fires inhibits this one"));
    alarm.advance(SECOND);
    post(&alarm, "Down", &[("severity", "critical"), ("host", "a")], 0).await;
    let bodies = told_later(&alarm, &webhook, 3, SECOND).await;
    let mut told: Vec<(&str, &str)> =
        bodies[1..].iter().map(|body| (names(body)[0], body["status"].as_str().unwrap())).collect();
    told.sort_unstable();
    assert_eq!(told, [("Down", "resolved"), ("Slow", "firing")]);
}

#[tokio::test]
async fn a_reload_is_all_or_nothing_and_tells_nobody_again() {
    let (old, _old_context) = webhook().await;
    let (new, _new_context) = webhook().await;
    let text = |webhook: &Webhook, name: &str| {
        format!(
            "route: {{receiver: {name}, group_by: ['...'], group_wait: 0s}}\n\
             receivers: [{{name: {name}, webhook_configs: [{{url: '{}'}}]}}]\n",
            webhook.url()
        )
    };
    let file = File::new(&text(&old, "ops"));
    let alarm = Alarm::start(&file.settings()).await;
    fire(&alarm, "Alpha", &[]).await;
    told(&old, 1).await;
    alarm.until_case("it is noted", "Alpha", |case| result(case) == "sent").await;

    file.write("route: {receiver: nobody}\n");
    let reload = || async {
        let answer = alarm.context.http.post(alarm.url("/-/reload")).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let (status, fault) = reload().await;
    assert_eq!(status, 500);
    assert!(fault.contains("line 1") && fault.contains("nobody"), "{fault}");
    fire(&alarm, "Bravo", &[]).await;
    told(&old, 2).await;

    file.write(&text(&old, "ops"));
    assert_eq!(reload().await.0, 200);
    fire(&alarm, "Charlie", &[]).await;
    told(&old, 3).await;

    file.write(&text(&new, "fresh"));
    assert_eq!(reload().await.0, 200);
    let bodies = told(&new, 3).await;
    assert_eq!(bodies.len(), 3, "a new receiver is told what fires");
    assert_eq!(old.bodies().len(), 3);
    assert_eq!(alarm.get_json("/api/v2/receivers").await, json!([{ "name": "fresh" }]));
    let metrics = alarm.get("/metrics").await;
    assert!(metrics.contains("alarm_config_reloads_total{result=\"failed\"} 1"), "{metrics}");
}

#[tokio::test]
async fn what_one_target_is_still_to_be_told_outlives_a_restart_and_a_reload_after_it() {
    let ((good, _good), (bad, _bad)) = (webhook().await, webhook().await);
    let file = File::new(&format!(
        "route: {{receiver: ops, group_by: [team], group_wait: 0s, group_interval: 5m, repeat_interval: 4h}}\n\
         receivers: [{{name: ops, webhook_configs: [{{url: '{}'}}, {{url: '{}'}}]}}]\n",
        good.url(),
        bad.url()
    ));
    bad.answer_with(500);
    let alarm = Alarm::start(&file.settings()).await;
    fire(&alarm, "DiskFull", &[("team", "db")]).await;
    let is = |case: &Value, wanted: &str| {
        let all = case["told"].as_array().unwrap();
        all.iter().filter(|told| told["result"] == wanted).count()
    };
    let one_each = |case: &Value| is(case, "sent") == 1 && is(case, "retrying") == 1;
    alarm.until_case("one is told and one is not", "DiskFull", one_each).await;

    let alarm = alarm.restart(&file.settings(), SECOND).await;
    eventually("the groups are there again", PATIENCE, async || {
        alarm.get("/metrics").await.contains("\nalarm_groups 1\n").then_some(())
    })
    .await;
    let reload = alarm.context.http.post(alarm.url("/-/reload")).send().await.unwrap();
    assert_eq!(reload.status(), 200);
    bad.answer_with(200);
    // Only news: repeats come after four hours.
    for _ in 0..12 {
        alarm.advance(MINUTE);
        tokio::task::yield_now().await;
    }
    alarm.until_case("both are told", "DiskFull", |case| is(case, "sent") == 2).await;
    assert_eq!(good.bodies().len(), 1, "who was told is not told again");
}

#[tokio::test]
async fn who_is_reached_by_two_ways_that_are_both_held_back_still_hears_of_the_end() {
    let (webhook, _context) = webhook().await;
    let file = File::new(&two_ways(&webhook));
    let alarm = Alarm::start(&file.settings()).await;
    fire(&alarm, "Target", &[("team", "db")]).await;
    alarm.until_case("it is told", "Target", |case| result(case) == "sent").await;
    fire(&alarm, "Source", &[]).await;
    alarm.until_case("it is told", "Source", |case| result(case) == "sent").await;
    // The repeats of both ways come, and are held back.
    let detail = |case: &Value| case["told"][0]["detail"].as_str().unwrap_or("").to_owned();
    let is_held = |case: &Value| detail(case) == "inhibited";
    let case = alarm.until_later("it is held back", "Target", 10 * MINUTE, is_held).await;
    assert!(case["told"][0]["sentAt"].is_string(), "it was told before: {case:#}");
    ends(&alarm, &webhook, "Target").await;
}

/// Ends an alert of the databases and waits until the webhook knows.
async fn ends(alarm: &Alarm, webhook: &Webhook, name: &str) {
    post(alarm, name, &[("team", "db")], 0).await;
    eventually("the end is told", PATIENCE, async || {
        alarm.advance(10 * SECOND);
        let is_end = |body: &Value| names(body) == [name] && body["status"] == "resolved";
        webhook.bodies().iter().any(is_end).then_some(())
    })
    .await;
}

#[tokio::test]
async fn who_is_reached_by_two_ways_hears_of_the_end() {
    let (webhook, _context) = webhook().await;
    let file = File::new(&two_ways(&webhook));
    let alarm = Alarm::start(&file.settings()).await;
    fire(&alarm, "DiskFull", &[("team", "db")]).await;
    alarm.until_case("it is told", "DiskFull", |case| result(case) == "sent").await;
    ends(&alarm, &webhook, "DiskFull").await;
}

/// Two ways to one receiver, and `Source` keeps `Target` quiet.
fn two_ways(webhook: &Webhook) -> String {
    format!(
        "route:\n  receiver: ops\n  group_by: [team]\n  group_wait: 0s\n  repeat_interval: 1h\n  routes:\n\
         \x20 - {{matchers: [team=db], receiver: ops, continue: true}}\n\
         \x20 - {{matchers: [alertname=~\".+\"], receiver: ops, group_by: [alertname]}}\n\
         receivers: [{{name: ops, webhook_configs: [{{url: '{}'}}]}}]\n\
         inhibit_rules: [{{source_matchers: [alertname=Source], target_matchers: [alertname=Target]}}]\n",
        webhook.url()
    )
}

#[tokio::test]
async fn a_clock_that_is_set_back_by_hours_holds_no_news_up() {
    let (webhook, _context) = webhook().await;
    let file = File::new(&grouped(&webhook));
    let alarm = Alarm::start(&file.settings()).await;
    fire(&alarm, "First", &[("team", "db")]).await;
    told_later(&alarm, &webhook, 1, 10 * SECOND).await;
    alarm.until_case("it is noted", "First", |case| result(case) == "sent").await;
    let Clock::Manual(hands) = &alarm.context.clock else { unreachable!() };
    hands.send_modify(|now| *now = now.minus(3 * 60 * MINUTE));
    fire(&alarm, "Second", &[("team", "db")]).await;
    let set_back_at = alarm.context.clock.now();
    let bodies = told_later(&alarm, &webhook, 2, 10 * SECOND).await;
    assert_eq!(names(&bodies[1]), ["Second"]);
    let waited = alarm.context.clock.now().since(set_back_at);
    assert!(waited < 60 * MINUTE, "group_interval is five minutes: {waited:?}");
}

#[tokio::test]
async fn one_target_that_fails_does_not_tell_the_other_one_twice() {
    let (bad, _bad_context) = webhook().await;
    let (good, _good_context) = webhook().await;
    bad.answer_with(500);
    let text = format!(
        "route: {{receiver: both, group_by: ['...'], group_wait: 0s}}\n\
         receivers: [{{name: both, webhook_configs: [{{url: '{}'}}, {{url: '{}'}}]}}]\n",
        bad.url(),
        good.url()
    );
    let file = File::new(&text);
    let alarm = Alarm::start(&file.settings()).await;
    fire(&alarm, "Alpha", &[]).await;
    told(&good, 1).await;
    told_later(&alarm, &bad, 3, SECOND).await;
    bad.answer_with(200);
    let is_told = |case: &Value| {
        case["told"].as_array().is_some_and(|told| told.iter().all(|one| one["result"] == "sent"))
    };
    let case = alarm.until_later("both know", "Alpha", SECOND, is_told).await;
    let receivers: Vec<&Value> =
        case["told"].as_array().unwrap().iter().map(|t| &t["receiver"]).collect();
    assert_eq!(receivers, ["both/webhook0", "both/webhook1"]);
    assert_eq!(good.bodies().len(), 1);
}

#[tokio::test]
async fn groups_are_listed_by_receiver_and_labels() {
    let (webhook, _context) = webhook().await;
    let file = File::new(&grouped(&webhook));
    let alarm = Alarm::start(&file.settings()).await;
    for (name, team) in [("Alpha", "db"), ("Bravo", "db"), ("Charlie", "web")] {
        fire(&alarm, name, &[("team", team)]).await;
    }
    let groups = alarm.get_json("/api/v2/alerts/groups").await;
    let shape: Vec<(&Value, usize)> = groups
        .as_array()
        .unwrap()
        .iter()
        .map(|group| (&group["labels"]["team"], group["alerts"].as_array().unwrap().len()))
        .collect();
    assert_eq!(shape, [(&json!("db"), 2), (&json!("web"), 1)]);
    assert_eq!(groups[0]["receiver"], json!({ "name": "ops" }));
    assert_eq!(alarm.get_json("/api/v2/alerts/groups?receiver=x").await, json!([]));
    let old = alarm.context.http.get(alarm.url("/api/v1/alerts")).send().await.unwrap();
    assert_eq!(old.status(), 410);
}

async fn fingerprint(alarm: &Alarm, name: &str) -> String {
    let listed = alarm.get_json(&format!("/api/v2/alerts?filter=alertname={name}")).await;
    listed[0]["fingerprint"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn who_took_an_alert_is_not_told_again_until_it_runs_out_and_the_boss_is_not_called() {
    let (ops, _ops_context) = webhook().await;
    let (boss, _boss_context) = webhook().await;
    let text = format!(
        "route: {{receiver: ops, group_by: ['...'], group_wait: 0s, repeat_interval: 1h,\n\
         escalations: [{{after: 15m, receiver: boss}}]}}\n\
         receivers: [{{name: ops, webhook_configs: [{{url: '{}'}}]}}, {{name: boss, webhook_configs: [{{url: '{}'}}]}}]\n",
        ops.url(),
        boss.url()
    );
    let file = File::new(&text);
    let alarm = Alarm::start(&file.settings()).await;
    fire(&alarm, "Taken", &[]).await;
    fire(&alarm, "Burning", &[]).await;
    told(&ops, 2).await;
    alarm.until_case("it is noted", "Taken", |case| result(case) == "sent").await;
    let id = fingerprint(&alarm, "Taken").await;
    let claim = alarm.context.http.put(alarm.url(&format!("/api/v1/alerts/{id}/ack")));
    let claim =
        claim.body(r#"{"owner":"ann","note":"on it","duration":"3h"}"#).send().await.unwrap();
    assert_eq!(claim.status(), 200);
    let called = told_later(&alarm, &boss, 1, MINUTE).await;
    assert_eq!(names(&called[0]), ["Burning"]);
    assert!(alarm.context.clock.now().since(START) >= 15 * MINUTE);
    let case = alarm.case("Taken").await;
    assert_eq!(case["claims"][0]["owner"], "ann");
    told_later(&alarm, &ops, 3, MINUTE).await;
    let repeated: Vec<Value> = ops.bodies().split_off(2);
    assert!(repeated.iter().all(|body| names(body) == ["Burning"]), "{repeated:?}");
    // The reminder: it has run out, and the alert burns.
    let taken = eventually("ann is reminded", PATIENCE, async || {
        alarm.advance(MINUTE);
        ops.bodies().into_iter().skip(2).find(|body| names(body) == ["Taken"])
    })
    .await;
    assert_eq!(taken["status"], "firing");
    assert!(alarm.context.clock.now().since(START) >= 180 * MINUTE);
}

#[tokio::test]
async fn what_is_put_off_is_told_when_it_is_taken_back() {
    let (webhook, _context) = webhook().await;
    let file = File::new(&grouped(&webhook));
    let alarm = Alarm::start(&file.settings()).await;
    fire(&alarm, "Alpha", &[("team", "db")]).await;
    let id = fingerprint(&alarm, "Alpha").await;
    let address = alarm.url(&format!("/api/v1/alerts/{id}/snooze"));
    let put = alarm.context.http.put(&address).body(r#"{"owner":"ann","duration":"1d"}"#);
    assert_eq!(put.send().await.unwrap().status(), 200);
    alarm
        .until_later("it is put off", "Alpha", 5 * SECOND, |case| {
            case["told"][0]["detail"] == "snoozed"
        })
        .await;
    let listed = alarm.get_json("/api/v2/alerts").await;
    assert_eq!(listed[0]["status"]["silencedBy"], json!(["snoozed by ann"]));
    assert_eq!(alarm.context.http.delete(&address).send().await.unwrap().status(), 200);
    assert_eq!(alarm.context.http.delete(&address).send().await.unwrap().status(), 404);
    let bodies = told_later(&alarm, &webhook, 1, 5 * SECOND).await;
    assert_eq!(names(&bodies[0]), ["Alpha"]);
    let unknown = alarm.url("/api/v1/alerts/00000000000000aa/ack");
    let put = alarm.context.http.put(unknown).body(r#"{"owner":"ann"}"#);
    assert_eq!(put.send().await.unwrap().status(), 404);
    assert!(alarm.get_json("/api/v1/claims").await[0]["until"].is_string());
}
