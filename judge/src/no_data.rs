//! Series that a rule saw and that are gone: kept apart from those that are merely below a threshold. Pure.
//!
//! An extension of ours, for rules with `no_data: alert`. Every series that the rule reads is remembered from
//! the first time it is seen; one that is missing from then on is an alert of its own until it is back, or
//! until [`FORGET_AFTER`].

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::{Labels, Timestamp};
use serde::{Deserialize, Serialize};

/// Series that one rule may watch; more are not watched, and the rule says so.
pub(crate) const WATCHED_MAX: usize = 50_000;
/// A series that is gone for so long is gone for good, as in Open-Falcon.
pub(crate) const FORGET_AFTER: Duration = Duration::from_secs(7 * 24 * 3600);

/// The series that a rule saw, by the labels that tell its elements apart.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Watched(Vec<(Labels, Watch)>);

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Watch {
    /// It was there at the last look.
    There,
    /// It was first missed then.
    Missing(Timestamp),
}

/// What came of a look.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Look {
    /// Something changed that must be stored.
    pub(crate) is_changed: bool,
    /// Series that are not watched, as there are too many.
    pub(crate) refused: usize,
}

impl Watched {
    /// Notes what is there now. While the rule settles after a gap nothing becomes missing: senders may still
    /// be delivering what they kept.
    pub(crate) fn look(
        &mut self,
        present: &BTreeSet<Labels>,
        now: Timestamp,
        is_settling: bool,
    ) -> Look {
        let mut look = Look::default();
        let mut known: BTreeMap<Labels, Watch> = std::mem::take(&mut self.0).into_iter().collect();
        known.retain(|labels, watch| {
            let next = match *watch {
                _ if present.contains(labels) => Watch::There,
                Watch::There if is_settling => Watch::There,
                Watch::There => Watch::Missing(now),
                // The clock may have been set back.
                Watch::Missing(since) => Watch::Missing(since.min(now)),
            };
            look.is_changed |= next != *watch;
            *watch = next;
            let stays = !matches!(next, Watch::Missing(since) if now.since(since) > FORGET_AFTER);
            look.is_changed |= !stays;
            stays
        });
        for labels in present {
            if known.contains_key(labels) {
                continue;
            }
            if known.len() >= WATCHED_MAX {
                look.refused += 1;
                continue;
            }
            known.insert(labels.clone(), Watch::There);
            look.is_changed = true;
        }
        self.0 = known.into_iter().collect();
        look
    }

    /// The series that are missing, and since when.
    pub(crate) fn missing(&self) -> impl Iterator<Item = (&Labels, Timestamp)> {
        self.0.iter().filter_map(|(labels, watch)| match watch {
            Watch::There => None,
            Watch::Missing(since) => Some((labels, *since)),
        })
    }

    /// Whether nothing is watched.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str) -> Labels {
        Labels::from_pairs([("endpoint", name)])
    }

    /// One word a minute: the hosts that are there. The hosts that are missing after each.
    fn check(minutes: &[&str], missing: &[&str]) {
        let mut watched = Watched::default();
        for (minute, (there, expected)) in minutes.iter().zip(missing).enumerate() {
            let present = there.chars().map(|name| host(&name.to_string())).collect();
            watched.look(&present, Timestamp::from_seconds(60 * minute as i64), false);
            let found: String =
                watched.missing().filter_map(|(labels, _)| labels.get("endpoint")).collect();
            assert_eq!(found, *expected, "minute {minute} of {minutes:?}");
        }
    }

    #[test]
    fn a_series_is_missed_from_the_first_time_it_was_seen_until_it_is_back() {
        check(&["", "ab", "a", "", "b", "ab"], &["", "", "b", "ab", "a", ""]);
    }

    #[test]
    fn after_a_gap_nothing_becomes_missing_until_data_had_time_to_return() {
        let mut watched = Watched::default();
        watched.look(&BTreeSet::from([host("a")]), Timestamp(0), false);
        watched.look(&BTreeSet::new(), Timestamp(60_000), true);
        assert_eq!(watched.missing().count(), 0);
        watched.look(&BTreeSet::new(), Timestamp(120_000), false);
        assert_eq!(watched.missing().count(), 1);
        watched.look(&BTreeSet::new(), Timestamp(180_000), true);
        assert_eq!(watched.missing().count(), 1, "what was missed before stays missed");
    }

    #[test]
    fn only_what_must_be_stored_is_a_change() {
        let mut watched = Watched::default();
        let there = BTreeSet::from([host("a")]);
        let mut look = |present: &BTreeSet<Labels>, minute: i64| {
            watched.look(present, Timestamp::from_seconds(60 * minute), false).is_changed
        };
        let gone = BTreeSet::new();
        let found = [(&there, 0), (&there, 1), (&gone, 2), (&gone, 3), (&there, 4)]
            .map(|(present, minute)| look(present, minute));
        assert_eq!(found, [true, false, true, false, true]);
    }

    #[test]
    fn what_is_gone_for_a_week_is_gone_for_good() {
        let mut watched = Watched::default();
        watched.look(&BTreeSet::from([host("a")]), Timestamp(0), false);
        watched.look(&BTreeSet::new(), Timestamp(60_000), false);
        let week = Timestamp(60_000).plus(FORGET_AFTER);
        watched.look(&BTreeSet::new(), week, false);
        assert_eq!(watched.missing().count(), 1);
        assert!(
            watched.look(&BTreeSet::new(), week.plus(Duration::from_secs(1)), false).is_changed
        );
        assert!(watched.is_empty());
    }

    #[test]
    fn more_series_than_a_rule_may_watch_are_told() {
        let present = (0..WATCHED_MAX + 3).map(|name| host(&name.to_string())).collect();
        assert_eq!(Watched::default().look(&present, Timestamp(0), false).refused, 3);
    }

    #[test]
    fn what_is_watched_survives_a_restart() {
        let mut watched = Watched::default();
        watched.look(&BTreeSet::from([host("a"), host("b")]), Timestamp(0), false);
        watched.look(&BTreeSet::from([host("b")]), Timestamp(60_000), false);
        let text = serde_json::to_string(&watched).expect("plain data");
        assert_eq!(serde_json::from_str::<Watched>(&text).expect("just written"), watched);
    }
}
