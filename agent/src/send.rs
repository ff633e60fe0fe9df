//! Posts batches to a transfer: fresh ones first, then the backlog, with a growing pause while nobody takes
//! them.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use daemon::Context;
use reqwest::StatusCode;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use wire::remote_write;

use crate::config::Transfer;
use crate::metrics::{DropReason, Metrics};
use crate::outbox::{Batch, Outbox};

/// Where a transfer takes remote write.
pub const WRITE_PATH: &str = "/api/v1/write";

const BACKOFF_START: Duration = Duration::from_secs(1);
/// A server that wants to be left alone for longer is asked again all the same.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);
/// So much of an answer is logged.
const ANSWER_CHARS_MAX: usize = 300;

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    /// It was taken.
    Taken,
    /// It will never be taken: sending it again would block everything behind it.
    Refused(String),
    /// It may be taken later, not before the time the server named.
    Later { why: String, retry_after: Option<Duration> },
}

/// Sends what is in the outbox.
#[derive(Debug)]
pub struct Sender {
    outbox: Outbox,
    ctx: Context,
    metrics: Arc<Metrics>,
    urls: Vec<String>,
    current: usize,
    timeout: Duration,
    backoff: Backoff,
    // An outage is logged when it begins and when it ends.
    is_away: bool,
}

impl Sender {
    /// A sender for the host `endpoint`, whose name decides which of the addresses it tries first.
    pub fn new(
        config: &Transfer,
        endpoint: &str,
        outbox: Outbox,
        ctx: &Context,
        metrics: Arc<Metrics>,
    ) -> Self {
        let ctx = ctx.clone();
        let urls: Vec<_> = config
            .addresses
            .iter()
            .map(|address| format!("{}{WRITE_PATH}", address.trim_end_matches('/')))
            .collect();
        let share = crate::slots::send_offset(endpoint, Duration::from_secs(1)).as_secs_f64();
        let current = (share * urls.len() as f64) as usize;
        let backoff = Backoff { max: config.backoff_max, jitter: share, failures: 0 };
        Self {
            outbox,
            ctx,
            metrics,
            urls,
            current,
            timeout: config.timeout,
            backoff,
            is_away: false,
        }
    }

    /// Sends until the task is stopped. What was not sent by then is in the spool.
    pub async fn run(mut self) {
        loop {
            let Some(batch) = self.outbox.next().await else {
                self.outbox.woken().await;
                continue;
            };
            if let Some(pause) = self.send(batch).await {
                self.ctx.clock.sleep(pause).await;
            }
        }
    }

    // One batch; how long to wait before the next, if nobody takes any.
    async fn send(&mut self, batch: Batch) -> Option<Duration> {
        match self.offer(&batch).await {
            Outcome::Taken => {
                self.metrics.sent(u64::from(batch.samples));
                self.answered();
                self.outbox.settle(&batch);
                None
            }
            Outcome::Refused(why) => {
                tracing::warn!(
                    samples = batch.samples,
                    "transfer refused a request, its samples are dropped: {why}"
                );
                self.metrics.dropped(DropReason::Refused, u64::from(batch.samples));
                self.answered();
                self.outbox.settle(&batch);
                None
            }
            Outcome::Later { why, retry_after } => {
                self.outbox.give_back(batch);
                let pause = self.backoff.next(retry_after);
                if !std::mem::replace(&mut self.is_away, true) {
                    tracing::warn!("no transfer takes samples, they wait in the spool: {why}");
                    self.ctx.lacks("transfer", why);
                }
                Some(pause)
            }
        }
    }

    fn answered(&mut self) {
        self.backoff.failures = 0;
        if std::mem::take(&mut self.is_away) {
            self.ctx.has("transfer");
            tracing::info!(transfer.url = self.urls[self.current], "transfer takes samples again");
        }
    }

    // Asks each address once, beginning with the one that worked last.
    async fn offer(&mut self, batch: &Batch) -> Outcome {
        let mut faults = Vec::new();
        let mut wait = None;
        for _ in 0..self.urls.len() {
            let url = &self.urls[self.current];
            match self.post(url, batch).await {
                Outcome::Later { why, retry_after } => {
                    self.metrics.request_failed();
                    faults.push(why);
                    wait = wait.max(retry_after);
                    self.current = (self.current + 1) % self.urls.len();
                }
                final_answer => return final_answer,
            }
        }
        Outcome::Later { why: faults.join("; "), retry_after: wait }
    }

