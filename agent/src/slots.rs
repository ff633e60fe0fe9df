//! Which moments samples are taken for: multiples of each group's interval on the wall clock, so that the
//! samples of all hosts and of all restarts fall on the same moments. Pure.

use std::time::Duration;

use model::Timestamp;
use xxhash_rust::xxh3::xxh3_64;

/// The next moment after `now` at which any of the intervals has a slot; `None` without intervals.
pub fn next(now: Timestamp, intervals: impl IntoIterator<Item = Duration>) -> Option<Timestamp> {
    intervals.into_iter().map(|interval| now.slot(interval).plus(interval)).min()
}

/// Whether an interval has a slot at this moment.
pub fn is_due(slot: Timestamp, interval: Duration) -> bool {
    slot.slot(interval) == slot
}

/// What to do with a slot when its time has come, or has gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Measure.
    Take,
    /// The clock was set back a little and the slot was measured before: measuring again would give two
    /// values for one moment.
    Repeat,
    /// The host slept or stood still until after the next slot: what is measured now does not belong to this
    /// one.
    Missed,
}

/// Judges `slot` at the time `now`; `last` is the slot measured before, `shortest` the shortest interval.
pub fn judge(
    slot: Timestamp,
    now: Timestamp,
    last: Option<Timestamp>,
    shortest: Duration,
) -> Verdict {
    if now.since(slot) >= shortest {
        return Verdict::Missed;
    }
    // A clock that was set back further is believed: it is the clock the samples live by from now on.
    match last {
        Some(last) if last >= slot && last.since(slot) < shortest => Verdict::Repeat,
        _ => Verdict::Take,
    }
}

/// Slots that nobody measured between two that were.
pub fn missed_between(last: Option<Timestamp>, slot: Timestamp, shortest: Duration) -> u64 {
    let Some(last) = last else { return 0 };
    let steps = slot.since(last).as_millis() / shortest.as_millis().max(1);
    u64::try_from(steps).unwrap_or(u64::MAX).saturating_sub(1)
}

/// The share of `spread` that a host waits after a slot before it sends, by a hash of its name: a fleet whose
/// clocks agree does not send in one moment, and each host keeps its own moment.
pub fn send_offset(host: &str, spread: Duration) -> Duration {
    let hash = xxh3_64(host.as_bytes());
    spread.mul_f64((hash >> 11) as f64 / (1u64 << 53) as f64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TIERS: [Duration; 4] = [
        Duration::from_secs(10),
        Duration::from_secs(30),
        Duration::from_secs(60),
        Duration::from_secs(120),
    ];

    fn seconds(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    #[test]
    fn slots_are_multiples_of_the_interval_on_the_wall_clock() {
        assert_eq!(next(Timestamp(1_760_000_003_500), TIERS), Some(seconds(1_760_000_010)));
        assert_eq!(next(seconds(1_760_000_010), TIERS), Some(seconds(1_760_000_020)));
        assert_eq!(next(seconds(7), [TIERS[1], Duration::from_secs(20)]), Some(seconds(20)));
        assert_eq!(next(seconds(7), []), None);
    }

    #[test]
    fn each_tier_is_due_at_its_own_slots() {
        let due = |at| TIERS.map(|interval| is_due(seconds(at), interval));
        assert_eq!(due(10), [true, false, false, false]);
        assert_eq!(due(30), [true, true, false, false]);
        assert_eq!(due(60), [true, true, true, false]);
        assert_eq!(due(120), [true; 4]);
    }

    #[test]
    fn a_slot_is_taken_once_and_in_time() {
        let judge = |now: i64, last: Option<i64>| {
            judge(seconds(20), Timestamp(now), last.map(seconds), TIERS[0])
        };
        assert_eq!(judge(20_001, None), Verdict::Take);
        assert_eq!(judge(29_999, Some(10)), Verdict::Take);
        assert_eq!(judge(30_000, Some(10)), Verdict::Missed);
        assert_eq!(judge(20_001, Some(20)), Verdict::Repeat);
        assert_eq!(judge(20_001, Some(3600)), Verdict::Take);
    }

    #[test]
    fn slots_that_went_by_are_counted() {
        assert_eq!(missed_between(None, seconds(100), TIERS[0]), 0);
        assert_eq!(missed_between(Some(seconds(90)), seconds(100), TIERS[0]), 0);
        assert_eq!(missed_between(Some(seconds(50)), seconds(100), TIERS[0]), 4);
        assert_eq!(missed_between(Some(seconds(500)), seconds(100), TIERS[0]), 0);
    }

    #[test]
    fn hosts_spread_over_the_whole_span_and_keep_their_place() {
        let spread = Duration::from_secs(2);
        let mut quarters = [0; 4];
        for host in 0..1000 {
            let offset = send_offset(&format!("web-{host:03}"), spread);
            quarters[(offset.as_millis() / 500) as usize] += 1;
        }
        assert!(quarters.iter().all(|hosts| (180..320).contains(hosts)), "{quarters:?}");
        assert_eq!(send_offset("web-01", spread), send_offset("web-01", spread));
        assert_eq!(send_offset("web-01", Duration::ZERO), Duration::ZERO);
    }

    proptest! {
        #[test]
        fn the_next_slot_is_later_and_due_for_somebody(now in 0i64..4_000_000_000_000) {
            let slot = next(Timestamp(now), TIERS).unwrap();
            prop_assert!(slot > Timestamp(now) && slot.since(Timestamp(now)) <= TIERS[0]);
            prop_assert!(TIERS.iter().any(|interval| is_due(slot, *interval)));
        }
    }
}
