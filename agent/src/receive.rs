//! Takes samples from programs on this host: `POST /v1/push` with Open-Falcon's JSON, or with Prometheus text
//! if its content type says so, and `POST /v1/push/prometheus` with text.
//!
//! The answer is the original's, byte for byte, also when every sample of the list was refused; `?verbose=1`
//! asks for the reasons. Unlike the original, "success" means that the samples are on disk and will be sent.

mod prometheus;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use daemon::Clock;
use model::{Labels, Metadata, Series};
use serde::{Deserialize, Serialize};
use wire::exposition::LineFault;
use wire::falcon_json::{self, DecodeError, FalconSample, SampleFault};

use crate::batch;
use crate::config::Push;
use crate::desired::Plans;
use crate::identity::Host;
use crate::metrics::Metrics;
use crate::outbox::Outbox;

/// What the receiver works with.
#[derive(Debug)]
pub struct Receiver {
    /// Where samples go.
    pub outbox: Outbox,
    /// The limits.
    pub limits: Push,
    /// The host's name, for Prometheus text, which does not have it.
    pub endpoint: String,
    /// The labels of the host, for samples that do not have them.
    pub plans: Plans,
    /// The time.
    pub clock: Clock,
    /// Counts.
    pub metrics: Arc<Metrics>,
}

/// The routes of the local listener.
pub fn routes(receiver: Receiver) -> Router {
    let body_limit = DefaultBodyLimit::max(receiver.limits.body_bytes_max);
    // The original answers a GET as it answers a push without a body.
    Router::new()
        .route("/v1/push", post(push).get(blank))
        .route("/v1/push/prometheus", post(push_text).put(push_text).get(blank))
        .route("/health", get(async || "ok"))
        .layer(body_limit)
        .with_state(Arc::new(receiver))
}

#[derive(Debug, Deserialize)]
struct PushQuery {
    #[serde(default)]
    verbose: Option<String>,
}

impl PushQuery {
    fn is_verbose(&self) -> bool {
        self.verbose.as_deref().is_some_and(|value| value != "0")
    }
}

#[derive(Debug, Serialize)]
struct VerboseReply<R> {
    msg: &'static str,
    total: usize,
    accepted: usize,
    refused: Vec<R>,
}

#[derive(Debug, Serialize)]
struct RefusedLine {
    /// Its number, from 1.
    line: usize,
    reason: &'static str,
}

#[derive(Debug, Serialize)]
struct Refused {
    /// Position in the list, from 0.
    index: usize,
    reason: &'static str,
}

async fn blank() -> Response {
    (StatusCode::BAD_REQUEST, falcon_json::AGENT_PUSH_BLANK).into_response()
}

async fn push(
    State(receiver): State<Arc<Receiver>>,
    Query(query): Query<PushQuery>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if body.is_empty() {
        return blank().await;
    }
    let is_verbose = query.is_verbose();
    if prometheus::is_text(&headers) {
        return receiver.take_text(&body, is_verbose).await;
    }
    match receiver.take(&body).await {
        Ok(taken) if is_verbose => axum::Json(taken.into_reply()).into_response(),
        Ok(_) => falcon_json::AGENT_PUSH_OK.into_response(),
        Err(error @ DecodeError::TooManySamples { .. }) => {
            (StatusCode::PAYLOAD_TOO_LARGE, format!("{error}\n")).into_response()
        }
        Err(error) if is_verbose => {
            let cause = std::error::Error::source(&error)
                .map(|cause| format!(": {cause}"))
                .unwrap_or_default();
            (StatusCode::BAD_REQUEST, format!("{error}{cause}\n")).into_response()
        }
        Err(_) => (StatusCode::BAD_REQUEST, falcon_json::AGENT_PUSH_UNREADABLE).into_response(),
    }
}

async fn push_text(
    State(receiver): State<Arc<Receiver>>,
    Query(query): Query<PushQuery>,
    body: Bytes,
) -> Response {
    if body.is_empty() {
        return blank().await;
    }
    receiver.take_text(&body, query.is_verbose()).await
}

#[derive(Debug, Default)]
struct Taken {
    accepted: usize,
    refused: Vec<(usize, SampleFault)>,
}

impl Taken {
    fn into_reply(self) -> VerboseReply<Refused> {
        let refused = self
            .refused
            .into_iter()
            .map(|(index, fault)| Refused { index, reason: fault.as_str() });
        let refused: Vec<_> = refused.collect();
        VerboseReply {
            msg: "success",
            total: self.accepted + refused.len(),
            accepted: self.accepted,
            refused,
        }
    }
}

