//! Mutes of persons: by API, by signed link, by a press of a button.

use std::time::Duration;

use channels::sign;
use db::messages::Stage;
use futures_util::future::join_all;
use serde_json::{Value, json};
use testkit::{Webhook, eventually};

use crate::harness::{Alarm, PATIENCE};

const SECOND: Duration = Duration::from_secs(1);
const KEY: &str = "a key of at least thirty-two bytes, as settings have it";

fn settings(webhook: &Webhook) -> String {
    format!(
        "[mutes]\ntoken = \"api-token\"\nlink_keys = [{{ id = 1, key = \"{KEY}\" }}]\n\
         callbacks = [{{ kind = \"signed\", key = \"hook-key\" }}, \
         {{ kind = \"telegram\", secret_token = \"tg-token\" }}]\n\
         [mutes.accounts]\n\"signed:A1\" = \"ann\"\n\"signed:B1\" = \"bob\"\n\
         [[receivers]]\nname = \"ops\"\n\
         people = [{{ user = \"ann\", address = \"1\" }}, {{ user = \"bob\", address = \"2\" }}]\n\
         [[receivers.bots]]\nname = \"main\"\nkind = \"telegram\"\ntoken = \"tg\"\n\
         api = \"{}\"\n",
        webhook.url()
    )
}

/// Alarm with a bot that tells ann and bob; the stand-in accepts everything.
async fn start() -> (Alarm, Webhook, daemon::Context) {
    let (webhook, context) = crate::harness::webhook().await;
    webhook.answer_body(json!({ "ok": true, "result": { "message_id": 1 } }));
    (Alarm::start(&settings(&webhook)).await, webhook, context)
}

async fn in_stage(alarm: &Alarm, stage: Stage) -> Vec<db::messages::MessageRow> {
    alarm.db().messages().in_stage(stage, 1_000).await.unwrap()
}

async fn until(alarm: &Alarm, stage: Stage, count: usize) -> Vec<db::messages::MessageRow> {
    eventually(&format!("{count} are {}", stage.as_str()), PATIENCE, async || {
        alarm.advance(SECOND);
        Some(in_stage(alarm, stage).await).filter(|rows| rows.len() == count)
    })
    .await
}

/// The buttons of the message to a person.
pub(crate) async fn buttons(alarm: &Alarm, user: &str) -> Vec<Value> {
    let sent = until(alarm, Stage::Sent, 2).await;
    let row = sent.iter().find(|row| row.recipient == user).unwrap();
    let body: Value = serde_json::from_str(&row.body).unwrap();
    body["message"]["buttons"].as_array().unwrap().clone()
}

fn path(button: &Value) -> String {
    let url = button["url"].as_str().unwrap();
    url[url.find("/m/").unwrap()..].to_owned()
}

