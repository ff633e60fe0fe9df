//! How urgent messages share what their bots may still send, so that none waits for long, whatever storms. Pure.
//!
//! Left to themselves, urgent messages of a storm would use up a minute's share within seconds, and the next one
//! would wait for the rest of the minute. So a part is kept back: as many as it takes for one message every gap
//! until messages that were sent earlier count no more.

use std::time::Duration;

use model::Timestamp;

use crate::channel::Limits;
use crate::window::{MINUTE, Window, reserve};

/// How urgent messages may go. Whatever storms, one may go within a minute divided by half of what the bots
/// reserve: with two robots that reserve 6 each, within 11 seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// As many may go at once.
    pub at_once: usize,
    /// When one may go, if none may now.
    pub next_at: Timestamp,
}

impl Pace {
    /// As many as there are: where there is no limit a minute, nothing is to be shared.
    pub const FREE: Self = Self { at_once: usize::MAX, next_at: Timestamp::MIN };

    /// For messages that any of these bots may send. A bot that rests does not count.
    pub fn of<'a>(bots: impl IntoIterator<Item = (&'a Window, Limits)>, now: Timestamp) -> Self {
        let (mut left, mut frees, mut last) = (0, Vec::new(), Timestamp::MIN);
        let (mut reserved, mut least) = (0, usize::MAX);
        for (window, limits) in bots {
            if limits.per_minute == 0 {
                return Self::FREE;
            }
            if window.rests_until() > now {
                continue;
            }
            let (most, used) = (size(limits.per_minute), window.counting(now));
            left += most.saturating_sub(used.len());
            last = used.clone().next_back().map_or(last, |at| last.max(*at));
            let surplus = used.len().saturating_sub(most);
            frees.extend(used.skip(surplus).map(|at| at.plus(MINUTE)));
            let reserve = size(reserve(limits));
            (reserved, least) = (reserved + reserve, least.min(reserve));
        }
        frees.sort_unstable();
        // A message that is not urgent leaves at least one bot with its reserve, so no more may be counted on.
        let steps = (reserved / 2).min(least).max(1);
        Shares { left, frees, last, steps }.pace(now)
    }
}

/// What several bots have together.
struct Shares {
    /// As many messages may go now.
    left: usize,
    /// When those that were sent count no more, the earliest first.
    frees: Vec<Timestamp>,
    /// When the latest one was sent.
    last: Timestamp,
    /// Messages that must be possible within any minute, one every gap.
    steps: usize,
}

impl Shares {
    fn pace(&self, now: Timestamp) -> Pace {
        let short = |step: usize| {
            let by_then = now.plus(self.gaps(step));
            step.saturating_sub(self.frees.partition_point(|at| *at <= by_then))
        };
        let kept = (1..self.steps).map(short).max().unwrap_or(0);
        let at_once = self.left.saturating_sub(kept);
        if at_once > 0 {
            return Pace { at_once, next_at: now };
        }
        // The moment from which on there is one for every step after it, and one for itself.
        let nth = |step: usize| step.checked_sub(self.left).and_then(|at| self.frees.get(at));
        let from = |step: usize| Some(nth(step)?.minus(self.gaps(step)));
        let paced = (0..self.steps).filter_map(from).max().unwrap_or(now);
        // What retries used up beyond the pace must not stretch it without end.
        let first = nth(0).copied().unwrap_or(now);
        let next_at = paced.min(self.last.plus(self.gaps(2))).max(first);
        Pace { at_once: usize::from(next_at <= now), next_at }
    }

    fn gaps(&self, count: usize) -> Duration {
        let steps = u32::try_from(self.steps).unwrap_or(u32::MAX);
        MINUTE * u32::try_from(count).unwrap_or(u32::MAX) / steps
    }
}

