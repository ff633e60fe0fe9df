//! Writing a remote store by remote write.

use std::time::Duration;

use model::{Labels, Series};
use tokio::time::Instant;
use wire::remote_write;

use crate::batch::{Batch, Refusal, Refused, WriteOutcome};
use crate::error::WriteError;
use crate::remote::{Remote, RemoteError};

/// Samples in one request.
const SAMPLES_MAX: usize = 5_000;
/// How often a request is tried in all.
const TRIES_MAX: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(200);

impl Remote {
    /// Writes a batch, in several requests when it is large. Each is tried again while the store is away, within the
    /// timeout, and only as long as `may_write` says so.
    pub(crate) async fn write(
        &self,
        batch: Batch,
        may_write: impl Fn() -> bool,
    ) -> Result<WriteOutcome, WriteError> {
        let until = Instant::now() + self.timeout;
        let mut outcome = WriteOutcome::default();
        let mut metadata = batch.metadata;
        let mut parts = parts(batch.series);
        if parts.is_empty() && !metadata.is_empty() {
            parts.push(Vec::new());
        }
        for series in parts {
            let body = remote_write::encode(&series, &std::mem::take(&mut metadata));
            let count = series.iter().map(|one| one.samples.len()).sum();
            match self.offer(body, until, &may_write).await {
                Ok(()) => {
                    outcome.stored += count;
                    self.overlay.put(series);
                }
                Err(WriteError::Remote(error)) => match reason(&error) {
                    // Some samples of the request may be stored; which ones is not said.
                    Some(reason) => {
                        let example =
                            series.into_iter().next().map_or_else(Labels::empty, |one| one.labels);
                        outcome.refused.push(Refused { reason, count, example });
                    }
                    None => return Err(WriteError::Remote(error)),
                },
                Err(error) => return Err(error),
            }
        }
        Ok(outcome)
    }

    async fn offer(
        &self,
        body: Vec<u8>,
        until: Instant,
        may_write: &impl Fn() -> bool,
    ) -> Result<(), WriteError> {
        let url = self.write_url().map_err(WriteError::Remote)?;
        let body = bytes::Bytes::from(body);
        let (version_header, version) = remote_write::VERSION_HEADER;
        let mut pause = FIRST_PAUSE;
        for attempt in 1.. {
            if !may_write() {
                return Err(WriteError::NotAllowed);
            }
            let request = self
                .http
                .post(url.clone())
                .header("content-type", remote_write::CONTENT_TYPE)
                .header("content-encoding", remote_write::CONTENT_ENCODING)
                .header(version_header, version)
                .body(body.clone());
            let left = until.saturating_duration_since(Instant::now());
            match self.post_samples(request, left).await {
                Ok(()) => return Ok(()),
                Err(error) => {
                    let is_last = attempt >= TRIES_MAX || Instant::now() + pause >= until;
                    if is_last || !error.may_pass() {
                        return Err(WriteError::Remote(error));
                    }
                }
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        Ok(())
    }
}

/// Requests of a bearable size.
fn parts(series: Vec<Series>) -> Vec<Vec<Series>> {
    let mut parts: Vec<Vec<Series>> = Vec::new();
    let mut samples = SAMPLES_MAX;
    for one in series {
        if samples >= SAMPLES_MAX {
            parts.push(Vec::new());
            samples = 0;
        }
        samples += one.samples.len();
        if let Some(part) = parts.last_mut() {
            part.push(one);
        }
    }
    parts
}

/// What is wrong with the samples, when the store refused them for good and says so in the words of Prometheus.
fn reason(error: &RemoteError) -> Option<Refusal> {
    let RemoteError::Refused { status: 400 | 409 | 422, text, .. } = error else { return None };
    let has = |words: &str| text.contains(words);
    if has("duplicate") {
        Some(Refusal::Duplicate)
    } else if has("out of order") || has("out-of-order") {
        Some(Refusal::OutOfOrder)
    } else if has("out of bounds") || has("too old") || has("too_old") {
        Some(Refusal::TooOld)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use model::Sample;

    use super::*;

    fn refused(status: u16, text: &str) -> RemoteError {
        let (operation, host, kind) = ("write samples", "h".to_owned(), String::new());
        RemoteError::Refused { operation, host, status, kind, text: text.to_owned() }
    }

    #[test]
    fn what_the_store_says_of_samples_is_understood() {
        for (text, expected) in [
            ("out of order sample", Some(Refusal::OutOfOrder)),
            ("duplicate sample for timestamp", Some(Refusal::Duplicate)),
            ("out of bounds", Some(Refusal::TooOld)),
            ("snappy: corrupt input", None),
        ] {
            assert_eq!(reason(&refused(400, text)), expected, "{text}");
        }
        assert_eq!(reason(&refused(401, "out of order")), None);
    }

    #[test]
    fn a_large_batch_is_cut_into_requests() {
        let series = |samples: usize| Series {
            labels: Labels::empty(),
            samples: vec![Sample::new(0, 0.0); samples],
        };
        let sizes = |series: Vec<Series>| parts(series).iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(sizes(vec![]), [0; 0]);
        assert_eq!(sizes(vec![series(1), series(4_999), series(1)]), [2, 1]);
        assert_eq!(sizes(vec![series(9_000), series(1)]), [1, 1]);
    }
}
