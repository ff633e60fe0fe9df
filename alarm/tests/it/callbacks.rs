//! What platforms report when a button is pressed: each kind mutes once; forged, stale and repeated reports do
//! nothing, and neither do those of a platform without a key.

use std::time::Duration;

use channels::crypt::{lark_seal, wecom_seal};
use channels::sign;
use serde_json::{Value, json};
use testkit::{Webhook, eventually};

use crate::harness::{Alarm, PATIENCE};
use crate::muting::{api, buttons, muted};

const SECOND: Duration = Duration::from_secs(1);
const AES_KEY: &str = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG";
const KINDS: [&str; 7] = ["feishu", "wecom", "slack", "telegram", "dingtalk", "twilio", "signed"];
/// Platforms that sign no time: a repetition is known by its event alone.
const WITHOUT_TIME: [&str; 2] = ["telegram", "twilio"];
/// Platforms that sign no body: a secret in a header stands for it.
const WITHOUT_BODY: [&str; 2] = ["telegram", "dingtalk"];

/// A report as a platform sends it.
#[derive(Debug, Clone)]
struct Report {
    kind: &'static str,
    headers: Vec<(&'static str, String)>,
    query: String,
    body: Vec<u8>,
}

fn settings(webhook: &Webhook) -> String {
    format!(
        "[mutes]\ntoken = \"api-token\"\n\
         link_keys = [{{ id = 1, key = \"a key of at least thirty-two bytes, as it is\" }}]\n\
         callbacks = [{{ kind = \"feishu\", encrypt_key = \"ekey\", verification_token = \"vtok\" }},\n\
         {{ kind = \"wecom\", token = \"tok\", encoding_aes_key = \"{AES_KEY}\", corp_id = \"ww123\" }},\n\
         {{ kind = \"slack\", signing_secret = \"secret\" }}, {{ kind = \"telegram\", secret_token = \"tg\" }},\n\
         {{ kind = \"dingtalk\", app_secret = \"SECtest\" }}, {{ kind = \"twilio\", auth_token = \"tok\" }},\n\
         {{ kind = \"signed\", key = \"k\" }}]\n\
         [mutes.accounts]\n\"feishu:ou_1\" = \"ann\"\n\"wecom:ann\" = \"ann\"\n\"slack:T1/U1\" = \"ann\"\n\
         \"telegram:42\" = \"ann\"\n\"dingtalk:u1\" = \"ann\"\n\"twilio:+1\" = \"ann\"\n\"signed:a1\" = \"ann\"\n\
         {}",
        receiver(webhook)
    )
}

fn receiver(webhook: &Webhook) -> String {
    format!(
        "[[receivers]]\nname = \"ops\"\n\
         people = [{{ user = \"ann\", address = \"1\" }}, {{ user = \"bob\", address = \"2\" }}]\n\
         [[receivers.bots]]\nname = \"main\"\nkind = \"telegram\"\ntoken = \"tg\"\napi = \"{}\"\n",
        webhook.url()
    )
}

/// Alarm with the keys of all kinds, and what is behind the button "1 h" of ann's message.
async fn start() -> (Alarm, String, Webhook, daemon::Context) {
    let (webhook, context) = crate::harness::webhook().await;
    webhook.answer_body(json!({ "ok": true, "result": { "message_id": 1 } }));
    let alarm = Alarm::start(&settings(&webhook)).await;
    alarm.fire("DiskFull", "critical").await;
    let buttons = buttons(&alarm, "ann").await;
    let action = buttons[0]["action"].as_str().unwrap().to_owned();
    (alarm, action, webhook, context)
}

/// Ann presses the button `action` at a time in milliseconds; `event` makes the report its own.
fn report(kind: &'static str, action: &str, event: &str, at: i64) -> Report {
    let time = (at / 1000).to_string();
    let (headers, query, body) = match kind {
        "feishu" => {
            let event = json!({
                "header": { "event_id": event, "token": "vtok" },
                "event": { "operator": { "open_id": "ou_1" }, "action": { "value": { "act": action } } },
            });
            let sealed = lark_seal("ekey", [7; 16], event.to_string().as_bytes()).unwrap();
            let body = json!({ "encrypt": sealed }).to_string().into_bytes();
            let signature = sign::lark_event(&time, "n1", "ekey", &body);
            let headers = vec![
                ("X-Lark-Request-Timestamp", time),
                ("X-Lark-Request-Nonce", "n1".to_owned()),
                ("X-Lark-Signature", signature),
            ];
            (headers, String::new(), body)
        }
        "wecom" => {
            let xml = format!(
                "<xml><FromUserName>ann</FromUserName><Event>template_card_event</Event>\
                 <TaskId>{event}</TaskId><EventKey>{action}</EventKey><CreateTime>1</CreateTime></xml>"
            );
            let sealed = wecom_seal(AES_KEY, "ww123", [b'R'; 16], xml.as_bytes()).unwrap();
            let signature = sign::wecom("tok", &time, "n1", &sealed);
            let query = format!("timestamp={time}&nonce=n1&msg_signature={signature}");
            (Vec::new(), query, format!("<xml><Encrypt>{sealed}</Encrypt></xml>").into_bytes())
        }
        "slack" => {
            let payload = json!({
                "type": "block_actions", "team": { "id": "T1" }, "user": { "id": "U1" },
                "trigger_id": event, "actions": [{ "value": action }],
            });
            let body = format!("payload={}", sign::percent(&payload.to_string())).into_bytes();
            let signature = sign::slack("secret", &time, &body);
            (
                vec![("X-Slack-Request-Timestamp", time), ("X-Slack-Signature", signature)],
                String::new(),
                body,
            )
        }
        "telegram" => {
            let body =
                json!({ "callback_query": { "id": event, "from": { "id": 42 }, "data": action } });
            let headers = vec![("X-Telegram-Bot-Api-Secret-Token", "tg".to_owned())];
            (headers, String::new(), body.to_string().into_bytes())
        }
        "dingtalk" => {
            let content = json!({ "cardPrivateData": { "params": { "action": action } } });
            let body =
                json!({ "userId": "u1", "outTrackId": event, "content": content.to_string() });
            let headers =
                vec![("timestamp", at.to_string()), ("sign", sign::dingtalk(at, "SECtest"))];
            (headers, String::new(), body.to_string().into_bytes())
        }
        "twilio" => {
            let query = format!("handle={}", &action[..12]);
            let url = format!("http://127.0.0.1:9912/hooks/twilio?{query}");
            let fields = [("CallSid", event), ("Digits", "3"), ("To", "+1")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()));
            let body = format!("CallSid={event}&Digits=3&To=%2B1").into_bytes();
            (vec![("X-Twilio-Signature", sign::twilio("tok", &url, &fields))], query, body)
        }
        _ => {
            let body = json!({ "user": "a1", "action": action, "event": event }).to_string();
            let signature = sign::saker("k", &time, body.as_bytes());
            let headers = vec![("X-Saker-Timestamp", time), ("X-Saker-Signature", signature)];
            (headers, String::new(), body.into_bytes())
        }
    };
    Report { kind, headers, query, body }
}

