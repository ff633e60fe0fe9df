//! Stands between judges and their store and notes who wrote what: what the store keeps does not show that a value was
//! computed twice.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use daemon::Context;
use model::{Labels, Timestamp};
use wire::remote_write;

/// A running tap; it ends with the context that serves it.
pub(crate) struct Tap {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    to: String,
    http: reqwest::Client,
    /// By series and moment: everybody who wrote it, each once. A retry of a writer is not a second writer.
    written: Mutex<BTreeMap<(Labels, Timestamp), Vec<String>>>,
}

impl Tap {
    /// Hands remote write on to `to`, the address of a store.
    pub(crate) async fn start(context: &Context, to: String) -> Self {
        let shared = Arc::new(Shared { to, http: context.http.clone(), written: Mutex::default() });
        let routes =
            Router::new().route("/{writer}/api/v1/write", post(pass)).with_state(shared.clone());
        let address = context.listen(([127, 0, 0, 1], 0).into(), routes).await.unwrap();
        Self { address, shared }
    }

    /// Where somebody of this name writes to.
    pub(crate) fn url(&self, writer: &str) -> String {
        format!("http://{}/{writer}/api/v1/write", self.address)
    }

    /// How many samples of a metric were written, and those that more than one wrote.
    pub(crate) fn written(&self, metric: &str) -> (usize, Vec<String>) {
        let written = self.shared.written.lock().unwrap();
        let of_metric = || written.iter().filter(|((labels, _), _)| labels.metric_name() == metric);
        let twice = of_metric().filter(|(_, writers)| writers.len() > 1);
        let twice = twice.map(|((labels, at), writers)| format!("{labels} at {at}: {writers:?}"));
        (of_metric().count(), twice.collect())
    }
}

async fn pass(
    State(shared): State<Arc<Shared>>,
    Path(writer): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let decoded = remote_write::decode(&body, remote_write::Limits::default()).unwrap();
    let names = ["content-type", "content-encoding", "x-prometheus-remote-write-version"];
    let mut request = shared.http.post(format!("{}/api/v1/write", shared.to)).body(body);
    for name in names {
        request = request.header(name, headers[name].clone());
    }
    let Ok(answer) = request.send().await else { return StatusCode::BAD_GATEWAY.into_response() };
    // What was begun counts, whether or not its writer lives to hear the answer.
    for series in decoded.series {
        for sample in series.samples {
            let key = (series.labels.clone(), sample.timestamp);
            let mut written = shared.written.lock().unwrap();
            let writers = written.entry(key).or_default();
            if !writers.contains(&writer) {
                writers.push(writer.clone());
            }
        }
    }
    let status = StatusCode::from_u16(answer.status().as_u16()).unwrap();
    (status, answer.text().await.unwrap_or_default()).into_response()
}
