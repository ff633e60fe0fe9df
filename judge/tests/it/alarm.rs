//! A stand-in alarm that remembers what it was told and when.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::post;
use axum::{Json, Router};
use daemon::{Clock, Context};
use model::{Alert, Labels, Timestamp};
use wire::alert::PostableAlert;

/// The alarm; it ends with the test's runtime.
pub(crate) struct Alarm {
    address: SocketAddr,
    shared: Arc<Shared>,
    _context: Context,
}

struct Shared {
    clock: Clock,
    batches: Mutex<Vec<Vec<Heard>>>,
    answer: Mutex<StatusCode>,
    /// What must stand in `Authorization`; empty for nothing.
    wanted: Mutex<&'static str>,
    refused: AtomicUsize,
}

/// An alert as the alarm got it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Heard {
    pub(crate) at: Timestamp,
    pub(crate) alert: Alert,
}

impl Heard {
    /// Whether it tells of an end.
    pub(crate) fn is_end(&self) -> bool {
        self.alert.is_resolved_at(self.at)
    }

    pub(crate) fn label(&self, name: &str) -> Option<&str> {
        self.alert.labels.get(name)
    }

    /// Which alert it is: the same over restarts.
    pub(crate) fn identity(&self) -> (Labels, Timestamp) {
        (self.alert.labels.clone(), self.alert.starts_at)
    }
}

impl Alarm {
    /// Listens on a free loopback port and answers 200 until told otherwise.
    pub(crate) async fn start(clock: &Clock) -> Self {
        let context = Context::new("alarm", clock.clone()).expect("the test world can be set up");
        let shared = Arc::new(Shared {
            clock: clock.clone(),
            batches: Mutex::default(),
            answer: Mutex::new(StatusCode::OK),
            wanted: Mutex::default(),
            refused: AtomicUsize::new(0),
        });
        let routes = Router::new().route(wire::alert::PATH, post(take)).with_state(shared.clone());
        let address = context
            .listen(([127, 0, 0, 1], 0).into(), routes)
            .await
            .expect("the test world can be set up");
        Self { address, shared, _context: context }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on answers with this status. What it answers with an error counts as an attempt, not as
    /// heard.
    pub(crate) fn answer_with(&self, status: u16) {
        *self.shared.answer.lock().expect("no holder panics") =
            StatusCode::from_u16(status).expect("the test world can be set up");
    }

    /// From now on whoever does not say this in `Authorization` is refused, and not heard.
    pub(crate) fn wants(&self, authorization: &'static str) {
        *self.shared.wanted.lock().expect("no holder panics") = authorization;
    }

    /// How many requests did not say it.
    pub(crate) fn refused(&self) -> usize {
        self.shared.refused.load(Ordering::SeqCst)
    }

    /// Requests so far, refused ones included, by the number of their alerts.
    pub(crate) fn batches(&self) -> Vec<Vec<Heard>> {
        self.shared.batches.lock().expect("no holder panics").clone()
    }

    /// All alerts so far, in order, refused ones included.
    pub(crate) fn heard(&self) -> Vec<Heard> {
        self.batches().concat()
    }
}

async fn take(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    Json(alerts): Json<Vec<PostableAlert>>,
) -> StatusCode {
    let wanted = *shared.wanted.lock().expect("no holder panics");
    let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    if !wanted.is_empty() && shown != Some(wanted) {
        shared.refused.fetch_add(1, Ordering::SeqCst);
        return StatusCode::UNAUTHORIZED;
    }
    let at = shared.clock.now();
    let heard = |posted: PostableAlert| {
        let accepted =
            posted.accept(at, wire::alert::RESOLVE_TIMEOUT).expect("judge sends valid alerts");
        Heard { at, alert: accepted.alert }
    };
    let batch = alerts.into_iter().map(heard).collect();
    shared.batches.lock().expect("no holder panics").push(batch);
    *shared.answer.lock().expect("no holder panics")
}
