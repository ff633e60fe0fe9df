//! What becomes of a stored alert when news of it arrives, and what a lease that ran out means. Pure.
//!
//! The rules are Alertmanager's (overlap merges, earliest start stays, younger texts win) with one
//! difference: an end that was only a lease and passed in silence makes the alert *stale*, never resolved.
//! Only a sender can resolve.

use db::alerts::{AlertStatus, EventKind, StoredAlert};
use model::{Alert, Timestamp};
use wire::alert::Accepted;

use crate::severity::Severity;

/// The alert to store, and what happened to it if anything did.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Merged {
    /// The new current state.
    pub(crate) stored: StoredAlert,
    /// The transition, for the history and the receivers. `None` for a mere refresh.
    pub(crate) transition: Option<EventKind>,
}

/// Merges news into what is stored under the same fingerprint.
pub(crate) fn merge(old: Option<&StoredAlert>, news: Accepted, now: Timestamp) -> Merged {
    let status =
        if news.alert.is_resolved_at(now) { AlertStatus::Resolved } else { AlertStatus::Firing };
    let priority = Severity::of(&news.alert.labels).rank();
    let ends_by_timeout = news.end_is_timeout;
    let mut stored =
        StoredAlert { alert: news.alert, status, priority, updated_at: now, ends_by_timeout };
    let Some(old) = old else {
        // A resolve for an alert nobody ever heard of is kept, but it is not something that happened here.
        let transition = (status == AlertStatus::Firing).then_some(EventKind::Firing);
        return Merged { stored, transition };
    };
    if overlaps(&old.alert, &stored.alert) {
        stored.alert.starts_at = stored.alert.starts_at.min(old.alert.starts_at);
        keep_later_end(old, &mut stored);
    }
    let transition = transition(old, &stored);
    Merged { stored, transition }
}

/// What becomes of a firing alert whose lease ran out without news. Its latest news stays what it was.
pub(crate) fn expire(firing: StoredAlert) -> StoredAlert {
    StoredAlert { status: AlertStatus::Stale, ..firing }
}

fn overlaps(old: &Alert, new: &Alert) -> bool {
    let inside = |moment: Timestamp| moment > old.starts_at && moment < old.ends_at;
    inside(new.ends_at) || inside(new.starts_at)
}

fn keep_later_end(old: &StoredAlert, new: &mut StoredAlert) {
    let old_end_is_later = old.alert.ends_at > new.alert.ends_at;
    let old_end_counts = match (old.status, new.status) {
        (AlertStatus::Resolved, AlertStatus::Resolved) => true,
        (AlertStatus::Firing, AlertStatus::Firing) => !old.ends_by_timeout,
        _ => false,
    };
    if old_end_is_later && old_end_counts {
        new.alert.ends_at = old.alert.ends_at;
        new.ends_by_timeout = old.ends_by_timeout;
    }
}

