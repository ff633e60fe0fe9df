//! What the notification log says after an attempt or a refusal, and when to try again. Pure.

use std::time::Duration;

use db::alerts::{AlertStatus, Delivery, DeliveryResult, Sent, StoredAlert, Told};
use model::{Fingerprint, Timestamp};

use super::Receiver;
use super::webhook::Answer;
use crate::pipeline::{Candidate, Reason};

const FIRST_WAIT: Duration = Duration::from_secs(1);
const WAIT_MAX: Duration = Duration::from_secs(60);
/// A receiver that asks for more patience than this is asked again sooner.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);

/// What came of an attempt.
#[derive(Debug)]
pub(super) struct Attempt {
    /// The new log entry.
    pub(super) told: Told,
    /// The record of this attempt.
    pub(super) delivery: Delivery,
    /// When to try again; `None` when it was sent or given up.
    pub(super) again: Option<Timestamp>,
}

/// Names a message: the same for every attempt to tell the same thing, another for a repeat. It holds the time
/// of the last accepted message, so it changes with our note of the acceptance and not before.
pub(super) fn message_key(alert: &StoredAlert, before: Option<&Told>) -> String {
    let last_at = before.and_then(|told| told.sent).map_or(0, |sent| sent.at.0);
    let (fingerprint, start) = (alert.alert.fingerprint(), alert.alert.starts_at.0);
    format!("{fingerprint}-{start}-{}-{last_at}", alert.status.as_str())
}

/// The entry, the record and the next attempt after `answer`.
pub(super) fn after_attempt(
    alert: &StoredAlert,
    before: Option<Told>,
    receiver: &Receiver,
    answer: &Answer,
    now: Timestamp,
    took: Duration,
) -> Attempt {
    let fingerprint = alert.alert.fingerprint();
    let earlier = before.as_ref().filter(|told| told.result == DeliveryResult::Retrying);
    let attempts = earlier.map_or(0, |told| told.attempts).saturating_add(1);
    let wait = wait_after(attempts, fingerprint);
    let (result, again) = match answer {
        Answer::Accepted { .. } => (DeliveryResult::Sent, None),
        Answer::Refused { .. } => (DeliveryResult::Failed, None),
        Answer::Temporary { .. } if waited_before(attempts) >= receiver.retry_for => {
            (DeliveryResult::Failed, None)
        }
        Answer::Temporary { retry_after, .. } => {
            let asked = retry_after.unwrap_or_default().min(RETRY_AFTER_MAX);
            (DeliveryResult::Retrying, Some(now.plus(wait.max(asked))))
        }
    };
    let now_sent = Sent { status: alert.status, starts_at: alert.alert.starts_at, at: now };
    let sent = if result == DeliveryResult::Sent {
        Some(now_sent)
    } else {
        before.and_then(|told| told.sent)
    };
    let told = Told {
        fingerprint,
        receiver: receiver.name.clone(),
        sent,
        result,
        tried_at: now,
        attempts,
        code: answer.code(),
        detail: answer.detail().to_owned(),
    };
    let delivery = Delivery {
        id: format!("{fingerprint}-{}-{}-{attempts}", now.0, receiver.name),
        fingerprint,
        receiver: receiver.name.clone(),
        status: alert.status,
        at: now,
        result,
        attempt: attempts,
        code: answer.code(),
        duration_ms: u32::try_from(took.as_millis()).unwrap_or(u32::MAX),
        detail: answer.detail().to_owned(),
    };
    Attempt { told, delivery, again }
}

