//! Who took an alert is reminded before their time ends and when it has ended, alone and once.

use std::time::Duration;

use db::messages::{MessageRow, Stage};
use model::Timestamp;
use serde_json::{Value, json};
use testkit::{Webhook, eventually};

use crate::harness::{Alarm, PATIENCE};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// A team of two, told one by one by a bot of Telegram, and a phone that nobody wants to ring for this.
fn settings(webhook: &Webhook) -> String {
    let url = webhook.url();
    format!(
        "users = [{{ name = \"ann\", addresses = {{ telegram = \"101\", phone = \"+86138\" }} }},\n\
         {{ name = \"bob\", addresses = {{ telegram = \"102\" }} }}, {{ name = \"cyd\" }}]\n\
         [[teams]]\nname = \"dba\"\nmembers = [\"ann\", \"bob\"]\n\
         [mutes]\ncallbacks = [{{ kind = \"telegram\", secret_token = \"tg\" }}]\n\
         [[receivers]]\nname = \"calls\"\nmatchers = ['severity=\"never\"']\nrecipients = [\"user:ann\"]\n\
         [[receivers.bots]]\nname = \"voice\"\nkind = \"twilio\"\nway = \"call\"\naccount = \"AC1\"\n\
         auth_token = \"tw\"\nfrom = \"+1\"\napi = \"{url}\"\n\
         [[receivers]]\nname = \"ops\"\nrecipients = [\"team:dba\"]\n\
         [[receivers.bots]]\nname = \"main\"\nkind = \"telegram\"\ntoken = \"tg\"\nchat = \"-100\"\n\
         api = \"{url}\"\n",
    )
}

async fn start() -> (Alarm, Webhook, daemon::Context) {
    let (webhook, context) = crate::harness::webhook().await;
    webhook.answer_body(json!({ "ok": true, "result": { "message_id": 1 } }));
    let alarm = Alarm::start(&settings(&webhook)).await;
    alarm.fire("DiskFull", "critical").await;
    until(&alarm, "both are told", |all| sent(all, "firing").len() == 2).await;
    (alarm, webhook, context)
}

async fn messages(alarm: &Alarm) -> Vec<MessageRow> {
    let mut all = Vec::new();
    for stage in Stage::ALL {
        all.extend(alarm.db().messages().in_stage(stage, 100).await.unwrap());
    }
    all
}

/// To whom messages of a kind went, in order of the names.
fn sent<'a>(all: &'a [MessageRow], kind: &str) -> Vec<&'a str> {
    let is_it = |row: &&MessageRow| row.kind == kind && row.stage == Stage::Sent;
    let mut names: Vec<&str> = all.iter().filter(is_it).map(|row| row.recipient.as_str()).collect();
    names.sort_unstable();
    names
}

async fn until(
    alarm: &Alarm,
    what: &str,
    is_so: impl Fn(&[MessageRow]) -> bool,
) -> Vec<MessageRow> {
    eventually(what, PATIENCE, async || {
        alarm.advance(SECOND / 10);
        Some(messages(alarm).await).filter(|all| is_so(all))
    })
    .await
}

async fn ask(alarm: &Alarm, method: reqwest::Method, body: &str) {
    let id = alarm.case("DiskFull").await["fingerprint"].as_str().unwrap().to_owned();
    let address = alarm.url(&format!("/api/v1/alerts/{id}/ack"));
    let request = alarm.context.http.request(method, address).body(body.to_owned());
    assert_eq!(request.send().await.unwrap().status(), 200);
}

async fn take(alarm: &Alarm, owner: &str) {
    let body = json!({ "owner": owner, "note": "on it", "duration": "50m" });
    ask(alarm, reqwest::Method::PUT, &body.to_string()).await;
}

async fn delivery(alarm: &Alarm) -> Value {
    let id = alarm.case("DiskFull").await["fingerprint"].as_str().unwrap().to_owned();
    alarm.get_json(&format!("/api/v1/alerts/{id}/delivery")).await
}

/// What was done about the claims of the alert, the latest first.
async fn acts(alarm: &Alarm) -> Vec<String> {
    let delivery = delivery(alarm).await;
    let claims = delivery["claims"].as_array().unwrap().iter();
    claims.map(|step| step["act"].as_str().unwrap().to_owned()).collect()
}