fn transition(old: &StoredAlert, new: &StoredAlert) -> Option<EventKind> {
    // The same start, or an earlier one told by a second sender, is the same incident; a later start is a new
    // one.
    let same_incident = new.alert.starts_at <= old.alert.starts_at;
    match (old.status, new.status) {
        (AlertStatus::Firing, AlertStatus::Firing) if same_incident => None,
        (AlertStatus::Stale, AlertStatus::Firing) if same_incident => Some(EventKind::Renewed),
        (_, AlertStatus::Firing) => Some(EventKind::Firing),
        (AlertStatus::Resolved, AlertStatus::Resolved) => None,
        (_, AlertStatus::Resolved) => Some(EventKind::Resolved),
        (_, AlertStatus::Stale) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use model::Labels;
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp(1_000);

    fn news(starts: i64, ends: i64) -> Accepted {
        let alert = Alert {
            labels: Labels::from_pairs([("alertname", "disk full")]),
            annotations: BTreeMap::from([("summary".to_owned(), format!("{starts}-{ends}"))]),
            starts_at: Timestamp(starts),
            ends_at: Timestamp(ends),
            generator_url: String::new(),
        };
        Accepted { alert, end_is_timeout: false }
    }

    fn stored(starts: i64, ends: i64) -> StoredAlert {
        merge(None, news(starts, ends), NOW).stored
    }

    fn check(old: StoredAlert, new: Accepted, expected: (i64, i64, Option<EventKind>)) {
        let merged = merge(Some(&old), new, NOW);
        let alert = &merged.stored.alert;
        assert_eq!((alert.starts_at.0, alert.ends_at.0, merged.transition), expected);
    }

    #[test]
    fn an_alert_never_seen_before_fires() {
        assert_eq!(merge(None, news(900, 2_000), NOW).transition, Some(EventKind::Firing));
    }

    #[test]
    fn a_resolve_of_an_alert_never_seen_is_kept_but_is_no_event() {
        let merged = merge(None, news(900, 950), NOW);
        assert_eq!(merged.transition, None);
        assert_eq!(merged.stored.status, AlertStatus::Resolved);
    }

    #[test]
    fn a_refresh_changes_the_texts_and_is_no_event() {
        check(stored(900, 2_000), news(900, 3_000), (900, 3_000, None));
        let merged = merge(Some(&stored(900, 2_000)), news(900, 3_000), NOW);
        assert_eq!(merged.stored.alert.annotations["summary"], "900-3000");
    }

    #[test]
    fn the_earliest_start_of_two_senders_stays() {
        check(stored(900, 2_000), news(950, 2_100), (900, 2_100, None));
        check(stored(950, 2_000), news(900, 2_100), (900, 2_100, None));
    }

    #[test]
    fn a_later_lease_of_another_sender_wins_unless_it_was_only_our_timeout() {
        check(stored(900, 5_000), news(900, 2_000), (900, 5_000, None));
        let by_timeout = StoredAlert { ends_by_timeout: true, ..stored(900, 5_000) };
        check(by_timeout, news(900, 2_000), (900, 2_000, None));
    }

    #[test]
    fn a_resolve_ends_the_alert_although_its_lease_ran_longer() {
        check(stored(900, 5_000), news(900, 990), (900, 990, Some(EventKind::Resolved)));
    }

    #[test]
    fn a_second_resolve_keeps_the_later_end() {
        check(stored(500, 900), news(500, 800), (500, 900, None));
    }

    #[test]
    fn a_new_start_after_the_end_is_a_new_incident() {
        check(stored(500, 600), news(990, 2_000), (990, 2_000, Some(EventKind::Firing)));
    }

    #[test]
    fn an_alert_that_comes_back_inside_its_old_range_fires_again_from_its_old_start() {
        check(stored(500, 999), news(700, 2_000), (500, 2_000, Some(EventKind::Firing)));
    }

    #[test]
    fn silence_makes_an_alert_stale_and_not_resolved() {
        let stale = expire(stored(900, 1_001));
        assert_eq!((stale.status, stale.alert.ends_at), (AlertStatus::Stale, Timestamp(1_001)));
    }

    #[test]
    fn news_of_a_stale_alert_renews_it_and_a_resolve_ends_it() {
        let stale = StoredAlert { status: AlertStatus::Stale, ..stored(500, 2_000) };
        check(stale.clone(), news(500, 3_000), (500, 3_000, Some(EventKind::Renewed)));
        check(stale.clone(), news(500, 900), (500, 900, Some(EventKind::Resolved)));
        check(stale, news(2_500, 3_000), (2_500, 3_000, Some(EventKind::Firing)));
    }

    proptest! {
        #[test]
        fn the_same_news_twice_is_an_event_once(
            old in (0i64..2_000, 0i64..2_000), new in (0i64..2_000, 0i64..2_000),
        ) {
            let ends = |(starts, length)| starts + length;
            let first = merge(Some(&stored(old.0, ends(old))), news(new.0, ends(new)), NOW);
            let second = merge(Some(&first.stored), news(new.0, ends(new)), NOW);
            prop_assert_eq!(second.transition, None);
            prop_assert_eq!(second.stored.status, first.stored.status);
        }
    }
}
