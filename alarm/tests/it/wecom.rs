//! WeCom's cards are drawn anew after a press, at a stand-in that keeps its rules: an access token that it may forget,
//! and a code that is good for one new card.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::{Query, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use channels::crypt::wecom_seal;
use channels::sign;
use serde_json::{Value, json};
use testkit::eventually;

use crate::harness::{Alarm, PATIENCE, START};

const SECOND: Duration = Duration::from_secs(1);
const AES_KEY: &str = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG";

#[derive(Debug, Default)]
struct WeCom {
    logins: u32,
    /// The token that is good now.
    token: String,
    sent: Vec<Value>,
    drawn: Vec<Value>,
    used: HashSet<String>,
}

type Shared = Arc<Mutex<WeCom>>;

async fn login(State(shared): State<Shared>) -> Json<Value> {
    let mut wecom = shared.lock().unwrap();
    wecom.logins += 1;
    wecom.token = format!("token-{}", wecom.logins);
    Json(json!({ "errcode": 0, "access_token": wecom.token, "expires_in": 7200 }))
}

type Named = Query<std::collections::HashMap<String, String>>;

fn is_forgotten(wecom: &WeCom, query: &Named) -> bool {
    query.get("access_token") != Some(&wecom.token)
}

async fn send(State(shared): State<Shared>, query: Named, Json(body): Json<Value>) -> Json<Value> {
    let mut wecom = shared.lock().unwrap();
    if is_forgotten(&wecom, &query) {
        return Json(json!({ "errcode": 42001, "errmsg": "access_token expired" }));
    }
    wecom.sent.push(body);
    Json(json!({ "errcode": 0, "msgid": "m1", "response_code": "SENT-1" }))
}

async fn draw(State(shared): State<Shared>, query: Named, Json(body): Json<Value>) -> Json<Value> {
    let mut wecom = shared.lock().unwrap();
    if is_forgotten(&wecom, &query) {
        return Json(json!({ "errcode": 42001, "errmsg": "access_token expired" }));
    }
    let code = body["response_code"].as_str().unwrap_or("").to_owned();
    if !code.starts_with("CODE-") || !wecom.used.insert(code) {
        return Json(json!({ "errcode": 42045, "errmsg": "response_code is used" }));
    }
    wecom.drawn.push(body);
    Json(json!({ "errcode": 0 }))
}

async fn start() -> (Alarm, Shared, daemon::Context) {
    let context = testkit::context_at(START);
    let shared = Shared::default();
    let routes = Router::new()
        .route("/cgi-bin/gettoken", get(login))
        .route("/cgi-bin/message/send", post(send))
        .route("/cgi-bin/message/update_template_card", post(draw))
        .with_state(Arc::clone(&shared));
    let address = context.listen(([127, 0, 0, 1], 0).into(), routes).await.unwrap();
    let settings = format!(
        "users = [{{ name = \"ann\", addresses = {{ wecom = \"Ann\" }} }}]\n\
         [mutes]\ncallbacks = [{{ kind = \"wecom\", token = \"tok\", encoding_aes_key = \"{AES_KEY}\", \
         corp_id = \"ww123\" }}]\n\
         [[receivers]]\nname = \"ops\"\nrecipients = [\"user:ann\"]\n\
         [[receivers.bots]]\nname = \"main\"\nkind = \"wecom_app\"\ncorp_id = \"ww123\"\n\
         corp_secret = \"s\"\nagent_id = 7\napi = \"http://{address}\"\n",
    );
    let alarm = Alarm::start(&settings).await;
    alarm.fire("DiskFull", "critical").await;
    eventually("the card is sent", PATIENCE, async || {
        alarm.advance(SECOND);
        (!shared.lock().unwrap().sent.is_empty()).then_some(())
    })
    .await;
    // The stand-in has it; its answer is to be in the store before the press.
    eventually("the message is sent", PATIENCE, async || {
        let rows = alarm.db().messages().in_stage(db::messages::Stage::Sent, 9).await.unwrap();
        (!rows.is_empty()).then_some(())
    })
    .await;
    (alarm, shared, context)
}