impl Receiver {
    async fn take(&self, body: &[u8]) -> Result<Taken, DecodeError> {
        let decoded = falcon_json::decode(body, self.clock.now(), self.limits.samples_max)?;
        let plan = self.plans.borrow().clone();
        let mut taken = Taken { accepted: 0, refused: decoded.refused };
        let mut series = Vec::with_capacity(decoded.samples.len());
        let mut metadata = BTreeMap::new();
        // The decoder gives the good samples in order and the refused ones by position: the good ones fill
        // the gaps.
        let mut gaps: Vec<usize> = taken.refused.iter().map(|(index, _)| *index).collect();
        gaps.sort_unstable();
        let mut gaps = gaps.into_iter().peekable();
        let mut index = 0;
        for sample in &decoded.samples {
            while gaps.next_if_eq(&index).is_some() {
                index += 1;
            }
            match to_series(sample, &plan.labels) {
                Ok(one) => {
                    metadata
                        .entry(one.labels.metric_name().to_owned())
                        .or_insert_with(|| sample.metadata());
                    series.push(one);
                }
                Err(fault) => taken.refused.push((index, fault)),
            }
            index += 1;
        }
        taken.accepted = series.len();
        taken.refused.sort_unstable();
        for (_, fault) in &taken.refused {
            self.metrics.push_refused(*fault);
        }
        self.keep(&series, metadata).await;
        Ok(taken)
    }

    // Whoever pushes text expects an error when none of it is of use; with Open-Falcon's JSON it is the
    // original's "success".
    async fn take_text(&self, body: &[u8], is_verbose: bool) -> Response {
        let refuse = |status, text: String| (status, text).into_response();
        let Ok(text) = std::str::from_utf8(body) else {
            return refuse(StatusCode::BAD_REQUEST, "the body is no text\n".to_owned());
        };
        let most = self.limits.samples_max;
        if text.lines().take(most + 1).count() > most {
            let told = format!("the text has more than {most} lines; send less at once\n");
            return refuse(StatusCode::PAYLOAD_TOO_LARGE, told);
        }
        let labels = self.plans.borrow().labels.clone();
        let host = Host { endpoint: self.endpoint.clone(), labels };
        let page = prometheus::read(text, &host, self.clock.now());
        self.metrics.push_lines_refused(page.refused.len());
        self.keep(&page.series, page.metadata).await;
        if is_verbose {
            let line = |fault: &LineFault| RefusedLine { line: fault.line, reason: fault.fault };
            let refused: Vec<_> = page.refused.iter().map(line).collect();
            let accepted = page.series.len();
            let total = accepted + refused.len();
            return axum::Json(VerboseReply { msg: "success", total, accepted, refused })
                .into_response();
        }
        match page.refused.first() {
            Some(fault) if page.series.is_empty() => {
                refuse(StatusCode::BAD_REQUEST, format!("{fault}\n"))
            }
            _ => falcon_json::AGENT_PUSH_OK.into_response(),
        }
    }

    async fn keep(&self, series: &[Series], metadata: BTreeMap<String, Metadata>) {
        if series.is_empty() {
            return;
        }
        self.metrics.pushed(series.len());
        let metadata: Vec<_> = metadata.into_iter().collect();
        self.outbox.put(batch::encode(series, &metadata)).await;
        self.outbox.wake();
    }
}

// A value that is not finite would poison every sum it gets into; the original takes it.
fn to_series(
    sample: &FalconSample<'_>,
    labels: &BTreeMap<String, String>,
) -> Result<Series, SampleFault> {
    if !sample.value.is_finite() {
        return Err(SampleFault::Value);
    }
    let mut series = sample.to_series()?;
    if !labels.is_empty() {
        series.labels = with_defaults(&series.labels, labels);
    }
    Ok(series)
}

fn with_defaults(own: &Labels, defaults: &BTreeMap<String, String>) -> Labels {
    let mut builder = own.edit();
    for (name, value) in defaults {
        if builder.get(name).is_none() {
            builder.set(name, value);
        }
    }
    builder.build()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(value: f64, tags: &str) -> FalconSample<'_> {
        FalconSample {
            endpoint: "h".into(),
            metric: "qps".into(),
            value,
            step: 60,
            counter_type: falcon_json::CounterType::Gauge,
            tags: tags.into(),
            timestamp: model::Timestamp::from_seconds(1_760_000_460),
        }
    }

    #[test]
    fn labels_of_the_configuration_fill_what_is_missing() {
        let labels = BTreeMap::from([
            ("idc".to_owned(), "bj".to_owned()),
            ("env".to_owned(), "prod".to_owned()),
        ]);
        let series = to_series(&sample(1.0, "idc=sh"), &labels).unwrap();
        assert_eq!(series.labels.to_string(), r#"qps{endpoint="h", env="prod", idc="sh"}"#);
    }

    #[test]
    fn a_value_that_is_not_finite_is_refused() {
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(to_series(&sample(value, ""), &BTreeMap::new()), Err(SampleFault::Value));
        }
    }
}
