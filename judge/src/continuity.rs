//! Gaps in the evaluations of a rule, and the time that data is given to return after one. Pure.

use std::time::Duration;

use model::Timestamp;

use crate::alert_state::Settling;

/// Nobody is said to have looked away when evaluations were no longer apart than this and two intervals.
pub(crate) const SHORT_GAP: Duration = Duration::from_secs(60);

/// When a rule was last evaluated with success, and whether it is settling after a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Continuity {
    begun: Timestamp,
    looked: Option<Timestamp>,
    last: Option<Timestamp>,
    settling: Option<Settling>,
}

impl Default for Continuity {
    fn default() -> Self {
        Self::begun(Timestamp::MAX)
    }
}

impl Continuity {
    /// Of a rule whose state was found at this moment.
    pub(crate) fn begun(now: Timestamp) -> Self {
        Self { begun: now, looked: None, last: None, settling: None }
    }

    /// Notes that somebody looks now, whatever comes of it. Answers for how long nobody looked before, when
    /// that was long: the machine slept, the clock was set forward, or slots were missed. Time in which nobody
    /// looked does not count towards `for`; time in which queries failed does, as in Prometheus.
    pub(crate) fn look(&mut self, now: Timestamp, interval: Duration) -> Option<Duration> {
        let before = self.looked.replace(now).unwrap_or(self.begun);
        let gap = now.since(before);
        (gap > SHORT_GAP + interval * 2).then_some(gap)
    }

    /// After the clock was set back the rule begins anew: what the store has of the moments that come now may
    /// be of another time, so it settles as after an outage. Answers whether it was set back.
    pub(crate) fn undo_future(&mut self, now: Timestamp) -> bool {
        // When the state was found says nothing: that may be later than the slot that is evaluated.
        let is_set_back = self.looked.max(self.last).is_some_and(|at| at > now);
        if is_set_back {
            *self = Self::begun(now);
        }
        is_set_back
    }

    /// Of a rule whose state was found at this moment, and that another judge is known to have evaluated then.
    pub(crate) fn resumed(now: Timestamp, last: Option<Timestamp>) -> Self {
        Self { last, ..Self::begun(now) }
    }

    /// The last evaluation with success.
    pub(crate) fn last(&self) -> Option<Timestamp> {
        self.last
    }

    /// Notes a successful evaluation. A gap is the first evaluation after a start or takeover, or one that
    /// comes more than two intervals after the one before: whether judge, the store or the whole machine was
    /// away, the newest samples may still be on their way.
    pub(crate) fn observe(
        &mut self,
        now: Timestamp,
        interval: Duration,
        settle_time: Duration,
    ) -> Option<Settling> {
        let is_gap = self.last.is_none_or(|last| now.since(last) > interval * 2);
        if is_gap {
            self.settling = Some(Settling { from: now, until: now.plus(settle_time) });
        }
        self.last = Some(now);
        self.settling = self.settling.filter(|settling| now < settling.until);
        self.settling
    }

    /// Whether data is being given time to return.
    pub(crate) fn is_settling(&self) -> bool {
        self.settling.is_some()
    }

    /// The last evaluation with success, or when the state was found; the far future for a rule without
    /// either.
    pub(crate) fn last_known(&self) -> Timestamp {
        self.last.unwrap_or(self.begun)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(15);
    const SETTLE: Duration = Duration::from_secs(60);

    /// For every moment of a successful evaluation: the beginning of the settling, in seconds.
    fn check(moments: &[i64], settling_from: &[Option<i64>]) {
        let mut continuity = Continuity::default();
        let found: Vec<_> = moments
            .iter()
            .map(|moment| continuity.observe(Timestamp::from_seconds(*moment), INTERVAL, SETTLE))
            .map(|settling| settling.map(|settling| settling.from.seconds()))
            .collect();
        assert_eq!(found, settling_from, "{moments:?}");
    }

    #[test]
    fn the_first_evaluation_begins_a_settling_that_ends() {
        check(&[0, 15, 30, 45, 60, 75], &[Some(0), Some(0), Some(0), Some(0), None, None]);
    }

    #[test]
    fn one_missed_slot_is_no_gap_and_two_are() {
        check(&[0, 60, 90, 120], &[Some(0), Some(60), Some(60), None]);
        check(&[0, 15, 30, 45, 60, 90], &[Some(0), Some(0), Some(0), Some(0), None, None]);
    }

    #[test]
    fn an_outage_of_the_store_is_a_gap() {
        check(&[0, 30, 60, 600, 630, 660], &[Some(0), Some(0), None, Some(600), Some(600), None]);
    }

    #[test]
    fn a_clock_set_back_is_a_gap() {
        let at = Timestamp::from_seconds;
        let mut continuity = Continuity::default();
        assert!(!continuity.undo_future(at(500)));
        continuity.look(at(1000), INTERVAL);
        continuity.observe(at(1000), INTERVAL, Duration::ZERO);
        assert!(continuity.undo_future(at(400)));
        let settling = continuity.observe(at(400), INTERVAL, SETTLE);
        assert_eq!(settling.map(|settling| settling.until), Some(at(460)));
    }

    #[test]
    fn a_slot_before_the_state_was_found_is_no_clock_set_back() {
        let at = Timestamp::from_seconds;
        let mut continuity = Continuity::resumed(at(107), Some(at(85)));
        assert!(!continuity.undo_future(at(100)));
        assert_eq!(continuity.look(at(100), INTERVAL), None);
        assert_eq!(
            continuity.observe(at(100), INTERVAL, SETTLE),
            None,
            "the judge before was seen"
        );
    }

    #[test]
    fn time_without_looks_is_told_when_it_was_long() {
        let at = Timestamp::from_seconds;
        let mut continuity = Continuity::begun(at(0));
        let found = [90, 180, 271].map(|moment| continuity.look(at(moment), INTERVAL));
        assert_eq!(found, [None, None, Some(Duration::from_secs(91))]);
    }

    #[test]
    fn without_a_settle_time_nothing_settles() {
        let mut continuity = Continuity::default();
        assert_eq!(continuity.observe(Timestamp(0), INTERVAL, Duration::ZERO), None);
    }
}