/// The log entry after the pipeline held a notification back; `None` when the entry stays as it is.
pub(super) fn after_refusal(
    candidate: Candidate,
    receiver: &str,
    reason: Reason,
    now: Timestamp,
) -> Option<Told> {
    let Candidate { alert, told } = candidate;
    let Some(told) = told else {
        return Some(Told {
            fingerprint: alert.alert.fingerprint(),
            receiver: receiver.to_owned(),
            sent: None,
            result: DeliveryResult::Skipped,
            tried_at: now,
            attempts: 0,
            code: 0,
            detail: reason.as_str().to_owned(),
        });
    };
    match (told.sent, reason) {
        // The end counts as known, so that the alert is told again should it come back.
        (Some(sent), Reason::ResolvedNotWanted) if sent.status == AlertStatus::Firing => {
            let sent = Sent { status: AlertStatus::Resolved, ..sent };
            Some(Told {
                sent: Some(sent),
                result: DeliveryResult::Sent,
                detail: reason.as_str().to_owned(),
                ..told
            })
        }
        // What was being retried, or held back, is no longer to be told: the receiver knows what is true again.
        (Some(sent), Reason::AlreadyTold)
            if told.result != DeliveryResult::Sent || !told.detail.is_empty() =>
        {
            let (result, tried_at) = (DeliveryResult::Sent, sent.at);
            Some(Told { result, tried_at, detail: String::new(), ..told })
        }
        // Not before the silence ends or another repeat is due.
        (Some(_), Reason::Silenced) => {
            let (result, detail) = (DeliveryResult::Sent, reason.as_str().to_owned());
            Some(Told { result, tried_at: now, detail, ..told })
        }
        (_, Reason::GivenUp) | (Some(_), _) => None,
        (None, _) if told.result == DeliveryResult::Skipped && told.detail == reason.as_str() => {
            None
        }
        (None, _) => {
            let detail = reason.as_str().to_owned();
            Some(Told { result: DeliveryResult::Skipped, tried_at: now, detail, ..told })
        }
    }
}

/// One second doubled with every attempt, at most a minute, and up to a quarter more that differs from alert
/// to alert, so that a receiver that comes back is not met by all of them at once.
fn wait_after(attempts: u32, fingerprint: Fingerprint) -> Duration {
    let base = plain_wait(attempts);
    let spread = u32::try_from(fingerprint.0 % 256).unwrap_or(0);
    base + base / 1024 * spread
}

fn plain_wait(attempts: u32) -> Duration {
    let factor = 1 << attempts.saturating_sub(1).min(6);
    (FIRST_WAIT * factor).min(WAIT_MAX)
}