/// Somebody presses a button of the card; `code` is what comes with the press.
async fn press(alarm: &Alarm, user: &str, key: &str, code: &str) {
    let now = alarm.context.clock.now().0 / 1000;
    let xml = format!(
        "<xml><FromUserName>{user}</FromUserName><Event>template_card_event</Event><TaskId>{code}</TaskId>\
         <EventKey>{key}</EventKey><CreateTime>{now}</CreateTime><ResponseCode>{code}</ResponseCode></xml>"
    );
    let sealed = wecom_seal(AES_KEY, "ww123", [b'R'; 16], xml.as_bytes()).unwrap();
    let signature = sign::wecom("tok", &now.to_string(), "n1", &sealed);
    let path = format!("/hooks/wecom?timestamp={now}&nonce=n1&msg_signature={signature}");
    let body = format!("<xml><Encrypt>{sealed}</Encrypt></xml>");
    let answer = alarm.context.http.post(alarm.url(&path)).body(body).send().await.unwrap();
    assert_eq!(answer.status(), 200);
}

async fn drawn(shared: &Shared, count: usize) -> Value {
    eventually("the card is drawn anew", PATIENCE, async || {
        let wecom = shared.lock().unwrap();
        (wecom.drawn.len() == count).then(|| wecom.drawn[count - 1].clone())
    })
    .await
}

fn keys(card: &Value) -> Vec<&str> {
    let buttons = card["button_list"].as_array().unwrap();
    buttons.iter().map(|button| button["key"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pressed_card_is_replaced_with_the_code_of_its_press() {
    let (alarm, shared, _context) = start().await;
    let card = shared.lock().unwrap().sent[0]["template_card"].clone();
    let key = card["button_list"][0]["key"].as_str().unwrap().to_owned();
    let handle = &key[..12];
    press(&alarm, "Ann", &key, "CODE-1").await;
    let first = drawn(&shared, 1).await;
    assert_eq!((&first["agentid"], &first["atall"]), (&json!(7), &json!(1)));
    let card = &first["template_card"];
    assert!(card["horizontal_content_list"].to_string().contains("ann muted until"), "{card}");
    assert_eq!(keys(card), [format!("{handle}u"), format!("{handle}a"), format!("{handle}z")]);

    // The platform forgets the token: another one is asked for, and the card is drawn all the same.
    shared.lock().unwrap().token = "forgotten".to_owned();
    press(&alarm, "Ann", &format!("{handle}a"), "CODE-2").await;
    let second = drawn(&shared, 2).await;
    let card = &second["template_card"];
    assert!(card["horizontal_content_list"].to_string().contains("Taken by ann"), "{card}");
    assert_eq!(keys(card), [format!("{handle}u"), format!("{handle}z")]);
    assert_eq!(shared.lock().unwrap().logins, 2);

    // Codes are good once, and who may not press sees nothing new: that is counted, and nothing else happens.
    press(&alarm, "Ann", &format!("{handle}u"), "CODE-2").await;
    eventually("it is counted", PATIENCE, async || {
        let metrics = alarm.get("/metrics").await;
        metrics.contains("alarm_redrawn_messages_total{result=\"failed\"} 1").then_some(())
    })
    .await;
    press(&alarm, "Eve", &key, "CODE-3").await;
    press(&alarm, "Ann", &key, "CODE-4").await;
    let third = drawn(&shared, 3).await;
    assert_eq!(third["response_code"], "CODE-4");
    // The stand-in has it a moment before its answer is counted.
    eventually("it is counted", PATIENCE, async || {
        let metrics = alarm.get("/metrics").await;
        let counts = ["drawn\"} 3", "failed\"} 1", "dropped\"} 0"];
        let is_there = |count: &&str| {
            metrics.contains(&format!("alarm_redrawn_messages_total{{result=\"{count}"))
        };
        counts.iter().all(is_there).then_some(())
    })
    .await;
}
