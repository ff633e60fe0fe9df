//! Takes samples from programs on this host: `POST /v1/push` with Open-Falcon's JSON.
//!
//! The answer is the original's, byte for byte, also when every sample of the list was refused; `?verbose=1`
//! asks for the reasons. Unlike the original, "success" means that the samples are on disk and will be sent.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use daemon::Clock;
use model::{Labels, Series};
use serde::{Deserialize, Serialize};
use wire::falcon_json::{self, DecodeError, FalconSample, SampleFault};

use crate::batch;
use crate::config::Push;
use crate::metrics::Metrics;
use crate::outbox::Outbox;

/// What the receiver works with.
#[derive(Debug)]
pub struct Receiver {
    /// Where samples go.
    pub outbox: Outbox,
    /// The limits.
    pub limits: Push,
    /// Labels of the host's configuration, for samples that do not have them.
    pub labels: BTreeMap<String, String>,
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
        .layer(body_limit)
        .with_state(Arc::new(receiver))
}

#[derive(Debug, Deserialize)]
struct PushQuery {
    #[serde(default)]
    verbose: Option<String>,
}

#[derive(Debug, Serialize)]
struct VerboseReply {
    msg: &'static str,
    total: usize,
    accepted: usize,
    refused: Vec<Refused>,
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
    body: Bytes,
) -> Response {
    let is_verbose = query.verbose.is_some_and(|value| value != "0");
    if body.is_empty() {
        return blank().await;
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

#[derive(Debug, Default)]
struct Taken {
    accepted: usize,
    refused: Vec<(usize, SampleFault)>,
}

impl Taken {
    fn into_reply(self) -> VerboseReply {
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
            match to_series(sample, &self.labels) {
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
        if !series.is_empty() {
            self.metrics.pushed(series.len());
            let metadata: Vec<_> = metadata.into_iter().collect();
            self.outbox.put(batch::encode(&series, &metadata)).await;
            self.outbox.wake();
        }
        Ok(taken)
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
