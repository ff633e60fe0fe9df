//! Stand-ins for transfer and hbs: real HTTP on a free port, answers that a test can change.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use daemon::{Clock, Context};
use model::{Metadata, Series};
use testkit::eventually;
use wire::heartbeat::{DesiredState, HeartbeatRequest};
use wire::remote_write::{Limits, decode};

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// One request that a transfer took.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) series: Vec<Series>,
    pub(crate) metadata: Vec<(String, Metadata)>,
}

#[derive(Debug, Default)]
struct Inner {
    status: u16,
    asked: usize,
    taken: Vec<Request>,
    heartbeats: Vec<HeartbeatRequest>,
    desired: Option<DesiredState>,
    files: BTreeMap<String, String>,
}

/// A transfer and an hbs in one.
#[derive(Debug, Clone)]
pub(crate) struct StandIn {
    pub(crate) url: String,
    inner: Arc<Mutex<Inner>>,
    _ctx: Context,
}

impl StandIn {
    pub(crate) async fn start() -> Self {
        let inner = Arc::new(Mutex::new(Inner { status: 204, ..Inner::default() }));
        let routes = Router::new()
            .route("/api/v1/write", post(write))
            .route(wire::heartbeat::PATH, post(heartbeat))
            .route("/v1/plugins/{sha256}", get(plugin_file))
            .with_state(Arc::clone(&inner));
        let ctx = Context::new("stand-in", Clock::System).unwrap();
        let address = ctx.listen(SocketAddr::from(([127, 0, 0, 1], 0)), routes).await.unwrap();
        Self { url: format!("http://{address}"), inner, _ctx: ctx }
    }

    /// Answers with this status from now on.
    pub(crate) fn answer(&self, status: u16) {
        self.inner.lock().unwrap().status = status;
    }

    pub(crate) fn taken(&self) -> Vec<Request> {
        self.inner.lock().unwrap().taken.clone()
    }

    pub(crate) fn asked(&self) -> usize {
        self.inner.lock().unwrap().asked
    }

    pub(crate) fn heartbeats(&self) -> Vec<HeartbeatRequest> {
        self.inner.lock().unwrap().heartbeats.clone()
    }

    /// Wants this state of the host from now on.
    pub(crate) fn desire(&self, state: DesiredState) {
        self.inner.lock().unwrap().desired = Some(state);
    }

    /// Hands out a file of a plugin.
    pub(crate) fn offer_file(&self, sha256: &str, content: &str) {
        self.inner.lock().unwrap().files.insert(sha256.to_owned(), content.to_owned());
    }

    /// The last value of a series, by its name and labels without those that say whose it is.
    pub(crate) fn value(&self, labels: &str) -> Option<f64> {
        let taken = self.taken();
        let series = taken.iter().rev().flat_map(|request| request.series.iter().rev());
        let mut found =
            series.filter(|one| one.labels.without(&["endpoint"]).to_string() == labels);
        found.next().map(|one| one.samples[0].value)
    }

    /// Waits until so many requests were taken.
    pub(crate) async fn has_taken(&self, count: usize) -> Vec<Request> {
        let enough = async || Some(self.taken()).filter(|taken| taken.len() >= count);
        eventually(&format!("{count} requests at the stand-in"), PATIENCE, enough).await
    }
}

async fn write(
    State(inner): State<Arc<Mutex<Inner>>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let mut inner = inner.lock().unwrap();
    inner.asked += 1;
    let is_remote_write = headers.get("content-encoding").is_some_and(|value| value == "snappy")
        && headers.get("content-type").is_some_and(|value| value == "application/x-protobuf");
    if !is_remote_write {
        return (StatusCode::UNSUPPORTED_MEDIA_TYPE, "no remote write").into_response();
    }
    let status = StatusCode::from_u16(inner.status).unwrap();
    if status.is_success() {
        let decoded = decode(&body, Limits::default()).unwrap();
        inner.taken.push(Request { series: decoded.series, metadata: decoded.metadata });
    }
    (status, "as the test wants it").into_response()
}

async fn heartbeat(State(inner): State<Arc<Mutex<Inner>>>, body: Bytes) -> Response {
    let request = HeartbeatRequest::decode(&body).unwrap();
    let mut inner = inner.lock().unwrap();
    let desired = match &inner.desired {
        Some(state) if state.hash == request.desired_hash => serde_json::Value::Null,
        Some(state) => serde_json::to_value(state).unwrap(),
        None => serde_json::json!({ "heartbeat_interval_seconds": 45 }),
    };
    let reply = serde_json::json!({
        "server_time": request.sent_at.millis() - 5000,
        "desired": desired,
    });
    inner.heartbeats.push(request);
    axum::Json(reply).into_response()
}

async fn plugin_file(
    State(inner): State<Arc<Mutex<Inner>>>,
    axum::extract::Path(sha256): axum::extract::Path<String>,
) -> Response {
    match inner.lock().unwrap().files.get(&sha256) {
        Some(content) => content.clone().into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
