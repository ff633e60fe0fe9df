//! What the notification log says after an attempt or a refusal, and when to try again. Pure.

use std::hash::{Hash as _, Hasher as _};
use std::time::Duration;

use db::alerts::{AlertStatus, Delivery, DeliveryResult, Sent, StoredAlert, Told};
use model::{Fingerprint, Timestamp};

use crate::notify::{Answer, Receiver};
use crate::pipeline::{Candidate, Reason};

/// What of an alert is kept while a message about it is on its way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject {
    /// Which alert.
    pub(crate) fingerprint: Fingerprint,
    /// What is told of it.
    pub(crate) status: AlertStatus,
    /// When it began.
    pub(crate) starts_at: Timestamp,
}

impl Subject {
    pub(crate) fn of(stored: &StoredAlert) -> Self {
        let StoredAlert { alert, status, .. } = stored;
        let (fingerprint, starts_at) = (alert.fingerprint(), alert.starts_at);
        Self { fingerprint, status: *status, starts_at }
    }
}

/// What came of an attempt.
#[derive(Debug)]
pub(crate) struct Attempt {
    /// The new log entry.
    pub(crate) told: Told,
    /// The record of this attempt.
    pub(crate) delivery: Delivery,
    /// When to try again; `None` when it was sent or given up.
    pub(crate) again: Option<Timestamp>,
}

/// Names a message to a receiver about alerts of a group: the same for every attempt to tell the same thing,
/// another for a repeat. It holds the times of the last accepted messages, so it changes with our note of the
/// acceptance and not before.
pub(crate) fn message_key(group: u64, receiver: &str, alerts: &[Candidate]) -> String {
    let mut hash = std::hash::DefaultHasher::new();
    receiver.hash(&mut hash);
    for Candidate { alert, told } in alerts {
        let last_at = told.as_ref().and_then(|told| told.sent).map_or(0, |sent| sent.at.0);
        let (fingerprint, start) = (alert.alert.fingerprint().0, alert.alert.starts_at.0);
        (fingerprint, start, alert.status.as_str(), last_at).hash(&mut hash);
    }
    format!("{group:016x}-{:016x}", hash.finish())
}

/// The entry, the record and the next attempt after `answer`.
pub(crate) fn after_attempt(
    subject: Subject,
    before: Option<Told>,
    receiver: &Receiver,
    answer: &Answer,
    now: Timestamp,
    took: Duration,
) -> Attempt {
    let Subject { fingerprint, status, starts_at } = subject;
    let earlier = before.as_ref().filter(|told| told.result == DeliveryResult::Retrying);
    let attempts = earlier.map_or(0, |told| told.attempts).saturating_add(1);
    let wait = receiver.retry_after(attempts, answer, fingerprint.0);
    let again = wait.map(|wait| now.plus(wait));
    let result = match answer {
        answer if answer.is_final_success() => DeliveryResult::Sent,
        _ if again.is_some() => DeliveryResult::Retrying,
        _ => DeliveryResult::Failed,
    };
    let now_sent = Sent { status, starts_at, at: now };
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
        fingerprint,
        receiver: receiver.name.clone(),
        status,
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
pub(crate) fn after_refusal(
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
        (Some(_), _) if reason.is_for_now() => {
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
        after_attempt(
            Subject::of(&alert),
            told,
            &receiver(true),
            answer,
            NOW,
            Duration::from_millis(12),
        )
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
    fn what_a_receiver_on_trial_would_be_told_is_noted_as_such() {
        let done = attempt(None, &Answer::Noted);
        assert_eq!((done.told.result, done.again), (DeliveryResult::Sent, None));
        assert_eq!(done.delivery.detail, "dry_run: nobody was told");
    }

    #[test]
    fn a_message_keeps_its_key_over_all_attempts_and_a_repeat_or_an_end_gets_another() {
        let fresh = candidate(AlertStatus::Firing, 10, None);
        let key = |candidate: &Candidate| message_key(1, "ops", std::slice::from_ref(candidate));
        let first = key(&fresh);
        let told = Some(attempt(None, &busy(None)).told);
        assert_eq!(key(&Candidate { told, ..fresh.clone() }), first);
        let told = Some(attempt(None, &Answer::Accepted { code: 200 }).told);
        assert_ne!(key(&Candidate { told, ..fresh.clone() }), first);
        let over = StoredAlert { status: AlertStatus::Resolved, ..fresh.alert.clone() };
        assert_ne!(key(&Candidate { alert: over, told: None }), first);
        assert_ne!(message_key(1, "other", std::slice::from_ref(&fresh)), first);
        assert_ne!(message_key(2, "ops", &[fresh]), first);
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
        assert_eq!(patience(1_000_000), Duration::from_secs(300));
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
