//! How often phones ring for one person: a storm is one call with "and n more", and not a night of calls. Pure.

use std::collections::VecDeque;
use std::time::Duration;

use model::Timestamp;

/// Between two calls.
const APART: Duration = Duration::from_secs(180);
const HOUR: Duration = Duration::from_secs(3600);
/// Calls within any hour.
const PER_HOUR: usize = 10;

/// The latest calls to a person.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Calls {
    made: VecDeque<Timestamp>,
}

impl Calls {
    /// When the next one may be made; in the past for at once.
    pub fn ready_at(&self) -> Timestamp {
        let after_last = self.made.back().map(|at| at.plus(APART));
        let oldest = self.made.len().checked_sub(PER_HOUR).and_then(|n| self.made.get(n));
        let in_hour = oldest.map(|at| at.plus(HOUR));
        after_last.max(in_hour).unwrap_or(Timestamp::MIN)
    }

    /// One was begun; what was noted before is not noted twice.
    pub fn note(&mut self, at: Timestamp) {
        let place = self.made.partition_point(|made| *made < at);
        if self.made.get(place) != Some(&at) {
            self.made.insert(place, at);
        }
        if self.made.len() > PER_HOUR {
            self.made.pop_front();
        }
    }

    /// The one begun at that moment did not ring.
    pub fn take_back(&mut self, at: Timestamp) {
        self.made.retain(|made| *made != at);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn calls_are_three_minutes_apart_and_ten_an_hour() {
        let mut calls = Calls::default();
        assert_eq!(calls.ready_at(), Timestamp::MIN);
        let start = Timestamp(1_000_000);
        for n in 0..10 {
            let at = start.plus(APART * n);
            assert!(calls.ready_at() <= at, "call {n}");
            calls.note(at);
        }
        assert_eq!(calls.ready_at(), start.plus(HOUR), "the eleventh waits for the hour");
        calls.note(start.plus(HOUR));
        assert_eq!(calls.ready_at(), start.plus(HOUR + APART));
    }

    #[test]
    fn what_did_not_ring_does_not_count_and_what_is_noted_twice_counts_once() {
        let mut calls = Calls::default();
        calls.note(Timestamp(5));
        calls.note(Timestamp(9));
        calls.take_back(Timestamp(9));
        calls.note(Timestamp(5));
        assert_eq!(calls.ready_at(), Timestamp(5).plus(APART));
        calls.take_back(Timestamp(5));
        assert_eq!(calls, Calls::default());
    }

    proptest! {
        #[test]
        fn no_hour_has_more_than_ten(waits in prop::collection::vec(0u64..600, 1..200)) {
            let (mut calls, mut now, mut made) = (Calls::default(), Timestamp(0), Vec::new());
            for wait in waits {
                now = now.plus(Duration::from_secs(wait));
                if calls.ready_at() <= now {
                    calls.note(now);
                    made.push(now);
                }
            }
            for (n, at) in made.iter().enumerate() {
                let within = made[n..].iter().filter(|later| later.since(*at) < HOUR).count();
                prop_assert!(within <= PER_HOUR);
                if let Some(next) = made.get(n + 1) {
                    prop_assert!(next.since(*at) >= APART);
                }
            }
        }
    }
}
