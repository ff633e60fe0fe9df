//! What waits to go as one: text messages of low priority, and what quiet hours hold; and the page that their links lead to.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use db::messages::{MessageRow, Stage};
use serde_json::{Value, json};
use testkit::{Webhook, eventually};

use crate::harness::{Alarm, PATIENCE, START};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// What phones were sent, in order.
type Texts = Arc<Mutex<Vec<String>>>;

async fn take(State(texts): State<Texts>, body: String) -> (StatusCode, Json<Value>) {
    let body = form_urlencoded::parse(body.as_bytes()).find(|(name, _)| name == "Body");
    texts.lock().unwrap().extend(body.map(|(_, text)| text.into_owned()));
    (StatusCode::CREATED, Json(json!({ "sid": "SM1" })))
}

/// Alarm over a provider of text messages that runs by itself.
async fn phones(more: &str) -> (Alarm, String, Texts, daemon::Context) {
    let context = testkit::context_at(START);
    let texts = Texts::default();
    let routes = Router::new().route("/{*path}", post(take)).with_state(Arc::clone(&texts));
    let address = context.listen(([127, 0, 0, 1], 0).into(), routes).await.unwrap();
    let settings = format!(
        "external_url = \"http://s.example\"\n\
         [[receivers]]\nname = \"ops\"\npeople = [{{ user = \"ann\", address = \"+86138\" }}]\n{more}\
         [[receivers.bots]]\nname = \"text\"\nkind = \"twilio\"\nway = \"sms\"\naccount = \"AC1\"\n\
         auth_token = \"tw\"\nfrom = \"+1\"\napi = \"http://{address}\"\n",
    );
    (Alarm::start(&settings).await, settings, texts, context)
}

async fn fire(alarm: &Alarm, name: &str, severity: &str, endpoint: &str) {
    let alert = json!([{
        "labels": { "alertname": name, "severity": severity, "endpoint": endpoint },
        "startsAt": alarm.moment(0), "endsAt": alarm.moment(360_000),
    }]);
    assert_eq!(alarm.post(alert.to_string()).await, (200, String::new()));
}

async fn waiting(alarm: &Alarm, count: usize) -> Vec<MessageRow> {
    eventually(&format!("{count} wait"), PATIENCE, async || {
        let rows = alarm.db().messages().in_stage(Stage::Waiting, 99).await.unwrap();
        (rows.len() == count).then_some(rows)
    })
    .await
}

