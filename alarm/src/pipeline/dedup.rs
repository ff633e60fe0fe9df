//! Nobody is told the same thing twice before the repeat interval is over.

use db::alerts::{AlertStatus, DeliveryResult};

use super::{Candidate, Outcome, Reason, Round, each};

/// Keeps what the receiver does not know yet, and what is due to be repeated. The key of what is "the same"
/// is fingerprint, start and status.
pub(super) fn not_told_yet(candidates: Vec<Candidate>, round: &Round<'_>) -> Outcome {
    each(candidates, |candidate| refuse(candidate, round))
}

fn refuse(candidate: &Candidate, round: &Round<'_>) -> Option<Reason> {
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
            (round.now.since(sent.at) < round.repeat_interval).then_some(Reason::AlreadyTold)
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
            && is_so_since <= told.tried_at
            && round.now.since(told.tried_at) < round.repeat_interval
    })
}

#[cfg(test)]
mod tests {
    use model::Timestamp;

    use super::super::tests::{HOUR, candidate, receiver};
    use super::*;
    use AlertStatus::{Firing, Resolved};

    fn check(
        alert: (AlertStatus, i64),
        told: Option<(AlertStatus, i64, i64)>,
        now: i64,
        expected: Option<Reason>,
    ) {
        let receiver = receiver(true, &[]);
        let round = Round {
            receiver: &receiver,
            now: Timestamp(now),
            repeat_interval: HOUR,
            silences: &[],
        };
        assert_eq!(refuse(&candidate(alert.0, alert.1, told), &round), expected);
    }

    #[test]
    fn the_first_firing_is_told() {
        check((Firing, 10), None, 20, None);
    }

    #[test]
    fn an_end_nobody_was_told_the_beginning_of_is_not_told() {
        check((Resolved, 10), None, 20, Some(Reason::EndedUntold));
        check((Resolved, 10), Some((Resolved, 5, 6)), 20, Some(Reason::EndedUntold));
    }

    #[test]
    fn a_firing_alert_is_repeated_only_after_the_interval() {
        let told = Some((Firing, 10, 20));
        check((Firing, 10), told, 20 + 3_599_999, Some(Reason::AlreadyTold));
        check((Firing, 10), told, 20 + 3_600_000, None);
    }

    #[test]
    fn the_end_of_what_was_told_is_told_once() {
        check((Resolved, 10), Some((Firing, 10, 20)), 30, None);
        check((Resolved, 10), Some((Resolved, 10, 30)), 40, Some(Reason::AlreadyTold));
    }

    #[test]
    fn what_was_given_up_is_tried_again_after_the_interval_or_when_it_changes() {
        let receiver = receiver(true, &[]);
        let refused_at = |status, start, now| {
            let mut candidate = candidate(status, start, Some((Firing, 10, 20)));
            if let Some(told) = &mut candidate.told {
                (told.result, told.sent) = (DeliveryResult::Failed, None);
            }
            let round = Round {
                receiver: &receiver,
                now: Timestamp(now),
                repeat_interval: HOUR,
                silences: &[],
            };
            refuse(&candidate, &round)
        };
        assert_eq!(refused_at(Firing, 10, 21), Some(Reason::GivenUp));
        assert_eq!(refused_at(Firing, 10, 20 + 3_600_000), None);
        assert_eq!(refused_at(Firing, 25, 30), None);
        assert_eq!(refused_at(Resolved, 10, 2_000), Some(Reason::EndedUntold));
    }

    #[test]
    fn an_alert_that_fires_again_is_told_again() {
        check((Firing, 10), Some((Resolved, 10, 20)), 30, None);
        check((Firing, 25), Some((Firing, 10, 20)), 30, None);
    }

    #[test]
    fn an_earlier_start_from_another_sender_is_no_news() {
        check((Firing, 5), Some((Firing, 10, 20)), 30, Some(Reason::AlreadyTold));
    }
}
