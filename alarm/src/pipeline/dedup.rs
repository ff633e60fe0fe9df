//! Nobody is told the same thing twice before the repeat interval is over.

use db::alerts::{AlertStatus, DeliveryResult};

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
}
