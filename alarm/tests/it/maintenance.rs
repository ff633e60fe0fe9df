//! While a host is worked on, nobody hears of what fires there.

use std::time::Duration;

use db::{AuditEntry, MaintenanceOf, MaintenanceRow};
use serde_json::json;

use crate::harness::{Alarm, result, told, webhook};

const SECOND: Duration = Duration::from_secs(1);

fn entry(alarm: &Alarm, id: &str) -> AuditEntry {
    AuditEntry {
        id: id.to_owned(),
        at: alarm.context.clock.now(),
        actor: "ann".to_owned(),
        peer: String::new(),
        action: "maintenance".to_owned(),
        target: String::new(),
        detail: String::new(),
    }
}

async fn work_on(alarm: &Alarm, id: &str, of: MaintenanceOf, target: &str) {
    let now = alarm.context.clock.now();
    let window = MaintenanceRow {
        id: id.to_owned(),
        of,
        target: target.to_owned(),
        starts_at: now,
        ends_at: now.plus(3600 * SECOND),
        reason: "new disks".to_owned(),
        created_by: "ann".to_owned(),
        created_at: now,
    };
    alarm.db().maintenances().add(&window, &entry(alarm, id)).await.unwrap();
}

/// Lets alarm learn of a change: it looks every other second.
async fn learns(alarm: &Alarm, is_held: bool) {
    testkit::eventually("it is known", crate::harness::PATIENCE, async || {
        alarm.advance(SECOND);
        let body = json!({ "labels": { "alertname": "X", "endpoint": "web-03" } });
        let request = alarm.context.http.post(alarm.url("/api/v1/routing/preview"));
        let answer = request.json(&body).send().await.unwrap();
        let preview: serde_json::Value = answer.json().await.unwrap();
        (preview["maintenance"].is_string() == is_held).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_fires_on_a_host_that_is_worked_on_is_told_when_the_work_is_over() {
    let (webhook, _context) = webhook().await;
    let alarm = Alarm::telling(&webhook).await;
    alarm.fire("Before", "critical").await;
    told(&webhook, 1).await;
    work_on(&alarm, "w1", MaintenanceOf::Host, "web-03").await;
    learns(&alarm, true).await;
    alarm.fire("During", "critical").await;
    let case = alarm.until_case("it is held", "During", |case| result(case) == "skipped").await;
    assert_eq!(case["told"][0]["detail"], "maintenance");
    assert!(alarm.get("/alerts").await.contains("its host is in a maintenance window"));
    alarm.resolve("Before", "critical").await;
    let bodies = told(&webhook, 2).await;
    assert_eq!(bodies[1]["status"], "resolved", "who heard of the beginning hears of the end");
    let now = alarm.context.clock.now();
    assert!(alarm.db().maintenances().end("w1", now, &entry(&alarm, "w2")).await.unwrap());
    alarm.until_later("it is told", "During", 2 * SECOND, |case| result(case) == "sent").await;
    assert_eq!(webhook.bodies()[2]["alerts"][0]["labels"]["alertname"], "During");
}

#[tokio::test]
async fn a_window_of_a_group_is_one_of_its_hosts_and_of_the_groups_below() {
    let (webhook, _context) = webhook().await;
    let alarm = Alarm::telling(&webhook).await;
    let members = ["web-03".to_owned()].into();
    let groups = alarm.db().groups();
    groups.change_members("corp.pay.web", &members, &[].into(), &entry(&alarm, "1")).await.unwrap();
    work_on(&alarm, "w1", MaintenanceOf::Group, "corp.pay").await;
    learns(&alarm, true).await;
    alarm.fire("During", "critical").await;
    alarm.until_case("it is held", "During", |case| result(case) == "skipped").await;
    assert!(webhook.bodies().is_empty());
    alarm.advance(3600 * SECOND);
    alarm.fire("During", "critical").await;
    alarm
        .until_later("it is told after the window", "During", 2 * SECOND, |case| {
            result(case) == "sent"
        })
        .await;
}
