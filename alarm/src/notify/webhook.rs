//! The webhook receiver: Alertmanager's body, version 4, one message an alert.

use std::time::Duration;

use db::alerts::{AlertStatus, StoredAlert};
use model::{Alert, Timestamp};
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode};
use wire::alert::WebhookMessage;

use super::Receiver;

/// How much of an error answer is kept, in characters.
const BODY_CHARS_MAX: usize = 120;

/// What a receiver answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// 2xx.
    Accepted {
        /// HTTP status.
        code: u16,
    },
    /// 5xx, 408, 429, or no answer: worth another attempt.
    Temporary {
        /// HTTP status, 0 without an answer.
        code: u16,
        /// What went wrong.
        detail: String,
        /// How long the receiver asks to wait.
        retry_after: Option<Duration>,
    },
    /// Anything else: it would be refused again.
    Refused {
        /// HTTP status.
        code: u16,
        /// What went wrong.
        detail: String,
    },
}

impl Answer {
    pub(crate) fn code(&self) -> u16 {
        match self {
            Self::Accepted { code } | Self::Temporary { code, .. } | Self::Refused { code, .. } => {
                *code
            }
        }
    }

    pub(crate) fn detail(&self) -> &str {
        match self {
            Self::Accepted { .. } => "",
            Self::Temporary { detail, .. } | Self::Refused { detail, .. } => detail,
        }
    }
}

/// Makes one attempt. `key` is the same for every attempt to tell the same thing, so a receiver can tell
/// repeats apart after a crash between its answer and our note of it.
pub(crate) async fn send(
    http: &Client,
    receiver: &Receiver,
    alert: &StoredAlert,
    external_url: &str,
    key: &str,
    now: Timestamp,
) -> Answer {
    let request = http
        .post(receiver.url.clone())
        .timeout(receiver.timeout)
        .header("Idempotency-Key", key)
        .json(&message(&receiver.name, alert, external_url, now));
    match request.send().await {
        Ok(response) => classify(response).await,
        // The address may hold a token.
        Err(error) => no_answer(&error.without_url()),
    }
}

fn message(
    receiver: &str,
    stored: &StoredAlert,
    external_url: &str,
    now: Timestamp,
) -> WebhookMessage {
    let alert = Alert { ends_at: end_in_message(stored, now), ..stored.alert.clone() };
    let group_key = format!("{{}}:{{fingerprint=\"{}\"}}", alert.fingerprint());
    // A group is one alert for now, so it is grouped by all of its labels.
    let group_labels = alert.labels.clone();
    WebhookMessage::new(receiver, &group_key, group_labels, external_url, &[alert], now)
}

/// The message says "resolved" of whatever ended before now. A firing alert whose lease has just run out must
/// not be told as resolved.
fn end_in_message(stored: &StoredAlert, now: Timestamp) -> Timestamp {
    match stored.status {
        AlertStatus::Resolved => stored.alert.ends_at,
        AlertStatus::Firing | AlertStatus::Stale => {
            stored.alert.ends_at.max(now.plus(Duration::from_millis(1)))
        }
    }
}

async fn classify(response: Response) -> Answer {
    let status = response.status();
    let code = status.as_u16();
    if status.is_success() {
        return Answer::Accepted { code };
    }
    let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let retry_after =
        retry_after.and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
    let detail = format!("HTTP {code} {}", first_words(response).await).trim_end().to_owned();
    if is_temporary(status) {
        Answer::Temporary { code, detail, retry_after }
    } else {
        Answer::Refused { code, detail }
    }
}

fn is_temporary(status: StatusCode) -> bool {
    status.is_server_error()
        || matches!(
            status,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY
        )
}

/// The first words of an answer on one line. The markup at the beginning of a web page helps nobody.
async fn first_words(mut response: Response) -> String {
    let content_type =
        response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    if content_type.starts_with("text/html") {
        return String::new();
    }
    let Ok(Some(chunk)) = response.chunk().await else { return String::new() };
    let text = String::from_utf8_lossy(&chunk[..chunk.len().min(4 * BODY_CHARS_MAX)]).into_owned();
    text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(BODY_CHARS_MAX).collect()
}

fn no_answer(error: &reqwest::Error) -> Answer {
    let what = if error.is_timeout() {
        "no answer in time".to_owned()
    } else if error.is_connect() {
        format!("cannot connect: {}", innermost(error))
    } else {
        format!("the connection broke: {}", innermost(error))
    };
    Answer::Temporary { code: 0, detail: what, retry_after: None }
}

fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use wire::alert::FiringStatus;

    use super::*;
    use crate::pipeline::tests::candidate;

    #[test]
    fn a_firing_alert_is_told_as_firing_even_when_its_lease_has_just_run_out() {
        let alert = candidate(AlertStatus::Firing, 10, None).alert;
        let late = alert.alert.ends_at.plus(Duration::from_secs(60));
        let told = message("ops", &alert, "http://x", late);
        assert_eq!((told.status, told.alerts[0].ends_at), (FiringStatus::Firing, None));
    }

    #[test]
    fn a_resolved_alert_is_told_with_its_end() {
        let alert = candidate(AlertStatus::Resolved, 10, None).alert;
        let told = message("ops", &alert, "http://x", Timestamp(9_999));
        assert_eq!(
            (told.status, told.alerts[0].ends_at),
            (FiringStatus::Resolved, Some(alert.alert.ends_at))
        );
        assert_eq!((told.version.as_str(), told.receiver.as_str()), ("4", "ops"));
    }

    #[test]
    fn only_answers_that_may_change_are_worth_a_retry() {
        for code in [500, 502, 503, 504, 429, 408] {
            assert!(is_temporary(StatusCode::from_u16(code).unwrap()), "{code}");
        }
        for code in [301, 400, 401, 403, 404, 410, 413] {
            assert!(!is_temporary(StatusCode::from_u16(code).unwrap()), "{code}");
        }
    }
}