pub(crate) async fn api(alarm: &Alarm, method: &str, path: &str, body: Value) -> (u16, Value) {
    let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
    let request = alarm.context.http.request(method, alarm.url(path));
    let request = request.header("Authorization", "Bearer api-token").body(body.to_string());
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

pub(crate) async fn muted(alarm: &Alarm) -> Vec<Value> {
    api(alarm, "GET", "/api/v1/mutes", Value::Null).await.1.as_array().unwrap().clone()
}

/// What a browser does: opens the link, presses the button on the page.
async fn press(alarm: &Alarm, path: &str, act: &str) -> u16 {
    let (cookie, nonce) = open(alarm, path).await;
    post(alarm, path, &cookie, &nonce, act).await
}

async fn open(alarm: &Alarm, path: &str) -> (String, String) {
    let page = alarm.context.http.get(alarm.url(path)).send().await.unwrap();
    assert_eq!(page.status(), 200);
    let headers = page.headers();
    assert_eq!(headers["cache-control"], "no-store");
    assert_eq!(headers["referrer-policy"], "same-origin");
    assert!(headers["x-robots-tag"].to_str().unwrap().contains("noindex"));
    let cookie = headers["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    let nonce = cookie.split_once('=').unwrap().1.to_owned();
    assert!(page.text().await.unwrap().contains(&nonce));
    (cookie, nonce)
}

async fn post(alarm: &Alarm, path: &str, cookie: &str, nonce: &str, act: &str) -> u16 {
    let body = format!("nonce={nonce}&act={act}&seconds=3600");
    let request = alarm.context.http.post(alarm.url(path)).header("Cookie", cookie);
    let request = request.header("Content-Type", "application/x-www-form-urlencoded").body(body);
    request.send().await.unwrap().status().as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_person_who_muted_is_left_out_and_the_end_reaches_who_heard_of_the_beginning() {
    let (alarm, _webhook, _context) = start().await;
    alarm.fire("DiskFull", "critical").await;
    until(&alarm, Stage::Sent, 2).await;
    let wish =
        json!({ "user": "ann", "metric": "DiskFull", "endpoint": "web-03", "seconds": 7200 });
    assert_eq!(api(&alarm, "POST", "/api/v1/mutes", wish.clone()).await.0, 200);
    assert_eq!(muted(&alarm).await[0]["counter"], "web-03_DiskFull");
    alarm.resolve("DiskFull", "critical").await;
    until(&alarm, Stage::Sent, 4).await;
    alarm.advance(60 * SECOND);
    // Another beginning, which ann does not hear of, nor of its end.
    let again = json!([{
        "labels": { "alertname": "DiskFull", "severity": "critical", "endpoint": "web-03" },
        "startsAt": alarm.moment(0), "endsAt": alarm.moment(36_000),
    }]);
    assert_eq!(alarm.post(again.to_string()).await.0, 200);
    until(&alarm, Stage::Sent, 5).await;
    let left_out = until(&alarm, Stage::Muted, 1).await;
    assert_eq!(
        (left_out[0].recipient.as_str(), left_out[0].detail.contains("ann via API")),
        ("ann", true)
    );
    assert_eq!(api(&alarm, "DELETE", "/api/v1/mutes", wish).await.0, 200);
    assert!(muted(&alarm).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mute_made_after_the_message_was_built_still_counts_when_it_is_sent() {
    let (alarm, webhook, _context) = start().await;
    webhook.answer_with(503);
    alarm.fire("DiskFull", "critical").await;
    until(&alarm, Stage::Parked, 2).await;
    let wish = json!({ "user_name": "ann", "counter": "web-03_DiskFull", "time": 7200 });
    assert_eq!(api(&alarm, "POST", "/blockmonitor", wish).await.0, 200);
    webhook.answer_with(200);
    eventually("bob is told", PATIENCE, async || {
        alarm.advance(30 * SECOND);
        Some(in_stage(&alarm, Stage::Sent).await).filter(|sent| sent.len() == 1)
    })
    .await;
    assert_eq!(until(&alarm, Stage::Muted, 1).await[0].recipient, "ann");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_legacy_routes_ask_for_the_token_and_answer_with_seconds() {
    let (alarm, _webhook, _context) = start().await;
    let wish = json!({ "user_name": "ann", "counter": "cpu.idle", "time": 3600 });
    let url = alarm.url("/blockmonitor");
    let bare = alarm.context.http.post(&url).body(wish.to_string()).send().await.unwrap();
    assert_eq!(bare.status(), 401);
    assert_eq!(api(&alarm, "POST", "/blockmonitor", wish.clone()).await.0, 200);
    let (_, listed) = api(&alarm, "GET", "/getblockmonitors", Value::Null).await;
    assert_eq!(
        listed["data"][0],
        json!({ "user_name": "ann", "counter": "cpu.idle", "time": 3600 })
    );
    for time in [0, 59, 31 * 86_400] {
        let wish = json!({ "user_name": "ann", "counter": "x", "time": time });
        assert_eq!(api(&alarm, "POST", "/blockmonitor", wish).await.0, 400, "{time}");
    }
    assert_eq!(api(&alarm, "DELETE", "/blockmonitor", wish).await.0, 200);
    assert!(muted(&alarm).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mute_survives_a_restart_and_ends_on_time() {
    let (alarm, webhook, _context) = start().await;
    let wish = json!({ "user": "ann", "metric": "DiskFull", "seconds": 600 });
    assert_eq!(api(&alarm, "POST", "/api/v1/mutes", wish).await.0, 200);
    let alarm = alarm.restart(&settings(&webhook), SECOND).await;
    assert_eq!(muted(&alarm).await.len(), 1);
    alarm.advance(598 * SECOND);
    assert_eq!(muted(&alarm).await.len(), 1);
    alarm.advance(SECOND);
    assert!(muted(&alarm).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_thousand_posts_of_one_link_exactly_one_mutes() {
    let (alarm, _webhook, _context) = start().await;
    alarm.fire("DiskFull", "critical").await;
    let path = path(&buttons(&alarm, "ann").await[0]);
    let (cookie, nonce) = open(&alarm, &path).await;
    assert!(muted(&alarm).await.is_empty(), "GET changes nothing");
    for chunk in 0..10 {
        let posts = (0..100).map(|_| post(&alarm, &path, &cookie, &nonce, "mute"));
        let statuses = join_all(posts).await;
        assert!(statuses.iter().all(|status| *status == 200), "{chunk}: {statuses:?}");
    }
    let live = muted(&alarm).await;
    assert_eq!((live.len(), &live[0]["user"]), (1, &json!("ann")));
    assert_eq!(live[0]["actor"], "ann via link");
    assert_eq!(press(&alarm, &path, "unmute").await, 200);
    assert!(muted(&alarm).await.is_empty());
    assert_eq!(post(&alarm, &path, &cookie, &nonce, "mute").await, 200);
    assert!(muted(&alarm).await.is_empty(), "a used link mutes no more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_is_opened_by_a_preview_forged_or_old_mutes_nobody() {
    let (alarm, _webhook, _context) = start().await;
    alarm.fire("DiskFull", "critical").await;
    let path = path(&buttons(&alarm, "ann").await[0]);
    let http = &alarm.context.http;
    for agent in ["Slackbot-LinkExpanding 1.0", "facebookexternalhit/1.1"] {
        let page = http.get(alarm.url(&path)).header("User-Agent", agent).send().await.unwrap();
        let page = page.text().await.unwrap();
        let title = &page[page.find("<title>").unwrap()..page.find("</title>").unwrap()];
        assert!(!title.contains("web-03") && !title.contains("DiskFull"), "{title}");
    }
    assert_eq!(http.head(alarm.url(&path)).send().await.unwrap().status(), 200);
    let (cookie, nonce) = open(&alarm, &path).await;
    assert_eq!(post(&alarm, &path, "", &nonce, "mute").await, 403, "no cookie");
    assert_eq!(post(&alarm, &path, &cookie, "other", "mute").await, 403, "another page's form");
    let cross = http
        .post(alarm.url(&path))
        .header("Cookie", &cookie)
        .header("Origin", "https://evil.example")
        .header("Content-Type", "application/x-www-form-urlencoded")
        .body(format!("nonce={nonce}&act=mute"));
    assert_eq!(cross.send().await.unwrap().status(), 403);
    let mut forged = path.clone();
    forged.replace_range(20..21, if &path[20..21] == "A" { "B" } else { "A" });
    assert_eq!(http.get(alarm.url(&forged)).send().await.unwrap().status(), 404);
    assert_eq!(post(&alarm, &forged, &cookie, &nonce, "mute").await, 404);
    alarm.advance(25 * 3600 * SECOND);
    assert_eq!(http.get(alarm.url(&path)).send().await.unwrap().status(), 410);
    assert_eq!(post(&alarm, &path, &cookie, &nonce, "mute").await, 410);
    assert!(muted(&alarm).await.is_empty());
}

/// A press of a button, as a signed callback reports it.
async fn pressed(alarm: &Alarm, account: &str, action: &str, key: &str, age: i64) -> (u16, String) {
    let body = json!({ "user": account, "action": action }).to_string();
    let time = (alarm.context.clock.now().seconds() - age).to_string();
    let request = alarm.context.http.post(alarm.url("/hooks/signed"));
    let request = request
        .header("X-Saker-Timestamp", &time)
        .header("X-Saker-Signature", sign::saker(key, &time, body.as_bytes()))
        .body(body);
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pressed_button_mutes_who_pressed_it_and_nobody_else() {
    let (alarm, _webhook, _context) = start().await;
    alarm.fire("DiskFull", "critical").await;
    let buttons = buttons(&alarm, "ann").await;
    let action = |position: usize| buttons[position]["action"].as_str().unwrap().to_owned();
    let stale = pressed(&alarm, "A1", &action(0), "hook-key", 301).await;
    assert_eq!(stale.0, 401);
    assert_eq!(pressed(&alarm, "A1", &action(0), "other-key", 0).await.0, 401);
    assert!(pressed(&alarm, "X9", &action(0), "hook-key", 0).await.1.contains("is nobody here"));
    assert!(pressed(&alarm, "B1", &action(0), "hook-key", 0).await.1.contains("Only ann"));
    assert!(muted(&alarm).await.is_empty());
    let done = pressed(&alarm, "A1", &action(1), "hook-key", 0).await;
    assert!(done.1.contains("Muted by ann via signed until"), "{done:?}");
    let live = muted(&alarm).await;
    assert_eq!((live.len(), &live[0]["seconds_left"]), (1, &json!(6 * 3600)));
    alarm.advance(SECOND);
    let undone = pressed(&alarm, "A1", &action(3), "hook-key", 0).await;
    assert!(undone.1.contains("Not muted"), "{undone:?}");
    // The first press once more, as it was: a replay.
    let replay = pressed(&alarm, "A1", &action(1), "hook-key", 1).await;
    assert!(replay.1.contains("Not muted"), "{replay:?}");
    assert!(muted(&alarm).await.is_empty());
    let unknown = alarm.context.http.post(alarm.url("/hooks/slack")).body("x").send().await;
    assert_eq!(unknown.unwrap().status(), 401, "a platform without a key");
    let metrics = alarm.get("/metrics").await;
    assert!(metrics.contains("alarm_refused_callbacks_total{platform=\"signed\"} 2"), "{metrics}");
}

/// Sends the form of the page of an alert; the page that follows, or the one that says what is wrong.
async fn submit(alarm: &Alarm, fingerprint: &str, form: &str) -> (u16, String) {
    alarm.submit(&format!("/alerts/{fingerprint}/mutes"), "", form).await
}

#[tokio::test(flavor = "multi_thread")]
async fn from_the_page_of_an_alert_a_person_is_muted_and_hears_again() {
    let (alarm, _webhook, _context) = start().await;
    alarm.fire("DiskFull", "critical").await;
    until(&alarm, Stage::Sent, 2).await;
    let case = alarm.case("DiskFull").await;
    let fingerprint = case["fingerprint"].as_str().unwrap();
    let page = alarm.get(&format!("/alerts/{fingerprint}?mute=1")).await;
    assert!(page.contains("name=\"user\"") && page.contains("name=\"seconds\""), "{page}");
    assert!(!page.contains("http-equiv=\"refresh\""), "a renewed page would empty the form");
    let mute = "act=mute&user=ann&seconds=10800";
    let (status, page) = submit(&alarm, fingerprint, mute).await;
    assert!(status == 200 && page.contains("<b>ann</b> · Muted until"), "{page}");
    let held = muted(&alarm).await;
    assert_eq!((&held[0]["user"], &held[0]["counter"]), (&json!("ann"), &json!("web-03_DiskFull")));
    assert_eq!((&held[0]["actor"], held.len()), (&json!("local via web"), 1));
    let (status, page) = submit(&alarm, fingerprint, "act=unmute&user=ann").await;
    assert!(status == 200 && page.contains("Nobody has muted this"), "{page}");
    assert!(muted(&alarm).await.is_empty());

    let wish = json!({ "user": "ann", "metric": "DiskFull", "seconds": 7200 });
    assert_eq!(api(&alarm, "POST", "/api/v1/mutes", wish).await.0, 200);
    submit(&alarm, fingerprint, "act=unmute&user=ann").await;
    assert!(muted(&alarm).await.is_empty(), "also what holds for every endpoint");
    for (form, status, words) in [
        ("act=mute&user=ann&seconds=59", 400, "59 seconds are not between"),
        ("act=mute&user=&seconds=3600", 400, "user_name must have"),
        ("act=mute&user=ann&seconds=x", 400, "0 seconds"),
        ("act=mute&user=ann&seconds=3600&token=wrong", 403, "Nobody was muted"),
        ("act=dance&user=ann&seconds=3600", 400, ""),
    ] {
        let (found, page) = submit(&alarm, fingerprint, form).await;
        assert!(found == status && page.contains(words), "{form}: {found} {page}");
    }
    let (status, _) = submit(&alarm, "0123456789abcdef", mute).await;
    assert_eq!(status, 404);
    let far = alarm.context.http.post(alarm.url(&format!("/alerts/{fingerprint}/mutes")));
    let far = far.header("Origin", "http://evil.example").body(mute);
    let far = far.header("Content-Type", "application/x-www-form-urlencoded");
    assert_eq!(far.send().await.unwrap().status(), 403, "another site makes nobody's browser mute");
    assert!(muted(&alarm).await.is_empty());
}
