//! One request to a destination, and what its answer means.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::http::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER,
};
use model::Timestamp;
use wire::remote_write;

use crate::config::Destination;
use crate::destination_metrics::RetryReason;

/// So much of an answer is logged.
const ANSWER_CHARS_MAX: usize = 300;
/// A longer file is no token.
const TOKEN_BYTES_MAX: u64 = 16 << 10;

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was taken.
    Taken,
    /// It will never be taken.
    Refused(Refusal),
    /// It may be taken later, not before the time the destination named.
    Later { why: String, reason: RetryReason, retry_after: Option<Duration> },
}

/// Why a request will never be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) why: String,
    pub(super) is_too_large: bool,
}

/// Posts to one destination.
#[derive(Debug)]
pub(super) struct Post {
    http: reqwest::Client,
    url: String,
    timeout: Duration,
    headers: HeaderMap,
    token_file: PathBuf,
    authorization: Mutex<Option<HeaderValue>>,
}

impl Post {
    pub(super) fn new(settings: &Destination, http: reqwest::Client) -> anyhow::Result<Self> {
        let mut headers = HeaderMap::new();
        let (version_header, version) = remote_write::VERSION_HEADER;
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(remote_write::CONTENT_TYPE));
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static(remote_write::CONTENT_ENCODING));
        headers.insert(HeaderName::from_static(version_header), HeaderValue::from_static(version));
        for (name, value) in &settings.headers {
            headers.insert(HeaderName::try_from(name)?, HeaderValue::try_from(value)?);
        }
        let authorization = read_token(&settings.token_file)
            .with_context(|| format!("read token_file of destination {}", settings.name))?;
        Ok(Self {
            http,
            url: settings.url.clone(),
            timeout: settings.timeout,
            headers,
            token_file: settings.token_file.clone(),
            authorization: Mutex::new(authorization),
        })
    }

    /// Posts a body and judges the answer.
    pub(super) async fn offer(&self, body: Bytes, now: Timestamp) -> Outcome {
        let mut request = self.http.post(&self.url).timeout(self.timeout);
        let authorization =
            self.authorization.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        // The URL may hold a password.
        let sent = request.headers(self.headers.clone()).body(body).send().await;
        let mut response = match sent.map_err(reqwest::Error::without_url) {
            Ok(response) if response.status().is_success() => return Outcome::Taken,
            Ok(response) => response,
            Err(error) => {
                let reason =
                    if error.is_timeout() { RetryReason::Timeout } else { RetryReason::Connect };
                let why = daemon::error_chain(&error);
                return Outcome::Later { why, reason, retry_after: None };
            }
        };
        let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            self.renew_token();
        }
        // The first piece of the answer says enough, and whoever answers cannot fill the memory.
        let first = response.chunk().await.ok().flatten().unwrap_or_default();
        let text = String::from_utf8_lossy(&first);
        let text: String = text.trim().chars().take(ANSWER_CHARS_MAX).collect();
        judge(status, &headers, format!("it answered {status}: {text}"), now)
    }

    /// Tokens are exchanged while we run.
    fn renew_token(&self) {
        match read_token(&self.token_file) {
            Ok(token) => {
                *self.authorization.lock().unwrap_or_else(PoisonError::into_inner) = token;
            }
            Err(error) => tracing::warn!("the token of a destination cannot be read: {error:#}"),
        }
    }
}

fn read_token(file: &Path) -> anyhow::Result<Option<HeaderValue>> {
    if file.as_os_str().is_empty() {
        return Ok(None);
    }
    let token = crate::tokens::read_token_file(file, TOKEN_BYTES_MAX)?;
    let mut value = HeaderValue::try_from(format!("Bearer {token}"))
        .with_context(|| format!("{} holds something else than a token", file.display()))?;
    value.set_sensitive(true);
    Ok(Some(value))
}

/// A 4xx says that this very body is wrong. Not so a missing route, a missing right or a proxy that
/// wants to be asked: an operator's mistake, which will be mended, and then the samples are wanted.
fn judge(status: StatusCode, headers: &HeaderMap, why: String, now: Timestamp) -> Outcome {
    let reason = match status {
        StatusCode::TOO_MANY_REQUESTS => RetryReason::TooManyRequests,
        StatusCode::REQUEST_TIMEOUT => RetryReason::Timeout,
        StatusCode::UNAUTHORIZED
        | StatusCode::FORBIDDEN
        | StatusCode::NOT_FOUND
        | StatusCode::PROXY_AUTHENTICATION_REQUIRED => RetryReason::Denied,
        _ if status.is_client_error() => {
            let is_too_large = status == StatusCode::PAYLOAD_TOO_LARGE;
            return Outcome::Refused(Refusal { status, why, is_too_large });
        }
        _ if status.is_server_error() => RetryReason::Server,
        // A redirect, which is not followed.
        _ => RetryReason::Denied,
    };
    let retry_after = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let retry_after = retry_after.and_then(|text| span_of(text.trim(), now));
    Outcome::Later { why, reason, retry_after }
}

/// `120`, or `Wed, 21 Oct 2015 07:28:00 GMT`.
fn span_of(text: &str, now: Timestamp) -> Option<Duration> {
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let moment = jiff::fmt::rfc2822::parse(text).ok()?.timestamp().as_millisecond();
    Some(Timestamp::from_millis(moment).since(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_445_412_420);

    fn judged(status: u16, retry_after: Option<&'static str>) -> Outcome {
        let mut headers = HeaderMap::new();
        if let Some(text) = retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from_static(text));
        }
        judge(StatusCode::from_u16(status).unwrap(), &headers, "why".to_owned(), NOW)
    }

    #[test]
    fn only_what_may_be_mended_is_tried_again() {
        for status in [400, 405, 409, 410, 413, 415, 422] {
            let outcome = judged(status, None);
            let Outcome::Refused(refusal) = outcome else { panic!("{status}: {outcome:?}") };
            assert_eq!(refusal.is_too_large, status == 413);
        }
        let reasons = [
            (429, RetryReason::TooManyRequests),
            (408, RetryReason::Timeout),
            (401, RetryReason::Denied),
            (404, RetryReason::Denied),
            (302, RetryReason::Denied),
            (500, RetryReason::Server),
            (503, RetryReason::Server),
        ];
        for (status, expected) in reasons {
            assert!(
                matches!(judged(status, None), Outcome::Later { reason, .. } if reason == expected),
                "{status}"
            );
        }
    }

    #[test]
    fn the_destination_says_when_to_come_again() {
        let after = |text| match judged(429, Some(text)) {
            Outcome::Later { retry_after, .. } => retry_after,
            other => panic!("{other:?}"),
        };
        assert_eq!(after("120"), Some(Duration::from_secs(120)));
        assert_eq!(after("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::from_secs(60)));
        assert_eq!(after("Wed, 21 Oct 2015 07:20:00 GMT"), Some(Duration::ZERO));
        assert_eq!(after("soon"), None);
    }
}
