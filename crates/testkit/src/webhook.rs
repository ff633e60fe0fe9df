//! A webhook that remembers what it was told.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use daemon::Context;
use serde_json::Value;

/// A running webhook; it ends with the context that serves it.
#[derive(Debug, Clone)]
pub struct Webhook {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    bodies: Mutex<Vec<Value>>,
    answer: Mutex<StatusCode>,
    body: Mutex<Value>,
}

impl Webhook {
    /// Serves a webhook on a free loopback port; it answers 200 until told otherwise.
    pub async fn start(context: &Context) -> Self {
        let shared = Arc::new(Shared {
            bodies: Mutex::default(),
            answer: Mutex::new(StatusCode::OK),
            body: Mutex::new(Value::Null),
        });
        let routes = Router::new().route("/{*path}", post(take)).with_state(Arc::clone(&shared));
        let address = context
            .listen(([127, 0, 0, 1], 0).into(), routes)
            .await
            .expect("port 0 is always free");
        Self { address, shared }
    }

    /// Where to post to.
    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// What was posted so far, in order; what was answered with an error included.
    pub fn bodies(&self) -> Vec<Value> {
        self.shared.bodies.lock().expect("no holder panics").clone()
    }

    /// From now on answers with this body.
    pub fn answer_body(&self, body: Value) {
        *self.shared.body.lock().expect("no holder panics") = body;
    }

    /// From now on answers with this status.
    pub fn answer_with(&self, status: u16) {
        *self.shared.answer.lock().expect("no holder panics") =
            StatusCode::from_u16(status).expect("a valid status");
    }
}

async fn take(State(shared): State<Arc<Shared>>, Json(body): Json<Value>) -> Response {
    shared.bodies.lock().expect("no holder panics").push(body);
    let status = *shared.answer.lock().expect("no holder panics");
    match shared.body.lock().expect("no holder panics").clone() {
        Value::Null => status.into_response(),
        body => (status, Json(body)).into_response(),
    }
}
