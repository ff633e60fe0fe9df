//! Taking alerts, putting them off and giving them back: by button, by link, by a key of the phone, on the page.

use std::time::Duration;

use channels::sign;
use db::messages::Stage;
use serde_json::{Value, json};
use testkit::{Webhook, eventually};

use crate::harness::{Alarm, PATIENCE};

const SECOND: Duration = Duration::from_secs(1);
const KEY: &str = "a key of at least thirty-two bytes, as settings have it";

fn settings(webhook: &Webhook, bot: &str, people: &str) -> String {
    format!(
        "users = [{{ name = \"ann\", addresses = {{ telegram = \"101\", phone = \"+8613800001111\" }} }}]\n\
         [mutes]\nlink_keys = [{{ id = 1, key = \"{KEY}\" }}]\n\
         callbacks = [{{ kind = \"telegram\", secret_token = \"tg\" }}, {{ kind = \"twilio\", auth_token = \"tw\" }}]\n\
         [[receivers]]\nname = \"ops\"\n{people}\n\
         [[receivers.bots]]\nname = \"main\"\n{bot}\n",
    ).replace("URL", &webhook.url())
}

const TELEGRAM: &str = "kind = \"telegram\"\ntoken = \"tg\"\nchat = \"-100\"\napi = \"URL\"";
const ROBOT: &str = "kind = \"dingtalk_robot\"\nurl = \"URL\"";
const PHONE: &str = "kind = \"twilio\"\nway = \"call\"\naccount = \"AC1\"\nauth_token = \"tw\"\nfrom = \"+1\"\n\
                     api = \"URL\"\nkeys_url = \"http://127.0.0.1:9912/hooks/twilio\"";

async fn start(bot: &str, people: &str, ok: Value) -> (Alarm, Webhook, daemon::Context) {
    let (webhook, context) = crate::harness::webhook().await;
    webhook.answer_body(ok);
    (Alarm::start(&settings(&webhook, bot, people)).await, webhook, context)
}

/// The only message there is, sent or not: the stand-in does not speak every platform's language.
async fn message(alarm: &Alarm) -> Value {
    let row = eventually("there is a message", PATIENCE, async || {
        alarm.advance(SECOND);
        let mut rows = Vec::new();
        for stage in [Stage::Sent, Stage::Waiting, Stage::Parked, Stage::Failed] {
            rows.extend(alarm.db().messages().in_stage(stage, 10).await.unwrap());
        }
        rows.pop()
    })
    .await;
    serde_json::from_str::<Value>(&row.body).unwrap()["message"].clone()
}

fn button<'a>(message: &'a Value, label: &str) -> &'a Value {
    let buttons = message["buttons"].as_array().unwrap();
    buttons.iter().find(|button| button["label"] == label).unwrap_or_else(|| panic!("{buttons:?}"))
}

async fn claims(alarm: &Alarm) -> Vec<(String, String, bool)> {
    let claims = alarm.get_json("/api/v1/claims").await;
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let claim =
        |claim: &Value| (text(&claim["kind"]), text(&claim["owner"]), claim["holds"] == true);
    claims.as_array().unwrap().iter().map(claim).collect()
}

