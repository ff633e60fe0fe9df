//! When a group is evaluated: slots are the multiples of its interval plus a fixed offset of its own. Pure.
//!
//! The offset spreads the groups over the interval and depends on their names only, so that the moments of
//! evaluation are the same before and after a restart and on every judge.

use std::time::Duration;

use model::Timestamp;
use xxhash_rust::xxh3::xxh3_64;

/// The slots of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slots {
    interval: Duration,
    offset: Duration,
}

/// A slot whose time has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Due {
    /// The moment to evaluate at.
    pub(crate) slot: Timestamp,
    /// Slots that passed since the last evaluation without one. They are counted, never made up for.
    pub(crate) missed: u64,
}

impl Slots {
    /// The slots of the group with this identity (`file;name`). Intervals below a millisecond count as one.
    pub(crate) fn new(identity: &str, interval: Duration) -> Self {
        let interval = interval.max(Duration::from_millis(1));
        let millis = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX);
        Self { interval, offset: Duration::from_millis(xxh3_64(identity.as_bytes()) % millis) }
    }

    /// The last slot that is not after `now`.
    pub(crate) fn last(self, now: Timestamp) -> Timestamp {
        now.minus(self.offset).slot(self.interval).plus(self.offset)
    }

    /// The first slot after `now`.
    pub(crate) fn next(self, now: Timestamp) -> Timestamp {
        self.last(now).plus(self.interval)
    }

    /// The slot to evaluate now, when the last evaluation was at `evaluated`. When the clock was set back by
    /// more than an interval the slots go on from there, instead of waiting until the clock caught up.
    pub(crate) fn due(self, evaluated: Timestamp, now: Timestamp) -> Option<Due> {
        let slot = self.last(now);
        if slot > evaluated {
            let passed = slot.since(evaluated).as_millis() / self.interval.as_millis();
            let missed = u64::try_from(passed).unwrap_or(u64::MAX).saturating_sub(1);
            return Some(Due { slot, missed });
        }
        (evaluated.since(slot) > self.interval).then_some(Due { slot, missed: 0 })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn due(evaluated: i64, now: i64) -> Option<(i64, u64)> {
        let slots = Slots { interval: MINUTE, offset: Duration::from_secs(7) };
        slots
            .due(Timestamp::from_seconds(evaluated), Timestamp::from_seconds(now))
            .map(|due| (due.slot.seconds(), due.missed))
    }

    #[test]
    fn a_slot_is_due_once() {
        assert_eq!(due(7, 66), None);
        assert_eq!(due(7, 67), Some((67, 0)));
        assert_eq!(due(67, 100), None);
    }

    #[test]
    fn missed_slots_are_counted_and_not_made_up_for() {
        assert_eq!(due(7, 250), Some((247, 3)));
    }

    #[test]
    fn a_clock_set_back_does_not_stop_the_rules() {
        assert_eq!(due(6007, 5990), None, "less than an interval: wait");
        assert_eq!(due(6007, 100), Some((67, 0)));
    }

    #[test]
    fn groups_are_spread_and_keep_their_place() {
        let offsets: Vec<_> =
            (0..60).map(|i| Slots::new(&format!("f;{i}"), MINUTE).offset.as_secs() / 10).collect();
        for tenth in 0..6 {
            assert!(
                offsets.contains(&tenth),
                "no group of sixty begins in the {tenth}. ten seconds"
            );
        }
        assert_eq!(Slots::new("f;1", MINUTE), Slots::new("f;1", MINUTE));
    }

    proptest! {
        #[test]
        fn slots_are_one_interval_apart_around_now(
            now in -1_000_000i64..2_000_000_000_000,
            interval in 0u64..100_000,
        ) {
            let slots = Slots::new("rules.yml;group", Duration::from_millis(interval));
            let (last, next) = (slots.last(Timestamp(now)), slots.next(Timestamp(now)));
            prop_assert!(last <= Timestamp(now) && Timestamp(now) < next);
            prop_assert_eq!(slots.last(next), next);
            prop_assert_eq!(slots.due(last, Timestamp(now)), None);
        }
    }
}
