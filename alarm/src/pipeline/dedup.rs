//! Nobody is told the same thing twice before the repeat interval is over.

use db::alerts::{AlertStatus, DeliveryResult, StoredAlert};

use super::{Candidate, Reason, Round};

/// Refuses what the receiver knows, unless it is due to be told again. The key of what is "the same" is
/// fingerprint, start and status.
pub(super) fn told_already(candidate: &Candidate, round: &Round<'_>) -> Option<Reason> {
    if was_given_up(candidate, round) {
        return Some(Reason::GivenUp);
    }
    let is_firing = candidate.alert.status == AlertStatus::Firing;
    let Some(sent) = candidate.told.as_ref().and_then(|told| told.sent.as_ref()) else {
        return (!is_firing).then_some(Reason::EndedUntold);
    };
    let told_firing = sent.status == AlertStatus::Firing;
    // A second sender may move the start back; only a later start is another incident.
    let same_incident = candidate.alert.alert.starts_at <= sent.starts_at;
    match (told_firing, is_firing) {
        (true, true) if same_incident => {
            let is_due = round.repeats_before.is_some_and(|before| sent.at < before)
                || round.now.since(sent.at) >= round.repeat_interval;
            (!is_due).then_some(Reason::AlreadyTold)
        }
        (_, true) | (true, false) => None,
        (false, false) if same_incident => Some(Reason::AlreadyTold),
        (false, false) => Some(Reason::EndedUntold),
    }
}

/// The annotation in which a rule says how often one receiver may be told of an alert from its start to its end.
const MAX_NOTIFICATIONS: &str = "max_notifications";

/// How often one receiver may be told that an alert fires; `None` without a limit. Text that is no number from 1
/// is none.
pub(crate) fn notifications_max(alert: &StoredAlert) -> Option<u32> {
    let text = alert.alert.annotations.get(MAX_NOTIFICATIONS)?;
    text.trim().parse().ok().filter(|most| *most > 0)
}

/// Refuses to repeat what was told often enough. What begins, begins anew or ends is always told.
pub(super) fn told_often(candidate: &Candidate, round: &Round<'_>) -> Option<Reason> {
    let alert = &candidate.alert;
    let sent = candidate.told.as_ref().and_then(|told| told.sent.as_ref())?;
    let is_repeat = alert.status == AlertStatus::Firing
        && sent.status == AlertStatus::Firing
        && alert.alert.starts_at <= sent.starts_at;
    let is_enough = is_repeat && round.told_often.contains(&alert.alert.fingerprint());
    is_enough.then_some(Reason::ToldOften)
}