/// How long was waited between the first and this attempt. Counted in attempts and not by the clock: time in
/// which alarm itself was down is no time in which it tried.
fn waited_before(attempts: u32) -> Duration {
    let doubling: Duration = (1..attempts.min(7)).map(plain_wait).sum();
    doubling + WAIT_MAX * attempts.saturating_sub(7)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::tests::{candidate, receiver};

    const NOW: Timestamp = Timestamp(50_000);

    fn busy(retry_after: Option<Duration>) -> Answer {
        Answer::Temporary { code: 503, detail: "HTTP 503".to_owned(), retry_after }
    }

    fn attempt(told: Option<Told>, answer: &Answer) -> Attempt {
        let alert = candidate(AlertStatus::Firing, 10, None).alert;
        after_attempt(&alert, told, &receiver(true, &[]), answer, NOW, Duration::from_millis(12))
    }

    #[test]
    fn what_was_accepted_is_what_the_receiver_knows() {
        let done = attempt(None, &Answer::Accepted { code: 202 });
        let sent = Sent { status: AlertStatus::Firing, starts_at: Timestamp(10), at: NOW };
        assert_eq!(
            (done.told.sent, done.told.result, done.again),
            (Some(sent), DeliveryResult::Sent, None)
        );
        assert_eq!((done.delivery.code, done.delivery.duration_ms), (202, 12));
    }

    #[test]
    fn a_message_keeps_its_key_over_all_attempts_and_a_repeat_or_an_end_gets_another() {
        let alert = candidate(AlertStatus::Firing, 10, None).alert;
        let first = message_key(&alert, None);
        let failed = attempt(None, &busy(None)).told;
        assert_eq!(message_key(&alert, Some(&failed)), first);
        let accepted = attempt(None, &Answer::Accepted { code: 200 }).told;
        assert_ne!(message_key(&alert, Some(&accepted)), first);
        let over = StoredAlert { status: AlertStatus::Resolved, ..alert };
        assert_ne!(message_key(&over, None), first);
    }

    #[test]
    fn a_busy_receiver_is_asked_again_later_and_later() {
        let first = attempt(None, &busy(None));
        let wait = first.again.expect("again").since(NOW);
        assert!(wait >= Duration::from_secs(1) && wait <= Duration::from_millis(1250), "{wait:?}");
        let second = attempt(Some(first.told), &busy(None));
        assert_eq!(second.told.attempts, 2);
        assert!(second.again.expect("again").since(NOW) >= Duration::from_secs(2));
    }

    #[test]
    fn a_receiver_that_asks_for_patience_gets_some() {
        let patience = |seconds| {
            attempt(None, &busy(Some(Duration::from_secs(seconds)))).again.unwrap().since(NOW)
        };
        assert_eq!(patience(120), Duration::from_secs(120));
        assert_eq!(patience(1_000_000), RETRY_AFTER_MAX);
    }

    #[test]
    fn retries_end_after_the_configured_time_in_a_failure_that_stays_visible() {
        let mut told = None;
        let mut attempts = 0;
        loop {
            attempts += 1;
            let next = attempt(told, &busy(None));
            told = Some(next.told);
            if next.again.is_none() {
                break;
            }
        }
        // An hour: 1 + 2 + 4 + 8 + 16 + 32 s, then every minute.
        assert_eq!(attempts, 66);
        assert_eq!(told.unwrap().result, DeliveryResult::Failed);
    }

    #[test]
    fn a_receiver_that_refuses_is_not_asked_again() {
        let refused = Answer::Refused { code: 404, detail: "HTTP 404".to_owned() };
        let done = attempt(None, &refused);
        assert_eq!((done.told.result, done.again), (DeliveryResult::Failed, None));
    }

    #[test]
    fn a_failed_attempt_does_not_forget_what_was_told_before() {
        let told = candidate(AlertStatus::Firing, 10, Some((AlertStatus::Firing, 10, 20))).told;
        assert!(attempt(told, &busy(None)).told.sent.is_some());
    }

    #[test]
    fn a_refusal_is_noted_once_and_never_covers_what_was_told() {
        let fresh = candidate(AlertStatus::Firing, 10, None);
        let noted =
            after_refusal(fresh.clone(), "ops", Reason::NotRouted, NOW).expect("it is news");
        assert_eq!((noted.result, noted.detail.as_str()), (DeliveryResult::Skipped, "not_routed"));
        let again = Candidate { told: Some(noted), ..fresh };
        assert_eq!(after_refusal(again, "ops", Reason::NotRouted, NOW), None);
        let told = candidate(AlertStatus::Stale, 10, Some((AlertStatus::Firing, 10, 20)));
        assert_eq!(after_refusal(told, "ops", Reason::LeaseExpired, NOW), None);
    }

    #[test]
    fn an_end_that_is_not_wanted_counts_as_known() {
        let told = candidate(AlertStatus::Resolved, 10, Some((AlertStatus::Firing, 10, 20)));
        let entry = after_refusal(told, "ops", Reason::ResolvedNotWanted, NOW).expect("it changes");
        assert_eq!(entry.sent.map(|sent| sent.status), Some(AlertStatus::Resolved));
    }

    #[test]
    fn an_alert_that_came_back_while_its_end_was_retried_is_settled() {
        let mut back = candidate(AlertStatus::Firing, 10, Some((AlertStatus::Firing, 10, 20)));
        if let Some(told) = &mut back.told {
            told.result = DeliveryResult::Retrying;
        }
        let entry = after_refusal(back, "ops", Reason::AlreadyTold, NOW).expect("it changes");
        assert_eq!(entry.result, DeliveryResult::Sent);
    }
}
