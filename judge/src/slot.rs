//! When a group is evaluated: slots are the multiples of its interval plus a fixed offset. Pure.
//!
//! The offset depends on the interval only (docs/adr/0007): groups of one interval look at the same moments,
//! so that rules of one shape share what they read, and the moments are the same before and after a restart
//! and on every judge.

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
    /// The slots of groups of this interval. Intervals below a millisecond count as one.
    pub(crate) fn new(interval: Duration) -> Self {
        let interval = interval.max(Duration::from_millis(1));
        let millis = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX);
        Self { interval, offset: Duration::from_millis(xxh3_64(&millis.to_be_bytes()) % millis) }
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
    const OFFSET_OF_15S: u64 = 10_098;

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
    fn intervals_are_spread_and_each_keeps_its_place() {
        let seconds = |count: u64| Slots::new(Duration::from_secs(count));
        let phases: std::collections::BTreeSet<u128> =
            (10..40).map(|n| seconds(n).offset.as_millis() * 10 / (u128::from(n) * 1000)).collect();
        assert!(phases.len() > 6, "thirty intervals begin in these tenths of theirs: {phases:?}");
        assert_eq!(seconds(60), seconds(60));
        assert_eq!(
            seconds(15).offset,
            Duration::from_millis(OFFSET_OF_15S),
            "a restart must not move it"
        );
    }

    proptest! {
        #[test]
        fn slots_are_one_interval_apart_around_now(
            now in -1_000_000i64..2_000_000_000_000,
            interval in 0u64..100_000,
        ) {
            let slots = Slots::new(Duration::from_millis(interval));
            let (last, next) = (slots.last(Timestamp(now)), slots.next(Timestamp(now)));
            prop_assert!(last <= Timestamp(now) && Timestamp(now) < next);
            prop_assert_eq!(slots.last(next), next);
            prop_assert_eq!(slots.due(last, Timestamp(now)), None);
        }
    }
}