/// Whether the receiver refused for good since the alert is as it is. It is asked again after the repeat
/// interval.
fn was_given_up(candidate: &Candidate, round: &Round<'_>) -> bool {
    let alert = &candidate.alert;
    let is_so_since = if alert.status == AlertStatus::Resolved {
        alert.alert.ends_at
    } else {
        alert.alert.starts_at
    };
    candidate.told.as_ref().is_some_and(|told| {
        told.result == DeliveryResult::Failed
            && round.repeats_before.is_none()
            && is_so_since <= told.tried_at
            && round.now.since(told.tried_at) < round.repeat_interval
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use model::Timestamp;

    use super::super::tests::{candidate, receiver, round};
    use super::*;
    use crate::claims::Claims;
    use AlertStatus::{Firing, Resolved};

    fn check(
        alert: (AlertStatus, i64),
        told: Option<(AlertStatus, i64, i64)>,
        repeats_before: Option<i64>,
        expected: Option<Reason>,
    ) {
        let (receiver, claims) = (receiver(true), Claims::default());
        let repeats_before = repeats_before.map(Timestamp);
        let round = Round { repeats_before, ..round(&receiver, 5_000, &claims) };
        assert_eq!(told_already(&candidate(alert.0, alert.1, told), &round), expected);
    }

    #[test]
    fn the_first_firing_is_told() {
        check((Firing, 10), None, None, None);
    }

    #[test]
    fn only_an_end_is_never_the_first_that_is_told() {
        check((Resolved, 10), None, None, Some(Reason::EndedUntold));
        check((Resolved, 10), Some((Resolved, 5, 6)), None, Some(Reason::EndedUntold));
    }

    #[test]
    fn a_firing_alert_is_repeated_when_it_is_due_and_was_not_told_since() {
        let told = Some((Firing, 10, 20));
        check((Firing, 10), told, None, Some(Reason::AlreadyTold));
        check((Firing, 10), told, Some(20), Some(Reason::AlreadyTold));
        check((Firing, 10), told, Some(21), None);
    }

    #[test]
    fn an_entry_without_a_time_is_always_due() {
        check((Firing, 0), Some((Firing, 0, 0)), Some(1), None);
    }

    #[test]
    fn the_end_of_what_was_told_is_told_once() {
        check((Resolved, 10), Some((Firing, 10, 20)), None, None);
        check((Resolved, 10), Some((Resolved, 10, 30)), None, Some(Reason::AlreadyTold));
        check((Resolved, 10), Some((Resolved, 10, 30)), Some(40), Some(Reason::AlreadyTold));
    }

    #[test]
    fn what_was_given_up_is_tried_again_when_a_repeat_is_due_or_when_it_changes() {
        let (receiver, claims) = (receiver(true), Claims::default());
        let refused_at = |status, start, now, repeats_before: Option<i64>| {
            let mut candidate = candidate(status, start, Some((Firing, 10, 20)));
            if let Some(told) = &mut candidate.told {
                (told.result, told.sent) = (DeliveryResult::Failed, None);
            }
            let repeats_before = repeats_before.map(Timestamp);
            let round = Round { repeats_before, ..round(&receiver, now, &claims) };
            told_already(&candidate, &round)
        };
        assert_eq!(refused_at(Firing, 10, 21, None), Some(Reason::GivenUp));
        assert_eq!(refused_at(Firing, 10, 20 + 3_600_000, None), None);
        assert_eq!(refused_at(Firing, 10, 21, Some(21)), None);
        assert_eq!(refused_at(Firing, 25, 30, None), None);
        assert_eq!(refused_at(Resolved, 10, 2_000, None), Some(Reason::EndedUntold));
    }

    #[test]
    fn an_alert_that_fires_again_is_told_again() {
        check((Firing, 10), Some((Resolved, 10, 20)), None, None);
        check((Firing, 25), Some((Firing, 10, 20)), None, None);
    }

    #[test]
    fn an_earlier_start_from_another_sender_is_no_news() {
        check((Firing, 5), Some((Firing, 10, 20)), None, Some(Reason::AlreadyTold));
    }

    #[test]
    fn what_was_told_often_enough_is_not_repeated_and_its_end_is_told() {
        let (receiver, claims) = (receiver(true), Claims::default());
        let check = |alert: (AlertStatus, i64), told, is_enough: bool, expected| {
            let candidate = candidate(alert.0, alert.1, told);
            let enough: HashSet<_> =
                is_enough.then(|| candidate.alert.alert.fingerprint()).into_iter().collect();
            let round = Round { told_often: &enough, ..round(&receiver, 5_000, &claims) };
            assert_eq!(told_often(&candidate, &round), expected, "{alert:?} after {told:?}");
        };
        let told = Some((Firing, 10, 20));
        check((Firing, 10), told, false, None);
        check((Firing, 10), told, true, Some(Reason::ToldOften));
        check((Resolved, 10), told, true, None);
        check((Firing, 30), told, true, None);
        check((Firing, 10), None, true, None);
        check((Firing, 10), Some((Resolved, 10, 20)), true, None);
    }

    #[test]
    fn how_often_an_alert_may_be_told_is_read_from_its_annotation() {
        let mut alert = candidate(Firing, 10, None).alert;
        for (text, expected) in [("3", Some(3)), (" 1 ", Some(1)), ("0", None), ("often", None)] {
            alert.alert.annotations.insert("max_notifications".to_owned(), text.to_owned());
            assert_eq!(notifications_max(&alert), expected, "{text}");
        }
        alert.alert.annotations.clear();
        assert_eq!(notifications_max(&alert), None);
    }
}
