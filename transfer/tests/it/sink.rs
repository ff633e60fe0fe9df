//! A destination that remembers what it was sent, and answers as it is told.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::routing::post;
use model::Series;
use transfer::Destination;
use wire::remote_write::{Decoded, Limits, decode};

use crate::service::NOW;

#[derive(Clone)]
pub(crate) struct Sink {
    pub(crate) address: SocketAddr,
    context: daemon::Context,
    shared: Arc<Shared>,
}

struct Shared {
    requests: Mutex<Vec<(HeaderMap, Decoded)>>,
    answer: Mutex<Answer>,
}

/// What the sink says, and to which requests.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Answer {
    Ok,
    Status(u16),
    /// 429 with `Retry-After`.
    ComeAgainAfter(u32),
    /// 413 to more series than these, else 204.
    AtMost(usize),
}

impl Sink {
    pub(crate) async fn start(answer: Answer) -> Self {
        let context = testkit::context_at(NOW).for_role("sink");
        let shared = Arc::new(Shared { requests: Mutex::default(), answer: Mutex::new(answer) });
        let routes = Router::new().route("/write", post(take)).with_state(Arc::clone(&shared));
        let address =
            context.listen(([127, 0, 0, 1], 0).into(), routes).await.expect("port 0 is free");
        Self { address, context, shared }
    }

    pub(crate) fn answer(&self, answer: Answer) {
        *self.shared.answer.lock().unwrap() = answer;
    }

    pub(crate) async fn stop(self) {
        self.context.stop().await;
    }

    /// This one under a name, without a wait for more samples.
    pub(crate) fn destination(&self, name: &str) -> Destination {
        Destination {
            name: name.to_owned(),
            url: format!("http://{}/write", self.address),
            batch_wait: std::time::Duration::ZERO,
            ..Destination::default()
        }
    }

    /// The requests that were answered with success.
    pub(crate) fn requests(&self) -> Vec<(HeaderMap, Decoded)> {
        self.shared.requests.lock().unwrap().clone()
    }

    /// Their series, sorted.
    pub(crate) fn series(&self) -> Vec<Series> {
        let mut series: Vec<Series> =
            self.requests().into_iter().flat_map(|(_, decoded)| decoded.series).collect();
        series.sort_by(|a, b| {
            (&a.labels, a.samples[0].timestamp).cmp(&(&b.labels, b.samples[0].timestamp))
        });
        series
    }

    /// Waits until so many series have come.
    pub(crate) async fn await_series(&self, count: usize) -> Vec<Series> {
        let what = format!("{count} series come");
        testkit::eventually(&what, std::time::Duration::from_secs(10), async || {
            Some(self.series()).filter(|series| series.len() >= count)
        })
        .await
    }
}

async fn take(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, HeaderMap) {
    let decoded = decode(&body, Limits::default()).expect("transfer sends remote write");
    let mut more = HeaderMap::new();
    let status = match *shared.answer.lock().unwrap() {
        Answer::Ok => 204,
        Answer::Status(status) => status,
        Answer::ComeAgainAfter(seconds) => {
            more.insert(HeaderName::from_static("retry-after"), HeaderValue::from(seconds));
            429
        }
        Answer::AtMost(max) => {
            if decoded.series.len() > max {
                413
            } else {
                204
            }
        }
    };
    if status == 204 {
        shared.requests.lock().unwrap().push((headers, decoded));
    }
    (StatusCode::from_u16(status).expect("it is a status"), more)
}