async fn send(alarm: &Alarm, report: &Report) -> u16 {
    let url = alarm.url(&format!("/hooks/{}?{}", report.kind, report.query));
    let mut request = alarm.context.http.post(url.trim_end_matches('?'));
    for (name, value) in &report.headers {
        request = request.header(*name, value);
    }
    request.body(report.body.clone()).send().await.unwrap().status().as_u16()
}

/// With one bit of the last letter of the signature, or of the secret that stands for it, the other way round.
fn with_forged_signature(report: &Report) -> Report {
    let mut forged = report.clone();
    let text = match forged.headers.last_mut() {
        Some((_, text)) => text,
        None => &mut forged.query,
    };
    let last = text.pop().unwrap();
    text.push(if last == 'a' { 'b' } else { 'a' });
    forged
}

fn now(alarm: &Alarm) -> i64 {
    alarm.context.clock.now().millis()
}

async fn unmute(alarm: &Alarm) {
    let wish = json!({ "user": "ann", "metric": "DiskFull", "endpoint": "web-03" });
    assert_eq!(api(alarm, "DELETE", "/api/v1/mutes", wish).await.0, 200);
    assert_eq!(muted(alarm).await, Vec::<Value>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn of_every_kind_a_forged_or_stale_report_is_refused() {
    let (alarm, action, _webhook, _context) = start().await;
    for kind in KINDS {
        let good = report(kind, &action, "e1", now(&alarm));
        assert_eq!(send(&alarm, &with_forged_signature(&good)).await, 401, "{kind}");
        let mut bare = good.clone();
        (bare.headers, bare.query) = (Vec::new(), String::new());
        assert_eq!(send(&alarm, &bare).await, 401, "{kind} without a signature");
        if !WITHOUT_BODY.contains(&kind) {
            let mut flipped = good.clone();
            let middle = flipped.body.len() / 2;
            flipped.body[middle] ^= 1;
            assert_eq!(send(&alarm, &flipped).await, 401, "{kind} with a flipped bit");
        }
        if !WITHOUT_TIME.contains(&kind) {
            for age in [-301_000, 301_000] {
                let stale = report(kind, &action, "e1", now(&alarm) - age);
                assert_eq!(send(&alarm, &stale).await, 401, "{kind} {age}");
            }
        }
    }
    assert!(muted(&alarm).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn of_every_kind_a_report_mutes_once_and_a_replay_does_nothing() {
    let (alarm, action, _webhook, _context) = start().await;
    let mut sent = Vec::new();
    for kind in KINDS {
        let good = report(kind, &action, "e1", now(&alarm));
        assert_eq!(send(&alarm, &good).await, 200, "{kind}");
        let live = muted(&alarm).await;
        assert_eq!((live.len(), &live[0]["user"]), (1, &json!("ann")), "{kind}");
        assert_eq!(live[0]["actor"], format!("ann via {kind}"));
        unmute(&alarm).await;
        assert_eq!(send(&alarm, &good).await, 200, "{kind}: the platform is told that it is done");
        assert!(muted(&alarm).await.is_empty(), "{kind}: a replay mutes nobody");
        sent.push(good);
        alarm.advance(SECOND);
    }
    // As long as a button works, and those without a time too.
    for days in [1, 6] {
        alarm.advance(SECOND * 86_400 * days);
        for good in &sent {
            send(&alarm, good).await;
            assert!(muted(&alarm).await.is_empty(), "{} after days", good.kind);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_key_no_kind_is_heard() {
    let (webhook, _context) = crate::harness::webhook().await;
    webhook.answer_body(json!({ "ok": true, "result": { "message_id": 1 } }));
    let alarm = Alarm::start(&receiver(&webhook)).await;
    for kind in KINDS {
        let good = report(kind, "AbCdEfGhIjKlh", "e1", now(&alarm));
        assert_eq!(send(&alarm, &good).await, 401, "{kind}");
    }
}

/// What a platform is answered.
async fn answered(alarm: &Alarm, report: &Report) -> Value {
    let mut request = alarm.context.http.post(alarm.url(&format!("/hooks/{}", report.kind)));
    for (name, value) in &report.headers {
        request = request.header(*name, value);
    }
    let answer = request.body(report.body.clone()).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.json().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_message_that_was_pressed_is_drawn_anew() {
    let (alarm, action, webhook, _context) = start().await;
    let mut pressed = report("telegram", &action, "e1", now(&alarm));
    let mut body: Value = serde_json::from_slice(&pressed.body).unwrap();
    body["callback_query"]["message"] = json!({ "message_id": 7, "chat": { "id": 42 } });
    pressed.body = body.to_string().into_bytes();
    let edited = async || {
        let is_edit = |body: &Value| body["message_id"] == 7;
        Some(webhook.bodies().into_iter().filter(is_edit).collect::<Vec<_>>())
    };
    let until = |count: usize| {
        let edited = &edited;
        async move {
            let what = format!("{count} edits came");
            eventually(&what, PATIENCE, async || edited().await.filter(|e| e.len() == count)).await
        }
    };
    assert_eq!(answered(&alarm, &pressed).await["method"], "answerCallbackQuery");
    let first = until(1).await.remove(0);
    assert_eq!(first["chat_id"], "42");
    let text = first["text"].as_str().unwrap();
    assert!(text.contains("ann muted until 2025-10-09 18:"), "{text}");
    let unmute = format!("{}u", &action[..12]);
    assert_eq!(first["reply_markup"]["inline_keyboard"][0][0]["callback_data"], unmute);
    // A repeated report changes nothing and shows what holds.
    answered(&alarm, &pressed).await;
    let again = until(2).await.remove(1);
    assert_eq!((&again["text"], muted(&alarm).await.len()), (&first["text"], 1));
    // Feishu takes the card with the answer.
    let ack = format!("{}a", &action[..12]);
    let answer = answered(&alarm, &report("feishu", &ack, "e2", now(&alarm))).await;
    assert_eq!(answer["toast"]["type"], "info");
    let card = answer["card"]["data"].to_string();
    assert!(card.contains("ann muted until") && card.contains("ann until 2025-10-10"), "{card}");
    assert!(card.contains(&unmute) && !card.contains(&ack) && !card.contains(&action), "{card}");
    // Who may not press sees no card.
    let mut stranger = report("signed", &action, "e3", now(&alarm));
    stranger.body = json!({ "user": "b1", "action": action, "event": "e3" }).to_string().into();
    let time = (now(&alarm) / 1000).to_string();
    stranger.headers[1].1 = sign::saker("k", &time, &stranger.body);
    assert!(answered(&alarm, &stranger).await["card"].is_null());
}
