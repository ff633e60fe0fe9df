//! Which rules make noise, and who would be told of what.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Alarm, receiver, webhook};

const SECOND: Duration = Duration::from_secs(1);

async fn fingerprint(alarm: &Alarm, name: &str) -> String {
    alarm.case(name).await["fingerprint"].as_str().unwrap().to_owned()
}

async fn begin(alarm: &Alarm, name: &str) {
    let alert = json!([{
        "labels": { "alertname": name, "team": "db", "endpoint": "web-03" },
        "startsAt": alarm.moment(0), "endsAt": alarm.moment(36_000),
    }]);
    assert_eq!(alarm.post(alert.to_string()).await.0, 200);
}

async fn end(alarm: &Alarm, name: &str) {
    let alert = json!([{
        "labels": { "alertname": name, "team": "db", "endpoint": "web-03" },
        "endsAt": alarm.moment(0),
    }]);
    assert_eq!(alarm.post(alert.to_string()).await.0, 200);
}

#[tokio::test]
async fn what_fired_was_taken_and_came_back_is_counted_by_rule_and_team() {
    let alarm = Alarm::start("").await;
    for pause in [60, 60, 3600] {
        begin(&alarm, "DiskFull").await;
        alarm.advance(pause * SECOND);
        end(&alarm, "DiskFull").await;
        alarm.advance(pause * SECOND);
    }
    begin(&alarm, "DiskFull").await;
    alarm.advance(120 * SECOND);
    let id = fingerprint(&alarm, "DiskFull").await;
    let address = alarm.url(&format!("/api/v1/alerts/{id}/ack"));
    for _ in 0..2 {
        let claim = alarm.context.http.put(&address).body(r#"{"owner":"ann"}"#);
        assert_eq!(claim.send().await.unwrap().status(), 200);
        alarm.advance(SECOND);
    }
    begin(&alarm, "Other").await;
    let noise = alarm.get_json("/api/v1/noise?window=7d").await;
    let rules = noise["rules"].as_array().unwrap();
    assert_eq!(
        rules[0],
        json!({
            "rule": "DiskFull", "team": "db", "fired": 4, "acked": 2, "muted": 0, "flapped": 2,
            "medianSecondsToAck": 120.0,
        })
    );
    assert_eq!(rules[1]["rule"], "Other");
    assert_eq!(
        (&noise["teams"][0]["team"], &noise["teams"][0]["fired"]),
        (&json!("db"), &json!(5))
    );
    assert_eq!(noise["isCut"], false);
    let late = alarm.get_json("/api/v1/noise?window=1m").await;
    assert_eq!(late["rules"].as_array().unwrap().len(), 2, "{late}");
    let bad = alarm.context.http.get(alarm.url("/api/v1/noise?window=x")).send().await.unwrap();
    assert_eq!(bad.status(), 400);
    let english = alarm.get("/noise?lang=en").await;
    assert!(english.contains("DiskFull") && english.contains("Median until taken"), "{english}");
    let chinese = alarm.get("/noise?lang=zh&window=1d").await;
    assert!(chinese.contains("告警噪声") && chinese.contains("DiskFull"), "{chinese}");
    assert!(alarm.get("/noise?lang=en&window=1d").await.contains("aria-current=\"page\">Noise"));
}

#[tokio::test]
async fn who_would_be_told_is_shown_before_anything_fires() {
    let (webhook, _context) = webhook().await;
    let settings =
        receiver("ops", &webhook) + &receiver("dba", &webhook) + "matchers = ['team=\"db\"']\n";
    let alarm = Alarm::start(&settings).await;
    let preview = async |labels: Value| {
        let request = alarm.context.http.post(alarm.url("/api/v1/routing/preview"));
        let answer = request.json(&json!({ "labels": labels })).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.json::<Value>().await.unwrap()
    };
    let found = preview(json!({ "alertname": "X", "team": "db", "severity": "P0" })).await;
    let receivers: Vec<&Value> =
        found["ways"].as_array().unwrap().iter().map(|way| &way["receiver"]).collect();
    assert_eq!(receivers, ["ops", "dba"]);
    assert_eq!((&found["isTold"], &found["severity"]), (&json!(true), &json!("critical")));
    assert_eq!(found["ways"][0]["integrations"][0]["kinds"], json!(["webhook"]));
    let silence = json!({
        "matchers": [{ "name": "alertname", "value": "X", "isRegex": false, "isEqual": true }],
        "startsAt": alarm.moment(0), "endsAt": alarm.moment(3600), "createdBy": "ann", "comment": "works",
    });
    let made = alarm.context.http.post(alarm.url("/api/v2/silences")).json(&silence).send().await;
    assert_eq!(made.unwrap().status(), 200);
    let found = preview(json!({ "alertname": "X", "team": "web" })).await;
    assert_eq!(found["ways"].as_array().unwrap().len(), 1);
    assert_eq!(
        (&found["isTold"], found["silencedBy"].as_array().unwrap().len()),
        (&json!(false), 1)
    );
    let bad = alarm.context.http.post(alarm.url("/api/v1/routing/preview")).body("[]").send().await;
    assert_eq!(bad.unwrap().status(), 400);

    let page = alarm.get("/routing?lang=en&labels=alertname%3DX%2Cteam%3Ddb").await;
    assert!(page.contains("Nobody would be told") && page.contains(">dba<"), "{page}");
    let page = alarm.get("/routing?lang=zh&labels=alertname%3DY").await;
    assert!(page.contains("会有人收到通知"), "{page}");
    let hostile = alarm.get("/routing?labels=a%3D%22%3Cscript%3E%22").await;
    assert!(!hostile.contains("<script>"), "{hostile}");
    assert!(alarm.get("/routing?lang=en&labels=nonsense").await.contains("write name=value"));
    assert!(webhook.bodies().is_empty(), "nothing was sent");
}