async fn press(alarm: &Alarm, id: &str, from: i64, action: &Value, secret: &str) -> (u16, String) {
    let body = json!({ "callback_query": { "id": id, "from": { "id": from }, "data": action } });
    let request = alarm.context.http.post(alarm.url("/hooks/telegram"));
    let request = request.header("X-Telegram-Bot-Api-Secret-Token", secret);
    let answer = request.body(body.to_string()).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pressed_button_takes_an_alert_and_puts_it_off_for_whom_it_knows() {
    let ok = json!({ "ok": true, "result": { "message_id": 1 } });
    let (alarm, _webhook, _context) = start(TELEGRAM, "", ok).await;
    alarm.fire("DiskFull", "critical").await;
    let message = message(&alarm).await;
    let ack = &button(&message, "Ack")["action"];
    assert_eq!(press(&alarm, "q0", 101, ack, "other").await.0, 401);
    assert!(press(&alarm, "q1", 999, ack, "tg").await.1.contains("is nobody here"));
    assert!(claims(&alarm).await.is_empty());
    let (status, text) = press(&alarm, "q2", 101, ack, "tg").await;
    assert!(status == 200 && text.contains("Taken by ann until"), "{text}");
    assert_eq!(claims(&alarm).await, [("ack".to_owned(), "ann".to_owned(), true)]);
    let case = alarm.case("DiskFull").await;
    assert_eq!(case["claims"][0]["note"], "via telegram");
    let path = format!("/api/v1/alerts/{}/ack", case["fingerprint"].as_str().unwrap());
    let gone = alarm.context.http.delete(alarm.url(&path)).send().await.unwrap();
    assert_eq!(gone.status(), 200);
    // The same press once more is a replay.
    press(&alarm, "q2", 101, ack, "tg").await;
    assert!(!claims(&alarm).await[0].2, "a replay takes nothing");
    let snooze = &button(&message, "Snooze 1 h")["action"];
    assert!(press(&alarm, "q3", 101, snooze, "tg").await.1.contains("Put off by ann"));
    alarm.resolve("DiskFull", "critical").await;
    alarm.until_case("it is over", "DiskFull", |case| case["status"] == "resolved").await;
    let (_, late) = press(&alarm, "q4", 101, ack, "tg").await;
    assert!(late.contains("over already"), "{late}");
}

async fn open(alarm: &Alarm, path: &str) -> (String, String, String) {
    let page = alarm.context.http.get(alarm.url(path)).send().await.unwrap();
    assert_eq!(page.status(), 200);
    assert!(page.headers()["x-robots-tag"].to_str().unwrap().contains("noindex"));
    let cookie = page.headers()["set-cookie"].to_str().unwrap();
    let cookie = cookie.split(';').next().unwrap().to_owned();
    let nonce = cookie.split_once('=').unwrap().1.to_owned();
    (cookie, nonce, page.text().await.unwrap())
}

async fn post(alarm: &Alarm, path: &str, cookie: &str, body: &str) -> (u16, String) {
    alarm.submit(path, cookie, body).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_link_takes_once_and_is_refused_when_it_is_forged_or_old() {
    let (alarm, _webhook, _context) = start(ROBOT, "", json!({ "errcode": 0 })).await;
    alarm.fire("DiskFull", "critical").await;
    let message = message(&alarm).await;
    let url = button(&message, "Ack")["url"].as_str().unwrap().to_owned();
    let path = url[url.find("/c/").unwrap()..].to_owned();
    let (cookie, nonce, page) = open(&alarm, &path).await;
    assert!(page.contains("DiskFull web-03"), "{page}");
    let title = &page[page.find("<title>").unwrap()..page.find("</title>").unwrap()];
    assert!(!title.contains("DiskFull"), "{title}");
    assert!(claims(&alarm).await.is_empty(), "GET changes nothing");
    let form = |act: &str| format!("nonce={nonce}&act={act}&owner=bob&duration=1h");
    assert_eq!(post(&alarm, &path, "", &form("ack")).await.0, 403, "no cookie");
    let other = form("ack").replace(&nonce, "x");
    assert_eq!(post(&alarm, &path, &cookie, &other).await.0, 403, "another page's form");
    let nobody = format!("nonce={nonce}&act=ack&owner=");
    assert_eq!(post(&alarm, &path, &cookie, &nobody).await.0, 400, "a chat must say who");
    let (status, page) = post(&alarm, &path, &cookie, &form("ack")).await;
    assert!(status == 200 && page.contains("Taken by bob until"), "{page}");
    assert_eq!(post(&alarm, &path, &cookie, &form("unack")).await.0, 200);
    assert_eq!(claims(&alarm).await, [("ack".to_owned(), "bob".to_owned(), false)]);
    post(&alarm, &path, &cookie, &form("ack")).await;
    assert!(!claims(&alarm).await[0].2, "a used link takes no more");
    let mut forged = path.clone();
    forged.replace_range(20..21, if &path[20..21] == "A" { "B" } else { "A" });
    let answer = alarm.context.http.get(alarm.url(&forged)).send().await.unwrap();
    assert_eq!(answer.status(), 404);
    assert_eq!(post(&alarm, &forged, &cookie, &form("ack")).await.0, 404);
    let as_mute = path.replace("/c/", "/m/");
    let answer = alarm.context.http.get(alarm.url(&as_mute)).send().await.unwrap();
    assert_eq!(answer.status(), 404, "it is no link that mutes");
    alarm.advance(25 * 3600 * SECOND);
    assert_eq!(post(&alarm, &path, &cookie, &form("ack")).await.0, 410);
    let metrics = alarm.get("/metrics").await;
    assert!(metrics.contains("alarm_refused_mute_links_total 4"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_the_phone_takes_the_alert_and_a_forged_one_does_not() {
    let people = "recipients = [\"user:ann\"]";
    let (alarm, _webhook, _context) = start(PHONE, people, json!({ "sid": "CA1" })).await;
    alarm.fire("DiskFull", "critical").await;
    let message = message(&alarm).await;
    let action = button(&message, "Ack")["action"].as_str().unwrap();
    let handle = &action[..12];
    let url = format!("http://127.0.0.1:9912/hooks/twilio?handle={handle}");
    let fields = [("CallSid", "CA1"), ("Digits", "1"), ("To", "+8613800001111")];
    let owned: Vec<(String, String)> =
        fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let body = "CallSid=CA1&Digits=1&To=%2B8613800001111";
    let called = async |body: &str, signature: String| {
        let request = alarm.context.http.post(alarm.url(&format!("/hooks/twilio?handle={handle}")));
        let request = request.header("X-Twilio-Signature", signature).body(body.to_owned());
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let signature = sign::twilio("tw", &url, &owned);
    let flipped = body.replace("Digits=1", "Digits=3");
    assert_eq!(called(&flipped, signature.clone()).await.0, 401);
    assert_eq!(called(body, sign::twilio("other", &url, &owned)).await.0, 401);
    assert!(claims(&alarm).await.is_empty());
    let (status, answer) = called(body, signature).await;
    assert!(status == 200 && answer.contains("<Say>Taken by ann"), "{answer}");
    assert_eq!(claims(&alarm).await, [("ack".to_owned(), "ann".to_owned(), true)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_is_taken_put_off_and_given_back_on_its_page() {
    let (alarm, _webhook, _context) = start(ROBOT, "", json!({ "errcode": 0 })).await;
    alarm.fire("DiskFull", "critical").await;
    let case = alarm.until_case("it is there", "DiskFull", |_| true).await;
    let page = format!("/alerts/{}", case["fingerprint"].as_str().unwrap());
    let path = format!("{page}/claims");
    let html = alarm.get(&format!("{page}?claim=1")).await;
    assert!(html.contains("name=\"owner\"") && !html.contains("http-equiv=\"refresh\""), "{html}");
    let (status, html) =
        post(&alarm, &path, "", "act=ack&owner=%E5%AE%89&note=on+it&duration=4h").await;
    assert!(status == 200 && html.contains("Taken by 安 until 2025-10-09 21:0"), "{html}");
    assert!(html.contains("on it") && html.contains("value=\"unack\""), "{html}");
    let (_, html) = post(&alarm, &path, "", "act=snooze&owner=bob").await;
    assert!(html.contains("Put off by bob"), "{html}");
    let (_, html) = post(&alarm, &path, "saker_owner=bob", "act=unack&owner=").await;
    assert!(!html.contains("value=\"unack\""), "{html}");
    assert!(html.contains("bob gave it back; 安 had taken it"), "the timeline tells: {html}");
    let html = alarm
        .context
        .http
        .get(alarm.url(&page))
        .header("Cookie", "saker_owner=%E5%AE%89")
        .send()
        .await
        .unwrap();
    assert!(html.text().await.unwrap().contains("Take it as 安"));
    assert_eq!(post(&alarm, &path, "", "act=ack&owner=").await.0, 400);
    assert_eq!(post(&alarm, &path, "", "act=love&owner=ann").await.0, 400);
    let evil = alarm.context.http.post(alarm.url(&path)).header("Origin", "http://evil.example");
    let evil = evil.header("Content-Type", "application/x-www-form-urlencoded");
    assert_eq!(evil.body("act=ack&owner=eve").send().await.unwrap().status(), 403);
    alarm.resolve("DiskFull", "critical").await;
    alarm.until_case("it is over", "DiskFull", |case| case["status"] == "resolved").await;
    assert_eq!(post(&alarm, &path, "", "act=ack&owner=ann").await.0, 409);
}