async fn told(alarm: &Alarm, texts: &Texts, count: usize, step: Duration) -> Vec<String> {
    eventually(&format!("{count} texts"), PATIENCE, async || {
        alarm.advance(step);
        Some(texts.lock().unwrap().clone()).filter(|texts| texts.len() >= count)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn low_priority_goes_as_one_text_message_with_a_link_to_its_alerts_over_a_restart() {
    let (alarm, settings, texts, _context) = phones("").await;
    for endpoint in ["web-01", "web-02", "web-03"] {
        fire(&alarm, "DiskFull", "P3", endpoint).await;
    }
    fire(&alarm, "LoadHigh", "P3", "web-01").await;
    let held = waiting(&alarm, 4).await;
    assert!(held.iter().all(|row| row.code == "gathered"), "{held:?}");
    let limit = START.plus(5 * MINUTE);
    assert!(held.iter().all(|row| row.next_at > START && row.next_at <= limit), "{held:?}");
    fire(&alarm, "NetDown", "P2", "web-01").await;
    let first = told(&alarm, &texts, 1, Duration::ZERO).await;
    assert!(first[0].contains("P2 NetDown"), "what is not low never waits: {first:?}");
    let id = alarm.case("LoadHigh").await["fingerprint"].as_str().unwrap().to_owned();
    let record = alarm.get_json(&format!("/api/v1/alerts/{id}/delivery?user=ann")).await;
    let why = record["why"].as_str().unwrap();
    assert!(why.contains("ann was not told yet: low priority: goes with others at"), "{why}");
    let metrics = alarm.get("/metrics").await;
    assert!(metrics.contains("alarm_held_messages_total{reason=\"gathered\"} 4"), "{metrics}");

    let alarm = alarm.restart(&settings, SECOND).await;
    waiting(&alarm, 4).await;
    let all = told(&alarm, &texts, 3, 5 * SECOND).await;
    let disks = all.iter().find(|text| text.contains("DiskFull")).unwrap();
    assert!(disks.starts_with("[Saker] [P3][PROBLEM] 3 DiskFull e.g. web-0"), "{disks}");
    let alone = all.iter().find(|text| text.contains("LoadHigh")).unwrap();
    assert!(!alone.contains("PROBLEM"), "one goes as it is: {alone}");

    let path = disks.split("http://s.example").nth(1).unwrap();
    assert!(path.len() < 30, "it is short: {path}");
    let html = alarm.get(path).await;
    assert!(html.contains("These are the 3 alerts of the message of"), "{html}");
    assert_eq!(html.matches(">DiskFull</a>").count(), 3, "{html}");
    assert!(!html.contains(">LoadHigh</a>") && !html.contains(">NetDown</a>"), "{html}");
    let json = alarm.get_json(&path.replace("/alerts?", "/alerts.json?")).await;
    assert_eq!(json["total"], 3);
    let chinese = alarm.context.http.get(alarm.url(path)).header("Accept-Language", "zh-CN");
    let chinese = chinese.send().await.unwrap().text().await.unwrap();
    assert!(chinese.contains("那条消息中的 3 条告警"), "{chinese}");
    let unknown = alarm.get("/alerts?list=0123456789abcdef").await;
    assert!(unknown.contains("is not kept any more"), "{unknown}");
    assert!(!unknown.contains(">DiskFull</a>"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_gathers_nothing_sends_each_message_at_once() {
    let (alarm, _settings, texts, _context) = phones("merge_low_for = \"0s\"\n").await;
    for endpoint in ["web-01", "web-02"] {
        fire(&alarm, "DiskFull", "P5", endpoint).await;
    }
    let all = told(&alarm, &texts, 2, SECOND).await;
    assert!(all.iter().all(|text| text.contains("P5 DiskFull · web-0")), "{all:?}");
}

/// Alarm that tells ann over Telegram.
async fn chat() -> (Alarm, Webhook, daemon::Context) {
    let (webhook, context) = crate::harness::webhook().await;
    webhook.answer_body(json!({ "ok": true, "result": { "message_id": 1 } }));
    let settings = format!(
        "[[receivers]]\nname = \"ops\"\nrecipients = [\"user:ann\"]\n\
         [[receivers.bots]]\nname = \"main\"\nkind = \"telegram\"\ntoken = \"tg\"\nchat = \"-100\"\n\
         api = \"{}\"\n",
        webhook.url()
    );
    (Alarm::start(&settings).await, webhook, context)
}

/// Ann, with quiet hours; it is 17:01 in Shanghai when the test begins.
async fn quiet(alarm: &Alarm, hours: Value) -> (u16, String) {
    let user = json!({ "addresses": { "telegram": "101" }, "quiet": hours });
    let request = alarm.context.http.put(alarm.url("/api/v1/users/ann")).body(user.to_string());
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn quiet_hours_hold_what_is_not_urgent_and_tell_it_as_one_when_they_are_over() {
    let (alarm, webhook, _context) = chat().await;
    let hours = json!([{ "from": "17:00", "until": "18:00" }]);
    assert_eq!(quiet(&alarm, hours).await.0, 200);
    fire(&alarm, "DiskFull", "P2", "web-01").await;
    fire(&alarm, "LoadHigh", "P3", "web-01").await;
    let held = waiting(&alarm, 2).await;
    assert!(held.iter().all(|row| row.code == "quiet_hours"), "{held:?}");
    fire(&alarm, "NetDown", "P1", "web-01").await;
    let urgent = eventually("the urgent one comes through", PATIENCE, async || {
        Some(webhook.bodies()).filter(|bodies| !bodies.is_empty())
    });
    assert!(urgent.await[0]["text"].as_str().unwrap().contains("NetDown"));
    let id = alarm.case("DiskFull").await["fingerprint"].as_str().unwrap().to_owned();
    let record = alarm.get_json(&format!("/api/v1/alerts/{id}/delivery?user=ann")).await;
    let why = record["why"].as_str().unwrap();
    let expected = "ann was not told yet: ann has quiet hours until 2025-10-09 18:00 +08:00";
    assert!(why.starts_with(expected), "{why}");
    alarm.advance(58 * MINUTE);
    waiting(&alarm, 2).await;
    assert_eq!(webhook.bodies().len(), 1, "not a minute before");
    let bodies = eventually("the rest is told", PATIENCE, async || {
        alarm.advance(5 * SECOND);
        Some(webhook.bodies()).filter(|bodies| bodies.len() >= 2)
    })
    .await;
    let text = bodies[1].to_string();
    for part in ["after your quiet hours", "DiskFull", "LoadHigh", "/alerts?list="] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    assert_eq!(bodies.len(), 2, "as one message");
    let metrics = alarm.get("/metrics").await;
    assert!(metrics.contains("alarm_held_messages_total{reason=\"quiet_hours\"} 2"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_quiet_hours_hold_is_told_at_once_when_they_are_taken_back() {
    let (alarm, webhook, _context) = chat().await;
    assert_eq!(quiet(&alarm, json!([{ "from": "00:00", "until": "00:00" }])).await.0, 200);
    fire(&alarm, "DiskFull", "P2", "web-01").await;
    waiting(&alarm, 1).await;
    assert_eq!(quiet(&alarm, json!([])).await.0, 200);
    let bodies = eventually("it is told", PATIENCE, async || {
        alarm.advance(SECOND);
        Some(webhook.bodies()).filter(|bodies| !bodies.is_empty())
    })
    .await;
    assert!(bodies[0]["text"].as_str().unwrap().contains("DiskFull"));
    let (code, answer) = quiet(&alarm, json!([{ "from": "late", "until": "08:00" }])).await;
    assert_eq!(code, 400);
    assert!(answer.contains("quiet[0].from"), "{answer}");
    let form = "version=2&address_telegram=101&quiet=22:00-08:00+mon-fri+below+P2&action=save";
    let (code, page) = alarm.submit("/people/users/ann", "", form).await;
    assert!(code == 200 && page.contains("22:00-08:00 mon-fri below P2"), "{code} {page}");
    let form = "version=3&address_telegram=101&quiet=at+night&action=save";
    let (code, page) = alarm.submit("/people/users/ann", "", form).await;
    assert!(code == 400 && page.contains("at night") && page.contains("below P1"), "{code} {page}");
}
