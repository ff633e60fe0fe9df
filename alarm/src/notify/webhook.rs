//! The webhook receiver: Alertmanager's body, version 4.

use std::time::Duration;

use daemon::{Answered, PostError, Poster, Target};
use reqwest::{StatusCode, Url};
use wire::alert_body::WebhookBody;

use crate::notification::Notification;

/// How much of an error answer is kept, in characters.
const BODY_CHARS_MAX: usize = 120;
/// What an alert takes in a message, more or less.
const ALERT_BYTES: usize = 512;

/// What a receiver answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// 2xx.
    Accepted {
        /// HTTP status.
        code: u16,
    },
    /// Nobody was asked: the receiver is on trial.
    Noted,
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
    /// Whether there is nothing left to do.
    pub(crate) fn is_final_success(&self) -> bool {
        matches!(self, Self::Accepted { .. } | Self::Noted)
    }

    /// Without words that repeat what the address keeps secret.
    fn without(mut self, target: &Target) -> Self {
        if let Self::Temporary { code, detail, .. } | Self::Refused { code, detail } = &mut self
            && target.secrets().iter().any(|secret| channels::repeats(detail, secret))
        {
            *detail = format!("HTTP {code} (repeats a secret)");
        }
        self
    }

    pub(crate) fn code(&self) -> u16 {
        match self {
            Self::Noted => 0,
            Self::Accepted { code } | Self::Temporary { code, .. } | Self::Refused { code, .. } => {
                *code
            }
        }
    }

    pub(crate) fn detail(&self) -> &str {
        match self {
            Self::Accepted { .. } => "",
            Self::Noted => "dry_run: nobody was told",
            Self::Temporary { detail, .. } | Self::Refused { detail, .. } => detail,
        }
    }
}

/// Where a webhook is.
pub(super) fn target(url: Url) -> anyhow::Result<Target> {
    Target::new(url, "application/json")
}

/// Makes one attempt. The key of the notification is the same for every attempt to tell the same thing, so a
/// receiver can tell repeats apart after a crash between its answer and our note of it.
pub(super) async fn send(
    poster: &Poster,
    target: &Target,
    timeout: Duration,
    notification: Notification,
) -> Answer {
    let (key, body) = match written(notification) {
        Ok(written) => written,
        Err(error) => return Answer::Refused { code: 0, detail: error.to_string() },
    };
    match poster.post(target, &key, body, timeout).await {
        Ok(answered) => classify(&answered).without(target),
        Err(error @ PostError::Unsendable(_)) => {
            Answer::Refused { code: 0, detail: error.to_string() }
        }
        Err(error) => Answer::Temporary { code: 0, detail: error.to_string(), retry_after: None },
    }
}

/// Its key and the body. The alerts of a storm need not lie in memory twice while the receiver reads.
fn written(notification: Notification) -> serde_json::Result<(String, Vec<u8>)> {
    let mut body = Vec::with_capacity(ALERT_BYTES * (notification.alerts.len() + 1));
    serde_json::to_writer(&mut body, &message(&notification))?;
    Ok((notification.key, body))
}

fn message(notification: &Notification) -> WebhookBody<'_> {
    let Notification { alerts, group_labels, at, .. } = notification;
    let mut body = WebhookBody::about(alerts, group_labels, *at);
    body.group_key = &notification.group_key;
    body.truncated_alerts = notification.left_out;
    body.status = notification.status;
    body.receiver = &notification.receiver;
    body.notification_reason = Some(notification.reason);
    body.route_labels = notification.route_labels.clone();
    body.external_url = &notification.external_url;
    body
}

fn classify(answered: &Answered) -> Answer {
    let status = answered.status;
    let code = status.as_u16();
    if status.is_success() {
        return Answer::Accepted { code };
    }
    let retry_after = answered.retry_after.as_ref().and_then(|value| value.to_str().ok());
    let retry_after =
        retry_after.and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
    let detail = format!("HTTP {code} {}", first_words(answered)).trim_end().to_owned();
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
fn first_words(answered: &Answered) -> String {
    let content_type = answered.content_type.as_ref().and_then(|value| value.to_str().ok());
    if content_type.is_some_and(|text| text.starts_with("text/html")) {
        return String::new();
    }
    let piece = &answered.beginning;
    let text = String::from_utf8_lossy(&piece[..piece.len().min(4 * BODY_CHARS_MAX)]).into_owned();
    text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(BODY_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::notification::tests::{alert, notification};

    #[test]
    fn a_message_says_what_became_of_each_alert_and_of_the_group() {
        let ended = alert(&[("alertname", "x"), ("host", "a")], 500);
        let told = Notification { left_out: 3, ..notification(vec![ended]) };
        let body = serde_json::to_value(message(&told)).unwrap();
        assert_eq!((&body["status"], &body["truncatedAlerts"]), (&json!("firing"), &json!(3)));
        assert_eq!(body["alerts"][0]["status"], "resolved");
        assert_eq!(body["alerts"][0]["endsAt"], "1970-01-01T00:00:00.500Z");
        assert_eq!(body["notification_reason"], "first notification");
        assert_eq!(body["routeLabels"], json!({}));
        assert_eq!((&body["version"], &body["receiver"]), (&json!("4"), &json!("ops")));
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
