//! A stand-in for DingTalk's robots: it counts as the platform does, answers 200 with an error code inside, and
//! can be away.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use channels::sign;
use daemon::{Clock, Context};
use model::Timestamp;
use serde_json::{Value, json};

const PER_MINUTE: usize = 20;
const BLOCKED_FOR: Duration = Duration::from_secs(600);
const SECRET: &str = "SECstand-in";

/// A message that a robot took.
#[derive(Debug, Clone)]
pub(crate) struct Taken {
    pub(crate) robot: String,
    pub(crate) at: Timestamp,
    pub(crate) text: String,
    pub(crate) links: Vec<String>,
}

#[derive(Debug, Default)]
struct Desk {
    taken: Vec<Taken>,
    asked: HashMap<String, Vec<Timestamp>>,
    blocked_until: HashMap<String, Timestamp>,
    away: Vec<String>,
    /// Answers with 130101.
    limited: usize,
}

/// Running robots; they end with their context.
#[derive(Debug, Clone)]
pub(crate) struct Robots {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    clock: Mutex<Clock>,
    desk: Mutex<Desk>,
}

impl Robots {
    pub(crate) async fn start(context: &Context) -> Self {
        let clock = Mutex::new(context.clock.clone());
        let shared = Arc::new(Shared { clock, desk: Mutex::default() });
        let routes = Router::new().route("/robot/{name}", post(take)).with_state(shared.clone());
        let address = context.listen(([127, 0, 0, 1], 0).into(), routes).await.unwrap();
        Self { address, shared }
    }

    /// From now on goes by this clock.
    pub(crate) fn go_by(&self, clock: &Clock) {
        *self.shared.clock.lock().unwrap() = clock.clone();
    }

    /// The settings of a receiver `ops` with these robots, behind other settings of the role.
    pub(crate) fn settings(&self, names: &[&str]) -> String {
        let mut text = "[[receivers]]\nname = \"ops\"\ntimeout = \"20s\"\n".to_owned();
        for name in names {
            text.push_str(&format!(
                "[[receivers.bots]]\nname = \"{name}\"\nkind = \"dingtalk_robot\"\n\
                 url = \"http://{}/robot/{name}?access_token=hunter2\"\nsecret = \"{SECRET}\"\n",
                self.address
            ));
        }
        text
    }

    pub(crate) fn away(&self, names: &[&str]) {
        self.shared.desk.lock().unwrap().away =
            names.iter().map(|name| (*name).to_owned()).collect();
    }

    pub(crate) fn taken(&self) -> Vec<Taken> {
        self.shared.desk.lock().unwrap().taken.clone()
    }

    pub(crate) fn limited(&self) -> usize {
        self.shared.desk.lock().unwrap().limited
    }
}

async fn take(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    Query(query): Query<HashMap<String, String>>,
    Json(body): Json<Value>,
) -> Response {
    let now = shared.clock.lock().unwrap().now();
    let mut desk = shared.desk.lock().unwrap();
    if desk.away.contains(&name) {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let fault =
        |code: i64, text: &str| Json(json!({ "errcode": code, "errmsg": text })).into_response();
    let timestamp: i64 = query["timestamp"].parse().unwrap();
    let is_fresh = (timestamp - now.millis()).abs() <= 3_600_000;
    if !is_fresh || query["sign"] != sign::dingtalk(timestamp, SECRET) {
        return fault(310_000, "sign not match");
    }
    if desk.blocked_until.get(&name).is_some_and(|until| *until > now) {
        desk.limited += 1;
        return fault(130_101, "send too fast, exceed 20 times per minute");
    }
    let asked = desk.asked.entry(name.clone()).or_default();
    asked.retain(|at| now.since(*at) < Duration::from_secs(60));
    asked.push(now);
    if asked.len() > PER_MINUTE {
        desk.blocked_until.insert(name, now.plus(BLOCKED_FOR));
        desk.limited += 1;
        return fault(130_101, "send too fast, exceed 20 times per minute");
    }
    let kind = body["msgtype"].as_str().unwrap_or("").to_owned();
    let buttons = body[&kind]["btns"].as_array().cloned().unwrap_or_default();
    let links = buttons.iter().map(|button| button["actionURL"].as_str().unwrap_or("").to_owned());
    let links = links.collect();
    let text = format!("{} {}", body[&kind]["title"], body[&kind]["text"]);
    desk.taken.push(Taken { robot: name, at: now, text, links });
    fault(0, "ok")
}
