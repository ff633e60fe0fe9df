//! Open-Falcon's `POST /api/push`.

use std::collections::HashMap;

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use model::{METRIC_NAME, Series, Timestamp};
use serde_json::{Value, json};
use wire::falcon_json::{self, DecodeError, Decoded, FalconSample, PushReply};
use wire::known::KnownLabels;

use crate::ingest::{Incoming, Original, Originals, Verdict};
use crate::metrics::Protocol;
use crate::reason::{Reason, Refusals};
use crate::receive::Rejection;

/// A decoded list that arrived at `now`.
pub(crate) fn decode(
    body: &[u8],
    now: Timestamp,
    samples_max: usize,
    known: &KnownLabels,
) -> Result<Incoming, Rejection> {
    if body.is_empty() {
        return Err(Rejection::malformed(falcon_json::TRANSFER_PUSH_BLANK.to_owned()));
    }
    let decoded = falcon_json::decode(body, now, samples_max).map_err(|error| match error {
        DecodeError::NotAList(_) => {
            Rejection::malformed(falcon_json::TRANSFER_PUSH_UNREADABLE.to_owned())
        }
        DecodeError::TooManySamples { .. } => Rejection::too_large(error.to_string()),
    })?;
    Ok(incoming(Protocol::Falcon, decoded, known))
}

/// A decoded list as a request.
pub(crate) fn incoming(protocol: Protocol, decoded: Decoded<'_>, known: &KnownLabels) -> Incoming {
    let mut gathered = Gathered::new(protocol);
    for (at, fault) in decoded.refused {
        gathered.refusals().add(Reason::Falcon(fault), 1, || format!("item {at} of the list"));
    }
    for sample in &decoded.samples {
        gathered.push(sample, known);
    }
    gathered.finish()
}

/// Samples on their way to become one request.
#[derive(Debug)]
pub(crate) struct Gathered {
    incoming: Incoming,
    originals: Originals,
    known: HashMap<String, usize>,
}

impl Gathered {
    pub(crate) fn new(protocol: Protocol) -> Self {
        Self {
            incoming: Incoming::new(protocol),
            originals: Originals::default(),
            known: HashMap::new(),
        }
    }

    /// Adds a sample, or its reason when its tags cannot be labels.
    pub(crate) fn push(&mut self, sample: &FalconSample<'_>, known: &KnownLabels) {
        let series = match sample.to_known_series(known) {
            Ok(series) => series,
            Err(fault) => {
                return self.refusals().add(Reason::Falcon(fault), 1, || describe(sample));
            }
        };
        let position = match self.known.get(sample.metric.as_ref()) {
            Some(position) => *position,
            None => self.introduce(sample, &series),
        };
        self.originals.of_series.push(position);
        self.incoming.series.push(series);
    }

    fn introduce(&mut self, sample: &FalconSample<'_>, series: &Series) -> usize {
        let canonical = series.labels.get(METRIC_NAME).unwrap_or("").to_owned();
        let name = sample.metric.clone().into_owned();
        let position = self.originals.metrics.len();
        self.known.insert(name.to_owned(), position);
        self.originals.metrics.push(Original { name, canonical, metadata: sample.metadata() });
        position
    }

    /// Where samples are noted that could not be read.
    pub(crate) fn refusals(&mut self) -> &mut Refusals {
        &mut self.incoming.refusals
    }

    pub(crate) fn finish(self) -> Incoming {
        Incoming { originals: Some(self.originals), ..self.incoming }
    }
}

/// 200 with the counts, also when every sample was refused: this is what clients know. With
/// `verbose` the reasons are told too.
pub(crate) fn answer(verdict: &Verdict, latency_millis: u64, verbose: bool) -> Response {
    let reply = PushReply::success(verdict.received, verdict.refusals.faults(), latency_millis);
    let mut json = serde_json::to_string(&reply).expect("a reply is texts and numbers");
    if verbose {
        let reasons: Vec<Value> = verdict
            .refusals
            .report()
            .map(|(reason, samples, example)| {
                json!({ "reason": reason.as_str(), "samples": samples, "example": example })
            })
            .collect();
        json.truncate(json.len() - 1);
        json.push_str(&format!(",\"refused\":{}}}", Value::from(reasons)));
    }
    (StatusCode::OK, [(header::CONTENT_TYPE, "application/json; charset=UTF-8")], json)
        .into_response()
}

/// A list or a single object, as Nightingale takes them.
pub(crate) fn decode_list_or_one(
    body: &[u8],
    now: Timestamp,
    samples_max: usize,
    known: &KnownLabels,
) -> Result<Incoming, Rejection> {
    if body.trim_ascii_start().starts_with(b"{") {
        return decode(&[b"[", body, b"]"].concat(), now, samples_max, known);
    }
    decode(body, now, samples_max, known)
}

/// The counts as Nightingale gives them.
pub(crate) fn answer_received(verdict: &Verdict) -> Response {
    let fail = verdict.refusals.faults();
    Json(json!({ "succ": verdict.received - fail, "fail": fail, "msg": "received" }))
        .into_response()
}

fn describe(sample: &FalconSample<'_>) -> String {
    format!("{}/{}/{}", sample.endpoint, sample.metric, sample.tags)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(metric: &str, tags: &str) -> String {
        format!(
            r#"{{"endpoint":"h","metric":"{metric}","value":1,"step":60,"counterType":"GAUGE","tags":"{tags}"}}"#
        )
    }

    #[test]
    fn every_series_knows_its_original() {
        let body = format!(
            "[{},{},7,{}]",
            item("cpu.idle", ""),
            item("cpu-idle", ""),
            item("cpu.idle", "a=1")
        );
        let incoming = decode(body.as_bytes(), Timestamp(60_000), 10, &KnownLabels::new(9, 1))
            .expect("it is a list");
        let originals = incoming.originals.expect("this protocol has names of its own");
        let names: Vec<&str> = originals.metrics.iter().map(|one| one.name.as_str()).collect();
        assert_eq!((names, originals.of_series), (vec!["cpu.idle", "cpu-idle"], vec![0, 1, 0]));
        assert!(originals.metrics.iter().all(|one| one.canonical == "cpu_idle"));
        assert_eq!(incoming.refusals.to_string(), "1 not_an_object (such as item 2 of the list)");
    }

    #[test]
    fn tags_that_fall_together_are_refused_with_the_sample_named() {
        let body = format!("[{}]", item("m", "a-b=1,a.b=2"));
        let incoming = decode(body.as_bytes(), Timestamp(60_000), 10, &KnownLabels::new(9, 1))
            .expect("it is a list");
        assert_eq!(incoming.refusals.to_string(), "1 tag_collision (such as h/m/a-b=1,a.b=2)");
    }

    #[test]
    fn bodies_that_are_no_list_get_the_originals_words() {
        let text = |body: &[u8]| {
            decode(body, Timestamp(0), 1, &KnownLabels::new(9, 1)).expect_err("it is no list").text
        };
        assert_eq!(text(b""), "blank body\n");
        assert_eq!(text(b"{}"), "decode error\n");
        assert_eq!(text(b"[1,2]"), "the list has more than 1 samples; send less at once");
    }
}
