//! A storm does not ring a phone all night: a call every three minutes at most, and "and n more" in it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde_json::json;
use testkit::eventually;

use crate::harness::{Alarm, PATIENCE, START};

const SECOND: Duration = Duration::from_secs(1);

/// A stand-in for Twilio.
#[derive(Debug, Default)]
struct Calls {
    /// What was said, and to which number.
    said: Vec<(String, String)>,
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
    calls.said.push((field("To"), field("Twiml")));
    (StatusCode::CREATED, Json(json!({ "sid": "CA1" }))).into_response()
}

async fn start() -> (Alarm, String, Shared, daemon::Context) {
    let context = testkit::context_at(START);
    let shared = Shared::default();
    let routes = Router::new().route("/{*path}", post(call)).with_state(Arc::clone(&shared));
    let address = context.listen(([127, 0, 0, 1], 0).into(), routes).await.unwrap();
    let settings = format!(
        "[[receivers]]\nname = \"ops\"\npeople = [{{ user = \"ann\", address = \"+86138\" }}]\n\
         [[receivers.bots]]\nname = \"voice\"\nkind = \"twilio\"\nway = \"call\"\naccount = \"AC1\"\n\
         auth_token = \"tw\"\nfrom = \"+1\"\napi = \"http://{address}\"\n",
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