fn size(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::message::Urgency;

    const ROBOT: Limits =
        Limits { per_minute: 18, per_second: 0, reserved_per_minute: 6, text_bytes_max: 1 };
    const START: Timestamp = Timestamp(1_000_000);

    fn at(seconds: u64) -> Timestamp {
        START.plus(Duration::from_secs(seconds))
    }

    fn of(windows: &[Window], limits: Limits, now: Timestamp) -> Pace {
        Pace::of(windows.iter().map(|window| (window, limits)), now)
    }

    /// Robots that sent so many at the start.
    fn robots<const N: usize>(sent: [usize; N]) -> [Window; N] {
        sent.map(|count| {
            let mut window = Window::default();
            (0..count).for_each(|_| window.take(ROBOT, START));
            window
        })
    }

    #[test]
    fn idle_robots_take_a_storm_at_once_but_for_one_message_every_ten_seconds() {
        assert_eq!(of(&robots([0, 0]), ROBOT, START).at_once, 31);
        assert_eq!(of(&robots([0]), ROBOT, START).at_once, 16);
        assert_eq!(of(&robots([12, 12]), ROBOT, START).at_once, 7, "after a storm of others");
    }

    #[test]
    fn what_is_kept_back_goes_one_message_every_gap_until_others_count_no_more() {
        let mut robots = robots([18, 13]);
        let mut sent = Vec::new();
        for _ in 0..5 {
            let pace = of(&robots, ROBOT, sent.last().copied().unwrap_or(START));
            assert_eq!(pace.at_once, 0);
            assert_eq!(of(&robots, ROBOT, pace.next_at).at_once, 1, "as it said");
            robots[1].take(ROBOT, pace.next_at);
            sent.push(pace.next_at);
        }
        let waits: Vec<u128> = sent.iter().map(|at| at.since(START).as_millis()).collect();
        assert_eq!(waits, [10_167, 20_334, 30_500, 40_667, 50_834]);
        assert_eq!(of(&robots, ROBOT, sent[4]).next_at, START.plus(MINUTE));
        assert_eq!(of(&robots, ROBOT, START.plus(MINUTE)).at_once, 30);
    }

    #[test]
    fn a_robot_alone_sends_every_twenty_seconds_and_so_does_one_whose_fellow_rests() {
        let mut both = robots([16, 0]);
        let alone = of(&both[..1], ROBOT, START);
        assert_eq!((alone.at_once, alone.next_at), (0, START.plus(Duration::from_millis(20_334))));
        both[1].rest(at(600));
        assert_eq!(of(&both, ROBOT, START), alone);
        assert_eq!(of(&both, ROBOT, at(600)).at_once, 31, "it is back");
    }

    #[test]
    fn bots_without_a_limit_a_minute_or_without_a_reserve_are_not_paced() {
        let per_second = Limits { per_second: 2, ..Limits::none(1) };
        assert_eq!(of(&robots([18, 18]), per_second, START), Pace::FREE);
        let windows = robots([18, 18]);
        let mixed = [(&windows[0], ROBOT), (&windows[1], Limits::none(1))];
        assert_eq!(Pace::of(mixed, START), Pace::FREE, "the other one takes it");
        let unreserved = Limits { reserved_per_minute: 0, ..ROBOT };
        assert_eq!(of(&robots([17, 17]), unreserved, START).at_once, 2);
        assert_eq!(of(&robots([18, 18]), unreserved, START).next_at, START.plus(MINUTE));
    }

    #[test]
    fn what_was_used_up_beyond_the_pace_stretches_it_to_two_gaps() {
        // One is left, and the next counts for another fifty seconds.
        let mut robots = robots([0, 0]);
        (0..18).for_each(|_| robots[0].take(ROBOT, at(10)));
        (0..17).for_each(|_| robots[1].take(ROBOT, at(10)));
        assert_eq!(of(&robots, ROBOT, at(10)).next_at, at(10).plus(Duration::from_millis(20_333)));
        assert_eq!(of(&robots, ROBOT, at(31)).at_once, 1);
    }

    proptest! {
        #[test]
        fn whenever_nothing_may_go_something_may_at_the_moment_that_was_named(
            sent in prop::collection::vec((0u64..2, 0u64..4_000), 0..80),
            rests in prop::option::of(0u64..90_000),
            reserved_per_minute in 0u32..20,
            later in 0u64..70_000,
        ) {
            let limits = Limits { reserved_per_minute, ..ROBOT };
            let (mut windows, mut now) = (robots([0, 0]), START);
            for (robot, wait) in sent {
                now = now.plus(Duration::from_millis(wait));
                let window = &mut windows[usize::from(robot == 1)];
                if window.ready_at(limits, Urgency::Urgent) <= now {
                    window.take(limits, now);
                }
            }
            if let Some(rests) = rests {
                windows[0].rest(START.plus(Duration::from_millis(rests)));
            }
            now = now.plus(Duration::from_millis(later));
            let pace = of(&windows, limits, now);
            if pace.at_once == 0 {
                prop_assert!(now < pace.next_at && pace.next_at <= now.plus(MINUTE));
                prop_assert!(of(&windows, limits, pace.next_at).at_once > 0);
            }
        }
    }
}
