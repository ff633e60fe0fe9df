//! The Alertmanager API v2.

use serde_json::{Value, json};

use crate::harness::{Alarm, receiver, webhook};

fn names(list: &Value) -> Vec<&str> {
    list.as_array()
        .unwrap()
        .iter()
        .map(|alert| alert["labels"]["alertname"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn posted_alerts_are_listed_with_their_receivers() {
    let (webhook, _context) = webhook().await;
    let settings =
        receiver("ops", &webhook) + &receiver("dba", &webhook) + "matchers = ['team=\"db\"']\n";
    let alarm = Alarm::start(&settings).await;
    alarm.fire("DiskFull", "critical").await;
    alarm.fire("LoadHigh", "warning").await;
    alarm.resolve("LoadHigh", "warning").await;
    let list = alarm.get_json("/api/v2/alerts").await;
    assert_eq!(names(&list), ["DiskFull"]);
    assert_eq!(list[0]["receivers"], json!([{ "name": "ops" }]));
    assert_eq!(list[0]["status"]["state"], "active");
    assert_eq!(list[0]["startsAt"], "2025-10-09T09:00:00.000Z");
    assert_eq!(
        alarm.get_json("/api/v2/receivers").await,
        json!([{ "name": "ops" }, { "name": "dba" }])
    );
}

#[tokio::test]
async fn nothing_is_an_empty_list_and_what_there_is_not_is_told_as_json() {
    let alarm = Alarm::start("").await;
    assert_eq!(alarm.post("null").await, (200, String::new()));
    assert_eq!(alarm.post(" null\n").await.0, 200);
    assert_eq!(alarm.post("nul").await.0, 400);
    for path in ["/api/v2/nothing", "/api/v2/silence/x/y", "/api/v2/alerts/0e7374caefbddd45"] {
        let answer = alarm.context.http.get(alarm.url(path)).send().await.unwrap();
        assert_eq!(answer.status(), 404, "{path}");
        let text: Value = answer.json().await.unwrap();
        assert!(text.as_str().unwrap().contains(path), "{text}");
    }
}

#[tokio::test]
async fn a_list_is_narrowed_by_matchers_and_receivers() {
    let (webhook, _context) = webhook().await;
    let alarm = Alarm::telling(&webhook).await;
    alarm.fire("DiskFull", "critical").await;
    alarm.fire("LoadHigh", "warning").await;
    let list = alarm
        .get_json("/api/v2/alerts?filter=severity%3D~%22warn.*%22&filter=endpoint%3Dweb-03")
        .await;
    assert_eq!(names(&list), ["LoadHigh"]);
    assert_eq!(names(&alarm.get_json("/api/v2/alerts?active=false").await), Vec::<&str>::new());
    assert_eq!(names(&alarm.get_json("/api/v2/alerts?receiver=o.s").await).len(), 2);
    assert_eq!(names(&alarm.get_json("/api/v2/alerts?receiver=o").await).len(), 0);
}

#[tokio::test]
async fn good_alerts_are_kept_beside_bad_ones_and_all_faults_are_told() {
    let alarm = Alarm::start("label_value_bytes_max = 20").await;
    let body = json!([
        { "labels": {} },
        { "labels": { "alertname": "Good" } },
        { "labels": { "alertname": "Reversed" }, "startsAt": alarm.moment(0), "endsAt": alarm.moment(-1) },
        { "labels": { "alertname": "Endless", "path": "x".repeat(21) } },
        7,
    ]);
    let (status, fault) = alarm.post(body.to_string()).await;
    assert_eq!(status, 400);
    let fault: String = serde_json::from_str(&fault).expect("errors are a JSON string");
    for part in [
        "alert 0:",
        "alert 2:",
        "is before startsAt",
        "alarm.label_value_bytes_max = 20",
        "alert 4:",
    ] {
        assert!(fault.contains(part), "{part} is missing in {fault}");
    }
    assert_eq!(names(&alarm.get_json("/api/v2/alerts").await), ["Good"]);
    let metrics = alarm.get("/metrics").await;
    assert!(metrics.contains("alarm_refused_alerts_total{reason=\"malformed\"} 3"), "{metrics}");
    assert!(metrics.contains("alarm_refused_alerts_total{reason=\"too_large\"} 1"), "{metrics}");
    assert!(metrics.contains("alarm_received_alerts_total{status=\"firing\"} 1"), "{metrics}");
}

#[tokio::test]
async fn a_body_that_is_no_list_or_too_large_is_refused_with_the_reason() {
    let alarm = Alarm::start("body_bytes_max = 200\nalerts_per_request_max = 2").await;
    let (status, fault) = alarm.post("{\"labels\":{}}").await;
    assert!(status == 400 && fault.contains("send a JSON list"), "{status} {fault}");
    let (status, fault) = alarm.post("[".to_owned() + &" ".repeat(300) + "]").await;
    assert!(status == 413 && fault.contains("alarm.body_bytes_max = 200"), "{status} {fault}");
    let (status, fault) = alarm.post("[{},{},{}]").await;
    assert!(
        status == 413 && fault.contains("alarm.alerts_per_request_max = 2"),
        "{status} {fault}"
    );
    assert_eq!(alarm.post("[]").await.0, 200);
}

#[tokio::test]
async fn a_full_store_refuses_new_alerts_only() {
    let alarm = Alarm::start("alerts_max = 1").await;
    alarm.fire("First", "info").await;
    alarm.fire("First", "info").await;
    let (status, fault) = alarm.post(r#"[{"labels":{"alertname":"Second"}}]"#).await;
    assert!(status == 400 && fault.contains("alarm.alerts_max is 1"), "{status} {fault}");
}

#[tokio::test]
async fn many_senders_at_once_are_all_stored() {
    let alarm = Alarm::start("").await;
    let posts = (0..60).map(|n| alarm.post(format!(r#"[{{"labels":{{"alertname":"A{n}"}}}}]"#)));
    for (status, fault) in futures_util::future::join_all(posts).await {
        assert_eq!(status, 200, "{fault}");
    }
    assert_eq!(names(&alarm.get_json("/api/v2/alerts").await).len(), 60);
}

#[tokio::test]
async fn the_status_names_receivers_but_no_secret() {
    let settings =
        "[[receivers]]\nname = \"ops\"\nwebhook_url = \"http://127.0.0.1:9/hook?token=s3cret\"\n";
    let alarm = Alarm::start(settings).await;
    let status = alarm.get("/api/v2/status").await;
    assert!(status.contains("ops") && status.contains("\"cluster\""), "{status}");
    assert!(!status.contains("s3cret"), "{status}");
    let error =
        alarm.context.http.get(alarm.url("/api/v2/alerts?filter=nonsense")).send().await.unwrap();
    assert_eq!(error.status(), 400);
}

#[tokio::test]
async fn a_page_of_another_site_cannot_have_a_browser_change_anything() {
    let alarm = Alarm::start("").await;
    let silence = json!({
        "matchers": [{ "name": "alertname", "value": ".+", "isRegex": true }],
        "startsAt": alarm.moment(0), "endsAt": alarm.moment(3600), "createdBy": "eve", "comment": "",
    });
    let post = async |path: &str, body: &Value, origin: &str| {
        // What a form or a script may send without the browser asking first.
        let request = alarm.context.http.post(alarm.url(path)).header("Content-Type", "text/plain");
        let request = if origin.is_empty() { request } else { request.header("Origin", origin) };
        request.body(body.to_string()).send().await.unwrap().status().as_u16()
    };
    let own = alarm.url("");
    let alerts = json!([{ "labels": { "alertname": "Loud" } }]);
    for path in ["/api/v2/silences", "/api/v2/alerts", "/-/reload"] {
        let body = if path.ends_with("alerts") { &alerts } else { &silence };
        assert_eq!(post(path, body, "http://evil.example").await, 403, "{path}");
        assert_eq!(post(path, body, "null").await, 403, "{path}");
        assert_eq!(post(path, body, &own).await, 200, "{path}");
        assert_eq!(post(path, body, "").await, 200, "{path}: programs do not say");
    }
    assert_eq!(alarm.get_json("/api/v2/silences").await.as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn what_alertmanager_had_before_says_where_to_go() {
    let alarm = Alarm::start("").await;
    for path in ["alerts", "silences", "silence/x", "status"] {
        let url = alarm.url(&format!("/api/v1/{path}"));
        let answer = alarm.context.http.get(url).send().await.unwrap();
        assert_eq!(answer.status(), 410, "{path}");
        assert!(answer.text().await.unwrap().contains("/api/v2"), "{path}");
    }
}