    async fn post(&self, url: &str, batch: &Batch) -> Outcome {
        let (version_header, version) = remote_write::VERSION_HEADER;
        let request = self
            .ctx
            .http
            .post(url)
            .timeout(self.timeout)
            .header(CONTENT_TYPE, remote_write::CONTENT_TYPE)
            .header(CONTENT_ENCODING, remote_write::CONTENT_ENCODING)
            .header(version_header, version)
            .body(batch.body.clone());
        match request
            .send()
            .await
            .map_err(reqwest::Error::without_url)
            .with_context(|| format!("post to {url}"))
        {
            Ok(response) if response.status().is_success() => Outcome::Taken,
            Ok(mut response) => {
                let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
                // The first piece of the answer says enough, and whoever answers cannot fill the memory.
                let first = response.chunk().await.ok().flatten().unwrap_or_default();
                let text = String::from_utf8_lossy(&first);
                let text: String = text.trim().chars().take(ANSWER_CHARS_MAX).collect();
                judge(status, &headers, format!("{url} answered {status}: {text}"))
            }
            Err(error) => Outcome::Later { why: format!("{error:#}"), retry_after: None },
        }
    }
}

// Only what says that this very body is wrong ends it. A missing route, a missing token or a proxy's error
// page is an operator's mistake that will be mended, and then the samples are wanted.
fn judge(status: StatusCode, headers: &HeaderMap, why: String) -> Outcome {
    match status {
        StatusCode::BAD_REQUEST
        | StatusCode::PAYLOAD_TOO_LARGE
        | StatusCode::UNSUPPORTED_MEDIA_TYPE
        | StatusCode::UNPROCESSABLE_ENTITY => Outcome::Refused(why),
        _ => {
            let seconds =
                headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
            let retry_after =
                seconds.map(|seconds| Duration::from_secs(seconds).min(RETRY_AFTER_MAX));
            Outcome::Later { why, retry_after }
        }
    }
}

/// Pauses that double, from one second to a limit, shortened by up to half: hosts that lost the same transfer
/// do not come back in one moment.
#[derive(Debug)]
struct Backoff {
    max: Duration,
    jitter: f64,
    failures: u32,
}

impl Backoff {
    fn next(&mut self, at_least: Option<Duration>) -> Duration {
        let doubled = BACKOFF_START.saturating_mul(1 << self.failures.min(16)).min(self.max);
        self.failures = self.failures.saturating_add(1);
        doubled.mul_f64(1.0 - self.jitter / 2.0).max(at_least.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_wrong_with_the_body_itself_ends_a_batch() {
        let outcome = |status: u16| {
            judge(StatusCode::from_u16(status).unwrap(), &HeaderMap::new(), String::new())
        };
        for status in [400, 413, 415, 422] {
            assert_eq!(outcome(status), Outcome::Refused(String::new()), "{status}");
        }
        for status in [301, 401, 403, 404, 408, 429, 500, 502, 503, 504] {
            assert_eq!(
                outcome(status),
                Outcome::Later { why: String::new(), retry_after: None },
                "{status}"
            );
        }
    }

    #[test]
    fn a_server_may_ask_for_a_pause_within_reason() {
        let wait = |value: &str| {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, value.parse().unwrap())]);
            match judge(StatusCode::TOO_MANY_REQUESTS, &headers, String::new()) {
                Outcome::Later { retry_after, .. } => retry_after.map(|wait| wait.as_secs()),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!([wait("7"), wait("99999"), wait("soon")], [Some(7), Some(300), None]);
    }

    #[test]
    fn pauses_double_up_to_their_limit() {
        let mut backoff = Backoff { max: Duration::from_secs(5), jitter: 0.0, failures: 0 };
        let pauses: Vec<_> = (0..5).map(|_| backoff.next(None).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 5, 5]);
        assert_eq!(backoff.next(Some(Duration::from_secs(60))).as_secs(), 60);
        let mut jittered = Backoff { max: Duration::from_secs(5), jitter: 1.0, failures: 40 };
        assert_eq!(jittered.next(None), Duration::from_millis(2500));
    }
}
