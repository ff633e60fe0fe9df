//! A storm does not ring a phone all night: a call every three minutes at most, and "and n more" in it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use channels::sign;
use db::messages::{MessageRow, Stage};
use serde_json::json;
use testkit::eventually;

use crate::harness::{Alarm, PATIENCE, START};

const SECOND: Duration = Duration::from_secs(1);

/// A stand-in for Twilio.
#[derive(Debug, Default)]
struct Calls {
    /// What was said, and to which number.
    said: Vec<(String, String)>,
    /// Text messages, to which number and what.
    texts: Vec<(String, String)>,
    /// Where it is to be told what became of each call.
    statuses: Vec<String>,
    /// So many calls more do not get through.
    broken: usize,
}

type Shared = Arc<Mutex<Calls>>;

async fn call(State(shared): State<Shared>, body: String) -> Response {
    let mut calls = shared.lock().unwrap();
    if calls.broken > 0 {
        calls.broken -= 1;
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let fields: Vec<(String, String)> =
        form_urlencoded::parse(body.as_bytes()).into_owned().collect();
    let field = |name: &str| fields.iter().find(|(known, _)| known == name).unwrap().1.to_owned();
    if let Some((_, text)) = fields.iter().find(|(known, _)| known == "Body") {
        calls.texts.push((field("To"), text.to_owned()));
        return (StatusCode::CREATED, Json(json!({ "sid": "SM1" }))).into_response();
    }
    let status = fields.iter().find(|(known, _)| known == "StatusCallback");
    calls.statuses.extend(status.map(|(_, url)| url.to_owned()));
    calls.said.push((field("To"), field("Twiml")));
    (StatusCode::CREATED, Json(json!({ "sid": "CA1" }))).into_response()
}

async fn start() -> (Alarm, String, Shared, daemon::Context) {
    let context = testkit::context_at(START);
    let shared = Shared::default();
    let routes = Router::new().route("/{*path}", post(call)).with_state(Arc::clone(&shared));
    let address = context.listen(([127, 0, 0, 1], 0).into(), routes).await.unwrap();
    let settings = format!(
        "[mutes]\ncallbacks = [{{ kind = \"twilio\", auth_token = \"tw\" }}]\n\
         [[receivers]]\nname = \"ops\"\npeople = [{{ user = \"ann\", address = \"+86138\" }}]\n\
         [[receivers.bots]]\nname = \"voice\"\nkind = \"twilio\"\nway = \"call\"\naccount = \"AC1\"\n\
         auth_token = \"tw\"\nfrom = \"+1\"\napi = \"http://{address}\"\n\
         keys_url = \"http://127.0.0.1:9912/hooks/twilio\"\n",
    );
    (Alarm::start(&settings).await, settings, shared, context)
}

async fn until(alarm: &Alarm, shared: &Shared, calls: usize, step: Duration) -> String {
    eventually(&format!("{calls} calls"), PATIENCE, async || {
        alarm.advance(step);
        let said = &shared.lock().unwrap().said;
        (said.len() == calls).then(|| said[calls - 1].1.to_owned())
    })
    .await
}

/// All messages are in the store.
async fn stored(alarm: &Alarm, waiting: usize) {
    eventually("they wait", PATIENCE, async || {
        let rows = alarm.db().messages().in_stage(db::messages::Stage::Waiting, 99).await.unwrap();
        (rows.len() == waiting).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_is_two_calls_three_minutes_apart_over_a_restart_too() {
    let (alarm, settings, shared, _context) = start().await;
    alarm.fire("DiskFull", "critical").await;
    let first = until(&alarm, &shared, 1, SECOND / 10).await;
    assert!(first.contains("critical DiskFull web 03"), "{first}");
    let began = alarm.context.clock.now();
    for name in ["LoadHigh", "NetDown", "Swapping"] {
        alarm.fire(name, "critical").await;
    }
    stored(&alarm, 3).await;
    alarm.advance(100 * SECOND);
    let alarm = alarm.restart(&settings, SECOND).await;
    stored(&alarm, 3).await;
    alarm.advance(60 * SECOND);
    assert_eq!(shared.lock().unwrap().said.len(), 1);
    let second = until(&alarm, &shared, 2, SECOND).await;
    assert!(second.contains(", and 2 more"), "{second}");
    assert!(alarm.context.clock.now().since(began) >= 179 * SECOND);
    assert_eq!(shared.lock().unwrap().said[1].0, "+86138");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_does_not_get_through_is_tried_again_at_once() {
    let (alarm, _settings, shared, _context) = start().await;
    shared.lock().unwrap().broken = 2;
    alarm.fire("DiskFull", "critical").await;
    let began = alarm.context.clock.now();
    until(&alarm, &shared, 1, SECOND / 10).await;
    assert!(alarm.context.clock.now().since(began) < 150 * SECOND);
}

/// Twilio reports that nobody took the latest call.
async fn in_vain(alarm: &Alarm, shared: &Shared, key: &str) -> u16 {
    let (url, call) = {
        let calls = shared.lock().unwrap();
        (calls.statuses.last().unwrap().to_owned(), format!("CA{}", calls.said.len()))
    };
    let fields = [("CallSid", call.as_str()), ("CallStatus", "no-answer")]
        .map(|(n, v)| (n.to_owned(), v.to_owned()));
    let path = url.strip_prefix("http://127.0.0.1:9912").unwrap();
    let request = alarm.context.http.post(alarm.url(path));
    let request = request.header("X-Twilio-Signature", sign::twilio(key, &url, &fields));
    let answer = request.body(format!("CallSid={call}&CallStatus=no-answer")).send().await.unwrap();
    answer.status().as_u16()
}

async fn in_stage(alarm: &Alarm, stage: Stage) -> Vec<MessageRow> {
    let stored = async || {
        let rows = alarm.db().messages().in_stage(stage, 9).await.unwrap();
        (!rows.is_empty()).then_some(rows)
    };
    eventually(stage.as_str(), PATIENCE, stored).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_that_nobody_takes_rings_twice_more_and_then_it_has_failed_for_all_to_see() {
    let (alarm, _settings, shared, _context) = start().await;
    alarm.fire("DiskFull", "critical").await;
    for calls in 1..=3 {
        let began = alarm.context.clock.now();
        until(&alarm, &shared, calls, SECOND).await;
        if calls > 1 {
            assert!(alarm.context.clock.now().since(began) >= 119 * SECOND, "two minutes later");
        }
        let row = in_stage(&alarm, Stage::Sent).await.remove(0);
        assert_eq!(in_vain(&alarm, &shared, "forged").await, 401);
        assert_eq!(in_stage(&alarm, Stage::Sent).await[0], row);
        assert_eq!(in_vain(&alarm, &shared, "tw").await, 200);
        assert_eq!(in_vain(&alarm, &shared, "tw").await, 200, "what is reported twice counts once");
    }
    let failed = in_stage(&alarm, Stage::Failed).await.remove(0);
    assert_eq!((failed.code.as_str(), failed.detail.as_str()), ("unanswered", "no-answer"));
    let metrics = alarm.get("/metrics").await;
    assert!(metrics.contains("alarm_unanswered_calls_total 3"), "{metrics}");
    let id = alarm.case("DiskFull").await["fingerprint"].as_str().unwrap().to_owned();
    let record = alarm.get(&format!("/api/v1/alerts/{id}/delivery")).await;
    assert_eq!(record.matches("\"result\":\"unanswered\"").count(), 3, "{record}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_called_again_for_what_somebody_has_taken() {
    let (alarm, _settings, shared, _context) = start().await;
    alarm.fire("DiskFull", "critical").await;
    until(&alarm, &shared, 1, SECOND / 10).await;
    in_stage(&alarm, Stage::Sent).await;
    let id = alarm.case("DiskFull").await["fingerprint"].as_str().unwrap().to_owned();
    let address = alarm.url(&format!("/api/v1/alerts/{id}/ack"));
    let claim = alarm.context.http.put(address).body("{\"owner\":\"bob\"}");
    assert_eq!(claim.send().await.unwrap().status(), 200);
    assert_eq!(in_vain(&alarm, &shared, "tw").await, 200);
    alarm.advance(180 * SECOND);
    alarm.fire("LoadHigh", "critical").await;
    let said = until(&alarm, &shared, 2, SECOND).await;
    assert!(said.contains("LoadHigh") && !said.contains("more"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_never_rings_for_an_end_and_a_text_message_tells_it() {
    let (alarm, settings, shared, _context) = start().await;
    let voice = settings.split("[[receivers.bots]]").nth(1).unwrap();
    let text = voice.replace("name = \"voice\"", "name = \"text\"").replace("call", "sms");
    let settings = format!("{settings}[[receivers.bots]]{text}");
    let alarm = alarm.restart(&settings, SECOND).await;
    alarm.fire("DiskFull", "critical").await;
    until(&alarm, &shared, 1, SECOND / 10).await;
    in_stage(&alarm, Stage::Sent).await;
    alarm.resolve("DiskFull", "critical").await;
    eventually("the end is told", PATIENCE, async || {
        alarm.advance(SECOND);
        let texts = &shared.lock().unwrap().texts;
        texts.first().is_some_and(|(_, text)| text.contains("recovered")).then_some(())
    })
    .await;
    let calls = shared.lock().unwrap();
    assert_eq!((calls.said.len(), calls.texts.len()), (1, 1));
}
