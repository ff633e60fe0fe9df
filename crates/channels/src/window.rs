//! How much a bot may send now. A window that slides over the last minute, because a bucket that refills lets
//! through nearly twice its size in an unlucky minute.

use std::collections::{VecDeque, vec_deque};
use std::time::Duration;

use model::Timestamp;

use crate::calls::Calls;
use crate::channel::Limits;
use crate::message::Urgency;

// A little longer than theirs: what we send within a minute may arrive within less.
pub(crate) const MINUTE: Duration = Duration::from_millis(61_000);
const SECOND: Duration = Duration::from_millis(1_050);

/// What a bot sent of late, and until when it must rest.
#[derive(Debug, Clone, Default)]
pub struct Window {
    /// Calls to a person, in the window that is the person's.
    pub calls: Calls,
    sent: VecDeque<Timestamp>,
    rests_until: Timestamp,
}

impl Window {
    /// When the bot may send the next message; `now` or earlier means at once.
    pub fn ready_at(&self, limits: Limits, urgency: Urgency) -> Timestamp {
        let minute = self.free_at(per_minute(limits, urgency), MINUTE);
        let second = self.free_at(limits.per_second, SECOND);
        minute.max(second).max(self.rests_until)
    }

    /// How many messages of this urgency it can take within the next minute.
    pub fn room(&self, limits: Limits, urgency: Urgency, now: Timestamp) -> usize {
        if self.rests_until > now.plus(MINUTE) {
            return 0;
        }
        match per_minute(limits, urgency) {
            0 if limits.per_minute == 0 => usize::MAX,
            most => usize::try_from(most).unwrap_or(usize::MAX),
        }
    }

    /// A message goes out now.
    pub fn take(&mut self, limits: Limits, now: Timestamp) {
        while self.sent.front().is_some_and(|at| at.plus(MINUTE) <= now) {
            self.sent.pop_front();
        }
        let most = limits.per_minute.max(limits.per_second);
        if most > 0 {
            self.sent.push_back(now);
        }
    }

    /// The platform said that it was too much.
    pub fn rest(&mut self, until: Timestamp) {
        self.rests_until = self.rests_until.max(until);
    }

    /// Until when it rests; in the past when it does not.
    pub fn rests_until(&self) -> Timestamp {
        self.rests_until
    }

    /// When those were sent that count now, the oldest first.
    pub(crate) fn counting(&self, now: Timestamp) -> vec_deque::Iter<'_, Timestamp> {
        let over = self.sent.partition_point(|at| at.plus(MINUTE) <= now);
        self.sent.range(over..)
    }

    fn free_at(&self, most: u32, span: Duration) -> Timestamp {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        if most == 0 || self.sent.len() < most {
            return Timestamp::MIN;
        }
        self.sent[self.sent.len() - most].plus(span)
    }
}

fn per_minute(limits: Limits, urgency: Urgency) -> u32 {
    match urgency {
        Urgency::Urgent => limits.per_minute,
        Urgency::Normal => limits.per_minute - reserve(limits),
    }
}

/// What is kept for urgent messages. Half at most where there are others too, as with text messages: without a share
/// of their own they would have no limit at all.
pub(crate) fn reserve(limits: Limits) -> u32 {
    limits.reserved_per_minute.min(limits.per_minute / 2)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: Limits =
        Limits { per_minute: 18, per_second: 0, reserved_per_minute: 6, text_bytes_max: 1 };

    #[test]
    fn urgent_messages_have_a_share_to_themselves() {
        let mut window = Window::default();
        let now = Timestamp(1_000_000);
        for _ in 0..12 {
            assert!(window.ready_at(LIMITS, Urgency::Normal) <= now);
            window.take(LIMITS, now);
        }
        assert_eq!(window.ready_at(LIMITS, Urgency::Normal), now.plus(MINUTE));
        for _ in 0..6 {
            assert!(window.ready_at(LIMITS, Urgency::Urgent) <= now);
            window.take(LIMITS, now);
        }
        assert_eq!(window.ready_at(LIMITS, Urgency::Urgent), now.plus(MINUTE));
    }

    #[test]
    fn others_have_a_limit_also_where_all_of_it_is_for_urgent_messages() {
        let all = Limits { reserved_per_minute: 18, ..LIMITS };
        let (mut window, now) = (Window::default(), Timestamp(1_000_000));
        assert_eq!(window.room(all, Urgency::Normal, now), 9);
        (0..9).for_each(|_| window.take(all, now));
        assert_eq!(window.ready_at(all, Urgency::Normal), now.plus(MINUTE));
        assert!(window.ready_at(all, Urgency::Urgent) <= now);
    }

    #[test]
    fn a_bot_that_sent_too_much_rests() {
        let mut window = Window::default();
        window.rest(Timestamp(700_000));
        assert_eq!(window.ready_at(LIMITS, Urgency::Urgent), Timestamp(700_000));
        window.rest(Timestamp(1));
        assert_eq!(window.rests_until(), Timestamp(700_000), "no answer shortens a rest");
        assert_eq!(window.room(LIMITS, Urgency::Normal, Timestamp(0)), 0);
        assert_eq!(window.room(LIMITS, Urgency::Normal, Timestamp(690_000)), 12);
    }

    #[test]
    fn without_limits_there_is_always_room() {
        let mut window = Window::default();
        for _ in 0..1_000 {
            window.take(Limits::none(1), Timestamp(5));
        }
        assert!(window.ready_at(Limits::none(1), Urgency::Normal) <= Timestamp(5));
        assert_eq!(window.room(Limits::none(1), Urgency::Normal, Timestamp(5)), usize::MAX);
    }

    proptest! {
        #[test]
        fn no_minute_sees_more_than_the_limit(waits in prop::collection::vec(0u64..20_000, 1..300)) {
            let (mut window, mut now, mut sent) = (Window::default(), Timestamp(0), Vec::new());
            for wait in waits {
                now = now.plus(Duration::from_millis(wait));
                let urgency = if wait % 3 == 0 { Urgency::Urgent } else { Urgency::Normal };
                if window.ready_at(LIMITS, urgency) <= now {
                    window.take(LIMITS, now);
                    sent.push(now.0);
                }
            }
            for from in &sent {
                prop_assert!(sent.iter().filter(|at| (*from..from + 60_000).contains(at)).count() <= 18);
            }
        }
    }
}
