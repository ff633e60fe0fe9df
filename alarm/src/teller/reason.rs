//! Why a message about a group is sent, as Alertmanager names it. Pure.

use db::alerts::AlertStatus;
use wire::alert::NotificationReason;

use crate::pipeline::Candidate;

/// Why these alerts of a group are told now, while `left_out` others fire of which the receiver knows.
pub(super) fn reason_of(kept: &[Candidate], left_out: u64) -> NotificationReason {
    let fires = |one: &&Candidate| one.alert.status != AlertStatus::Resolved;
    if kept.iter().filter(fires).any(|one| !is_known(one)) {
        return match left_out == 0 && !kept.iter().any(is_known) {
            true => NotificationReason::First,
            false => NotificationReason::Added,
        };
    }
    let (going_on, all) = (kept.iter().filter(fires).count(), kept.len());
    match (going_on == all, left_out > 0 || going_on > 0) {
        (true, _) => NotificationReason::Repeated,
        (false, true) => NotificationReason::SomeResolved,
        (false, false) => NotificationReason::AllResolved,
    }
}

/// Whether the receiver was told that this incident fires, and of no end.
fn is_known(candidate: &Candidate) -> bool {
    let sent = candidate.told.as_ref().and_then(|told| told.sent.as_ref());
    sent.is_some_and(|sent| {
        sent.status == AlertStatus::Firing && candidate.alert.alert.starts_at <= sent.starts_at
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::tests::candidate;
    use AlertStatus::{Firing, Resolved};
    use NotificationReason::{Added, AllResolved, First, Repeated, SomeResolved};

    /// What was told last: status, start, moment.
    type ToldLast = Option<(AlertStatus, i64, i64)>;

    const KNOWN: ToldLast = Some((Firing, 10, 100));

    fn check(kept: &[(AlertStatus, ToldLast)], left_out: u64, expected: NotificationReason) {
        let kept: Vec<Candidate> =
            kept.iter().map(|(status, told)| candidate(*status, 10, *told)).collect();
        assert_eq!(reason_of(&kept, left_out), expected);
    }

    #[test]
    fn the_first_message_of_a_group_is_so_until_all_of_it_ended() {
        check(&[(Firing, None), (Firing, None)], 0, First);
        check(&[(Firing, Some((Resolved, 5, 100)))], 0, First);
        check(&[(Firing, Some((Firing, 5, 100)))], 0, First);
    }

    #[test]
    fn what_joins_others_is_added_though_others_end() {
        check(&[(Firing, None), (Firing, KNOWN)], 0, Added);
        check(&[(Firing, None)], 3, Added);
        check(&[(Firing, None), (Resolved, KNOWN)], 0, Added);
    }

    #[test]
    fn ends_are_some_or_all() {
        check(&[(Resolved, KNOWN), (Firing, KNOWN)], 0, SomeResolved);
        check(&[(Resolved, KNOWN)], 1, SomeResolved);
        check(&[(Resolved, KNOWN), (Resolved, KNOWN)], 0, AllResolved);
    }

    #[test]
    fn what_brings_no_news_is_a_repeat() {
        check(&[(Firing, KNOWN), (Firing, KNOWN)], 0, Repeated);
        check(&[(Firing, KNOWN)], 2, Repeated);
    }
}
