//! `saker alarm` as a process of its own that can be killed and started again, and stand-ins for what it talks to.

use std::collections::{HashMap, VecDeque};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::extract::{Path as Name, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use axum::routing;
use daemon::Context;
use reqwest::Client;
use serde_json::{Value, json};
use testkit::{Process, binary, eventually, free_port, get_text};
use tokio::sync::Notify;
use tokio::time::Instant;

const START: Duration = Duration::from_secs(60);
const MINUTE: Duration = Duration::from_secs(60);
/// What DingTalk lets a robot post in a minute, and for how long it is deaf beyond that.
const PER_MINUTE: usize = 20;
const BLOCKED_FOR: Duration = Duration::from_secs(600);

/// The process.
pub(crate) struct Alarm {
    pub(crate) url: String,
    pub(crate) http: Client,
    config: PathBuf,
    log: &'static str,
    process: Process,
}

impl Alarm {
    /// Writes the configuration into `folder` and starts; `alarm` are keys and tables of the section `[alarm]`,
    /// `others` other sections.
    pub(crate) async fn start(folder: &Path, log: &'static str, alarm: &str, others: &str) -> Self {
        fs::create_dir_all(folder).unwrap();
        let (config, port) = (folder.join("saker.toml"), free_port());
        let url = format!("http://127.0.0.1:{port}");
        let text = format!(
            "data_dir = {:?}\n[alarm]\nlisten = \"127.0.0.1:{port}\"\nexternal_url = {url:?}\n{alarm}\n{others}",
            folder.join("data")
        );
        fs::write(&config, text).unwrap();
        let http = daemon::http_client().unwrap();
        let process = spawn(&config, log);
        let mut started = Self { url, http, config, log, process };
        started.ready().await;
        started
    }

    /// Ends it at once, as a power cut would, and starts it again.
    pub(crate) async fn kill_and_start(&mut self) {
        self.process.kill();
        self.process = spawn(&self.config, self.log);
        self.ready().await;
    }

    /// What it logged since it was started last.
    pub(crate) fn output(&self) -> String {
        self.process.output()
    }

    pub(crate) fn address(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// The answer to a GET as JSON.
    pub(crate) async fn get(&self, path: &str) -> Value {
        let text = get_text(&self.http, &self.address(path)).await;
        let text = text.unwrap_or_else(|| panic!("{path} does not answer: {}", self.output()));
        serde_json::from_str(&text).unwrap()
    }

    async fn ready(&mut self) {
        let url = self.address("/-/ready");
        eventually("alarm is ready", START, async || {
            assert!(self.process.is_running(), "alarm ended: {}", self.process.output());
            get_text(&self.http, &url).await
        })
        .await;
    }
}

fn spawn(config: &Path, log: &str) -> Process {
    let config = config.to_str().unwrap();
    Process::start(&binary("saker"), ["alarm", "--config", config, "--log", log])
}

/// Hands alerts over; false when nothing was acknowledged.
pub(crate) async fn post(http: &Client, alarm: &str, alerts: &Value) -> bool {
    let answer = http.post(format!("{alarm}/api/v2/alerts")).json(alerts).send().await;
    answer.is_ok_and(|answer| answer.status().is_success())
}

/// A message that a platform has.
#[derive(Debug, Clone)]
pub(crate) struct Taken {
    /// The robot, or `hook`.
    pub(crate) at: String,
    pub(crate) body: Value,
    /// The `Idempotency-Key`, if there was one.
    pub(crate) key: String,
    /// When it came.
    pub(crate) when: Instant,
}

#[derive(Debug, Default)]
struct Desk {
    taken: Vec<Taken>,
    asked: HashMap<String, VecDeque<Instant>>,
    blocked: HashMap<String, Instant>,
    limited: usize,
}

#[derive(Debug)]
struct Shared {
    desk: Mutex<Desk>,
    arrived: Notify,
    answers_after: Duration,
}

/// Stand-ins for the platforms: `/robot/<name>` enforces DingTalk's limit and answers 200 with a code inside,
/// everything else takes what comes and answers as Telegram does. They remember a message when it arrives and
/// answer a moment later, so that a sender can be killed in between.
#[derive(Debug, Clone)]
pub(crate) struct Platforms {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Platforms {
    pub(crate) async fn start(context: &Context, answers_after: Duration) -> Self {
        let (desk, arrived) = (Mutex::default(), Notify::new());
        let shared = Arc::new(Shared { desk, arrived, answers_after });
        let routes = Router::new()
            .route("/robot/{name}", routing::post(robot))
            .route("/{*path}", routing::post(anything))
            .with_state(shared.clone());
        let address = context.listen(([127, 0, 0, 1], 0).into(), routes).await.unwrap();
        Self { address, shared }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn taken(&self) -> Vec<Taken> {
        self.shared.desk.lock().unwrap().taken.clone()
    }

    /// How often a robot said that it was too much.
    pub(crate) fn limited(&self) -> usize {
        self.shared.desk.lock().unwrap().limited
    }

    /// Waits for the next message to a robot, at most for so long; it is not answered yet.
    pub(crate) async fn next_arrival(&self, most: Duration) -> bool {
        tokio::time::timeout(most, self.shared.arrived.notified()).await.is_ok()
    }
}

async fn robot(
    State(shared): State<Arc<Shared>>,
    Name(name): Name<String>,
    Json(body): Json<Value>,
) -> Response {
    let is_too_much = shared.desk.lock().unwrap().is_too_much(&name);
    if is_too_much {
        let fault = json!({ "errcode": 130_101, "errmsg": "send too fast" });
        return Json(fault).into_response();
    }
    let taken = Taken { at: name, body, key: String::new(), when: Instant::now() };
    shared.desk.lock().unwrap().taken.push(taken);
    shared.arrived.notify_waiters();
    tokio::time::sleep(shared.answers_after).await;
    Json(json!({ "errcode": 0, "errmsg": "ok" })).into_response()
}

async fn anything(
    State(shared): State<Arc<Shared>>,
    Name(path): Name<String>,
    headers: HeaderMap,
    body: String,
) -> Response {
    let key = headers.get("idempotency-key").and_then(|key| key.to_str().ok()).unwrap_or("");
    let key = key.to_owned();
    let body = serde_json::from_str(&body).unwrap_or(Value::String(body));
    let taken = Taken { at: path, body, key, when: Instant::now() };
    shared.desk.lock().unwrap().taken.push(taken);
    Json(json!({ "ok": true, "result": { "message_id": 1 } })).into_response()
}

impl Desk {
    fn is_too_much(&mut self, robot: &str) -> bool {
        let now = Instant::now();
        let asked = self.asked.entry(robot.to_owned()).or_default();
        while asked.front().is_some_and(|at| now.duration_since(*at) >= MINUTE) {
            asked.pop_front();
        }
        asked.push_back(now);
        if asked.len() > PER_MINUTE {
            self.blocked.insert(robot.to_owned(), now + BLOCKED_FOR);
        }
        let is_blocked = self.blocked.get(robot).is_some_and(|until| *until > now);
        self.limited += usize::from(is_blocked);
        is_blocked
    }
}
