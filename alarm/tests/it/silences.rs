//! Silences: made over the API, holding back what begins, ending with a look at what they held.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::eventually;

use crate::harness::{Alarm, PATIENCE, receiver, result, told, webhook};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

async fn post(alarm: &Alarm, body: &Value) -> (u16, Value) {
    let request = alarm.context.http.post(alarm.url("/api/v2/silences")).json(body);
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

/// A silence of one alert from now on.
fn about(alarm: &Alarm, name: &str, seconds: i64) -> Value {
    json!({
        "matchers": [{ "name": "alertname", "value": name, "isRegex": false }],
        "startsAt": alarm.moment(0), "endsAt": alarm.moment(seconds),
        "createdBy": "ann", "comment": "the disk is being changed",
    })
}

async fn silence(alarm: &Alarm, name: &str, seconds: i64) -> String {
    let (status, answer) = post(alarm, &about(alarm, name, seconds)).await;
    assert_eq!(status, 200, "{answer}");
    answer["silenceID"].as_str().unwrap().to_owned()
}

async fn expire(alarm: &Alarm, id: &str) -> u16 {
    let url = alarm.url(&format!("/api/v2/silence/{id}"));
    alarm.context.http.delete(url).send().await.unwrap().status().as_u16()
}

fn is_silenced(case: &Value) -> bool {
    case["told"][0]["detail"] == "silenced"
}

#[tokio::test]
async fn a_silenced_alert_is_told_when_the_silence_is_ended_and_it_still_fires() {
    let (webhook, _context) = webhook().await;
    let alarm = Alarm::telling(&webhook).await;
    let id = silence(&alarm, "DiskFull", 3600).await;
    alarm.fire("DiskFull", "critical").await;
    alarm.fire("LoadHigh", "warning").await;
    alarm.until_case("it is held back", "DiskFull", is_silenced).await;
    alarm.until_case("the other is told", "LoadHigh", |case| result(case) == "sent").await;
    assert_eq!(expire(&alarm, &id).await, 200);
    alarm.until_later("it is told now", "DiskFull", SECOND, |case| result(case) == "sent").await;
    assert_eq!(told(&webhook, 2).await[1]["alerts"][0]["labels"]["alertname"], "DiskFull");
    assert_eq!(expire(&alarm, &id).await, 200, "ending it again changes nothing");
    assert_eq!(expire(&alarm, "unknown").await, 404);
}

#[tokio::test]
async fn a_silence_ends_with_its_alert_and_the_next_time_is_told() {
    let (webhook, _context) = webhook().await;
    let alarm = Alarm::telling(&webhook).await;
    let mut wanted = about(&alarm, "DiskFull", 86_400);
    wanted["endsWithAlert"] = json!("soon");
    assert_eq!(post(&alarm, &wanted).await.0, 400);
    wanted["endsWithAlert"] = json!("10m");
    let (status, made) = post(&alarm, &wanted).await;
    assert_eq!(status, 200, "{made}");
    let path = format!("/api/v2/silence/{}", made["silenceID"].as_str().unwrap());
    assert_eq!(alarm.get_json(&path).await["endsWithAlert"], "10m");
    alarm.fire("DiskFull", "critical").await;
    alarm.until_case("it is held back", "DiskFull", is_silenced).await;
    alarm.resolve("DiskFull", "critical").await;
    alarm.until_case("it is over", "DiskFull", |case| case["status"] == "resolved").await;
    alarm.advance(SECOND * 590);
    assert_eq!(alarm.get_json(&path).await["status"]["state"], "active");
    eventually("the silence has ended", PATIENCE, async || {
        alarm.advance(SECOND * 20);
        let state = alarm.get_json(&path).await["status"]["state"].clone();
        (state == "expired").then_some(())
    })
    .await;
    let again = json!([{
        "labels": { "alertname": "DiskFull", "severity": "critical", "endpoint": "web-03" },
        "startsAt": alarm.moment(0), "endsAt": alarm.moment(36_000),
    }]);
    assert_eq!(alarm.post(again.to_string()).await.0, 200);
    told(&webhook, 1).await;
}

#[tokio::test]
async fn a_silence_that_runs_out_frees_what_it_held_and_nothing_else() {
    let (webhook, _context) = webhook().await;
    let alarm = Alarm::telling(&webhook).await;
    silence(&alarm, "DiskFull", 60).await;
    silence(&alarm, "LoadHigh", 7200).await;
    alarm.fire("DiskFull", "critical").await;
    alarm.fire("LoadHigh", "warning").await;
    alarm.until_case("it is held back", "DiskFull", is_silenced).await;
    alarm.until_case("the other too", "LoadHigh", is_silenced).await;
    alarm
        .until_later("it is told later", "DiskFull", 10 * SECOND, |case| result(case) == "sent")
        .await;
    assert!(is_silenced(&alarm.case("LoadHigh").await));
    told(&webhook, 1).await;
}

#[tokio::test]
async fn who_was_told_that_it_fires_is_told_that_it_ended_in_spite_of_a_silence() {
    let (webhook, _context) = webhook().await;
    let alarm = Alarm::telling(&webhook).await;
    alarm.fire("DiskFull", "critical").await;
    alarm.until_case("it is told", "DiskFull", |case| result(case) == "sent").await;
    silence(&alarm, "DiskFull", 3600).await;
    alarm.advance(60 * SECOND);
    alarm.resolve("DiskFull", "critical").await;
    assert_eq!(told(&webhook, 2).await[1]["status"], "resolved");
}

#[tokio::test]
async fn what_began_and_ended_under_a_silence_is_never_told() {
    let (webhook, _context) = webhook().await;
    let alarm = Alarm::telling(&webhook).await;
    let id = silence(&alarm, "DiskFull", 3600).await;
    alarm.fire("DiskFull", "critical").await;
    alarm.until_case("it is held back", "DiskFull", is_silenced).await;
    alarm.advance(SECOND);
    alarm.resolve("DiskFull", "critical").await;
    expire(&alarm, &id).await;
    alarm.fire("LoadHigh", "warning").await;
    alarm.until_later("another is told", "LoadHigh", SECOND, |case| result(case) == "sent").await;
    told(&webhook, 1).await;
}

#[tokio::test]
async fn a_silence_survives_a_restart() {
    let (webhook, _context) = webhook().await;
    let settings = receiver("ops", &webhook);
    let alarm = Alarm::start(&settings).await;
    let id = silence(&alarm, "DiskFull", 7200).await;
    let alarm = alarm.restart(&settings, HOUR).await;
    alarm.fire("DiskFull", "critical").await;
    alarm.until_case("it is held back", "DiskFull", is_silenced).await;
    let listed = alarm.get_json("/api/v2/silences").await;
    assert_eq!((&listed[0]["id"], &listed[0]["createdBy"]), (&json!(id), &json!("ann")));
    assert_eq!(listed[0]["status"]["state"], "active");
    assert_eq!(alarm.get_json(&format!("/api/v2/silence/{id}")).await, listed[0]);
}

#[tokio::test]
async fn alerts_and_groups_say_which_silences_hold() {
    let (webhook, _context) = webhook().await;
    let alarm = Alarm::telling(&webhook).await;
    let id = silence(&alarm, "DiskFull", 3600).await;
    alarm.fire("DiskFull", "critical").await;
    alarm.fire("LoadHigh", "warning").await;
    let list = alarm.get_json("/api/v2/alerts?active=false").await;
    assert_eq!(
        list[0]["status"],
        json!({
            "state": "suppressed", "silencedBy": [id], "inhibitedBy": [], "mutedBy": [],
        })
    );
    let list = alarm.get_json("/api/v2/alerts?silenced=false").await;
    assert_eq!(
        (list.as_array().unwrap().len(), &list[0]["labels"]["alertname"]),
        (1, &json!("LoadHigh"))
    );
    let groups = alarm.get_json("/api/v2/alerts/groups?receiver=ops").await;
    assert_eq!(groups.as_array().unwrap().len(), 2);
    assert_eq!(groups[0]["receiver"]["name"], "ops");
    assert_eq!(groups[0]["alerts"][0]["labels"], groups[0]["labels"]);
}

#[tokio::test]
async fn a_silence_that_could_do_harm_is_refused_with_the_reason() {
    let alarm = Alarm::start("silences_max = 1").await;
    let refused = async |change: &dyn Fn(&mut Value)| {
        let mut body = about(&alarm, "DiskFull", 60);
        change(&mut body);
        let (status, fault) = post(&alarm, &body).await;
        (status, fault.as_str().unwrap_or_default().to_owned())
    };
    let (status, fault) = refused(&|body| body["matchers"][0]["value"] = json!("")).await;
    assert!(status == 400 && fault.contains("silence everything"), "{status} {fault}");
    let (status, fault) = refused(&|body| body["endsAt"] = body["startsAt"].clone()).await;
    assert!(status == 400 && fault.contains("before endsAt"), "{status} {fault}");
    let (status, fault) = refused(&|body| body["id"] = json!("nobody's")).await;
    assert!(status == 404 && fault.contains("nobody's"), "{status} {fault}");
    let (status, fault) = refused(&|body| body["matchers"] = json!("all")).await;
    assert!(status == 400 && fault.contains("not a silence"), "{status} {fault}");
    silence(&alarm, "DiskFull", 60).await;
    let (status, fault) = refused(&|_| {}).await;
    assert!(status == 400 && fault.contains("alarm.silences_max"), "{status} {fault}");
}
