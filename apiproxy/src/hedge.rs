//! When a second replica of a data centre is asked what the first was asked already. Pure.

use std::collections::VecDeque;
use std::time::Duration;

/// Answers whose time is remembered.
const REMEMBERED: usize = 128;
/// Before so many answers nobody knows what slow is.
const KNOWN_MIN: usize = 20;
/// Second requests there may be for a first one, on average.
const SHARE_MAX: f64 = 0.05;
/// Second requests that may be saved up for a bad moment.
const SAVED_MAX: f64 = 5.0;

/// How long the replicas of a data centre take, and how many second requests they may get.
#[derive(Debug, Default)]
pub(crate) struct Hedging {
    took: VecDeque<Duration>,
    saved: f64,
}

impl Hedging {
    /// A question is put to the data centre.
    pub(crate) fn asked(&mut self) {
        self.saved = (self.saved + SHARE_MAX).min(SAVED_MAX);
    }

    /// It was answered after this time.
    pub(crate) fn answered(&mut self, took: Duration) {
        if self.took.len() == REMEMBERED {
            self.took.pop_front();
        }
        self.took.push_back(took);
    }

    /// After how long nineteen of twenty answers are there; nothing while too few are known.
    pub(crate) fn slow_after(&self) -> Option<Duration> {
        if self.took.len() < KNOWN_MIN {
            return None;
        }
        let mut took: Vec<Duration> = self.took.iter().copied().collect();
        let (_, slow, _) = took.select_nth_unstable(self.took.len() * 95 / 100);
        Some(*slow)
    }

    /// Whether a second request may go out now; it counts as sent then.
    pub(crate) fn take(&mut self) -> bool {
        let may = self.saved >= 1.0;
        if may {
            self.saved -= 1.0;
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_is_what_nineteen_of_twenty_are_not() {
        let mut hedging = Hedging::default();
        (1..20).for_each(|n| hedging.answered(Duration::from_millis(n)));
        assert_eq!(hedging.slow_after(), None);
        (20..=100).for_each(|n| hedging.answered(Duration::from_millis(n)));
        assert_eq!(hedging.slow_after(), Some(Duration::from_millis(96)));
        (0..REMEMBERED).for_each(|_| hedging.answered(Duration::from_millis(7)));
        assert_eq!(hedging.slow_after(), Some(Duration::from_millis(7)), "the old is forgotten");
    }

    #[test]
    fn one_in_twenty_questions_gets_a_second_request() {
        let mut hedging = Hedging::default();
        let mut sent = 0;
        for _ in 0..1_000 {
            hedging.asked();
            sent += usize::from(hedging.take());
        }
        assert!((49..=50).contains(&sent), "{sent}");
    }

    #[test]
    fn only_a_few_second_requests_are_saved_up() {
        let mut hedging = Hedging::default();
        (0..10_000).for_each(|_| hedging.asked());
        assert_eq!((0..100).filter(|_| hedging.take()).count(), 5);
    }
}