/// Gives what could go out wrongly time to go out: something else goes through the whole of it first.
async fn settle(alarm: &Alarm, name: &str) {
    let before = sent(&messages(alarm).await, "firing").len();
    alarm.advance(6 * SECOND);
    alarm.fire(name, "critical").await;
    until(alarm, "the others are told", |all| sent(all, "firing").len() == before + 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_took_it_alone_is_reminded_before_the_end_and_at_the_end() {
    let (alarm, webhook, _context) = start().await;
    take(&alarm, "ann").await;
    alarm.advance(34 * MINUTE);
    settle(&alarm, "LoadHigh").await;
    assert_eq!(sent(&messages(&alarm).await, "reminder"), Vec::<&str>::new(), "too early");
    alarm.advance(MINUTE);
    until(&alarm, "ann is reminded", |all| sent(all, "reminder") == ["ann"]).await;
    let body = webhook.bodies().pop().unwrap();
    let text = body["text"].as_str().unwrap();
    assert!(
        text.contains("Your ack ends at 2025-10-09 17:51:0") && text.contains("on it"),
        "{text}"
    );
    assert_eq!(body["chat_id"], "101");
    let record = delivery(&alarm).await;
    let kinds: Vec<_> = record["messages"].as_array().unwrap().iter().map(|m| &m["kind"]).collect();
    assert_eq!(kinds.iter().filter(|kind| **kind == "reminder").count(), 1, "{record}");
    assert_eq!(acts(&alarm).await, ["reminded", "made"]);

    alarm.advance(15 * MINUTE);
    let all = until(&alarm, "all are told again", |all| {
        sent(all, "reminder") == ["ann", "ann"] && sent(all, "firing").len() == 6
    });
    let all = all.await;
    assert_eq!(sent(&all, "firing"), ["ann", "ann", "ann", "bob", "bob", "bob"]);
    assert_eq!(acts(&alarm).await, ["reminded", "ran_out", "reminded", "made"]);
    let metrics = alarm.get("/metrics").await;
    assert!(metrics.contains("alarm_ack_reminders_total{result=\"reminded\"} 2"), "{metrics}");
    let page = format!("/alerts/{}?lang=en", record["fingerprint"].as_str().unwrap());
    assert!(alarm.get(&page).await.contains("ann was reminded: the time ends"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reminder_has_a_button_that_prolongs_and_then_nobody_is_told_at_the_old_end() {
    let (alarm, webhook, _context) = start().await;
    take(&alarm, "ann").await;
    alarm.advance(36 * MINUTE);
    until(&alarm, "ann is reminded", |all| sent(all, "reminder") == ["ann"]).await;
    let keyboard = webhook.bodies().pop().unwrap()["reply_markup"]["inline_keyboard"].take();
    let ack = &keyboard[0][0];
    assert_eq!(ack["text"], "Ack");
    let press = json!({
        "callback_query": { "id": "q1", "from": { "id": 101 }, "data": ack["callback_data"] },
    });
    let hook = alarm.context.http.post(alarm.url("/hooks/telegram"));
    let hook = hook.header("X-Telegram-Bot-Api-Secret-Token", "tg").body(press.to_string());
    let answer = hook.send().await.unwrap().text().await.unwrap();
    assert!(answer.contains("Taken by ann until 2025-10-10"), "{answer}");
    alarm.advance(16 * MINUTE);
    settle(&alarm, "LoadHigh").await;
    let all = messages(&alarm).await;
    assert_eq!((sent(&all, "reminder").len(), sent(&all, "firing").len()), (1, 4));
    assert_eq!(acts(&alarm).await, ["made", "reminded", "made"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_reminded_of_what_ended_or_was_given_back() {
    let (alarm, _webhook, _context) = start().await;
    take(&alarm, "ann").await;
    ask(&alarm, reqwest::Method::DELETE, "").await;
    alarm.advance(36 * MINUTE);
    settle(&alarm, "LoadHigh").await;
    take(&alarm, "ann").await;
    alarm.resolve("DiskFull", "critical").await;
    until(&alarm, "its end is told", |all| sent(all, "resolved").len() == 2).await;
    alarm.advance(51 * MINUTE);
    settle(&alarm, "NetDown").await;
    let all = messages(&alarm).await;
    assert_eq!(sent(&all, "reminder"), Vec::<&str>::new());
    let of_the_disk = |row: &&MessageRow| row.kind == "firing" && row.body.contains("DiskFull");
    assert_eq!(all.iter().filter(of_the_disk).count(), 2, "given back by hand it is no news");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_reminded_twice_after_a_restart_or_a_kill_before_it_was_noted() {
    let (alarm, webhook, _context) = start().await;
    take(&alarm, "ann").await;
    alarm.advance(36 * MINUTE);
    until(&alarm, "ann is reminded", |all| sent(all, "reminder") == ["ann"]).await;
    let settings = settings(&webhook);
    let alarm = alarm.restart(&settings, SECOND).await;
    settle(&alarm, "LoadHigh").await;
    assert_eq!(sent(&messages(&alarm).await, "reminder"), ["ann"]);
    assert_eq!(acts(&alarm).await, ["reminded", "made"]);
    // As if the kill had come between the message and the note.
    alarm.db().claims().prune_steps(Timestamp::MAX).await.unwrap();
    let alarm = alarm.restart(&settings, SECOND).await;
    settle(&alarm, "NetDown").await;
    let reminders = messages(&alarm).await;
    assert_eq!(reminders.iter().filter(|row| row.kind == "reminder").count(), 1);
    assert_eq!(acts(&alarm).await, ["reminded"], "noted again, sent once");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ran_out_while_alarm_was_away_is_told_again_once_and_its_owner_reminded() {
    let (alarm, webhook, _context) = start().await;
    take(&alarm, "ann").await;
    let settings = settings(&webhook);
    let alarm = alarm.restart(&settings, 52 * MINUTE).await;
    let told =
        |all: &[MessageRow]| sent(all, "reminder") == ["ann"] && sent(all, "firing").len() == 4;
    until(&alarm, "all are told again", told).await;
    let alarm = alarm.restart(&settings, SECOND).await;
    settle(&alarm, "LoadHigh").await;
    let all = messages(&alarm).await;
    assert_eq!((sent(&all, "reminder").len(), sent(&all, "firing").len()), (1, 6), "and not again");
}

#[tokio::test(flavor = "multi_thread")]
async fn whom_nothing_reaches_is_counted_and_seen() {
    let (alarm, _webhook, _context) = start().await;
    take(&alarm, "cyd").await;
    alarm.advance(36 * MINUTE);
    eventually("it is noted", PATIENCE, async || {
        Some(acts(&alarm).await).filter(|acts| acts[0] == "unreached")
    })
    .await;
    let metrics = alarm.get("/metrics").await;
    assert!(metrics.contains("alarm_ack_reminders_total{result=\"unreached\"} 1"), "{metrics}");
    let id = alarm.case("DiskFull").await["fingerprint"].as_str().unwrap().to_owned();
    let page = alarm.get(&format!("/alerts/{id}?lang=en")).await;
    assert!(page.contains("Nothing reaches cyd to remind"), "{page}");
    assert!(messages(&alarm).await.iter().all(|row| row.kind == "firing"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silence_and_a_mute_of_ones_own_hold_reminders_back_too() {
    let (alarm, _webhook, _context) = start().await;
    take(&alarm, "ann").await;
    let silence = json!({
        "matchers": [{ "name": "alertname", "value": "DiskFull", "isRegex": false }],
        "startsAt": alarm.moment(0), "endsAt": alarm.moment(45 * 60), "createdBy": "bob",
        "comment": "being replaced",
    });
    let request = alarm.context.http.post(alarm.url("/api/v2/silences"));
    let request = request.header("Content-Type", "application/json").body(silence.to_string());
    assert_eq!(request.send().await.unwrap().status(), 200);
    alarm.advance(36 * MINUTE);
    settle(&alarm, "LoadHigh").await;
    assert_eq!(sent(&messages(&alarm).await, "reminder"), Vec::<&str>::new(), "silenced");
    alarm.advance(10 * MINUTE);
    until(&alarm, "the silence is over", |all| sent(all, "reminder") == ["ann"]).await;
}
